package enforce

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/sensor/alert"
	"weir/sensor/policy"
)

// nftLab is two namespaces with a cable between them: tables are opened in one, frames are sent in the other. Tables of the user's own,
// made with nft, count before and behind ours what came from us.
type nftLab struct {
	t      testing.TB
	ns, at string // the namespace of the tables, and its interface
	far    string
	raw    int // packet socket at the far end
	index  int
	user   string // listing of the user's tables
}

var nftUserTables = `
table netdev nfuser {
	counter arrived { }
	chain first { type filter hook ingress device "%[1]s" priority -600; policy accept; ether saddr 02:00:00:00:be:ef counter name arrived; }
	chain same { type filter hook ingress device "%[1]s" priority -500; policy accept; ip saddr 203.0.113.99 drop; }
}
table inet nfuser {
	counter passed { }
	set own { type ipv4_addr; flags interval; elements = { 203.0.113.96/30 } }
	chain behind { type filter hook prerouting priority -299; policy accept; iifname "%[1]s" ether saddr 02:00:00:00:be:ef counter name passed; ip saddr @own drop; }
}`

func nftTools(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		leaveOut(t, "namespaces need root")
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			leaveOut(t, tool+" is not installed (packages iproute2, nftables)")
		}
	}
}

func newNftLab(t testing.TB) *nftLab {
	t.Helper()
	nftTools(t)
	id := strconv.Itoa(os.Getpid()%10000) + strconv.Itoa(rand.IntN(1000))
	l := &nftLab{t: t, ns: "nfa" + id, far: "nfb" + id, at: "nfi0", raw: -1}
	for _, ns := range []string{l.ns, l.far} {
		l.run("ip", "netns", "add", ns)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
	}
	l.cable()
	l.in(l.ns, "nft", fmt.Sprintf(nftUserTables, l.at))
	l.user = l.userTables()
	return l
}

// cable connects the namespaces.
func (l *nftLab) cable() {
	l.t.Helper()
	l.run("ip", "-n", l.far, "link", "add", "nfi1", "type", "veth", "peer", "name", l.at, "netns", l.ns)
	l.run("ip", "-n", l.far, "link", "set", "nfi1", "up")
	l.run("ip", "-n", l.ns, "link", "set", l.at, "up")
	l.run("ip", "-n", l.ns, "addr", "add", "192.0.2.1/24", "dev", l.at)
	l.run("ip", "-n", l.ns, "addr", "add", "2001:db8::1/64", "dev", l.at, "nodad")
	nftInside(l.t, l.far, func() (err error) {
		if l.raw, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		r, _ := unix.NewIfreq("nfi1")
		err = unix.IoctlIfreq(l.raw, unix.SIOCGIFINDEX, r)
		l.index = int(r.Uint32())
		return err
	})
	raw := l.raw
	l.t.Cleanup(func() { _ = unix.Close(raw) })
}

