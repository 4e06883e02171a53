package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// assault is an attack by a tool, and what must come of it.
type assault struct {
	name   string
	do     func(*testing.T, *site)
	scene  func(*testing.T, *site) // made before weir starts
	filter string                  // tcpdump's, of the attack's packets
	alert  string
	tool   string // a second alert, which nothing is done about
	drop   string // key and action
	rate   int    // packets/s without which it is not the attack that is meant: clearly above the floor; 0: any
	soak   bool   // not always
}

var assaults = []assault{
	{
		name: "hping3 SYN", do: hping3("-S -p 80 -i u400 -c 6000 198.51.100.1"), filter: "src 198.51.100.23 and dst port 80", rate: 1200,
		alert: "flood syn by 198.51.100.23 (unproven) on 198.51.100.1:80/tcp", drop: "address.198.51.100.23 limit_new",
	},
	{
		name: "hping3 SYN of random sources", do: hping3("-S -p 80 --rand-source -i u100 -c 18000 198.51.100.1"), filter: "dst port 80", rate: 3000,
		alert: "flood syn on 198.51.100.1:80/tcp", drop: "service.198.51.100.1.tcp.80 limit",
	},
	{
		name: "hping3 UDP", soak: true, do: hping3("--udp -p 27015 -k -s 40000 -d 64 -i u40 -c 45000 198.51.100.1"), filter: "udp dst port 27015", rate: 6000,
		alert: "flood udp by 198.51.100.23 (unproven) on 198.51.100.1:27015/udp", drop: "service.198.51.100.1.udp.27015 limit",
	},
	{
		name: "hping3 UDP of random sources", do: hping3("--udp -p 27015 --rand-source -d 64 -i u40 -c 45000 198.51.100.1"), filter: "udp dst port 27015", rate: 6000,
		alert: "flood udp on 198.51.100.1:27015/udp", drop: "service.198.51.100.1.udp.27015 limit",
	},
	{
		name: "nmap -sS", do: tools("nmap -n -Pn -sS -T4 --min-rate 1500 --max-rate 1500 --max-retries 0 -p 1-3600 198.51.100.1"),
		filter: "src 198.51.100.23 and dst 198.51.100.1 and tcp",
		alert:  "scan vertical by 198.51.100.23 (unproven) on 198.51.100.1", drop: "address.198.51.100.23 limit_new",
		tool: "fingerprint tool by 198.51.100.23 (unproven)",
	},
	{ // in order, so that the open port comes before the alert: its connection proves the return path
		name: "nmap -sT", do: tools("timeout -s INT 8 nmap -n -Pn -sT -T4 --min-rate 600 --max-rate 600 --max-retries 0 -r -p 76-1876 198.51.100.1"),
		filter: "src 198.51.100.23 and dst 198.51.100.1 and tcp",
		alert:  "scan vertical by 198.51.100.23 (proven) on 198.51.100.1", drop: "address.198.51.100.23 drop",
	},
	{
		name: "masscan", do: masscan("--rate 2000 -p 1-250 10.20.0.10-10.20.0.29"), filter: "src 198.51.100.23 and dst net 10.20.0.0/24",
		alert: "scan block by 198.51.100.23 (unproven) on 10.20.0.0/24", drop: "address.198.51.100.23 limit_new",
		tool: "fingerprint tool by 198.51.100.23 (unproven)",
	},
	{
		name: "connections", do: connections("198.51.100.1:80", 3*time.Second), filter: "src 198.51.100.23 and dst port 80",
		alert: "flood connection by 198.51.100.23 (proven) on 198.51.100.1:80/tcp", drop: "address.198.51.100.23 drop",
	},
	{
		name: "nmap -6 -sS", do: tools("nmap -6 -n -Pn -sS -T4 --min-rate 1500 --max-rate 1500 --max-retries 0 -p 1-3600 2001:db8:51::1"), scene: sixth,
		filter: "ip6 and src 2001:db8:51::23 and tcp",
		alert:  "scan vertical by 2001:db8:51::23 (unproven) on 2001:db8:51::1", drop: "address.20010db8005100000000000000000023 limit_new",
		tool: "fingerprint tool by 2001:db8:51::23 (unproven)",
	},
	{
		name: "connections over IPv6", soak: true, do: connections("[2001:db8:51::1]:80", 3*time.Second), scene: sixth,
		filter: "ip6 and src 2001:db8:51::23 and dst port 80",
		alert:  "flood connection by 2001:db8:51::23 (proven) on [2001:db8:51::1]:80/tcp", drop: "address.20010db8005100000000000000000023 drop",
	},
	{
		name: "SYN in a VLAN", do: taggedSYNs, filter: "vlan 5 and src 203.0.113.23 and dst port 80", rate: 1200,
		alert: "flood syn by 203.0.113.23 (unproven) on 203.0.113.1:80/tcp", drop: "address.203.0.113.23 limit_new",
	},
}

// sixth gives a site IPv6.
func sixth(t *testing.T, s *site) { s.sixth(t) }

