//go:build linux

package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// sources is n random addresses, from 198.18.0.0/15 on to fill n.
func sources(r *rand.Rand, n int) []Drop {
	seen := map[uint32]bool{}
	list := make([]Drop, 0, n)
	until := later()
	for len(list) < n {
		a := r.Uint32()
		if seen[a] {
			continue
		}
		seen[a] = true
		list = append(list, Drop{netip.PrefixFrom(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, a))), 32), Rule{Action: ActionDrop, Expires: until}})
	}
	return list
}

// TestLoad holds how long many drops take to load, and that memory is that of the configuration.
func TestLoad(t *testing.T) {
	for _, c := range []struct {
		n    int
		most time.Duration
	}{{100_000, 500 * time.Millisecond}, {1_000_000, 3 * time.Second}} {
		if testing.Short() && c.n > 100_000 {
			continue
		}
		cfg := small(ModeXDP)
		cfg.Hosts4 = c.n
		g := prepared(t, cfg)
		before := memlock(t, g)
		list := sources(rand.New(rand.NewPCG(1, 2)), c.n)
		heap := heapInUse()
		begin, used := time.Now(), processorTime(t)
		put(t, g, list)
		took, cpu := time.Since(begin), processorTime(t)-used
		heap = heapInUse() - heap
		runtime.KeepAlive(list)
		begin = time.Now()
		n := 0
		if err := g.Drops(func(Drop, Hits) bool { n++; return true }); err != nil || n != c.n {
			t.Errorf("%d drops of %d: %v", n, c.n, err)
		}
		read := time.Since(begin)
		begin = time.Now()
		if drift, err := g.Resync(); drift != 0 || err != nil {
			t.Errorf("drift %d, %v", drift, err)
		}
		synced := time.Since(begin)
		t.Logf("%d drops: loaded in %v (processor %v), read in %v, compared in %v, %d MiB of kernel memory, %d MiB of ours", c.n, took, cpu, read, synced,
			memlock(t, g)>>20, heap>>20)
		if min(took, cpu) > c.most { // others may have had the processors
			t.Errorf("%d drops took %v, at most %v", c.n, min(took, cpu), c.most)
		}
		if after := memlock(t, g); after != before || after > uint64(c.n)*160+(32<<20) {
			t.Errorf("memory went from %d to %d bytes", before, after)
		}
		var full *FullError
		if n, err := g.Put([]Drop{drop("192.0.2.1/32", just.until(lo))}); n != 0 || !errors.As(err, &full) || full.Max != c.n {
			t.Errorf("one more: %d in force, %v", n, err)
		}
		if err := g.Clear(); err != nil {
			t.Error(err)
		}
	}
}

// processorTime is what this process used so far.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// memlock is the kernel memory of the tables of hosts, hits and bits, as the kernel counts it.
func memlock(t *testing.T, g *Gate) (sum uint64) {
	t.Helper()
	for _, m := range []*ebpf.Map{g.maps.Hosts4, g.maps.Hit, g.maps.Bits4, g.maps.Bits6} {
		info, err := m.Info()
		if err != nil {
			t.Fatal(err)
		}
		n, ok := info.Memlock()
		if !ok {
			t.Fatal("no memlock in fdinfo")
		}
		sum += n
	}
	return sum
}

// TestFull holds what happens at the limit: what fits is in force, the rest is refused and leaves nothing behind.
func TestFull(t *testing.T) {
	cfg := small(ModeXDP)
	cfg.Hosts4, cfg.Prefixes = 100, 10
	g := prepared(t, cfg)
	list := sources(rand.New(rand.NewPCG(3, 4)), 150)
	n, err := g.Put(list)
	var full *FullError
	if n != 100 || !errors.As(err, &full) || full.Table != "hosts4" || full.Max != 100 {
		t.Errorf("%d in force, %v", n, err)
	}
	if n, err := g.Put(list[:100]); n != 100 || err != nil {
		t.Errorf("a refresh of a full table: %d, %v", n, err)
	}
	if c := g.Counts(); c != (Counts{Hosts4: 100}) {
		t.Errorf("%+v", c)
	}
	if last, _ := g.run(t, frame{src: list[120].Prefix.Addr().String()}.bytes(), 1); last != Pass {
		t.Error("a refused drop is in force")
	}
	if n, err := g.Delete([]netip.Prefix{list[0].Prefix, list[110].Prefix, list[1].Prefix}); n != 2 || err != nil {
		t.Errorf("%d deleted, %v", n, err)
	}
	if n, err := g.Put(list[100:102]); n != 2 || err != nil {
		t.Errorf("after a deletion: %d, %v", n, err)
	}
	g.agrees(t)
	var nets []Drop
	for i := range 12 {
		nets = append(nets, drop(fmt.Sprintf("10.%d.0.0/16", i), just.until(later())))
	}
	if n, err := g.Put(nets); n != 10 || !errors.As(err, &full) || full.Table != "prefixes" {
		t.Errorf("%d prefixes in force, %v", n, err)
	}
	g.agrees(t)
}

