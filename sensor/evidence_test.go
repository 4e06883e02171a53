package sensor

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"weir/decode"
	"weir/sensor/alert"
	"weir/sensor/capture"
)

// datagram is an Ethernet frame with a UDP packet without payload from 10.0.0.src to 10.0.0.dst (RFC 791, RFC 768).
func datagram(src, dst byte, at int64) decode.Frame {
	b := make([]byte, 60)
	binary.BigEndian.PutUint16(b[12:], 0x0800)
	ip := b[14:]
	ip[0], ip[3], ip[8], ip[9] = 0x45, 28, 64, 17
	copy(ip[12:], []byte{10, 0, 0, src, 10, 0, 0, dst})
	binary.BigEndian.PutUint16(ip[20:], 1000)
	binary.BigEndian.PutUint16(ip[22:], 2000)
	binary.BigEndian.PutUint16(ip[24:], 8)
	return decode.Frame{Data: b, Time: at, WireLen: 60, Link: decode.LinkEthernet}
}

func peer(n byte) *alert.Party { return &alert.Party{IP: netip.AddrFrom4([4]byte{10, 0, 0, n})} }

func about(id string, s alert.Severity, subject, victim *alert.Party, first, last int64) *alert.Alert {
	return &alert.Alert{ID: id, Severity: s, Subject: subject, Victim: victim, First: alert.Time(first), Last: alert.Time(last)}
}

// source opens frames again and again, and counts how often.
func source(frames []decode.Frame, opened *int) func() capture.Source {
	return func() capture.Source {
		*opened++
		return &list{frames: frames}
	}
}