func (l *nftLab) run(args ...string) string {
	l.t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// in runs a tool with an input in a namespace.
func (l *nftLab) in(ns, tool, input string) {
	l.t.Helper()
	c := exec.Command("ip", "netns", "exec", ns, tool, "-f", "-")
	c.Stdin = strings.NewReader(input)
	if out, err := c.CombinedOutput(); err != nil {
		l.t.Fatalf("%s: %v: %s", tool, err, out)
	}
}

func (l *nftLab) nft(args ...string) string {
	l.t.Helper()
	return l.run(append([]string{"ip", "netns", "exec", l.ns, "nft"}, args...)...)
}

var nftNumbers = regexp.MustCompile(`packets \d+ bytes \d+`)

func (l *nftLab) userTables() string {
	l.t.Helper()
	return nftNumbers.ReplaceAllString(l.nft("list", "table", "netdev", "nfuser")+l.nft("list", "table", "inet", "nfuser"), "")
}

var nftUserCounters = regexp.MustCompile(`counter (\w+) \{\s+packets (\d+)`)

// counters are those of the user's tables: how many frames arrived, and how many came past ours.
func (l *nftLab) counters() (arrived, passed int) {
	l.t.Helper()
	n := map[string]int{}
	for _, m := range nftUserCounters.FindAllStringSubmatch(l.nft("list", "counters"), -1) {
		n[m[1]], _ = strconv.Atoi(m[2])
	}
	return n["arrived"], n["passed"]
}

// passed sends frames and tells how many of them came past our table, once all have arrived before it.
func (l *nftLab) passed(frames ...[]byte) int {
	l.t.Helper()
	arrived, passed := l.counters()
	for _, f := range frames {
		if err := unix.Sendto(l.raw, f, 0, &unix.SockaddrLinklayer{Ifindex: l.index, Halen: 6}); err != nil {
			l.t.Fatal(err)
		}
	}
	for end := time.Now().Add(20 * time.Second); ; {
		now, _ := l.counters()
		if now >= arrived+len(frames) {
			_, after := l.counters()
			return after - passed
		}
		if time.Now().After(end) {
			l.t.Fatalf("of %d frames %d arrived", len(frames), now-arrived)
		}
	}
}

func (l *nftLab) wantPassed(what string, want int, frames ...[]byte) {
	l.t.Helper()
	if got := l.passed(frames...); got != want {
		l.t.Errorf("%s: of %d frames %d passed, want %d", what, len(frames), got, want)
	}
}

func nftInside(t testing.TB, ns string, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		fd, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			_ = unix.Close(fd)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func nftTestConfig() nftConfig {
	return nftConfig{
		Survive: true, Hosts4: 200_000, Hosts6: 1000, Prefixes: 1000, Services: 100, Peers: 100,
		PeerAge: time.Minute, PeerNew: 5, PeerRate: 10,
	}
}

func (l *nftLab) open(cfg nftConfig, rehearse bool) *nftTable {
	l.t.Helper()
	var t Table
	nftInside(l.t, l.ns, func() (err error) {
		t, err = openNftables(cfg, l.at, rehearse, slog.New(slog.NewTextHandler(io.Discard, nil)))
		return err
	})
	l.t.Cleanup(func() { _ = t.Close() })
	return t.(*nftTable)
}

// both runs a test at the ingress hook and in prerouting.
func nftBoth(t *testing.T, f func(t *testing.T, l *nftLab, cfg nftConfig)) {
	t.Helper()
	for name, prerouting := range map[string]bool{"ingress": false, "prerouting": true} {
		t.Run(name, func(t *testing.T) {
			l := newNftLab(t)
			cfg := nftTestConfig()
			cfg.prerouting = prerouting
			f(t, l, cfg)
			if got := l.userTables(); got != l.user {
				t.Errorf("the user's tables are now\n%s\nthey were\n%s", got, l.user)
			}
		})
	}
}

func nftPut(t testing.TB, table Table, drops ...*policy.Drop) {
	t.Helper()
	for key, err := range table.Put(drops) {
		t.Errorf("%s: %v", key, err)
	}
}

func nftRead(t testing.TB, table Table) map[string]Held {
	t.Helper()
	m := map[string]Held{}
	if err := table.Read(func(h Held) { m[h.Key] = h }); err != nil {
		t.Fatal(err)
	}
	return m
}

func nftEnd(d time.Duration) int64 { return time.Now().Add(d).Unix() }

func nftSource(action policy.Action, source string) *policy.Drop {
	d := &policy.Drop{Action: action, Until: nftEnd(time.Minute), Scope: policy.ScopeAddress}
	if p, err := netip.ParsePrefix(source); err == nil {
		d.Scope, d.Prefix = policy.ScopePrefix, p
	} else {
		d.IP = netip.MustParseAddr(source)
	}
	if action == policy.LimitNew {
		d.Rate = 5
	}
	return d
}

func nftServiceDrop(ip, protocol string, port uint16, rate uint32) *policy.Drop {
	return &policy.Drop{
		Scope: policy.ScopeService, Action: policy.Limit, Rate: rate, Until: nftEnd(time.Minute),
		Service: &policy.Service{IP: netip.MustParseAddr(ip), Protocol: protocol, Port: port},
	}
}

func nftSign(ip string, fields ...string) *policy.Drop {
	d := &policy.Drop{
		Scope: policy.ScopeSignature, Action: policy.DropAll, Until: nftEnd(time.Minute),
		Service: &policy.Service{IP: netip.MustParseAddr(ip)}, Signature: &alert.Signature{},
	}
	for i := 0; i < len(fields); i += 2 {
		d.Signature.Fields = append(d.Signature.Fields, alert.Field{Name: fields[i], Value: fields[i+1]})
	}
	return d
}

func nftShadow(d *policy.Drop) *policy.Drop {
	d.Would, d.Action = d.Action, policy.Shadow
	return d
}

// nftPacket is a frame to be.
type nftPacket struct {
	src, dst     string
	proto        byte
	sport, dport uint16
	flags        byte
	window       uint16
	ttl          byte
	options      []byte // of TCP
	payload      []byte
	fragment     uint16 // offset in bytes
	vlan         bool
}

const (
	nftSYN = 2
	nftACK = 16
)

// frame writes headers by RFC 791, 8200, 9293 and 768.
func (p nftPacket) frame() []byte {
	src, dst := netip.MustParseAddr(p.src), netip.MustParseAddr(p.dst)
	l4 := p.payload
	switch p.proto {
	case unix.IPPROTO_TCP:
		l4 = make([]byte, 20, 100)
		binary.BigEndian.PutUint16(l4, p.sport)
		binary.BigEndian.PutUint16(l4[2:], p.dport)
		l4[12], l4[13] = byte(5+len(p.options)/4)<<4, p.flags
		binary.BigEndian.PutUint16(l4[14:], p.window)
		l4 = append(append(l4, p.options...), p.payload...)
	case unix.IPPROTO_UDP:
		l4 = make([]byte, 8, 100)
		binary.BigEndian.PutUint16(l4, p.sport)
		binary.BigEndian.PutUint16(l4[2:], p.dport)
		binary.BigEndian.PutUint16(l4[4:], uint16(8+len(p.payload)))
		l4 = append(l4, p.payload...)
	}
	if p.ttl == 0 {
		p.ttl = 64
	}
	f := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0xbe, 0xef}
	if p.vlan {
		f = append(f, 0x81, 0, 0, 7)
	}
	if src.Is4() {
		h := make([]byte, 20)
		h[0], h[8], h[9] = 0x45, p.ttl, p.proto
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(l4)))
		binary.BigEndian.PutUint16(h[6:], p.fragment/8)
		copy(h[12:], src.AsSlice())
		copy(h[16:], dst.AsSlice())
		sum := uint32(0)
		for i := 0; i < 20; i += 2 {
			sum += uint32(binary.BigEndian.Uint16(h[i:]))
		}
		sum = sum&0xffff + sum>>16
		binary.BigEndian.PutUint16(h[10:], ^uint16(sum+sum>>16))
		f = append(append(append(f, 8, 0), h...), l4...)
	} else {
		h := make([]byte, 40)
		next := p.proto
		if p.fragment != 0 {
			next, l4 = unix.IPPROTO_FRAGMENT, append([]byte{p.proto, 0, byte(p.fragment >> 8), byte(p.fragment), 0, 0, 0, 1}, l4...)
		}
		h[0], h[6], h[7] = 0x60, next, p.ttl
		binary.BigEndian.PutUint16(h[4:], uint16(len(l4)))
		copy(h[8:], src.AsSlice())
		copy(h[24:], dst.AsSlice())
		f = append(append(append(f, 0x86, 0xdd), h...), l4...)
	}
	for len(f) < 60 {
		f = append(f, 0)
	}
	return f
}

