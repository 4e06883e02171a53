package host

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() { children["facts"] = factsChild }

// space makes a network namespace whose loopback is up.
func space(t *testing.T, id string) string {
	t.Helper()
	needRoot(t)
	ns := fmt.Sprintf("hf%s%d", id, os.Getpid())
	ip(t, "netns add "+ns)
	t.Cleanup(func() { ip(t, "netns del "+ns) })
	ip(t, "-n "+ns+" link set lo up")
	return ns
}

func ip(t *testing.T, words string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(words)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", words, err, out)
	}
}

// within runs f in a namespace, on a thread that ends with it. The channel is closed then.
func within(t *testing.T, ns string, f func()) <-chan struct{} {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		fd, err := os.Open("/run/netns/" + ns)
		if err == nil {
			defer fd.Close()
			err = unix.Setns(int(fd.Fd()), unix.CLONE_NEWNET)
		}
		if err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	return done
}

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// TestWatchFacts changes a namespace with ip(8) and by real connections, and wants to hear of each change, and of nothing else.
func TestWatchFacts(t *testing.T) {
	ns := space(t, "w")
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	seen := make(chan Facts, 100)
	t.Setenv("SSH_CONNECTION", "2001:db8::77 40000 2001:db8::1 2222")
	done := within(t, ns, func() {
		WatchFacts(ctx, slog.New(slog.NewTextHandler(t.Output(), nil)), func(f Facts) { seen <- f })
	})
	want := func(what string, limit time.Duration, ok func(Facts) bool) {
		t.Helper()
		var last Facts
		for late := time.After(limit); ; {
			select {
			case last = <-seen:
				if ok(last) {
					return
				}
			case <-late:
				t.Fatalf("%s: not within %v; last: %+v", what, limit, last)
			}
		}
	}
	has := func(of func(Facts) []netip.Addr, a string) func(Facts) bool {
		return func(f Facts) bool { return slices.Contains(of(f), netip.MustParseAddr(a)) }
	}
	not := func(g func(Facts) bool) func(Facts) bool { return func(f Facts) bool { return !g(f) } }
	own, hops, peers := func(f Facts) []netip.Addr { return f.Addresses }, func(f Facts) []netip.Addr { return f.Gateways }, func(f Facts) []netip.Addr { return f.SSHPeers }

	want("the first", time.Second, func(f Facts) bool {
		return slices.Equal(f.Addresses, addrs("127.0.0.1", "::1")) && len(f.Gateways) == 0 && slices.Equal(f.SSHPeers, addrs("2001:db8::77"))
	})
	const soon = 500 * time.Millisecond
	for _, step := range []struct {
		words string
		ok    func(Facts) bool
	}{
		{"link add d0 type veth peer name d1", nil},
		{"link set d1 up", nil},
		{"link set d0 up", func(f Facts) bool {
			return slices.ContainsFunc(f.Addresses, netip.Addr.IsLinkLocalUnicast)
		}},
		{"addr add 198.51.100.1/24 dev d0", has(own, "198.51.100.1")},
		{"addr add 2001:db8::1/64 dev d0 nodad", has(own, "2001:db8::1")},
		{"addr add 192.0.2.1 peer 192.0.2.2 dev d0", func(f Facts) bool {
			return has(own, "192.0.2.1")(f) && has(hops, "192.0.2.2")(f) && !has(own, "192.0.2.2")(f)
		}},
		{"addr add 2001:db8:1::1 peer 2001:db8:1::2 dev d0 nodad", func(f Facts) bool { return has(own, "2001:db8:1::1")(f) && has(hops, "2001:db8:1::2")(f) }},
		{"route add default via 198.51.100.254", has(hops, "198.51.100.254")},
		{"route add 203.0.113.0/24 via 198.51.100.253 table 77", has(hops, "198.51.100.253")},
		{"route add 203.0.114.0/24 nexthop via 198.51.100.10 dev d0 nexthop via 198.51.100.11 dev d0", func(f Facts) bool { return has(hops, "198.51.100.10")(f) && has(hops, "198.51.100.11")(f) }},
		{"route add 203.0.115.0/24 via inet6 2001:db8::a dev d0", has(hops, "2001:db8::a")},
		{"-6 route add default via fe80::1 dev d0", has(hops, "fe80::1")},
		{"-6 route add 2001:db8:9::/48 nexthop via 2001:db8::b dev d0 nexthop via 2001:db8::c dev d0", func(f Facts) bool { return has(hops, "2001:db8::b")(f) && has(hops, "2001:db8::c")(f) }},
		{"nexthop add id 7 via 198.51.100.20 dev d0", has(hops, "198.51.100.20")},
		{"nexthop replace id 7 via 198.51.100.21 dev d0", func(f Facts) bool { return has(hops, "198.51.100.21")(f) && !has(hops, "198.51.100.20")(f) }},
		{"route add 203.0.116.0/24 nhid 7", nil},
		{"route del default via 198.51.100.254", not(has(hops, "198.51.100.254"))},
		{"addr del 2001:db8:1::1/128 dev d0", not(has(own, "2001:db8:1::1"))},
		{"link set d0 down", not(has(hops, "198.51.100.253"))}, // without a message for each route
		{"link del d0", func(f Facts) bool {
			return slices.Equal(f.Addresses, addrs("127.0.0.1", "::1")) && len(f.Gateways) == 0
		}},
	} {
		ip(t, strings.Replace("-n "+ns+" "+step.words, "-n "+ns+" -6", "-6 -n "+ns, 1))
		if step.ok != nil {
			want(step.words, soon, step.ok)
		}
	}

	ip(t, "-n "+ns+" addr add 198.51.100.7/32 dev lo")
	<-within(t, ns, func() {
		for _, c := range []struct{ network, listen, dial, from string }{
			{"tcp4", "127.0.0.1:22", "127.0.0.1:22", "198.51.100.7"},
			{"tcp", "[::]:2222", "127.0.0.1:2222", "198.51.100.7"}, // a dual-stack socket: IPv4-mapped
			{"tcp6", "[::1]:22", "[::1]:22", "::1"},
		} {
			l, err := net.Listen(c.network, c.listen)
			if err != nil {
				t.Error(err)
				return
			}
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.from)}}
			client, err := d.Dial("tcp", c.dial)
			if err != nil {
				t.Error(err)
				return
			}
			server, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			want("session to "+c.listen, 2*time.Second, has(peers, c.from))
			server.Close()
			client.Close()
			l.Close()
			want("end of the session", 2*time.Second, not(has(peers, c.from)))
		}
	})
	stop()
	<-done
}

