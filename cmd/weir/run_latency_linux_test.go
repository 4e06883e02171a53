package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// How long a flood gets through: from its first packet until the first of its packets that is dropped or held back. All packets are
// numbered. When each is sent is noted; which of them pass the gate, a packet socket behind it tells. The first one that does not
// come through counts, and that the gate dropped as many as are missing.

// surges are how many floods are measured.
var surges = 6

// surge is a kind of flood.
type surge struct {
	name  string
	proto byte
	port  uint16
	many  bool // sources: each packet another one
	rate  int  // packets a second
}

// Rates are those at which a second of the floor (500 SYNs, 5,000 UDP packets) passes in a quarter of a second or less.
var surgeKinds = []surge{
	{"SYN flood of one source, 5,000/s", unix.IPPROTO_TCP, 80, false, 5_000},
	{"SYN flood of many sources, 5,000/s", unix.IPPROTO_TCP, 80, true, 5_000},
	{"UDP flood of one source, 20,000/s", unix.IPPROTO_UDP, 27015, false, 20_000},
	{"UDP flood of many sources, 20,000/s", unix.IPPROTO_UDP, 27015, true, 20_000},
	{"SYN flood of one source, 50,000/s", unix.IPPROTO_TCP, 80, false, 50_000},
	{"SYN flood of many sources, 50,000/s", unix.IPPROTO_TCP, 80, true, 50_000},
}

// frame is the i-th packet of the n-th flood.
func (s *surge) frame(n, i int) []byte {
	src := scanner(n)
	if s.many {
		src = anybody(n, i%8192)
	}
	flags := byte(0)
	if s.proto == unix.IPPROTO_TCP {
		flags = syn
	}
	f := packet(s.proto, src, flooded(n), uint16(1024+i%60000), s.port, flags)
	binary.BigEndian.PutUint32(s.number(f), uint32(i))
	return f
}

// number is where the frame has it: TCP's sequence number, the first bytes of UDP's payload.
func (s *surge) number(f []byte) []byte {
	if s.proto == unix.IPPROTO_TCP {
		return f[38:42]
	}
	return f[42:46]
}

// numbered is what a flood's sender and the socket behind the gate saw.
type numbered struct {
	sent   []time.Time
	passed []bool
}

// missing is how many packets did not come through, and first how long after the first packet the first of them was sent.
func (n *numbered) missing() (count int, first time.Duration) {
	for i, came := range n.passed {
		if !came {
			if count++; count == 1 {
				first = n.sent[i].Sub(n.sent[0])
			}
		}
	}
	return count, first
}

// surgeTime is how long each goes on.
const surgeTime = 2 * time.Second

// run sends the n-th flood, and hears what comes of it at the other end.
func (s *surge) run(t *testing.T, c *cable, n int) *numbered {
	t.Helper()
	fd := packetSocket(t, c.near, "eth0", 0)
	defer unix.Close(fd)
	ear := packetSocket(t, c.far, "eth0", unix.ETH_P_IP)
	defer unix.Close(ear)
	if err := errors.Join(unix.SetsockoptInt(ear, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
		unix.SetsockoptTimeval(ear, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000})); err != nil {
		t.Fatal(err)
	}
	total := int(surgeTime.Seconds() * float64(s.rate))
	out := &numbered{make([]time.Time, 0, total), make([]bool, total)}
	end := make(chan struct{})
	var hearing sync.WaitGroup
	hearing.Go(func() { s.hear(ear, n, out.passed, end) })
	w := &wire{t: t, near: fd}
	begin := time.Now()
	for i := range total {
		if i%max(s.rate/1000, 1) == 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(s.rate))))
		}
		f := s.frame(n, i)
		out.sent = append(out.sent, time.Now())
		w.send(fd, f)
	}
	time.Sleep(50 * time.Millisecond)
	close(end)
	hearing.Wait()
	stats, err := unix.GetsockoptTpacketStats(ear, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil || stats.Drops > 0 {
		t.Fatalf("the socket behind the gate lost packets: %+v, %v", stats, err)
	}
	return out
}

func (s *surge) hear(ear, n int, passed []bool, end chan struct{}) {
	victim := flooded(n).AsSlice()
	b := make([]byte, 2048)
	for {
		size, err := unix.Read(ear, b)
		if err == nil && size >= 46 && string(b[30:34]) == string(victim) {
			if i := binary.BigEndian.Uint32(s.number(b)); int(i) < len(passed) {
				passed[i] = true
			}
		}
		if err != nil {
			select {
			case <-end:
				return
			default:
			}
		}
	}
}

// TestRunLatency prints the distribution. An idle machine must keep to half a second, and one that others keep busy to two: 99 of a
// hundred floods, and of the few that are not behind the tag soak, half.
func TestRunLatency(t *testing.T) {
	e := newEdge(t, "wrunl", "")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s%s", e.drops, e.err.String())
		}
	})
	var all []time.Duration
	of := make([][]time.Duration, len(surgeKinds))
	var others load
	kept := uint64(0)
	for n := range surges {
		others.listen(500*time.Millisecond + rand.N(200*time.Millisecond)) // anywhere within a tick
		s := &surgeKinds[n%len(surgeKinds)]
		seen := s.run(t, e.cable, n)
		missing, took := seen.missing()
		if missing == 0 {
			t.Fatalf("%s: all %d packets passed", s.name, len(seen.passed))
		}
		kept += uint64(missing)
		all = append(all, took)
		of[n%len(of)] = append(of[n%len(of)], took)
	}
	await(t, "the gate has dropped what is missing", func() bool { return e.dropped(t) >= kept })
	if dropped := e.dropped(t); dropped != kept {
		t.Errorf("%d packets are missing, the gate dropped %d", kept, dropped)
	}
	t.Logf("from a flood's first packet to the first that is dropped or held back; others use %.0f %% of the processors:\n%s", 100*others.share(), histogram(all))
	for i := range of {
		if len(of[i]) > 0 {
			t.Logf("%-36s %s", surgeKinds[i].name, quantiles(of[i]))
		}
	}
	if code := e.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("weir run ends with %d", code)
	}
	most, which := 500*time.Millisecond, 99
	if len(all) < 20 { // the slowest of a few tells of the machine
		which = 50
	}
	if others.share() > 0.2 {
		most = 2 * time.Second
	}
	if p := quantile(all, which); p > most {
		t.Errorf("p%v is %v, must be at most %v", which, p, most)
	}
}

// load is how busy others keep the processors, listened to when nothing of ours happens.
type load struct{ busy, all float64 }

func (l *load) listen(d time.Duration) {
	busy, all := jiffies()
	time.Sleep(d)
	busyNow, allNow := jiffies()
	l.busy, l.all = l.busy+busyNow-busy, l.all+allNow-all
}

func (l *load) share() float64 { return l.busy / max(l.all, 1) }

// jiffies is the time of all processors (proc(5), stat), and how much of it they were not idle.
func jiffies() (busy, all float64) {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	var v [8]float64
	_, _ = fmt.Sscanf(line, "cpu %f %f %f %f %f %f %f %f", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7])
	for i, x := range v {
		all += x
		if i != 3 && i != 4 { // idle, iowait
			busy += x
		}
	}
	return busy, all
}