func nftTCP(src string, flags byte) nftPacket {
	dst := "192.0.2.1"
	if strings.Contains(src, ":") {
		dst = "2001:db8::1"
	}
	return nftPacket{src: src, dst: dst, proto: unix.IPPROTO_TCP, sport: 4000, dport: 443, flags: flags}
}

func nftUDP(src string) nftPacket {
	p := nftTCP(src, 0)
	p.proto = unix.IPPROTO_UDP
	return p
}

func nftFrames(list ...nftPacket) (frames [][]byte) {
	for _, p := range list {
		frames = append(frames, p.frame())
	}
	return frames
}

func (p nftPacket) with(f func(*nftPacket)) nftPacket { f(&p); return p }

type nftCase struct {
	name string
	drop *policy.Drop
	hit  []nftPacket // dropped
	miss []nftPacket // passed
}

func nftSourceCases() []nftCase {
	syn, ack := byte(nftSYN), byte(nftACK)
	var list []nftCase
	for _, v := range [][4]string{
		{"198.51.100.7", "198.51.100.0/24", "198.51.100.200", "198.51.101.1"},
		{"2001:db8:7::7", "2001:db8:7::/64", "2001:db8:7::c8", "2001:db8:7:1::1"},
	} {
		one, net, sibling, other := v[0], v[1], v[2], v[3]
		fragment := nftUDP(one).with(func(p *nftPacket) { p.fragment, p.payload = 1480, []byte("rest of it") })
		canary := nftSource(policy.DropAll, one)
		canary.Canary = nftEnd(30 * time.Second)
		list = append(
			list,
			nftCase{
				"drop " + one, nftSource(policy.DropAll, one),
				[]nftPacket{nftTCP(one, syn), nftTCP(one, ack), nftUDP(one), fragment},
				[]nftPacket{nftTCP(sibling, syn), nftTCP(other, ack), nftUDP(other)},
			},
			nftCase{
				"drop " + net, nftSource(policy.DropAll, net),
				[]nftPacket{nftTCP(one, syn), nftUDP(sibling), fragment},
				[]nftPacket{nftTCP(other, syn), nftUDP(other)},
			},
			nftCase{
				"drop_new " + one, nftSource(policy.DropNew, one),
				[]nftPacket{nftTCP(one, syn), nftTCP(one, syn|0xc0)},
				[]nftPacket{nftTCP(one, ack), nftTCP(one, syn|ack), nftUDP(one), fragment, nftTCP(sibling, syn)},
			},
			nftCase{"canary " + one, canary, []nftPacket{nftTCP(one, syn)}, []nftPacket{nftTCP(one, ack), nftUDP(one), nftTCP(sibling, syn)}},
			nftCase{
				"drop_new and later fragments " + one, nftSource(policy.DropNew, one), nil,
				[]nftPacket{nftTCP(one, syn).with(func(p *nftPacket) { p.fragment = 0x0208 })},
			},
			nftCase{
				"drop_new " + net, nftSource(policy.DropNew, net),
				[]nftPacket{nftTCP(one, syn), nftTCP(sibling, syn)},
				[]nftPacket{nftTCP(one, ack), nftTCP(other, syn)},
			},
		)
	}
	return list
}

