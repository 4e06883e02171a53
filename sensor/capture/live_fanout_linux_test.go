package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/afpacket"
	"golang.org/x/sys/unix"

	"weir/decode"
)

// Which worker the kernel deals frames to. The program needs what only the kernel has (is a frame going out, its protocol),
// so the kernel judges it.

// packet makes an IP packet between two addresses. options are IPv4's, or IPv6's extension headers, of which the first is
// of type first.
func packet(src, dst netip.Addr, proto byte, frag uint16, options, payload string) string {
	if src.Is4() {
		h := []byte{0x45 + byte(len(options)/4), 0, 0, 0, 0, 9, 0, 0, 64, proto, 0, 0}
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(options)+len(payload)))
		binary.BigEndian.PutUint16(h[6:], frag)
		return string(h) + string(src.AsSlice()) + string(dst.AsSlice()) + options + payload
	}
	h := []byte{0x60, 0, 0, 0, 0, 0, proto, 64}
	binary.BigEndian.PutUint16(h[4:], uint16(len(options)+len(payload)))
	return string(h) + string(src.AsSlice()) + string(dst.AsSlice()) + options + payload
}

const macs = "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02"

// ethernet puts a packet into a frame, behind what else stands there.
func ethernet(shims, packet string) string {
	t := "\x08\x00"
	if packet[0]>>4 == 6 {
		t = "\x86\xdd"
	}
	return macs + shims + t + packet
}

const udp = "\x13\x88\x00\x35\x00\x0c\x00\x00...."