// taggedSYNs is a flood in VLAN 5 of a host to which nobody answers: 2,000 SYNs a second for 3 s.
func taggedSYNs(t *testing.T, s *site) {
	t.Helper()
	w := &wire{t: t, near: packetSocket(t, s.near, "eth0", 0)}
	defer unix.Close(w.near)
	from, to := netip.MustParseAddr("203.0.113.23"), netip.MustParseAddr("203.0.113.1")
	begin := time.Now()
	for i := range 6000 {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * 500 * time.Microsecond)))
		frame := packet(unix.IPPROTO_TCP, from, to, uint16(1024+i), 80, syn)
		w.send(w.near, slices.Insert(frame, 12, 0x81, 0x00, 0x00, 0x05))
	}
}

// connections opens as many connections as it can for a time, each with a request and its answer, from 32 at once.
func connections(to string, d time.Duration) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		t.Helper()
		end := time.Now().Add(d)
		var work sync.WaitGroup
		for range 32 {
			work.Go(func() {
				err := enter(s.near, func() {
					for time.Now().Before(end) {
						once(to)
					}
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		work.Wait()
	}
}

// once opens a connection on this thread and resets it: no port waits.
func once(to string) {
	addr := netip.MustParseAddrPort(to)
	family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(addr.Port())})
	if addr.Addr().Is6() {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	} else {
		sa.(*unix.SockaddrInet4).Addr = addr.Addr().As4()
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: 300_000})
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Connect(fd, sa)
}

// TestRunAttacks plays attacks against a server that weir guards. The gate cuts them, and sensor, kernel and two tcpdumps tell
// the same of it.
func TestRunAttacks(t *testing.T) {
	need(t, "ip", "nmap", "masscan", "hping3", "tcpdump", "ethtool")
	for i := range assaults {
		a := &assaults[i]
		if a.soak && !soaking {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			for try := 1; !a.hold(t, fmt.Sprintf("wrun%c%d", 'a'+i, try), try == 3); try++ {
			}
		})
	}
}

// hold plays the attack and judges what came of it. False: the machine had no time for the tool, and it is to be played again.
func (a *assault) hold(t *testing.T, id string, last bool) bool {
	var scenes []func(*testing.T, *site)
	if a.scene != nil {
		scenes = append(scenes, a.scene)
	}
	e := newEdge(t, id, brisk, scenes...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s%s", e.drops, e.err.String())
		}
	})
	w := e.witness(t, a.filter)
	a.do(t, e.site)
	sent, passed := w.stop(t)
	if pace := paceOf(sent); pace < a.rate && !last {
		t.Logf("%d packets/s instead of %d and more: once again", pace, a.rate)
		e.end(t, syscall.SIGTERM)
		return false
	}
	kept := uint64(len(sent) - len(passed))
	dropped := e.dropped(t)
	for end := time.Now().Add(10 * time.Second); dropped < kept && time.Now().Before(end); dropped = e.dropped(t) {
		time.Sleep(200 * time.Millisecond) // the kernel is read once a second, if the machine has the time
	}
	_, met := e.bans(t)
	from := e.drops.applied(a.drop)
	if from.IsZero() {
		t.Fatalf("no %s, but %q", a.drop, e.drops.asked())
	}
	e.remove(t)
	code := e.end(t, syscall.SIGTERM)
	if code != 0 {
		t.Errorf("weir run ends with %d:\n%s", code, e.err.String())
	}

	// What was sent and did not come through is what the kernel counted.
	if kept != dropped {
		t.Errorf("%d packets were sent, %d passed: %d are missing, of which the gate dropped %d (weir bans list: %d)", len(sent), len(passed), kept, dropped, met)
	}
	from = from.Add(50 * time.Millisecond)
	how, enough := cutBy(sent, passed, from, a.drop)
	t.Log(how)
	if !enough && !e.clockSet() {
		t.Error("that is too little")
	}

	var grave []string
	for _, one := range lastForms(e.printed(t)) {
		grave = append(grave, says(one))
		if says(one) != a.alert {
			continue
		}
		if one.Action == nil || !slices.Contains(e.drops.ids(), one.Action.Drop) {
			t.Errorf("the alert names %+v as what was done", one.Action)
		}
		if one.Blocked == nil || one.Blocked.Packets == 0 || one.Blocked.Packets > dropped {
			t.Errorf("the alert tells that %+v was blocked; the kernel dropped %d", one.Blocked, dropped)
		}
		t.Log(one.Summary)
	}
	if asked := e.drops.asked(); !slices.Equal(asked, []string{a.drop}) {
		t.Errorf("asked for %q\nwant %q", asked, a.drop)
	}
	if want := slices.DeleteFunc([]string{a.tool, a.alert}, func(s string) bool { return s == "" }); !slices.Equal(slices.Sorted(slices.Values(grave)), want) {
		t.Errorf("alerts %q\nwant %q", grave, want)
	}
	if n := strings.Count(e.err.String(), "level=ERROR"); n > 0 {
		t.Errorf("%d errors:\n%s", n, e.err.String())
	}
	return true
}

// paceOf is how many packets came in a second.
func paceOf(sent []heard) int {
	if len(sent) < 2 {
		return 0
	}
	return int(float64(len(sent)) / sent[len(sent)-1].at.Sub(sent[0].at).Seconds())
}