func nftSignatureCases() []nftCase {
	var list []nftCase
	for _, v := range [][3]string{{"192.0.2.1", "198.51.100.7", "60"}, {"2001:db8::1", "2001:db8:7::7", "80"}} {
		to, from := v[0], v[1]
		later := nftUDP(from).with(func(p *nftPacket) { p.sport, p.payload, p.fragment = 53, []byte("abcdefgh"), 0x1bb8 })
		tcp := nftTCP(from, nftSYN).with(func(p *nftPacket) { p.window, p.ttl, p.options = 1024, 50, make([]byte, 20) })
		udp := nftUDP(from).with(func(p *nftPacket) { p.sport, p.payload = 53, []byte("abcdefgh") })
		is := func(name, value string, hit nftPacket, miss ...nftPacket) {
			protocol := map[byte]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp"}[hit.proto]
			elsewhere := hit.with(func(p *nftPacket) { p.dst = strings.TrimSuffix(to, "1") + "2" })
			list = append(list, nftCase{name + " to " + to, nftSign(to, "protocol", protocol, name, value), []nftPacket{hit}, append(miss, elsewhere, later)})
		}
		is("dst_port", "443", tcp, udp, tcp.with(func(p *nftPacket) { p.dport = 444 }))
		is("src_port", "53", udp, tcp, udp.with(func(p *nftPacket) { p.sport = 54 }))
		is("length", v[2], tcp, tcp.with(func(p *nftPacket) { p.options = p.options[4:] }))
		is("ttl_min", "50", tcp, tcp.with(func(p *nftPacket) { p.ttl = 49 }))
		is("ttl_max", "50", tcp, tcp.with(func(p *nftPacket) { p.ttl = 51 }))
		is("tcp_window", "1024", tcp, tcp.with(func(p *nftPacket) { p.window = 1025 }))
		is("tcp_flags", "syn", tcp, tcp.with(func(p *nftPacket) { p.flags = nftSYN | nftACK }))
		is("payload", "61626364", udp, udp.with(func(p *nftPacket) { p.payload = []byte("abcefgh") }), udp.with(func(p *nftPacket) { p.payload = nil }))
		is("payload", "6162", tcp.with(func(p *nftPacket) { p.payload = []byte("abc") }), tcp, tcp.with(func(p *nftPacket) { p.payload = []byte("bc") }))
		is("payload", "0000", udp.with(func(p *nftPacket) { p.payload = make([]byte, 2) }), // the frame's padding is no payload
			udp.with(func(p *nftPacket) { p.payload = make([]byte, 1) }))
	}
	return list
}

