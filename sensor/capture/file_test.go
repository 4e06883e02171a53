package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"weir/decode"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ways are the ways by which bytes get into a File. All must give the same.
func ways(t *testing.T, data []byte, check func(t *testing.T, f *File)) {
	path := save(t, "in", data)
	for name, open := range map[string]func(t *testing.T) (*File, error){
		"mapped": func(*testing.T) (*File, error) { return Open(path, Options{}) },
		"read":   func(*testing.T) (*File, error) { return Open(path, Options{NoMap: true}) },
		"gzip":   func(t *testing.T) (*File, error) { return Open(save(t, "in.gz", gzipped(t, data)), Options{}) },
		"zstd":   func(t *testing.T) (*File, error) { return Open(save(t, "in.zst", zstded(t, data)), Options{}) },
		"stdin":  func(t *testing.T) (*File, error) { return openPiped(t, data) },
	} {
		t.Run(name, func(t *testing.T) {
			f, err := open(t)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			check(t, f)
		})
	}
}

// openPiped hands data to standard input through a pipe, in small pieces.
func openPiped(t *testing.T, data []byte) (*File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer w.Close()
		for len(data) > 0 {
			n, err := w.Write(data[:min(len(data), 1000)])
			if err != nil {
				return
			}
			data = data[n:]
		}
	}()
	before := os.Stdin
	os.Stdin = r
	t.Cleanup(func() { os.Stdin = before; r.Close(); <-done })
	return Open("-", Options{})
}

func TestVariants(t *testing.T) {
	for _, v := range variants {
		for _, o := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			t.Run(v.name+"/"+o.String(), func(t *testing.T) {
				want := sample(1500)
				for i := range want {
					want[i].Link = v.want
				}
				data := v.write(o, want)
				ways(t, data, func(t *testing.T, f *File) {
					got, err := all(t, f)
					if err != nil {
						t.Fatal(err)
					}
					compare(t, v.name, got, want)
				})
				if v.tcpdump {
					againstTcpdump(t, save(t, "in.pcap", data))
				}
			})
		}
	}
}

// againstTcpdump compares with what tcpdump copies from the file.
func againstTcpdump(t *testing.T, path string) {
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Log("not compared: tcpdump is not installed")
		return
	}
	out, err := exec.Command(tcpdump, "--nano", "-r", path, "-w", "-").Output()
	if err != nil {
		t.Fatalf("tcpdump: %v", err)
	}
	want, err := twin(out)
	if err != nil {
		t.Fatal(err)
	}
	got, err := all(t, open(t, path, Options{}))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "tcpdump", got, want)
}

func TestPcapng(t *testing.T) {
	data := []byte("some bytes of a frame")
	le, be := &ng{o: binary.LittleEndian}, &ng{o: binary.BigEndian}
	const sec = 1_700_000_000
	le.section().iface(1, 0).
		enhanced(0, sec*1e6+5, 100, data).
		simple(100, data[:20]).
		block(0xbad, make([]byte, 40)...).
		iface(101, 10, le.option(2, []byte("eth0")...), le.option(9, 9), le.option(0)).
		enhanced(1, sec*1e9+7, 100, data, le.option(1, []byte("comment")...)).
		obsolete(1, 3, sec*1e9+8, 100, data).
		block(0xbad2, make([]byte, 600<<10)...).
		enhanced(0, 1<<63, 100, data). // a time in the year 294247
		enhanced(0, sec*1e6+9, 2, data)
	be.section().
		iface(113, 8, be.option(9, 0x80|10)). // 1/1024 s
		iface(113, 0, be.option(9, 3), be.option(14, binary.BigEndian.AppendUint64(nil, 1<<64-100)...)).
		iface(113, 0, be.option(9, 12)).
		simple(100, data[:8]).
		enhanced(0, sec*1024+512, 100, data).
		enhanced(1, (sec+100)*1000+250, 100, data).
		enhanced(2, 1_700_000*1e12+999, 100, data)
	frame := func(data []byte, ns int64, wire uint32, link decode.LinkType, iface uint16) decode.Frame {
		return decode.Frame{Data: data, Time: ns, WireLen: wire, Link: link, Iface: iface}
	}
	want := []decode.Frame{
		frame(data, sec*1e9+5000, 100, 1, 0),
		frame(data[:20], sec*1e9+5000, 100, 1, 0),
		frame(data, sec*1e9+7, 100, 101, 1),
		frame(data, sec*1e9+8, 100, 101, 1),
		frame(data, sec*1e9+8, 100, 1, 0),
		frame(data, sec*1e9+9000, 21, 1, 0),
		frame(data[:8], sec*1e9+9000, 100, 113, 2),
		frame(data, sec*1e9+500e6, 100, 113, 2),
		frame(data, sec*1e9+250e6, 100, 113, 3),
		frame(data, 1_700_000*1e9, 100, 113, 4),
	}
	ways(t, append(le.b, be.b...), func(t *testing.T, f *File) {
		got, err := all(t, f)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, "pcapng", got, want)
		if c := f.Counters(); c != (Counters{BadTime: 1, NoTime: 2, ShortWire: 1, Skipped: 2}) {
			t.Errorf("counters %+v", c)
		}
	})
}