// dealt are frames that belong to a pair of addresses, a and b; c is a router's.
var dealt = []struct {
	name  string
	frame func(a, b, c netip.Addr) string
}{
	{"there", func(a, b, _ netip.Addr) string { return ethernet("", packet(a, b, 6, 0, "", strings.Repeat("t", 20))) }},
	{"back", func(a, b, _ netip.Addr) string { return ethernet("", packet(b, a, 6, 0, "", strings.Repeat("t", 20))) }},
	{"another protocol", func(a, b, _ netip.Addr) string { return ethernet("", packet(a, b, 17, 0, "", udp)) }},
	{"no transport header", func(a, b, _ netip.Addr) string { return ethernet("", packet(a, b, 253, 0, "", "")) }},
	{"in a VLAN", func(a, b, _ netip.Addr) string { return ethernet("\x81\x00\x00\x05", packet(a, b, 17, 0, "", udp)) }},
	{"in two VLANs", func(a, b, _ netip.Addr) string {
		return ethernet("\x88\xa8\x00\x05\x81\x00\x00\x06", packet(b, a, 17, 0, "", udp))
	}},
	{"in four VLANs", func(a, b, _ netip.Addr) string {
		return ethernet("\x91\x00\x00\x05\x92\x00\x00\x06\x88\xa8\x00\x07\x81\x00\x00\x08", packet(a, b, 17, 0, "", udp))
	}},
	{"behind a label", func(a, b, _ netip.Addr) string {
		return macs + "\x88\x47\x00\x01\x01\x40" + packet(a, b, 17, 0, "", udp)
	}},
	{"behind three labels in a VLAN", func(a, b, _ netip.Addr) string {
		return macs + "\x81\x00\x00\x05\x88\x47\x00\x01\x00\x40\x00\x02\x00\x40\x00\x03\x01\x40" + packet(b, a, 17, 0, "", udp)
	}},
	{"in PPPoE", func(a, b, _ netip.Addr) string {
		p := packet(a, b, 17, 0, "", udp)
		return macs + "\x88\x64\x11\x00\x00\x01\x00" + string(rune(len(p)+2)) + map[bool]string{true: "\x00\x21", false: "\x00\x57"}[a.Is4()] + p
	}},
	{"larger than a page", func(a, b, _ netip.Addr) string {
		return ethernet("", packet(a, b, 17, 0, "", udp+strings.Repeat("L", 8000)))
	}},
	{"first fragment", func(a, b, _ netip.Addr) string { return fragment(a, b, 17, 0x2000, udp+"....") }},
	{"later fragment", func(a, b, _ netip.Addr) string { return fragment(a, b, 17, 2, "any bytes at all") }},
	{"fragment of an echo", func(a, b, _ netip.Addr) string { return fragment(b, a, icmp(a), 0x2000, echo(a)+"........") }},
	{"echo", func(a, b, _ netip.Addr) string { return ethernet("", packet(a, b, icmp(a), 0, "", echo(a)+"....")) }},
	{"what could be a quote in an echo", func(a, b, c netip.Addr) string {
		return ethernet("", packet(a, b, icmp(a), 0, "", echo(a)+packet(c, b, 17, 0, "", udp)))
	}},
	{"later fragment like an error", func(a, b, c netip.Addr) string {
		return fragment(b, a, icmp(a), 2, errorOf(a, 0)+packet(c, b, 17, 0, "", udp))
	}},
	{"error that quotes too little", func(a, b, c netip.Addr) string {
		return ethernet("", packet(b, a, icmp(a), 0, "", errorOf(a, 0)+packet(c, b, 17, 0, "", udp)[:12]))
	}},
	{"error that quotes nothing", func(a, b, _ netip.Addr) string { return ethernet("", packet(b, a, icmp(a), 0, "", errorOf(a, 0))) }},
	{"error that quotes what is no IP", func(a, b, _ netip.Addr) string {
		return ethernet("", packet(b, a, icmp(a), 0, "", errorOf(a, 0)+strings.Repeat("\x99", 60)))
	}},
	{"error cut short", func(a, b, _ netip.Addr) string { return ethernet("", packet(b, a, icmp(a), 0, "", "\x03")) }},
	{"quoted by the other end", func(a, b, _ netip.Addr) string { return refusal(b, a, a, b, 0, "") }},
	{"quoted by a router", func(a, b, c netip.Addr) string { return refusal(c, a, a, b, 1, "") }},
	{"quoted by a router, the other way", func(a, b, c netip.Addr) string { return refusal(c, b, b, a, 2, "") }},
	{"quoted, another kind", func(a, b, c netip.Addr) string { return refusal(c, a, a, b, 3, "") }},
	{"quoted in a VLAN", func(a, b, c netip.Addr) string { return refusal(c, a, a, b, 4, "\x81\x00\x00\x05\x81\x00\x00\x06") }},
	{"quoted, with options", func(a, b, c netip.Addr) string {
		if !a.Is4() {
			return refusal(c, a, a, b, 0, "")
		}
		quote := packet(a, b, 17, 0, "\x94\x04\x00\x00", udp)
		return ethernet("", packet(c, a, 1, 0, "\x01\x01\x01\x00\x94\x04\x00\x00", errorOf(a, 0)+quote))
	}},
	{"behind extension headers", func(a, b, _ netip.Addr) string {
		if a.Is4() {
			return ethernet("", packet(b, a, 17, 0, "\x94\x04\x00\x00", udp))
		}
		return ethernet("", packet(b, a, 0, 0, "\x3c\x00\x01\x04\x00\x00\x00\x00"+"\x11\x00\x01\x04\x00\x00\x00\x00", udp))
	}},
	{"a tunnel, by its ends", func(a, b, c netip.Addr) string {
		inner := packet(c, netip.MustParseAddr("192.0.2.77"), 17, 0, "", udp)
		if !c.Is4() {
			inner = packet(c, netip.MustParseAddr("2001:db8::77"), 17, 0, "", udp)
		}
		return ethernet("", packet(a, b, map[bool]byte{true: 4, false: 41}[a.Is4()], 0, "", inner))
	}},
}

func icmp(a netip.Addr) byte {
	if a.Is4() {
		return 1
	}
	return 58
}

