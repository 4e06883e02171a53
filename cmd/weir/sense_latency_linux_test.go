package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"weir/sensor/alert"
)

// How long it takes from the packet that crosses an absolute floor until the alert comes to a subscriber of NATS: a sensor of the
// default settings, and packets that are crafted, so that it is known which one crosses.

// crossings are how many are measured.
var crossings = 24

// crossing is one way to cross a floor: it sends what comes before the packet that crosses, sends that one, and what comes
// after it. It returns the time just before the packet was sent.
type crossing struct {
	name  string
	alert string // analyzer and kind
	send  func(w *wire, n int) time.Time
}

// The floors are those of deploy/weir.yaml. Each crossing has addresses of its own: the sources and the victim of a flood, the source of a scan.
var ways = []crossing{
	{"SYN flood, at once", "flood syn", func(w *wire, n int) time.Time { // syn_per_second: 500
		w.syns(n, 0, 499)
		t := time.Now()
		w.syns(n, 499, 600)
		return t
	}},
	{"SYN flood, 700 a second", "flood syn", func(w *wire, n int) (crossed time.Time) {
		begin := time.Now()
		for i := range 800 {
			time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / 700)))
			if i == 499 {
				crossed = time.Now()
			}
			w.syns(n, i, i+1)
		}
		return crossed
	}},
	{"UDP flood, at once", "flood udp", func(w *wire, n int) time.Time { // packets_per_second: 5000
		w.udps(n, 0, 4999)
		t := time.Now()
		w.udps(n, 4999, 6000)
		return t
	}},
	{"scan of closed ports", "scan vertical", func(w *wire, n int) (crossed time.Time) { // nine failures (detect, false_alarm)
		for port := 1; port < 12; port++ {
			answered := w.try(n, uint16(port))
			if port == 9 {
				crossed = answered
			}
		}
		return crossed
	}},
}

// TCP flags.
const syn, rst, ack = 2, 4, 16

// wire sends crafted frames on both ends of a cable.
type wire struct {
	t         *testing.T
	near, far int // packet sockets
}

// flooded and scanner are the addresses of a crossing.
func flooded(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(20 + n/250), byte(1 + n%250), 10})
}

func scanner(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{203, 0, byte(1 + n/250), byte(1 + n%250)})
}

// anybody is the i-th of the many spoofed sources of a crossing. Sources that came back would be scanners: of many hosts.
func anybody(n, i int) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 100<<24|64<<16+uint32(n)<<13+uint32(i))))
}

// syns sends the SYNs from one number to another, of as many sources.
func (w *wire) syns(n, from, to int) {
	for i := from; i < to; i++ {
		w.send(w.near, packet(unix.IPPROTO_TCP, anybody(n, i), flooded(n), uint16(1024+i), 80, syn))
	}
}

func (w *wire) udps(n, from, to int) {
	for i := from; i < to; i++ {
		w.send(w.near, packet(unix.IPPROTO_UDP, anybody(n, i), flooded(n), uint16(1024+i), 27015, 0))
	}
}

// try sends a SYN of a scan, and that the port is closed. It returns the time just before that answer was sent, which must not
// overtake the SYN: the kernel shows what a host sends at once, and what it receives when it gets round to it.
func (w *wire) try(n int, port uint16) time.Time {
	w.send(w.near, packet(unix.IPPROTO_TCP, scanner(n), flooded(n), 40000, port, syn))
	time.Sleep(time.Millisecond)
	t := time.Now()
	w.send(w.far, packet(unix.IPPROTO_TCP, flooded(n), scanner(n), port, 40000, rst|ack))
	return t
}

func (w *wire) send(fd int, frame []byte) {
	if _, err := unix.Write(fd, frame); err != nil && !errors.Is(err, unix.ENOBUFS) {
		w.t.Error(err)
	}
}