// pairs reads a file of evidence and returns who sent to whom in it.
func pairs(t *testing.T, path string) (all []string) {
	t.Helper()
	f, err := capture.Open(path, capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b capture.Block
	for err == nil {
		err = f.Next(&b)
		for _, f := range b.Frames {
			all = append(all, fmt.Sprintf("%d>%d@%d", f.Data[29], f.Data[33], f.Time))
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	return all
}

// TestEvidence writes the packets of each alert that deserves it, also where alerts share packets.
func TestEvidence(t *testing.T) {
	frames := []decode.Frame{datagram(1, 2, 5), datagram(1, 2, 10), datagram(3, 2, 11), datagram(1, 4, 12), datagram(2, 1, 13), datagram(5, 6, 14), datagram(1, 2, 21)}
	alerts := []*alert.Alert{
		about("subject", alert.High, peer(1), nil, 10, 20),
		about("low", alert.Low, peer(5), nil, 10, 20),
		about("victim", alert.Medium, nil, peer(2), 10, 20),
		about("grows", alert.Low, peer(1), peer(2), 10, 12),
		about("grows", alert.Medium, peer(1), peer(2), 10, 12),
		about("grows", alert.Medium, peer(1), peer(2), 10, 30),
		about("nothing", alert.Critical, peer(9), nil, 10, 20),
		about("nobody", alert.Critical, nil, nil, 10, 20),
	}
	dir := filepath.Join(t.TempDir(), "new", "cases")
	opened := 0
	if err := Evidence(context.Background(), source(frames, &opened), nil, alerts, dir); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"subject": "[1>2@10 1>4@12 2>1@13]",
		"victim":  "[1>2@10 3>2@11 2>1@13]",
		"grows":   "[1>2@10 2>1@13 1>2@21]",
	}
	for _, a := range alerts {
		path := filepath.Join(dir, a.ID+".pcapng")
		if want[a.ID] == "" {
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) || a.Evidence != nil {
				t.Errorf("%s has evidence", a.ID)
			}
			continue
		}
		if a.Evidence == nil || a.Evidence.File != path {
			t.Fatalf("%s: evidence %+v, want %s", a.ID, a.Evidence, path)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != a.Evidence.SHA256 {
			t.Errorf("%s: another SHA-256 than the file's", a.ID)
		}
		if got := fmt.Sprint(pairs(t, path)); got != want[a.ID] {
			t.Errorf("%s: %s, want %s", a.ID, got, want[a.ID])
		}
	}
	if opened != 1 {
		t.Errorf("the input was opened %d times", opened)
	}
	modes(t, dir)
}

// modes holds files and folder of evidence to be closed to others: packets are private.
func modes(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Fatalf("%d files: %v", len(entries), err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm()&^0o640 != 0 {
			t.Errorf("%s: mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&^0o750 != 0 {
		t.Errorf("folder: mode %v, %v", info.Mode(), err)
	}
}

// TestEvidenceFilter leaves out what the run did not judge.
func TestEvidenceFilter(t *testing.T) {
	frames := []decode.Frame{datagram(1, 2, 10), datagram(2, 1, 11)}
	alerts := []*alert.Alert{about("a", alert.High, peer(1), nil, 10, 20)}
	dir, opened := t.TempDir(), 0
	keep := func(p *decode.Packet) bool { return p.Reverse }
	if err := Evidence(context.Background(), source(frames, &opened), keep, alerts, dir); err != nil {
		t.Fatal(err)
	}
	if got := pairs(t, filepath.Join(dir, "a.pcapng")); len(got) != 1 || got[0] != "2>1@11" {
		t.Errorf("%q", got)
	}
}

// TestEvidenceBounds shows that one alert takes a bounded number of packets, and that many alerts are served some at a time.
func TestEvidenceBounds(t *testing.T) {
	var frames []decode.Frame
	for i := range 5000 {
		frames = append(frames, datagram(1, 2, int64(i)))
	}
	var alerts []*alert.Alert
	for i := range 2*evidencePass + 1 {
		alerts = append(alerts, about(fmt.Sprintf("%04d", i), alert.High, peer(1), nil, int64(i), 5000))
	}
	dir, opened, most := t.TempDir(), 0, 0
	open := source(frames, &opened)
	err := Evidence(context.Background(), func() capture.Source {
		src := open().(*list)
		src.before = func(int) { most = max(most, descriptors()) }
		return src
	}, nil, alerts, dir)
	if err != nil {
		t.Fatal(err)
	}
	if opened != 3 || most > evidencePass+100 {
		t.Errorf("%d passes, %d open files", opened, most)
	}
	for i, a := range alerts {
		if got := pairs(t, a.Evidence.File); len(got) != alert.EvidenceFrames || got[0] != fmt.Sprintf("1>2@%d", i) {
			t.Fatalf("%s: %d packets from %s", a.ID, len(got), got[0])
		}
	}
}

// descriptors counts the open files of this process; 0 without /proc.
func descriptors() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

// TestEvidenceCannotWrite leaves nothing half written behind.
func TestEvidenceCannotWrite(t *testing.T) {
	frames := []decode.Frame{datagram(1, 2, 10), datagram(3, 2, 11)}
	alerts := []*alert.Alert{about("one", alert.High, peer(1), nil, 10, 20), about("two", alert.High, peer(3), nil, 10, 20)}
	for _, blocked := range []string{"two.pcapng.part", "two.pcapng"} {
		dir, opened := t.TempDir(), 0
		if err := os.MkdirAll(filepath.Join(dir, blocked, "in the way"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := Evidence(context.Background(), source(frames, &opened), nil, alerts, dir); err == nil {
			t.Errorf("%s is in the way, and no error", blocked)
		}
		if alerts[1].Evidence != nil {
			t.Errorf("%s: evidence that is not there", blocked)
		}
		left, _ := filepath.Glob(filepath.Join(dir, "*.part"))
		for _, f := range left {
			if filepath.Base(f) != blocked {
				t.Errorf("%s: %s is left behind", blocked, f)
			}
		}
		if a := alerts[0]; a.Evidence != nil {
			pairs(t, a.Evidence.File)
		}
	}
	if err := Evidence(context.Background(), nil, nil, alerts, filepath.Join(os.DevNull, "cases")); err == nil {
		t.Error("a folder below a file, and no error")
	}
}

// TestEvidenceCancelled leaves no file of the pass that was called off.
func TestEvidenceCancelled(t *testing.T) {
	var frames []decode.Frame
	for i := range 2000 {
		frames = append(frames, datagram(byte(i), 2, 10))
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir := t.TempDir()
	a := about("one", alert.High, nil, peer(2), 10, 20)
	open := func() capture.Source {
		return &list{frames: frames, before: func(block int) {
			if block == 0 {
				cancel()
			}
		}}
	}
	if err := Evidence(ctx, open, nil, []*alert.Alert{a}, dir); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 || a.Evidence != nil {
		t.Errorf("%v, evidence %v", left, a.Evidence)
	}
}

// TestEvidenceOfBroken keeps what an input has before its error, and tells the error.
func TestEvidenceOfBroken(t *testing.T) {
	want := errors.New("no more")
	dir := t.TempDir()
	a := about("one", alert.High, peer(1), nil, 10, 20)
	open := func() capture.Source { return &broken{list{frames: []decode.Frame{datagram(1, 2, 10)}}, want} }
	if err := Evidence(context.Background(), open, nil, []*alert.Alert{a}, dir); !errors.Is(err, want) {
		t.Error(err)
	}
	if a.Evidence == nil || len(pairs(t, a.Evidence.File)) != 1 {
		t.Errorf("evidence %v", a.Evidence)
	}
}

// TestEvidenceTruncated cuts the mapped input short while evidence is taken from it: an error, and no crash.
func TestEvidenceTruncated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.pcapng")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := capture.NewWriter(f, decode.LinkEthernet)
	for i := range 50_000 {
		frame := datagram(byte(i), 2, 10)
		if err := w.Write(&frame); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
	a := about("one", alert.High, peer(255), nil, 10, 20)
	a.Subject = &alert.Party{IP: netip.MustParseAddr("192.0.2.1")} // in no packet: the pass goes on to the end
	open := func() capture.Source { return &shrinking{Set: capture.Files([]string{path}, false), path: path} }
	var cut *capture.CutError
	if err := Evidence(context.Background(), open, nil, []*alert.Alert{a}, t.TempDir()); !errors.As(err, &cut) {
		t.Error(err)
	}
}