func echo(a netip.Addr) string {
	if a.Is4() {
		return "\x08\x00\x00\x00\x00\x01\x00\x01"
	}
	return "\x80\x00\x00\x00\x00\x01\x00\x01"
}

// errorOf is the header of an error of one of five kinds (RFC 792; of four, RFC 4443).
func errorOf(a netip.Addr, kind int) string {
	if a.Is4() {
		return "\x03\x0b\x0c\x04\x05"[kind:kind+1] + "\x01\x00\x00\x00\x00\x00\x00"
	}
	return "\x01\x02\x03\x04"[kind%4:kind%4+1] + "\x04\x00\x00\x00\x00\x00\x00"
}

// refusal is an ICMP error from one address to another about a packet between a and b.
func refusal(from, to, a, b netip.Addr, kind int, shims string) string {
	return ethernet(shims, packet(from, to, icmp(a), 0, "", errorOf(a, kind)+packet(a, b, 17, 0, "", udp)))
}

// fragment has IPv4's fragment field.
func fragment(a, b netip.Addr, proto byte, field uint16, payload string) string {
	if a.Is4() {
		return ethernet("", packet(a, b, proto, field, "", payload))
	}
	h := []byte{proto, 0, 0, 0, 0, 0, 0, 9}
	binary.BigEndian.PutUint16(h[2:], field<<3|field>>13)
	return ethernet("", packet(a, b, 44, 0, string(h), payload))
}

// triples are random addresses, the same at each run.
func triples(n int, six bool) [][3]netip.Addr {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([][3]netip.Addr, n)
	for i := range all {
		for j := range all[i] {
			a := [16]byte{0x20, 0x01, 0x0d, 0xb8}
			binary.BigEndian.PutUint64(a[4:], r.Uint64())
			binary.BigEndian.PutUint32(a[12:], r.Uint32())
			if all[i][j] = netip.AddrFrom16(a); !six {
				all[i][j] = netip.AddrFrom4([4]byte(a[4:]))
			}
		}
	}
	return all
}

// numbered ends a frame with a number; it is no part of the packet.
func numbered(frame string, n int) []byte {
	return binary.BigEndian.AppendUint32([]byte(frame), uint32(n))
}

// dealtTo tells the worker of each number.
func (c *capture) dealtTo(t testing.TB, n int) []int {
	t.Helper()
	await(t, fmt.Sprintf("%d frames came", n), func() bool {
		sum := 0
		for _, r := range c.readers {
			sum += r.count()
		}
		return sum >= n
	})
	to := slices.Repeat([]int{-1}, n)
	readers := c.readers
	c.end(t)
	for w, r := range readers {
		for _, f := range r.frames {
			at := binary.BigEndian.Uint32(f.Data[len(f.Data)-4:])
			if int(at) >= n || to[at] >= 0 {
				t.Fatalf("frame %d came twice, or never was sent", at)
			}
			to[at] = w
		}
	}
	return to
}

// All frames of a pair go to one worker, whatever they look like, on their way in and out.
func TestFanoutPair(t *testing.T) {
	const pairs = 40
	for _, six := range []bool{false, true} {
		for _, out := range []bool{false, true} {
			t.Run(fmt.Sprintf("six=%v,out=%v", six, out), func(t *testing.T) {
				inNamespace(t)
				pair(t, "foa", "fob")
				ip(t, "link set foa mtu 9000")
				ip(t, "link set fob mtu 9000")
				cfg := small()
				cfg.Snaplen = maxSnaplen
				c := tap(t, cfg, 4, nil, "foa")
				s := newSender(t, map[bool]string{false: "fob", true: "foa"}[out])
				if out { // what goes past the queueing discipline is not shown to taps
					if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 0); err != nil {
						t.Fatal(err)
					}
				}
				n := 0
				for _, a := range triples(pairs, six) {
					for _, d := range dealt {
						if err := s.send(numbered(d.frame(a[0], a[1], a[2]), n)); err != nil {
							t.Fatalf("%s: %v", d.name, err)
						}
						n++
					}
				}
				to := c.dealtTo(t, n)
				for i, d := range dealt {
					var apart int
					for p := range pairs {
						if to[p*len(dealt)+i] != to[p*len(dealt)] {
							apart++
						}
					}
					if apart > 0 {
						t.Errorf("%s: of %d pairs %d go to another worker", d.name, pairs, apart)
					}
				}
			})
		}
	}
}