// agrees holds that every bit that is set has an entry behind it, every entry its bit, and no slot two owners.
func (g *Gate) agrees(t testing.TB) {
	t.Helper()
	want4, want6 := map[uint32]bool{}, map[uint32]bool{}
	owners := map[uint32]string{}
	own := func(slot uint32, who string) {
		if slot == 0 || owners[slot] != "" {
			t.Errorf("%s and %s share the slot %d", who, owners[slot], slot)
		}
		owners[slot] = who
	}
	cover := func(m map[uint32]bool, s span) {
		for i := range s.n {
			m[s.first+i] = true
		}
	}
	errs := errors.Join(
		g.hosts4.each(func(k [4]byte, e *gateEntry) bool {
			own(e.Slot, fmt.Sprint(k))
			cover(want4, spanOf4(k, 32))
			return true
		}),
		g.nets4.each(func(k gateNet4, e *gateEntry) bool {
			own(e.Slot, fmt.Sprint(k))
			cover(want4, spanOf4(k.Addr, int(k.Bits)))
			return true
		}),
		g.hosts6.each(func(k gateHost6, e *gateEntry) bool {
			own(e.Slot, fmt.Sprint(k))
			cover(want6, spanOf6(k.Addr, 128))
			return true
		}),
		g.nets6.each(func(k gateNet6, e *gateEntry) bool {
			own(e.Slot, fmt.Sprint(k))
			cover(want6, spanOf6(k.Addr, int(k.Bits)))
			return true
		}),
		g.services.each(func(k gateService, e *gateEntry) bool { own(e.Slot, fmt.Sprint(k)); return true }),
	)
	if errs != nil {
		t.Fatal(errs)
	}
	for i, want := range []map[uint32]bool{want4, want6} {
		set := 0
		for w, bits := range []*bitmap{g.hosts4.bits, g.hosts6.bits}[i].words {
			for b := range 64 {
				if bits>>b&1 != 0 {
					set++
					if !want[uint32(w*64+b)] {
						t.Errorf("bit %d is set for nothing", w*64+b)
					}
				}
			}
		}
		if set != len(want) {
			t.Errorf("%d bits are set, want %d", set, len(want))
		}
	}
}

// TestChurn puts and deletes at random, of all kinds and one upon the other, and compares with a plain map after each round.
func TestChurn(t *testing.T) {
	g := prepared(t, small(ModeXDP))
	r := rand.New(rand.NewPCG(5, 6))
	wanted := map[netip.Prefix]Rule{}
	pick := func() netip.Prefix {
		bits := []int{32, 32, 32, 31, 28, 24, 23, 20, 12}[r.IntN(9)]
		a := netip.AddrFrom4([4]byte{10, byte(r.IntN(2)), byte(r.IntN(4)), byte(r.IntN(64))})
		if r.IntN(3) == 0 {
			bits = []int{128, 128, 127, 64, 56, 48, 47, 32}[r.IntN(8)]
			a = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, byte(r.IntN(2)), 0, byte(r.IntN(3)), 15: byte(r.IntN(64))})
		}
		return netip.PrefixFrom(a, bits).Masked()
	}
	for range 200 {
		var puts []Drop
		var deletes []netip.Prefix
		for range r.IntN(20) {
			d := Drop{pick(), Rule{Action: ActionDrop, Expires: Time(1 + r.Uint32())}}
			puts = append(puts, d)
			wanted[d.Prefix] = d.Rule
		}
		put(t, g, puts)
		for range r.IntN(20) {
			p := pick()
			deletes = append(deletes, p)
			delete(wanted, p)
		}
		if _, err := g.Delete(deletes); err != nil {
			t.Fatal(err)
		}
		got := map[netip.Prefix]Rule{}
		if err := g.Drops(func(d Drop, _ Hits) bool { got[d.Prefix] = d.Rule; return true }); err != nil {
			t.Fatal(err)
		}
		for p, r := range wanted {
			if got[p] != r {
				t.Fatalf("%s: %+v in the kernel, want %+v", p, got[p], r)
			}
		}
		if len(got) != len(wanted) {
			t.Fatalf("%d drops in the kernel, want %d", len(got), len(wanted))
		}
	}
	g.agrees(t)
	if drift, err := g.Resync(); drift != 0 || err != nil {
		t.Errorf("drift %d, %v", drift, err)
	}
	g.agrees(t)
	if err := g.Clear(); err != nil {
		t.Fatal(err)
	}
	g.agrees(t)
	if g.Counts() != (Counts{}) {
		t.Errorf("%+v", g.Counts())
	}
	if g.control.Tables != 0 {
		t.Errorf("flags %x for empty tables", g.control.Tables)
	}
}