// TestNftActions holds that each action drops what it should and nothing else, that shadows and rehearsals drop nothing and count the
// same, that hits are those of the entry, and that a deleted entry drops no more.
func TestNftActions(t *testing.T) {
	t.Parallel()
	nftBoth(t, func(t *testing.T, l *nftLab, cfg nftConfig) {
		table := l.open(cfg, false)
		for _, c := range append(nftSourceCases(), nftSignatureCases()...) {
			for _, shadow := range []bool{false, true} {
				want := 0
				c.drop.Until = nftEnd(time.Minute) // from now: on a loaded machine the cases take minutes
				if shadow {
					nftShadow(c.drop)
					want = len(c.hit)
				}
				nftPut(t, table, c.drop)
				l.wantPassed(c.name+": hit", want, nftFrames(c.hit...)...)
				l.wantPassed(c.name+": miss", len(c.miss), nftFrames(c.miss...)...)
				got := nftRead(t, table)
				h := got[c.drop.Key()]
				if len(got) != 1 || h.Entry != EntryOf(c.drop) || h.Packets != uint64(len(c.hit)) {
					t.Errorf("%s: read %+v, want %+v with %d packets", c.name, got, EntryOf(c.drop), len(c.hit))
				}
				if err := table.Delete([]string{c.drop.Key()}); err != nil {
					t.Error(err)
				}
				l.wantPassed(c.name+": deleted", len(c.hit), nftFrames(c.hit...)...)
			}
		}
		if got := nftRead(t, table); len(got) > 0 {
			t.Errorf("left: %+v", got)
		}
	})
}

// TestNftVLAN holds that the ingress hook sees what comes with a VLAN tag.
func TestNftVLAN(t *testing.T) {
	l := newNftLab(t)
	table := l.open(nftTestConfig(), false)
	d := nftSource(policy.DropAll, "198.51.100.7")
	nftPut(t, table, d)
	l.passed(nftTCP("198.51.100.7", nftSYN).with(func(p *nftPacket) { p.vlan = true }).frame())
	if h := nftRead(t, table)[d.Key()]; h.Packets != 1 {
		t.Errorf("read %+v", h)
	}
}

func TestNftRehearsal(t *testing.T) {
	l := newNftLab(t)
	table := l.open(nftTestConfig(), true)
	for _, c := range []nftCase{nftSourceCases()[0], nftSignatureCases()[0]} {
		nftPut(t, table, c.drop)
		l.wantPassed(c.name, len(c.hit), nftFrames(c.hit...)...)
		if h := nftRead(t, table)[c.drop.Key()]; h.Packets != uint64(len(c.hit)) || h.Entry != EntryOf(c.drop) {
			t.Errorf("%s: read %+v", c.name, h)
		}
	}
}