func TestTimeResolution(t *testing.T) {
	for _, c := range []struct {
		iface iface
		ts    uint64
		want  int64
	}{
		{iface{power: 0}, 5, 5e9},
		{iface{power: 6}, 5, 5e3},
		{iface{power: 9}, 1 << 62, 1 << 62},
		{iface{power: 19}, 1<<64 - 1, 1844674407},
		{iface{power: 20}, 1<<64 - 1, 184467440},
		{iface{power: 127}, 1<<64 - 1, 0},
		{iface{binary: true, power: 0}, 3, 3e9},
		{iface{binary: true, power: 1}, 3, 15e8},
		{iface{binary: true, power: 32}, 1<<32 + 1<<31, 15e8},
		{iface{binary: true, power: 63}, 1 << 62, 5e8},
		{iface{binary: true, power: 64}, 1 << 63, 5e8},
		{iface{binary: true, power: 127}, 1<<64 - 1, 0},
		{iface{power: 6, offset: -3}, 5e6, 2e9},
	} {
		if got := c.iface.time(c.ts); got != c.want {
			t.Errorf("%+v: %d units are %d ns, want %d", c.iface, c.ts, got, c.want)
		}
	}
	for _, i := range []iface{{power: 0}, {power: 6, offset: 1<<63 - 1}, {offset: 1<<63 - 1}} {
		if got := i.time(1<<64 - 1); got <= maxTime {
			t.Errorf("%+v: %d is not too late", i, got)
		}
	}
	if got := (&iface{offset: -1 << 63}).time(0); got >= 0 {
		t.Errorf("%d is not too early", got)
	}
}

func TestInvalidSubsecond(t *testing.T) {
	frames := sample(3)
	b := pcapFile(frames)
	binary.LittleEndian.PutUint32(b[24+4:], 1_000_000)
	binary.LittleEndian.PutUint32(b[24+16+len(frames[0].Data)+4:], 1<<31)
	f := open(t, save(t, "in", b), Options{})
	got, err := all(t, f)
	if err != nil || got[0].Time != 1_700_000_001e9 || got[1].Time != 1_700_000_000e9 || f.Counters().BadSubsecond != 2 {
		t.Errorf("times %d, %d, error %v, counters %+v", got[0].Time, got[1].Time, err, f.Counters())
	}
}

func TestCutAtEveryByte(t *testing.T) {
	n := &ng{o: binary.LittleEndian}
	n.section().iface(1, 0, n.option(9, 9))
	starts := []int{0, 28, len(n.b)}
	want := sample(5)
	for _, f := range want {
		n.enhanced(0, uint64(f.Time), f.WireLen, f.Data)
		starts = append(starts, len(n.b))
		n.block(0xbad, 1, 2, 3)
		starts = append(starts, len(n.b))
	}
	cutEverywhere(t, n.b, starts, want)

	classic := []int{0, 24}
	for _, f := range want {
		classic = append(classic, classic[len(classic)-1]+16+len(f.Data))
	}
	cutEverywhere(t, pcapFile(want), classic, want)
}

