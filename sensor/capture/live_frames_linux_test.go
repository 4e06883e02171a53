package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/decode"
	"weir/decode/filter"
)

// What frames look like when they come from the kernel.

// The kernel takes VLAN tags off: the decoder finds them all the same, of a sender that tags by itself and, where there are such, of a VLAN device.
func TestLiveVLAN(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	c := tap(t, small(), 1, nil, "wcapa")

	own := frame(1, 2, 10, 20, 1, 60)
	tagged := append(append(bytes.Clone(own[:12]), 0x81, 0x00, 0xa0, 0x21), own[12:]...) // priority 5, VLAN 33
	double := append(append(bytes.Clone(own[:12]), 0x88, 0xa8, 0x00, 0x05), tagged[12:]...)
	s := newSender(t, "wcapb")
	if err := s.send(tagged, own, double); err != nil {
		t.Fatal(err)
	}
	want := [][2]uint16{{33}, {}, {5, 33}}
	if out, err := exec.Command("ip", strings.Fields("link add link wcapb name wcapb.77 type vlan id 77")...).CombinedOutput(); err != nil {
		t.Logf("left out: a VLAN device, which this kernel has not: %s", out)
	} else {
		ip(t, "link set wcapb.77 addrgenmode none up")
		if err := newSender(t, "wcapb.77").send(own); err != nil {
			t.Fatal(err)
		}
		want = append(want, [2]uint16{77})
	}
	await(t, "all frames came", func() bool { return c.readers[0].count() == len(want) })
	frames, _ := c.end(t)

	var p decode.Packet
	d := decode.NewDecoder(1)
	for i, want := range want {
		f := &frames[i]
		d.Decode(f, &p)
		if p.Why != 0 || p.VLAN != want || p.PayloadLen != 60 {
			t.Errorf("frame %d: decoded as VLANs %d (want %d), payload %d, why %v; frame %+v", i, p.VLAN, want, p.PayloadLen, p.Why, f)
		}
	}
	if f := frames[0]; !bytes.Equal(f.Data, own) || int(f.WireLen) != len(own) || f.Tags[0].TPID != 0x8100 || f.Tags[0].TCI&0xfff != 33 {
		t.Errorf("the tagged frame is %+v", f)
	}
}

// Frames are cut at snaplen by the kernel, with a filter and without, and keep their length.
func TestLiveSnaplen(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	for _, expr := range []string{"", "udp"} {
		cfg := small()
		cfg.Snaplen = 96
		c := tap(t, cfg, 1, parse(t, expr), "wcapa")
		sent := frame(1, 2, 3, 4, 5, 1400)
		if err := newSender(t, "wcapb").send(sent, sent[:60]); err != nil {
			t.Fatal(err)
		}
		await(t, "two frames came", func() bool { return c.readers[0].count() == 2 })
		frames, _ := c.end(t)
		if f := frames[0]; !bytes.Equal(f.Data, sent[:96]) || int(f.WireLen) != len(sent) {
			t.Errorf("with filter %q: %d of %d bytes, want 96 of %d", expr, len(f.Data), f.WireLen, len(sent))
		}
		if f := frames[1]; !bytes.Equal(f.Data, sent[:60]) || f.WireLen != 60 {
			t.Errorf("with filter %q: %d of %d bytes, want 60 of 60", expr, len(f.Data), f.WireLen)
		}
	}
}