// What is not IP goes to the first worker.
func TestFanoutOther(t *testing.T) {
	inNamespace(t)
	pair(t, "foa", "fob")
	c := tap(t, small(), 4, nil, "foa")
	s := newSender(t, "fob")
	shapes := []string{
		"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01", "\x00\x26\x42\x42\x03", "\x88\xcc\x02\x07\x04", "\x88\x63\x11\x09\x00\x00", "\x08\x00\x99", "\x86\xdd\x60",
		"\x88\x64\x11\x00\x00\x01\x00\x0a\xc0\x21", "\x88\x47\x00\x01\x00\x40\x00\x02\x00\x40\x00\x03\x00\x40\x00\x04\x00\x40\x00\x05\x01\x40\x45", "\x81\x00\x00\x05\x08\x06",
	}
	const n = 200
	for i := range n {
		if err := s.send(numbered(macs+shapes[i%len(shapes)]+strings.Repeat(string(rune(i%128)), 20), i)); err != nil {
			t.Fatal(err)
		}
	}
	if to := c.dealtTo(t, n); slices.Max(to) != 0 {
		t.Errorf("dealt to workers %v", to)
	}
}

// Many pairs are spread evenly: pairs at random, and one source's scan of a network.
func TestFanoutEven(t *testing.T) {
	inNamespace(t)
	pair(t, "foa", "fob")
	const pairs = 10_000
	s := newSender(t, "fob")
	source := netip.MustParseAddr("198.51.100.23")
	for name, of := range map[string]func(i int, a [3]netip.Addr) (netip.Addr, netip.Addr){
		"IPv4": func(_ int, a [3]netip.Addr) (netip.Addr, netip.Addr) { return a[0], a[1] },
		"IPv6": func(_ int, a [3]netip.Addr) (netip.Addr, netip.Addr) { return a[0], a[1] },
		"scan": func(i int, _ [3]netip.Addr) (netip.Addr, netip.Addr) {
			return source, netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)})
		},
	} {
		all := triples(pairs, name == "IPv6")
		for _, workers := range []int{2, 3, 4, 8} {
			cfg := small()
			cfg.RingMiB = 16
			c := tap(t, cfg, workers, nil, "foa")
			for i, a := range all {
				a, b := of(i, a)
				if err := s.send(numbered(ethernet("", packet(a, b, 17, 0, "", udp)), i)); err != nil {
					t.Fatal(err)
				}
			}
			share := make([]int, workers)
			for _, w := range c.dealtTo(t, pairs) {
				if w < 0 {
					t.Fatal("a frame did not come")
				}
				share[w]++
			}
			even := float64(pairs) / float64(workers)
			t.Logf("%s: %v", name, share)
			for _, n := range share { // five standard deviations at 8 workers are 13 %
				if off := float64(n)/even - 1; off > 0.13 || off < -0.13 {
					t.Errorf("%s over %d workers: %v", name, workers, share)
				}
			}
		}
	}
}