// cutEverywhere cuts data at every byte; starts are the offsets of its records.
func cutEverywhere(t *testing.T, data []byte, starts []int, want []decode.Frame) {
	for n := 4; n < len(data); n++ {
		at, whole := 0, false
		for _, s := range starts {
			if s <= n {
				at, whole = s, s == n
			}
		}
		path := save(t, "cut", data[:n])
		for _, o := range []Options{{}, {NoMap: true}} {
			var got []decode.Frame
			f, err := Open(path, o)
			if err == nil {
				got, err = all(t, f)
				f.Close()
			}
			var cut *CutError
			switch {
			case whole && err != nil:
				t.Fatalf("%d bytes, the end of a record: %v", n, err)
			case !whole && !errors.As(err, &cut):
				t.Fatalf("%d bytes: error %v, want a CutError", n, err)
			case !whole && (cut.File != path || cut.Offset != int64(at) || cut.End != int64(n)):
				t.Fatalf("%d bytes: %v, want a record at %d", n, err, at)
			}
			compare(t, fmt.Sprint(n, " bytes"), got, want[:len(got)])
		}
	}
	for n := range 4 {
		if _, err := Open(save(t, "cut", data[:n]), Options{}); !errors.As(err, new(*FormatError)) {
			t.Errorf("%d bytes: error %v", n, err)
		}
	}
}

func TestCutCompressed(t *testing.T) {
	want := sample(800)
	for name, packed := range map[string][]byte{"gzip": gzipped(t, pcapFile(want)), "zstd": zstded(t, pcapFile(want))} {
		f := open(t, save(t, name, packed[:len(packed)/2]), Options{})
		got, err := all(t, f)
		var cut *CutError
		if !errors.As(err, &cut) || !cut.Packed || !strings.Contains(err.Error(), "decompressed") {
			t.Errorf("%s: error %v", name, err)
		}
		compare(t, name, got, want[:len(got)])
		if name == "gzip" && len(got) == 0 {
			t.Error("no frames before the cut")
		}

		broken := bytes.Clone(packed)
		broken[len(broken)-3] ^= 1 // in the check sum
		got, err = all(t, open(t, save(t, name, broken), Options{}))
		var format *FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), "cannot be decompressed") {
			t.Errorf("%s, broken check sum: %d frames, error %v", name, len(got), err)
		}
	}
}