// packet is an Ethernet frame with a TCP or UDP header and no payload. Its checksums are wrong: no host answers it.
func packet(proto byte, src, dst netip.Addr, sport, dport uint16, flags byte) []byte {
	f := make([]byte, 60)
	copy(f, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00\x45\x00\x00\x28")
	ip, l4 := f[14:], f[34:]
	ip[8], ip[9] = 64, proto
	copy(ip[12:], src.AsSlice())
	copy(ip[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(l4, sport)
	binary.BigEndian.PutUint16(l4[2:], dport)
	if proto == unix.IPPROTO_UDP {
		l4[5] = 20
		return f
	}
	l4[7], l4[12], l4[13], l4[14] = 1, 0x50, flags, 16 // sequence number, header length, window
	if flags&ack != 0 {
		l4[11] = 2
	}
	return f
}

// TestSenseLatency prints the distribution. It holds it to a second only: it must not fail where others keep the processors busy.
func TestSenseLatency(t *testing.T) {
	c := newCable(t, "wlivl")
	s := sense(t, c.far, "-i", "eth0")
	came := subscribe(t, s)
	w := &wire{t, packetSocket(t, c.near, "eth0", 0), packetSocket(t, c.far, "eth0", 0)}
	t.Cleanup(func() { unix.Close(w.near); unix.Close(w.far) })
	var all []time.Duration
	of := make([][]time.Duration, len(ways))
	for n := range crossings {
		way := &ways[n%len(ways)]
		time.Sleep(200*time.Millisecond + rand.N(200*time.Millisecond)) // anywhere within a tick
		crossed := way.send(w, n)
		took := came.wait(t, way, n).Sub(crossed)
		all = append(all, took)
		of[n%len(ways)] = append(of[n%len(ways)], took)
	}
	t.Logf("from the packet that crosses a floor to the alert on NATS:\n%s", histogram(all))
	for i, way := range ways {
		t.Logf("%-25s %s", way.name, quantiles(of[i]))
	}
	s.stop(t)
	if strings.Contains(s.err.String(), "the wall clock was set") {
		t.Log("the clock was set meanwhile")
		return
	}
	if p99 := quantile(all, 99); p99 > time.Second {
		t.Errorf("p99 is %v", p99)
	}
}

// arrivals are the alerts that came over NATS.
type arrivals struct{ queue chan arrival }

type arrival struct {
	*alert.Alert
	at time.Time
}

// subscribe takes the alerts that a sensor publishes.
func subscribe(t *testing.T, s *sentry) *arrivals {
	t.Helper()
	nc, err := nats.Connect(s.url(t), nats.SetCustomDialer(dialer{s.ns}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	a := &arrivals{make(chan arrival, 1<<16)}
	_, err = nc.Subscribe("weir.v1.*.*.alert.>", func(m *nats.Msg) {
		one := arrival{new(alert.Alert), time.Now()}
		if err := json.Unmarshal(m.Data, one.Alert); err != nil {
			t.Error(err)
			return
		}
		a.queue <- one
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// wait waits for the alert of the n-th crossing, and returns when it came.
func (a *arrivals) wait(t *testing.T, way *crossing, n int) time.Time {
	t.Helper()
	late := time.After(20 * time.Second)
	var others []string
	for {
		select {
		case one := <-a.queue:
			named := one.Victim != nil && one.Victim.IP == flooded(n) || one.Subject != nil && one.Subject.IP == scanner(n)
			if named && one.Rev == 1 && one.Analyzer+" "+one.Kind == way.alert {
				return one.at
			}
			others = append(others, says(one.Alert))
		case <-late:
			t.Fatalf("no alert of %s, but %q", way.name, others)
		}
	}
}

func quantile(all []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[max((len(sorted)*percent+99)/100-1, 0)]
}

func quantiles(all []time.Duration) string {
	var s strings.Builder
	for _, p := range []int{50, 90, 99, 100} {
		fmt.Fprintf(&s, "p%d %v ", p, quantile(all, p).Round(time.Millisecond))
	}
	return fmt.Sprintf("%sof %d", &s, len(all))
}

// histogram shows how many took how long, in steps of 20 ms; a last line holds all that took a second and longer.
func histogram(all []time.Duration) string {
	const step, most = 20, 50
	var bins [most + 1]int
	last := min(int(quantile(all, 100).Milliseconds())/step, most)
	for _, d := range all {
		bins[min(int(d.Milliseconds())/step, most)]++
	}
	var s strings.Builder
	for i, n := range bins[:last+1] {
		fmt.Fprintf(&s, "%4d ms %4d %s\n", i*step, n, strings.Repeat("#", (n*100+len(all)-1)/len(all)))
	}
	return s.String() + quantiles(all)
}