// Interfaces without a link header deal as others do.
func TestFanoutRawIP(t *testing.T) {
	inNamespace(t)
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		leaveOut(t, err.Error())
	}
	defer tun.Close()
	req, _ := unix.NewIfreq("fotun")
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(int(tun.Fd()), unix.TUNSETIFF, req); err != nil {
		t.Fatal(err)
	}
	ip(t, "link set fotun addrgenmode none")
	ip(t, "link set fotun up")
	pair(t, "foa", "fob")
	c := tap(t, small(), 4, nil, "fotun", "foa")
	out, in := newSender(t, "fotun"), newSender(t, "fob")
	if err := unix.SetsockoptInt(out.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 0); err != nil {
		t.Fatal(err)
	}
	n := 0
	all := slices.Concat(triples(50, false), triples(50, true))
	for _, a := range all {
		_, err := tun.Write(numbered(packet(a[0], a[1], 17, 0, "", udp), n))
		err = errors.Join(err, out.send(numbered(packet(a[1], a[0], 17, 0, "", udp), n+1)))
		if err = errors.Join(err, in.send(numbered(refusal(a[2], a[0], a[0], a[1], 0, ""), n+2))); err != nil {
			t.Fatal(err)
		}
		n += 3
	}
	to := c.dealtTo(t, n)
	for i := 0; i < n; i += 3 {
		if to[i] != to[i+1] || to[i] != to[i+2] {
			t.Fatalf("pair %d goes to workers %v", i/3, to[i:i+3])
		}
	}
}

// Traffic is under way when capture begins, and when it goes on after the interface was down: no pair ever goes to two workers. But
// the kernel takes the sockets of an interface that goes down out of their group one by one, while the last frames come in.
func TestFanoutBegins(t *testing.T) {
	inNamespace(t)
	pair(t, "foa", "fob")
	stop := hammer(t, "fob")
	defer stop()
	for range 4 {
		cfg := small()
		cfg.RingMiB = 16
		c := tap(t, cfg, 4, nil, "foa")
		busy := func(than int) func() bool {
			return func() bool { return !slices.ContainsFunc(c.readers, func(r *reader) bool { return r.count() <= than }) }
		}
		await(t, "all workers have frames", busy(100))
		down := time.Now().UnixNano()
		ip(t, "link set foa down")
		ip(t, "link set foa up")
		await(t, "capture goes on", func() bool { return c.Interfaces()[0].Reopened > 0 })
		up, was := time.Now().UnixNano(), 0
		for _, r := range c.readers {
			was = max(was, r.count())
		}
		await(t, "frames come again", busy(was+100))
		readers := c.readers
		c.end(t)
		home, early, late := map[string]int{}, 0, 0
		for w, r := range readers {
			for _, f := range r.frames {
				switch {
				case number(f.Data) < 0 || f.Time >= down && f.Time <= up:
					continue
				case f.Time < down:
					early++
				default:
					late++
				}
				p := string(f.Data[26:34])
				if other, ok := home[p]; ok && other != w {
					t.Fatalf("frames of one pair at workers %d and %d", other, w)
				}
				home[p] = w
			}
		}
		if len(home) < 500 || early < 400 || late < 400 {
			t.Errorf("%d pairs; %d frames before, %d after", len(home), early, late)
		}
	}
}

// A kernel that does not take the program is an error that says what to do.
func TestFanoutRefused(t *testing.T) {
	inNamespace(t)
	pair(t, "foa", "fob")
	tp, err := afpacket.NewTPacket(afpacket.OptInterface("foa"), afpacket.TPacketVersion3)
	if err != nil {
		t.Fatal(err)
	}
	defer tp.Close()
	r := &ring{TPacket: tp}
	program := dealByPair(decode.LinkEthernet, 1)
	if err := r.deal(program); !errors.Is(err, unix.EINVAL) { // it has joined no group
		t.Errorf("got %v, want EINVAL", err)
	}
	if err := tp.SetFanout(afpacket.FanoutCBPF, 77); err != nil {
		t.Fatal(err)
	}
	if err := r.deal(program); err != nil {
		t.Error(err)
	}
	if err := unix.SetsockoptInt(r.fd(), unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1); err != nil {
		t.Fatal(err)
	}
	if err := r.deal(program); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "set capture.fanout: hash") {
		t.Errorf("got %v, want EPERM and what to do", err)
	}
}