// TestBehindOurBack holds that Resync sees and mends what another process did to the tables.
func TestBehindOurBack(t *testing.T) {
	g := prepared(t, small(ModeXDP))
	put(t, g, []Drop{drop("192.0.2.1/32", just.until(lo)), drop("192.0.2.2/32", just.until(lo)), drop("10.0.0.0/8", just.until(lo))})
	if err := g.maps.Hosts4.Delete([4]byte{192, 0, 2, 1}); err != nil {
		t.Fatal(err)
	}
	// And one whose slot is another's, without a bit.
	e := gateEntry{Expires: lo, Action: uint8(ActionDrop), Slot: g.hosts4.slots[[4]byte{192, 0, 2, 2}]}
	if err := g.maps.Hosts4.Put([4]byte{203, 0, 113, 9}, e); err != nil {
		t.Fatal(err)
	}
	if last, _ := g.run(t, frame{src: "203.0.113.9"}.bytes(), 1); last != Pass {
		t.Error("an entry without a bit is in force: the test tests nothing")
	}
	if drift, err := g.Resync(); drift < 2 || err != nil {
		t.Errorf("drift %d, %v", drift, err)
	}
	g.agrees(t)
	if last, _ := g.run(t, frame{src: "203.0.113.9"}.bytes(), 1); last != Dropped {
		t.Error("not in force after Resync")
	}
	// bpftool map delete on all, and then the same drops again.
	for _, k := range [][4]byte{{192, 0, 2, 2}, {203, 0, 113, 9}} {
		if err := g.maps.Hosts4.Delete(k); err != nil {
			t.Fatal(err)
		}
	}
	clear(g.hosts4.bits.words)
	if _, err := g.Resync(); err != nil {
		t.Fatal(err)
	}
	put(t, g, []Drop{drop("192.0.2.2/32", just.until(lo))})
	g.agrees(t)
	if last, _ := g.run(t, frame{src: "192.0.2.2"}.bytes(), 1); last != Dropped {
		t.Error("not in force after it was put again")
	}
}