func parse(t testing.TB, expr string) *filter.Filter {
	t.Helper()
	if expr == "" {
		return nil
	}
	f, err := filter.Parse(expr)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What does not match stays in the kernel. Another filter takes effect while traffic flows. One that is too long for the
// kernel lets everything through.
func TestLiveFilter(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	c := tap(t, small(), 2, parse(t, "udp dst port 53"), "wcapa")
	s := newSender(t, "wcapb")
	sendBoth := func(first int) {
		t.Helper()
		for i := range 500 {
			if err := s.send(frame(1, uint16(i), 1000, 53, first+i, 10), frame(1, uint16(i), 1000, 80, 100_000+first+i, 10)); err != nil {
				t.Fatal(err)
			}
		}
	}
	settle := func(n int) {
		t.Helper()
		await(t, fmt.Sprintf("%d frames came", n), func() bool { return c.readers[0].count()+c.readers[1].count() >= n })
		time.Sleep(50 * time.Millisecond) // and no more
		if have := c.readers[0].count() + c.readers[1].count(); have != n {
			t.Fatalf("%d frames came, want %d", have, n)
		}
	}
	sendBoth(0)
	settle(500)
	if err := c.SetFilter(parse(t, "udp dst port 80")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	sendBoth(1000)
	settle(1000)
	if err := c.SetFilter(parse(t, strings.Repeat("net 2001:db8::/100 or ", 180)+"tcp")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	sendBoth(2000)
	settle(2000)
	frames, _ := c.end(t)
	for i, f := range frames {
		if n := number(f.Data); n < 1000 != (binary.BigEndian.Uint16(f.Data[36:]) == 53) && n < 2000 {
			t.Fatalf("frame %d is number %d", i, n)
		}
	}
}

// Frames in VLANs that no protocol of this host takes were seen, and are no loss, although the kernel counts them as dropped
// where nobody captures.
func TestLiveUnclaimed(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	s, inner := newSender(t, "wcapb"), frame(1, 2, 3, 4, 5, 10)
	var tagged [][]byte
	for _, types := range []string{"\x81\x00\x00\x05\x81\x00\x00\x06\x08\x00", "\x88\xa8\x00\x05\x81\x00\x00\x06\x08\x00", "\x81\x00\x00\x05\x88\x64", "\x81\x00\x00\x05\x88\xcc"} {
		for range 100 {
			tagged = append(tagged, slices.Concat(inner[:12], []byte(types), inner[14:]))
		}
	}
	dropped := func() int {
		k, err := netlink.LinkByName("wcapa")
		if err != nil {
			t.Fatal(err)
		}
		return int(k.Attrs().Statistics.RxDropped)
	}
	if err := s.send(tagged...); err != nil {
		t.Fatal(err)
	}
	await(t, "the kernel drops what nobody takes", func() bool { return dropped() >= len(tagged) })
	c := tap(t, small(), 2, nil, "wcapa")
	if err := s.send(tagged...); err != nil {
		t.Fatal(err)
	}
	await(t, "the frames came", func() bool { return c.readers[0].count()+c.readers[1].count() == len(tagged) })
	if _, drops := c.end(t); drops != (Drops{}) {
		t.Errorf("drops %+v", drops)
	}
}

// What an interface dropped before it took the place of another is no loss.
func TestLiveRenamed(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	pair(t, "wcapc", "wcapd")
	s, inner := newSender(t, "wcapd"), frame(1, 2, 3, 4, 5, 10)
	for range 400 {
		if err := s.send(slices.Concat(inner[:12], []byte("\x81\x00\x00\x05\x88\x64"), inner[14:])); err != nil {
			t.Fatal(err)
		}
	}
	if k, err := netlink.LinkByName("wcapc"); err != nil || k.Attrs().Statistics.RxDropped < 400 {
		t.Fatalf("%+v, %v", k, err)
	}
	c := tap(t, small(), 1, nil, "wcapa")
	for _, args := range []string{"del wcapa", "set wcapc down", "set wcapc name wcapa", "set wcapa up"} {
		ip(t, "link "+args)
	}
	await(t, "capture goes on", func() bool { return c.Interfaces()[0].Reopened > 0 })
	if err := s.send(inner); err != nil {
		t.Fatal(err)
	}
	await(t, "a frame came", func() bool { return c.readers[0].count() > 0 })
	if _, drops := c.end(t); drops != (Drops{}) {
		t.Errorf("drops %+v", drops)
	}
}

// A kernel with little room for filters (net.core.optmem_max) makes room for a new one by forgetting the old one; one that is
// larger still lets everything through. Capture goes on.
func TestLiveFilterRoom(t *testing.T) {
	inNamespace(t)
	if err := os.WriteFile("/proc/sys/net/core/optmem_max", []byte("20480"), 0); err != nil {
		leaveOut(t, fmt.Sprintf("the room for filters is not the namespace's own: %v", err))
	}
	pair(t, "wcapa", "wcapb")
	hosts := func(n int) *filter.Filter {
		return parse(t, "udp dst port 53 and not ("+strings.Repeat("host 10.9.9.9 or ", n)+"tcp)")
	}
	c := tap(t, small(), 1, hosts(100), "wcapa")
	s := newSender(t, "wcapb")
	for i, n := range []int{100, 101, 200} { // one at a time; both together do not fit; too large
		if err := c.SetFilter(hosts(n)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if err := s.send(frame(1, 1, 1000, 80, i, 10), frame(1, 1, 1000, 53, i, 10)); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "frames came", func() bool { return c.readers[0].count() >= 4 })
	if n := c.Interfaces()[0].Reopened; n != 0 {
		t.Errorf("reopened %d times", n)
	}
	frames, _ := c.end(t)
	if len(frames) != 4 || binary.BigEndian.Uint16(frames[2].Data[36:]) != 80 {
		t.Errorf("%d frames, want the matching one twice, then both", len(frames))
	}
	large := tap(t, small(), 1, hosts(200), "wcapa")
	large.end(t)
}

// On lo every packet passes the tap twice, and is read once; so it is with a filter.
func TestLiveLoopback(t *testing.T) {
	inNamespace(t)
	for _, expr := range []string{"", "udp and dst port 9"} {
		c := tap(t, small(), 2, parse(t, expr), "lo")
		conn, err := net.ListenPacket("udp4", "127.0.0.1:9")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 200 {
			if _, err := conn.WriteTo(fmt.Appendf(nil, "datagram %04d", i), conn.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
		conn.Close()
		await(t, "all datagrams came", func() bool {
			n := 0
			for _, r := range c.readers {
				r.mu.Lock()
				for _, f := range r.frames {
					if f.Data[23] == 17 {
						n++
					}
				}
				r.mu.Unlock()
			}
			return n >= 200
		})
		frames, _ := c.end(t)
		seen := map[string]int{}
		for _, f := range frames {
			if f.Link != decode.LinkEthernet {
				t.Fatalf("link type %d", f.Link)
			}
			if f.Data[23] == 17 {
				seen[string(f.Data[42:])]++
			}
		}
		for what, n := range seen {
			if n != 1 {
				t.Errorf("filter %q: %q was read %d times", expr, what, n)
			}
		}
		if len(seen) != 200 {
			t.Errorf("filter %q: %d of 200 datagrams", expr, len(seen))
		}
	}
}

// Frames of MTU 9000 are read whole, and are no super-packets.
func TestLiveJumbo(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	ip(t, "link set wcapa mtu 9000")
	ip(t, "link set wcapb mtu 9000")
	cfg := small()
	cfg.Snaplen = maxSnaplen
	c := tap(t, cfg, 1, nil, "wcapa")
	s := newSender(t, "wcapb")
	var sent [][]byte
	for i := range 300 {
		f := frame(1, 2, 3, 4, i, 9000-28)
		for j := 50; j < len(f); j++ {
			f[j] = byte(i * j)
		}
		sent = append(sent, f)
	}
	if err := s.send(sent...); err != nil {
		t.Fatal(err)
	}
	await(t, "all frames came", func() bool { return c.readers[0].count() == len(sent) })
	if st := c.Interfaces()[0]; st.SuperPackets != 0 || st.MTU != 9000 {
		t.Errorf("%+v", st)
	}
	frames, _ := c.end(t)
	for i, f := range frames {
		if !bytes.Equal(f.Data, sent[i]) || int(f.WireLen) != len(sent[i]) {
			t.Fatalf("frame %d: %d bytes of %d, want %d", i, len(f.Data), f.WireLen, len(sent[i]))
		}
	}
}

// A TCP transfer over a virtual cable arrives in segments that the sender's kernel did not split: longer than the MTU, with
// their real lengths.
func TestLiveSuperPackets(t *testing.T) {
	inNamespace(t)
	ip(t, "link add wcapa type veth peer name wcapb")
	ip(t, "netns add wcapsup")
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", "wcapsup").Run() })
	ip(t, "link set wcapb netns wcapsup")
	ip(t, "addr add 10.77.0.1/24 dev wcapa")
	ip(t, "link set wcapa up")
	ip(t, "-n wcapsup addr add 10.77.0.2/24 dev wcapb")
	ip(t, "-n wcapsup link set wcapb up")
	cfg := small()
	cfg.RingMiB = 64
	c := tap(t, cfg, 1, parse(t, "tcp"), "wcapa")

	l, err := net.Listen("tcp4", "10.77.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const total = 8 << 20
	_, port, _ := net.SplitHostPort(l.Addr().String())
	client := exec.Command("ip", "netns", "exec", "wcapsup", "bash", "-c",
		fmt.Sprintf("head -c %d /dev/zero > /dev/tcp/10.77.0.1/%s", total, port))
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.Copy(io.Discard, conn)
	if err = errors.Join(err, client.Wait(), conn.Close()); err != nil || got != total {
		t.Fatalf("%d bytes, %v", got, err)
	}
	time.Sleep(100 * time.Millisecond)
	supers := c.Interfaces()[0].SuperPackets
	frames, drops := c.end(t)
	if drops.Kernel != 0 {
		t.Skipf("the machine is too busy: %+v", drops)
	}
	var d decode.Packet
	decoder := decode.NewDecoder(1)
	payload, long := 0, uint64(0)
	for i := range frames {
		f := &frames[i]
		decoder.Decode(f, &d)
		if d.Why != 0 {
			t.Fatalf("frame %d of %d bytes: %v", i, f.WireLen, d.Why)
		}
		if f.Data[26+3] == 2 { // from 10.77.0.2
			payload += int(f.WireLen) - 14 - 20 - int(f.Data[46]>>4)*4
		}
		if f.WireLen > 1500+14 {
			long++
		}
	}
	t.Logf("%d frames, %d super-packets, %d bytes of payload", len(frames), supers, payload)
	if supers == 0 || supers != long {
		t.Errorf("%d super-packets counted, %d seen", supers, long)
	}
	if payload < total || payload > total+total/10 { // and what was sent again
		t.Errorf("%d bytes of payload were captured, %d were sent", payload, total)
	}
}

// A tun interface has no link-layer header.
func TestLiveRawIP(t *testing.T) {
	inNamespace(t)
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		leaveOut(t, err.Error())
	}
	defer tun.Close()
	req, _ := unix.NewIfreq("wcaptun")
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(int(tun.Fd()), unix.TUNSETIFF, req); err != nil {
		t.Fatal(err)
	}
	ip(t, "link set wcaptun addrgenmode none")
	ip(t, "link set wcaptun up")
	c := tap(t, small(), 1, parse(t, "udp port 4"), "wcaptun")
	packet := frame(1, 2, 3, 4, 5, 40)[14:]
	for _, p := range [][]byte{packet, frame(1, 2, 3, 5, 5, 40)[14:]} {
		if _, err := tun.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the packet came", func() bool { return c.readers[0].count() > 0 })
	frames, _ := c.end(t)
	if len(frames) != 1 || frames[0].Link != decode.LinkRaw || !bytes.Equal(frames[0].Data, packet) {
		t.Errorf("got %+v", frames)
	}
}

// Both directions of a flow go to the same worker, on one interface and on the two of a TAP that shows one direction each.
func TestLiveFanoutPair(t *testing.T) { liveFanout(t, "pair") }
func TestLiveFanoutHash(t *testing.T) { liveFanout(t, "hash") }

func liveFanout(t *testing.T, mode string) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	pair(t, "wcapc", "wcapd")
	cfg := small()
	cfg.Fanout = mode
	for _, workers := range []int{2, 3, 4} {
		for _, names := range [][]string{{"wcapa"}, {"wcapa", "wcapc"}} {
			c := tap(t, cfg, workers, nil, names...)
			there := newSender(t, "wcapb")
			back := there
			if len(names) == 2 {
				back = newSender(t, "wcapd")
			}
			const flows = 200
			for i := range flows {
				err := errors.Join(there.send(frame(1, uint16(i), 1024+uint16(i), 443, i, 10)), back.send(frame(uint16(i), 1, 443, 1024+uint16(i), i, 10)))
				if err != nil {
					t.Fatal(err)
				}
			}
			readers := c.readers
			c.end(t)
			busy, seen := 0, map[int]int{}
			for w, r := range readers {
				if len(r.frames) > 0 {
					busy++
				}
				for i, f := range r.frames {
					n := number(f.Data)
					if other, ok := seen[n]; ok && other != w {
						t.Fatalf("%v: flow %d goes to workers %d and %d", names, n, other, w)
					}
					seen[n] = w
					if i > 0 && f.Time < r.frames[i-1].Time {
						t.Errorf("%v: worker %d: frame %d goes back by %v", names, w, i, time.Duration(r.frames[i-1].Time-f.Time))
					}
					if dir := f.Data[26+3+4] == 1 && f.Data[35] == 187 && f.Data[34] == 1; len(names) == 2 && dir != (f.Iface == 1) {
						t.Fatalf("frame of flow %d says interface %d", n, f.Iface)
					}
				}
			}
			if len(seen) != flows || busy != workers {
				t.Errorf("%v: %d flows of %d seen, by %d workers of %d", names, len(seen), flows, busy, workers)
			}
		}
	}
}

// The other ways to spread traffic lose and double nothing.
func TestLiveFanoutModes(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	for mode, workers := range map[string]int{"cpu": 2, "qm": 2, "off": 1} {
		cfg := small()
		cfg.Fanout = mode
		c := tap(t, cfg, 2, nil, "wcapa")
		if c.Workers() != workers {
			t.Errorf("fanout %s: %d workers, want %d", mode, c.Workers(), workers)
		}
		s := newSender(t, "wcapb")
		for i := range 1000 {
			if err := s.send(frame(1, uint16(i), 7, 8, i, 10)); err != nil {
				t.Fatal(err)
			}
		}
		if frames, _ := c.end(t); len(frames) != 1000 {
			t.Errorf("fanout %s: %d frames of 1000", mode, len(frames))
		}
	}
}

// Frames of several interfaces come in the order of time, none is lost, and a dead interface holds nobody up.
func TestLiveMerge(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	pair(t, "wcapc", "wcapd")
	pair(t, "wcape", "wcapf")
	ip(t, "link set wcape down")
	c := tap(t, small(), 1, nil, "wcapa", "wcapc", "wcape")
	a, b := newSender(t, "wcapb"), newSender(t, "wcapd")
	const n = 4000
	for i := range n {
		err := a.send(frame(1, 1, 1, 1, 2*i, 10))
		if i%3 == 0 {
			err = errors.Join(err, b.send(frame(2, 2, 2, 2, 2*i+1, 10)))
		}
		if err != nil {
			t.Fatal(err)
		}
		if i%400 == 0 {
			time.Sleep(7 * time.Millisecond)
		}
	}
	want := n + (n+2)/3
	await(t, "all frames came", func() bool { return c.readers[0].count() >= want })
	r := c.readers[0]
	frames, _ := c.end(t)
	if len(frames) != want {
		t.Fatalf("%d frames, want %d", len(frames), want)
	}
	last := [3]int{-1, -1, -1}
	for i, f := range frames {
		m := number(f.Data)
		if i > 0 && f.Time < frames[i-1].Time || m <= last[f.Iface] || m%2 != int(f.Iface) {
			t.Fatalf("frame %d is number %d of interface %d, at %d after %d", i, m, f.Iface, f.Time, frames[max(0, i-1)].Time)
		}
		last[f.Iface] = m
	}
	if !slices.IsSorted(r.untils) {
		t.Error("Until goes backwards")
	}
}

// A silent link: Next comes back soon, and says up to when there was nothing.
func TestLiveSilence(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	pair(t, "wcapc", "wcapd")
	for _, names := range [][]string{{"wcapa"}, {"wcapa", "wcapc"}} {
		prompt := false
		for range 5 { // a machine with other things to do may be late now and then
			c := tap(t, small(), 1, nil, names...)
			began := time.Now()
			time.Sleep(600 * time.Millisecond)
			r := c.readers[0]
			r.mu.Lock()
			until := time.Unix(0, r.untils[len(r.untils)-1])
			blocks, slow := len(r.untils), r.slow
			sorted := slices.IsSorted(r.untils)
			r.mu.Unlock()
			behind := time.Since(until)
			t.Logf("%v: %d blocks in %v, the longest took %v; known up to %v ago", names, blocks, time.Since(began), slow, behind)
			if behind < 20*time.Millisecond || !sorted {
				t.Error("too early, or it goes backwards")
			}
			c.end(t)
			if prompt = behind <= 250*time.Millisecond && slow <= 250*time.Millisecond && blocks >= 8; prompt {
				break
			}
		}
		if !prompt {
			t.Errorf("%v: too late, each time", names)
		}
	}
}

// Frames of a trickle are handed out soon after they came.
func TestLiveTrickle(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	pair(t, "wcapc", "wcapd")
	for _, names := range [][]string{{"wcapa"}, {"wcapa", "wcapc"}} {
		l, err := OpenLive(small(), names, 1, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		src := l.Source(0)
		var stop atomic.Bool
		s := newSender(t, "wcapb")
		go func() {
			for i := 0; !stop.Load(); i++ {
				_ = s.send(frame(1, 2, 3, 4, i, 10))
				time.Sleep(3 * time.Millisecond)
			}
		}()
		var late []time.Duration
		var b Block
		for len(late) < 300 {
			if err := src.Next(&b); err != nil {
				t.Fatal(err)
			}
			now := time.Now().UnixNano()
			for _, f := range b.Frames {
				late = append(late, time.Duration(now-f.Time))
			}
		}
		stop.Store(true)
		slices.Sort(late)
		t.Logf("%v: handed out after %v (median), %v (99 %%)", names, late[len(late)/2], late[len(late)*99/100])
		if late[len(late)/2] > 100*time.Millisecond {
			t.Error("too late")
		}
		if err := errors.Join(src.Close(), l.Close()); err != nil {
			t.Error(err)
		}
	}
}

// hammer sends as fast as it can until it is told to stop, and returns how many frames that were.
func hammer(t testing.TB, name string) (stop func() int) {
	s := newSender(t, name)
	var frames [][]byte
	for i := range 512 {
		frames = append(frames, frame(uint16(i), uint16(i*7), uint16(i), 80, i, 32+i%900))
	}
	var quit atomic.Bool
	sent := make(chan int)
	go func() {
		n := 0
		for !quit.Load() {
			if s.send(frames...) == nil {
				n += len(frames)
			} else {
				runtime.Gosched() // the interface is down
			}
		}
		sent <- n
	}()
	return func() int { quit.Store(true); return <-sent }
}