func TestNotACapture(t *testing.T) {
	elf, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(elf)
	if err != nil {
		t.Fatal(err)
	}
	huge := pcapFile(sample(2))
	binary.LittleEndian.PutUint32(huge[24+8:], 256<<10+1)
	ngFile := func() *ng { return &ng{o: binary.LittleEndian} }
	truncated := ngFile().section().b
	binary.LittleEndian.PutUint32(truncated[24:], 32) // trailing length
	for _, c := range []struct {
		name string
		data []byte
		what string
		at   int64
	}{
		{"empty", nil, "it is empty", 0},
		{"short", []byte("abc"), "only 3 bytes", 0},
		{"text", []byte("time,src,dst\n1,2,3\n"), "looks like text", 0},
		{"elf", program[:4096], "ELF", 0},
		{"zip", []byte("PK\x03\x04xxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), "zip", 0},
		{"xz", []byte("\xfd7zXZ\x00xxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), "xz", 0},
		{"binary", []byte{1, 2, 3, 4, 5, 6, 7, 8}, "starts with 01 02 03 04", 0},
		{"gzip of text", gzipped(t, []byte("hello world")), "looks like text", 0},
		{"gzip of gzip", gzipped(t, gzipped(t, huge)), "gzip within", 0},
		{"pcap version 1", (&variant{magic: 0xa1b2c3d4, major: 1}).write(binary.LittleEndian, nil), "version 1.0", 0},
		{"record of 256 KiB + 1", huge, "claims 262145 bytes", 24},
		{"pcapng version 2", ngFile().block(0x0a0d0d0a, 0x4d, 0x3c, 0x2b, 0x1a, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0).b, "version 2.0", 0},
		{"pcapng byte order", ngFile().block(0x0a0d0d0a, 1, 2, 3, 4, 1, 0, 0, 0).b, "byte-order magic", 0},
		{"pcapng block length", append(ngFile().section().b, 6, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0), "claims 13 bytes", 28},
		{"pcapng block too long", append(ngFile().section().b, 6, 0, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0, 0), "more than 16777216", 28},
		{"pcapng trailer", truncated, "ends with length 32", 0},
		{"pcapng no interface", ngFile().section().enhanced(0, 1, 1, []byte{1}).b, "interface 0, but the section describes 0", 28},
	} {
		f, err := Open(save(t, "in", c.data), Options{})
		if err == nil {
			_, err = all(t, f)
			f.Close()
		}
		var format *FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), c.what) || format.Offset != c.at {
			t.Errorf("%s: error %v, want %q at %d", c.name, err, c.what, c.at)
		}
	}
	if _, err := Open(t.TempDir(), Options{}); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Errorf("a folder: error %v", err)
	}
	missing := filepath.Join(t.TempDir(), "missing.pcap")
	if _, err := Open(missing, Options{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("a missing file: error %v", err)
	}
}

func TestHeaderOnly(t *testing.T) {
	for _, data := range [][]byte{pcapFile(nil), (&ng{o: binary.BigEndian}).section().b} {
		ways(t, data, func(t *testing.T, f *File) {
			if got, err := all(t, f); len(got) != 0 || err != nil {
				t.Errorf("%d frames, error %v", len(got), err)
			}
			if err := f.Next(new(Block)); !errors.Is(err, io.EOF) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

// TestHeldBlocks holds all blocks of a file and finds every frame unchanged at the end.
func TestHeldBlocks(t *testing.T) {
	want := sample(5000)
	ways(t, pcapFile(want), func(t *testing.T, f *File) {
		var got []decode.Frame
		for {
			b := new(Block)
			err := f.Next(b)
			got = append(got, b.Frames...)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		compare(t, "held", got, want)
	})
}

func TestProgress(t *testing.T) {
	data := pcapFile(sample(5000))
	f := open(t, save(t, "in", data), Options{})
	if done, total := f.Progress(); done != 0 || total != int64(len(data)) {
		t.Errorf("before: %d of %d", done, total)
	}
	if _, err := all(t, f); err != nil {
		t.Fatal(err)
	}
	if done, total := f.Progress(); done != total {
		t.Errorf("after: %d of %d", done, total)
	}
	packed := gzipped(t, data)
	s := Files([]string{save(t, "a", data), save(t, "b.gz", packed)}, true)
	defer s.Close()
	stop, watched := make(chan struct{}), make(chan struct{})
	go func() { // from another goroutine, for the race detector
		defer close(watched)
		for last := int64(0); ; {
			select {
			case <-stop:
				return
			default:
			}
			done, total := s.Progress()
			if done < last || total != 0 && done > total {
				t.Errorf("%d of %d after %d", done, total, last)
				return
			}
			last = done
		}
	}()
	if _, err := all(t, s); err != nil {
		t.Fatal(err)
	}
	close(stop)
	<-watched
	g := open(t, save(t, "in.gz", packed), Options{})
	if _, err := all(t, g); err != nil {
		t.Fatal(err)
	}
	if done, total := g.Progress(); done != total || total != int64(len(packed)) {
		t.Errorf("gzip: %d of %d", done, total)
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	frames := sample(40_000)
	for i := range frames {
		frames[i].Data = frames[i].Data[:min(60, len(frames[i].Data))]
		frames[i].WireLen = 60
	}
	n := &ng{o: binary.LittleEndian}
	n.section().iface(1, 0)
	for _, f := range frames {
		n.enhanced(0, uint64(f.Time/1000), f.WireLen, f.Data)
	}
	for _, data := range [][]byte{pcapFile(frames), n.b} {
		ways(t, data, func(t *testing.T, f *File) {
			limit := 1.0
			if f.packed {
				limit = 20 // the decompressors allocate, not we: at most one in 25 frames
			}
			var b Block
			if err := f.Next(&b); err != nil {
				t.Fatal(err)
			}
			total := 0
			allocs := testing.AllocsPerRun(20, func() {
				if err := f.Next(&b); err != nil {
					t.Fatal(err)
				}
				total += len(b.Frames)
			})
			if allocs >= limit {
				t.Errorf("%v allocations a block, %d frames in all", allocs, total)
			}
		})
	}
}

func TestFilesAreClosed(t *testing.T) {
	count := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc: open files cannot be counted")
		}
		return len(names)
	}
	data := pcapFile(sample(10))
	paths := []string{save(t, "a", data), save(t, "b.gz", gzipped(t, data)), save(t, "c.zst", zstded(t, data)), save(t, "d", []byte("text text"))}
	before := count()
	for range 20 {
		for _, p := range paths {
			if f, err := Open(p, Options{}); err == nil {
				if _, err := all(t, f); err != nil {
					t.Fatal(err)
				}
				f.Close()
			}
		}
		s := Files(paths, true)
		if err := s.Next(new(Block)); err == nil {
			t.Fatal("text was read as a capture")
		}
		s.Close()
	}
	if after := count(); after != before {
		t.Errorf("%d open files, %d before", after, before)
	}
}