func TestRefused(t *testing.T) {
	g := prepared(t, small(ModeXDP))
	for _, c := range []struct {
		d    Drop
		want string
	}{
		{drop("0.0.0.0/0", just.until(lo)), "all addresses"},
		{drop("::/0", just.until(lo)), "all addresses"},
		{drop("::ffff:0.0.0.0/96", just.until(lo)), "all addresses"},
		{drop("192.0.2.1/32", just), "expiry"},
		{drop("192.0.2.1/32", Rule{Expires: lo}), "unknown action 0"},
		{drop("192.0.2.1/32", Rule{Action: ActionLimit, Expires: lo}), "rate of 0"},
		{drop("192.0.2.1/32", Rule{Action: ActionLimit, Rate: 10_000, Burst: 10, Expires: lo}), "at least 100"},
		{Drop{netip.Prefix{}, just.until(lo)}, "not a prefix"},
	} {
		good := drop("192.0.2.77/32", just.until(lo))
		if n, err := g.Put([]Drop{good, c.d}); n != 0 || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %d in force, %v; want %q", c.d, n, err, c.want)
		}
	}
	if _, err := g.Put([]Drop{drop("0.0.0.0/0", just.until(lo))}); !errors.Is(err, ErrWide) {
		t.Error(err)
	}
	if err := g.Drops(func(d Drop, _ Hits) bool { t.Errorf("%v is in force", d); return true }); err != nil {
		t.Error(err)
	}
	for _, s := range []Signature{
		{Rule: just.until(lo)},
		{Proto: 17, FlagMask: 1, Rule: just.until(lo)},
		{Proto: 6, Rule: just},
		{Proto: 6, Opening: make([]byte, 17), Rule: just.until(lo)},
		{Proto: 6, Opening: []byte{1}, Mask: []byte{1, 2}, Rule: just.until(lo)},
		{Proto: 6, MinLen: 2, MaxLen: 1, Rule: just.until(lo)},
	} {
		if err := g.SetSignatures([]Signature{s}); err == nil {
			t.Errorf("%+v was taken", s)
		}
	}
	var full *FullError
	if err := g.SetSignatures(make([]Signature, 33)); !errors.As(err, &full) {
		t.Error(err)
	}
}