// TestNftLimits holds that a burst of the rate passes and no more, of each source or service by itself.
func TestNftLimits(t *testing.T) {
	nftBoth(t, func(t *testing.T, l *nftLab, cfg nftConfig) {
		table := l.open(cfg, false)
		many := func(p nftPacket) [][]byte { return slices.Repeat(nftFrames(p), 40) }
		begun := time.Now()
		within := func(what string, least, most int, frames [][]byte) { // most: at once, beside what comes anew since the one before
			t.Helper()
			before := begun
			begun = time.Now()
			got := l.passed(frames...)
			if most += int(20 * time.Since(before).Seconds()); got < least || got > most { // 20/s: a peer's 10, its new and strangers' 5 each
				t.Errorf("%s: %d passed, want %d to %d", what, got, least, most)
			}
		}
		nftPut(t, table, nftSource(policy.LimitNew, "198.51.100.7"), nftSource(policy.LimitNew, "2001:db8:7::7"),
			nftServiceDrop("192.0.2.1", "tcp", 443, 5), nftServiceDrop("192.0.2.1", "udp", 0, 5), nftServiceDrop("2001:db8::1", "tcp", 0, 5),
			nftServiceDrop("192.0.2.1", "udp", 443, 7))
		within("limit_new v4", 5, 6, many(nftTCP("198.51.100.7", nftSYN).with(func(p *nftPacket) { p.dport = 80 })))
		within("limit_new v6", 0, 6, many(nftTCP("2001:db8:7::7", nftSYN)))
		within("not new", 40, 40, many(nftTCP("198.51.100.7", nftACK).with(func(p *nftPacket) { p.dport = 80 })))
		within("port", 5, 6, many(nftTCP("198.51.100.9", nftACK)))
		within("another port", 40, 40, many(nftTCP("198.51.100.9", nftACK).with(func(p *nftPacket) { p.dport = 80 })))
		within("port of its own", 7, 8, many(nftUDP("198.51.100.9")))
		within("any port", 5, 6, many(nftUDP("198.51.100.9").with(func(p *nftPacket) { p.dport = 80 })))
		wait := func() {
			time.Sleep(1100 * time.Millisecond)
			begun = time.Now() // the limits are whole again, and no more
		}
		wait()
		within("later fragments", 5, 6, many(nftUDP("198.51.100.9").with(func(p *nftPacket) { p.fragment = 800 })))
		within("any port v6", 5, 6, many(nftTCP("2001:db8:7::9", nftACK).with(func(p *nftPacket) { p.dport = 80 })))
		wait()
		within("later fragments v6", 5, 6, many(nftTCP("2001:db8:7::9", nftACK).with(func(p *nftPacket) { p.fragment = 800 })))

		for _, a := range []string{"198.51.100.20", "2001:db8:7::20"} {
			if err := table.AddPeers([]netip.Addr{netip.MustParseAddr(a)}); err != nil {
				t.Fatal(err)
			}
		}
		within("new of a peer", 15, 17 /* 10 of its own, and the 5 of strangers */, many(nftTCP("198.51.100.20", nftSYN)))
		within("rest of a peer", 20, 23, many(nftTCP("198.51.100.20", nftACK)))
		within("rest of a peer, v6", 20, 28, many(nftTCP("2001:db8:7::20", nftACK)))
		within("a stranger", 0, 1, many(nftTCP("198.51.100.21", nftSYN)))
		if err := table.AddPeers([]netip.Addr{netip.MustParseAddr("198.51.100.20")}); err != nil { // told again: no new allowance
			t.Fatal(err)
		}
		within("new of a peer, later", 0, 8, many(nftTCP("198.51.100.20", nftSYN)))
	})
}