// TestFactFiles reads resolvers and ports of files as programs write them.
func TestFactFiles(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, path, text)
	}
	resolvers := func() ([]netip.Addr, error) {
		var s addrSet
		err := root(dir).resolvers(&s)
		return s.sorted(), err
	}
	if got, err := resolvers(); len(got) != 0 || err != nil {
		t.Errorf("no file: %v, %v", got, err)
	}
	put("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.53\nnameserver fe80::1%eth0\n")
	put("etc/resolv.conf", "# nameserver 192.0.2.1\n; nameserver 192.0.2.2\nnameserver 192.0.2.54 # at work\n nameserver\t2001:db8::53\nnameserver\nnameserver fish\nsearch x\n")
	if got, err := resolvers(); !slices.Equal(got, addrs("192.0.2.54", "2001:db8::53")) || err != nil {
		t.Errorf("plain: %v, %v", got, err)
	}
	put("etc/resolv.conf", "nameserver 127.0.0.53\noptions edns0 trust-ad\n")
	if got, err := resolvers(); !slices.Equal(got, addrs("127.0.0.53", "192.0.2.53", "fe80::1")) || err != nil {
		t.Errorf("stub: %v, %v", got, err)
	}
	put("etc/resolv.conf", strings.Repeat("# long\n", maxFactFile/7+1))
	if got, err := resolvers(); err == nil || !strings.Contains(err.Error(), "longer than 65536 bytes") {
		t.Errorf("long: %v, %v", got, err)
	}

	put("etc/ssh/sshd_config", "#Port 1\nPort 2200\n  port=2201\nListenAddress 0.0.0.0\nListenAddress ::\nListenAddress [2001:db8::1]:2202\nListenAddress 192.0.2.1:2203\nListenAddress 2001:db8::2\nPort 99999\nPort\nMatch User x\n")
	put("etc/ssh/sshd_config.d/10-x.conf", "Port 2204\nPort 22\n")
	put("etc/ssh/sshd_config.d/10-x.bak", "Port 2299\n")
	var s addrSet
	got := root(dir).sshPorts("192.0.2.9 4000 192.0.2.1 2205", &s)
	slices.Sort(got)
	if want := []uint16{22, 2200, 2201, 2202, 2203, 2204, 2205}; !slices.Equal(got, want) || !slices.Equal(s.sorted(), addrs("192.0.2.9")) {
		t.Errorf("ports %v, want %v; peers %v", got, want, s.sorted())
	}
	if got := root(t.TempDir()).sshPorts("", &s); !slices.Equal(got, []uint16{22}) {
		t.Errorf("without files: %v", got)
	}
}

// factsChild tells the facts that it reads with no capability and under Landlock.
func factsChild() {
	before, err := ReadFacts()
	if err != nil {
		panic(err)
	}
	if err := Privileges(Access{ReadOnly: NameFiles()}, slog.New(slog.DiscardHandler)); err != nil {
		panic(err)
	}
	after, err := ReadFacts()
	if err != nil {
		panic(err)
	}
	tell([]Facts{before, after})
}

// TestFactsWithoutPrivileges reads the same with and without them.
func TestFactsWithoutPrivileges(t *testing.T) {
	needRoot(t)
	cmd := command(t, "facts")
	asNobody(t, cmd)
	for _, cmd := range []*exec.Cmd{command(t, "facts"), cmd} {
		var got []Facts
		if result(t, cmd, &got); len(got) != 2 || len(got[0].Addresses) == 0 || !reflect.DeepEqual(got[0], got[1]) {
			t.Errorf("with privileges and without: %+v", got)
		}
	}
}

// FuzzFactMessages gives the parsers what no kernel sends.
func FuzzFactMessages(f *testing.F) {
	f.Add([]byte{})
	f.Add(append(make([]byte, unix.SizeofRtMsg), 12, 0, unix.RTA_MULTIPATH, 0, 8, 0, 0, 0, 1, 0, 0, 0))
	f.Add(append(make([]byte, unix.SizeofRtMsg), 8, 0, unix.RTA_GATEWAY, 0, 192, 0, 2, 1))
	f.Fuzz(func(_ *testing.T, b []byte) {
		var own, hops addrSet
		addressOf(b, &own, &hops)
		nextHopsOf(b, &hops)
		nextHopObject(b, &hops)
	})
}

// BenchmarkFacts measures what WatchFacts does each second, with 10,000 TCP sockets that are nobody's.
func BenchmarkFacts(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range 5_000 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		open = append(open, c, s)
	}
	r := factReader{root: "/"}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.readRest(); err != nil {
			b.Fatal(err)
		}
	}
}