// TestNeverSwap replaces the never-list over and over while frames of a source come that is in all of them and in a drop:
// not one may be dropped.
func TestNeverSwap(t *testing.T) {
	g := prepared(t, small(ModeXDP))
	g.fill(t, tables{drops: []Drop{drop("192.0.2.0/24", just), drop("192.0.2.1/32", just)}, never: []string{"192.0.2.1/32"}})
	stop := make(chan struct{})
	var traffic sync.WaitGroup
	traffic.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, _, err := g.prog.Benchmark(frame{}.bytes(), 100_000, nil); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for i := range 60 {
		list := []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
		if i%2 == 1 {
			list = []netip.Prefix{netip.MustParsePrefix("192.0.0.0/16"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
		}
		if err := g.SetNever(list); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	traffic.Wait()
	sum, err := g.Totals()
	if err != nil {
		t.Fatal(err)
	}
	if sum[Dropped][ReasonHost].Packets+sum[Dropped][ReasonPrefix].Packets != 0 || sum[Pass][ReasonNever].Packets < 100_000 {
		t.Errorf("%+v", sum)
	}
}

// TestRefresh holds that a drop keeps its hits when it is replaced, and loses them when it goes.
func TestRefresh(t *testing.T) {
	g := prepared(t, small(ModeXDP))
	d := []Drop{drop("192.0.2.1/32", just.until(later()))}
	put(t, g, d)
	g.run(t, frame{}.bytes(), 7)
	put(t, g, d)
	g.run(t, frame{}.bytes(), 1)
	hits := func() (h Hits) {
		_ = g.Drops(func(_ Drop, got Hits) bool { h = got; return true })
		return h
	}
	if h := hits(); h.Packets != 8 {
		t.Errorf("%+v", h)
	}
	if _, err := g.Delete([]netip.Prefix{d[0].Prefix}); err != nil {
		t.Fatal(err)
	}
	put(t, g, d)
	if h := hits(); h != (Hits{}) {
		t.Errorf("%+v", h)
	}
	s := Signature{ID: 5, Proto: 17, Rule: just.until(later())}
	for range 2 {
		if err := g.SetSignatures([]Signature{{ID: 4, Proto: 1, Rule: just.until(later())}, s}); err != nil {
			t.Fatal(err)
		}
		g.run(t, frame{src: "192.0.2.2", proto: 17}.bytes(), 3)
	}
	if h := g.SignatureHits(); h[5].Packets != 6 || h[4] != (Hits{}) || len(h) != 2 {
		t.Errorf("%+v", h)
	}
	if _, err := g.Resync(); err != nil || g.SignatureHits()[5].Packets != 6 {
		t.Errorf("%v %+v", err, g.SignatureHits())
	}
}

// TestLayout holds that the program's hash of TCP options is package decode's: 32 signatures, each the layout of another list,
// and the frame with a list must hit its own.
func TestLayout(t *testing.T) {
	g := gateOf(t, ModeXDP)
	g.fill(t, tables{})
	r := rand.New(rand.NewPCG(7, 8))
	for range 30 {
		lists := map[uint32][]byte{}
		for len(lists) < MaxSignatures {
			o := make([]byte, 4*r.IntN(11))
			for i := range o {
				o[i] = []byte{0, 1, 1, 2, 3, 4, 5, 8, 10, 255, byte(r.Uint32())}[r.IntN(11)]
			}
			lists[layoutOf(o)] = o
		}
		var signed []Signature
		for l := range lists {
			signatureID++
			signed = append(signed, Signature{ID: signatureID, Proto: 6, Layout: &l, Rule: just.until(later())})
		}
		if err := g.SetSignatures(signed); err != nil {
			t.Fatal(err)
		}
		for i, s := range signed {
			g.run(t, frame{options: lists[*s.Layout]}.bytes(), 1)
			if h := g.SignatureHits()[s.ID]; h.Packets != 1 {
				t.Fatalf("options %x: layout %x, %d hits (signature %d)", lists[*s.Layout], *s.Layout, h.Packets, i)
			}
		}
	}
}

// TestConnected holds that a packet within a connection of the kernel's own passes a service's limit and makes its peer known.
// The program looks in the namespace of who runs it.
func TestConnected(t *testing.T) {
	g := gateOf(t, ModeXDP)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	client, server := netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(l.Addr().String())
	g.fill(t, tables{services: []Service{to("127.0.0.1", 6, server.Port(), just)}})
	f := frame{src: "127.0.0.1", dst: "127.0.0.1", sport: client.Port(), dport: server.Port()}
	if last, _ := g.run(t, f.bytes(), 1); last != Dropped {
		t.Error("a new connection of nobody passes")
	}
	other := f
	other.sport, other.flags = client.Port()^1, ack
	if last, _ := g.run(t, other.bytes(), 1); last != Dropped {
		t.Error("an ACK of no connection passes")
	}
	f.flags = ack
	if last, sum := g.run(t, f.bytes(), 1); last != Pass || sum[Pass][ReasonPeer].Packets != 1 {
		t.Error("the connection is cut")
	}
	f.flags = syn
	if last, sum := g.run(t, f.bytes(), 1); last != Pass || sum[Pass][ReasonPeer].Packets != 1 {
		t.Error("its peer is not known")
	}
	g.fill(t, tables{})
}

// TestPeerAge holds that a peer is forgotten, and that telling of it anew does not give it a new allowance at once.
func TestPeerAge(t *testing.T) {
	g := gateOf(t, ModeXDP)
	in := tables{services: []Service{to("198.51.100.1", 6, 80, just)}, peers: []string{"192.0.2.1"}}
	g.fill(t, in)
	if last, _ := g.run(t, frame{}.bytes(), 40); last != Pass {
		t.Error("a peer does not pass")
	}
	again := func() (Verdict, error) {
		err := g.AddPeers([]netip.Addr{netip.MustParseAddr("192.0.2.1")})
		last, _ := g.run(t, frame{}.bytes(), 10)
		return last, err
	}
	if last, err := again(); last != Dropped || err != nil {
		t.Errorf("a new allowance at once: %v, %v", last, err)
	}
	key := gatePeerKey{Ver: 4, Addr: [16]uint8{192, 0, 2, 1}}
	long := Now() - Time(g.cfg.PeerAge) - 1e9
	if err := g.maps.Peers.Put(&key, &gatePeer{Seen: uint64(long)}); err != nil {
		t.Fatal(err)
	}
	if last, _ := g.run(t, frame{}.bytes(), 1); last != Dropped {
		t.Error("a peer of long ago passes")
	}
	if last, err := again(); last != Pass || err != nil {
		t.Errorf("a peer that came back: %v, %v", last, err)
	}
}

// TestCapabilities holds what the gate needs after it was opened: CAP_BPF for all, nothing for drops (Linux 5.19).
func TestCapabilities(t *testing.T) {
	g := prepared(t, small(ModeXDP))
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and the thread ends with its capabilities
		var errs error
		keep := func(caps uint32) {
			hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			data := [2]unix.CapUserData{}
			data[unix.CAP_BPF>>5].Effective, data[unix.CAP_BPF>>5].Permitted = caps, caps
			errs = errors.Join(errs, unix.Capset(&hdr, &data[0]))
		}
		keep(1 << (unix.CAP_BPF & 31))
		errs = errors.Join(errs, g.SetNever([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}), g.SetSignatures(nil))
		keep(0)
		_, e1 := g.Put([]Drop{drop("192.0.2.0/24", just.until(lo)), drop("192.0.2.1/32", just.until(lo))})
		e2 := g.Drops(func(Drop, Hits) bool { return true })
		_, e3 := g.Totals()
		_, e4 := g.Delete([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")})
		var need *UnsupportedError
		if err := g.SetNever(nil); !errors.As(err, &need) {
			t.Errorf("without CAP_BPF: %v", err)
		}
		done <- errors.Join(errs, e1, e2, e3, e4)
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestGenerated holds that the committed object is what clang makes of the source.
func TestGenerated(t *testing.T) {
	if _, err := exec.LookPath("clang"); err != nil {
		leaveOut(t, "no clang")
	}
	out, err := exec.Command("clang", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(out, []byte("version 14.")) {
		leaveOut(t, "the object is of clang 14 (Debian 12), here is another")
	}
	dir := filepath.Join(t.TempDir(), "bpf")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile("gate.bpf.c")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "gate.bpf.c"), src, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	gen, err := os.ReadFile("generate.go")
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(gen), "//go:generate go run ")
	tool, args, _ := strings.Cut(strings.TrimSpace(line), " ")
	cmd := exec.Command("go", "run", tool)
	cmd.Args = append(cmd.Args, "-output-dir", dir)
	cmd.Args = append(cmd.Args, split(args)...)
	cmd.Env = append(os.Environ(), "GOPACKAGE=bpf")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"gate_bpfel.go", "gate_bpfel.o"} {
		want, err1 := os.ReadFile(filepath.Join(dir, name))
		got, err2 := os.ReadFile(name)
		if err1 != nil || err2 != nil || !bytes.Equal(want, got) {
			t.Errorf("%s is not what clang makes of gate.bpf.c: run go generate ./bpf (%v %v)", name, err1, err2)
		}
	}
}

// split is a command line's words, of which some are quoted.
func split(line string) (words []string) {
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

// TestSamples holds how many frames are sampled, and that those without a reader are counted as lost.
func TestSamples(t *testing.T) {
	cfg := small(ModeXDP)
	cfg.Sample = 50
	g := prepared(t, cfg)
	put(t, g, []Drop{drop("192.0.2.1/32", just.until(later()))})
	const frames = 1_000_000
	if _, _, err := g.prog.Benchmark(frame{}.bytes(), frames, nil); err != nil {
		t.Fatal(err)
	}
	r, err := g.Samples()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	read := 0
	for {
		var s Sample
		r.SetDeadline(time.Now().Add(100 * time.Millisecond))
		if err := r.Read(&s); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
			break
		}
		if !bytes.Equal(s.Data, frame{}.bytes()) || s.Verdict != Dropped || s.WireLen != len(s.Data) {
			t.Fatalf("%+v", s)
		}
		read++
	}
	sum, err := g.Totals()
	if err != nil {
		t.Fatal(err)
	}
	lost := sum[Dropped][ReasonHost].Lost
	if all := float64(read) + float64(lost); all < 0.95*frames/50 || all > 1.05*frames/50 || lost == 0 || read == 0 {
		t.Errorf("%d samples read and %d lost of %d frames, one in 50 wanted", read, lost, frames)
	}
}

func TestClock(t *testing.T) {
	at := time.Now().Add(90 * time.Second)
	k := FromUnix(at)
	if d := int64(k - Now()); d < 89e9 || d > 91e9 {
		t.Errorf("90 seconds are %d ns", d)
	}
	off := k.Unix().Sub(at).Abs()
	for range 5 { // two clocks are read one after the other, and between them something else may run
		off = min(off, FromUnix(at).Unix().Sub(at).Abs())
	}
	if off > 50*time.Millisecond {
		t.Errorf("there and back: %v off", off)
	}
	if k := FromUnix(time.Unix(0, 0)); k != 0 {
		t.Errorf("1970 is %d", k)
	}
	a := Now()
	time.Sleep(30 * time.Millisecond)
	if b := Now(); b <= a || b-a > 5e9 {
		t.Errorf("%d, then %d", a, b)
	}
}