// TestNftNever holds that listed sources pass whatever the entries say, at both ends of each range, and their neighbours do not.
func TestNftNever(t *testing.T) {
	nftBoth(t, func(t *testing.T, l *nftLab, cfg nftConfig) {
		table := l.open(cfg, false)
		list := []string{"198.51.100.8/29", "198.51.100.8/30", "198.51.100.16/32", "198.51.100.17/32", "2001:db8:7::/80", "223.0.0.0/8"}
		var never []netip.Prefix
		for _, p := range list {
			never = append(never, netip.MustParsePrefix(p))
		}
		drops := []*policy.Drop{
			nftSource(policy.DropAll, "198.51.100.0/24"), nftSource(policy.DropAll, "2001:db8:7::/64"),
			nftSource(policy.DropAll, "223.255.255.0/24"), nftSource(policy.DropAll, "198.51.100.9"),
		}
		nftPut(t, table, drops...)
		pass := []string{"198.51.100.8", "198.51.100.9", "198.51.100.15", "198.51.100.16", "198.51.100.17", "2001:db8:7::1", "2001:db8:7::ffff:ffff:ffff", "223.255.255.254"}
		drop := []string{"198.51.100.7", "198.51.100.18", "2001:db8:7::1:0:0:0"}
		packets := func(from []string) (list [][]byte) {
			for _, s := range from {
				list = append(list, nftTCP(s, nftSYN).frame())
			}
			return list
		}
		l.wantPassed("no list yet", 0, packets(append(pass, drop...))...)
		if err := table.Never(never); err != nil {
			t.Fatal(err)
		}
		l.wantPassed("listed", len(pass), packets(pass)...)
		l.wantPassed("not listed", 0, packets(drop)...)
		if err := table.Clear(); err != nil {
			t.Fatal(err)
		}
		nftPut(t, table, drops...)
		l.wantPassed("listed after a panic", len(pass), packets(pass)...)
		if err := table.Never(nil); err != nil {
			t.Fatal(err)
		}
		l.wantPassed("list emptied", 0, packets(append(pass, drop...))...)
	})
}

// TestNftRanges compares ranges with the prefixes they are of, at random addresses and at all edges.
func TestNftRanges(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var prefixes []netip.Prefix
		var probes []netip.Addr
		for range r.IntN(12) {
			a := netip.AddrFrom4([4]byte{byte(r.IntN(2) * 255), byte(r.IntN(2) * 255), byte(r.IntN(4)), byte(r.IntN(256))})
			p := netip.PrefixFrom(a, r.IntN(33)).Masked()
			prefixes = append(prefixes, p)
			probes = append(probes, p.Addr(), nftLast(p), p.Addr().Prev(), nftLast(p).Next(), a)
		}
		ranges := nftRanges(prefixes, false)
		for i := 1; i < len(ranges); i++ {
			if !ranges[i-1].end.IsValid() || ranges[i-1].end.Compare(ranges[i].first) >= 0 {
				t.Fatalf("%v: ranges %v touch", prefixes, ranges)
			}
		}
		for _, a := range probes {
			if !a.IsValid() {
				continue
			}
			want := slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
			got := slices.ContainsFunc(ranges, func(r nftRange) bool {
				return r.first.Compare(a) <= 0 && (!r.end.IsValid() || a.Compare(r.end) < 0)
			})
			if got != want {
				t.Fatalf("%v in %v: %v, of prefixes %v it is %v", a, ranges, got, prefixes, want)
			}
		}
	}
}

// TestNftNested holds that of a prefix within another each ends by itself.
func TestNftNested(t *testing.T) {
	t.Parallel()
	nftBoth(t, func(t *testing.T, l *nftLab, cfg nftConfig) {
		table := l.open(cfg, false)
		wide, narrow, one := nftSource(policy.DropAll, "198.51.96.0/20"), nftSource(policy.DropAll, "198.51.100.0/24"), nftSource(policy.DropAll, "198.51.100.7")
		in := nftFrames(nftTCP("198.51.96.1", nftSYN), nftTCP("198.51.100.1", nftSYN), nftTCP("198.51.100.7", nftSYN))
		nftPut(t, table, wide, one)
		nftPut(t, table, narrow)
		l.wantPassed("all", 0, in...)
		for i, d := range []*policy.Drop{wide, narrow, one} {
			if err := table.Delete([]string{d.Key()}); err != nil {
				t.Fatal(err)
			}
			l.wantPassed(fmt.Sprintf("without the first %d", i+1), i+1, in...)
		}
		narrow.Until = nftEnd(2 * time.Second)
		wide.Until = nftEnd(4 * time.Second)
		nftPut(t, table, narrow, wide)
		time.Sleep(time.Until(time.Unix(narrow.Until, 0)) + 100*time.Millisecond)
		if got := nftRead(t, table); len(got) != 1 || got[wide.Key()].Until != wide.Until {
			t.Errorf("after the end of the narrow one: %+v", got)
		}
		l.wantPassed("after the end of the narrow one", 0, in...)
		time.Sleep(time.Until(time.Unix(wide.Until, 0)) + 100*time.Millisecond)
		l.wantPassed("after the end of both", 3, in...)
	})
}
