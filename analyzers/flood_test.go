package analyzers

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weir/analyzers/tally"
	"weir/decode"
)

// floodStart is the tick at which hand-made traffic begins.
const floodStart = int64(17_000_000_000)

func addrOf(text string) decode.Addr { return decode.AddrFrom(netip.MustParseAddr(text)) }

// river makes epochs by hand.
type river struct {
	t      *testing.T
	flood  *Flood
	tick   int64
	epoch  *tally.Epoch
	found  []Finding
	ticks  []int64 // of found, after floodStart
	random *rand.Rand
}

func newRiver(t *testing.T) *river {
	return &river{t: t, flood: NewFlood(DefaultFlood(), nil), tick: floodStart, epoch: &tally.Epoch{}, random: rand.New(rand.NewPCG(1, 2))}
}

// to returns a service's entry in the tick that is being made.
func (r *river) to(addr string, port uint16, proto uint8) *tally.Service {
	return r.entry(tally.ServiceKey{Addr: addrOf(addr), Ver: verOf(addr), Port: port, Proto: proto})
}

func verOf(addr string) uint8 {
	if strings.Contains(addr, ":") {
		return 6
	}
	return 4
}

func (r *river) entry(k tally.ServiceKey) *tally.Service {
	for i := range r.epoch.Services {
		if r.epoch.Services[i].Key == k {
			return &r.epoch.Services[i]
		}
	}
	r.epoch.Services = append(r.epoch.Services, tally.Service{Key: k})
	return &r.epoch.Services[len(r.epoch.Services)-1]
}

// syn adds handshakes begun, answered and completed.
func (r *river) syn(addr string, port uint16, syn, synack, proven int) {
	s := r.to(addr, port, protoTCP)
	s.SYN += uint32(syn)
	s.SYNACK += uint32(synack)
	s.Proven += uint32(proven)
	s.Packets += uint64(syn + 2*proven)
	s.Bytes += uint64(60 * (syn + 2*proven))
	s.BackPackets += uint64(synack + proven)
	s.Unanswered += uint64(syn)
}

// ask adds packets that ask, and answers.
func (r *river) ask(addr string, port uint16, proto uint8, packets, size, answers int) *tally.Service {
	s := r.to(addr, port, proto)
	s.Packets += uint64(packets)
	s.Bytes += uint64(packets * size)
	s.Unanswered += uint64(packets)
	s.UnansweredBytes += uint64(packets * size)
	s.BackPackets += uint64(answers)
	return s
}

// answers adds answers from a source port that nobody asked for.
func (r *river) answers(addr string, port uint16, proto uint8, packets, size int) {
	s := r.entry(tally.ServiceKey{Addr: addrOf(addr), Ver: verOf(addr), Port: port, Proto: proto, Role: tally.RoleAnswer})
	s.Packets += uint64(packets)
	s.Bytes += uint64(packets * size)
	s.Unanswered += uint64(packets)
	s.UnansweredBytes += uint64(packets * size)
}

// senders adds n distinct senders to a service.
func (r *river) senders(s *tally.Service, n int) {
	for range n {
		s.Sources.Add(r.random.Uint64())
	}
}

// sample adds suspect headers.
func (r *river) sample(n int, head func(i int) tally.Header) {
	for i := range n {
		h := head(i)
		h.Ver, h.Time = 4, r.tick*tally.Tick
		h.Rank = r.random.Uint64()
		r.epoch.Suspects = append(r.epoch.Suspects, h)
	}
}

// flow ends the tick.
func (r *river) flow() {
	e := r.epoch
	e.Tick = r.tick
	slices.SortFunc(e.Services, func(a, b tally.Service) int { return compareKeys(&a.Key, &b.Key) })
	for i := range e.Services {
		e.Link.Packets += e.Services[i].Packets + e.Services[i].BackPackets
	}
	r.flood.Judge(e, func(f *Finding) {
		r.found = append(r.found, *f)
		r.ticks = append(r.ticks, r.tick-floodStart)
	})
	r.tick++
	r.epoch = &tally.Epoch{}
}

// run ends n ticks, each filled by fill.
func (r *river) run(n int, fill func(i int)) {
	for i := range n {
		fill(i)
		r.flow()
	}
}

// story is what was found: kind and victim of each finding, without repeats.
func (r *river) story() (out []string) {
	for i := range r.found {
		f := &r.found[i]
		if s := f.Kind + " " + victimText(&f.Victim); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func (r *river) want(story ...string) {
	r.t.Helper()
	if got := r.story(); !slices.Equal(got, story) {
		r.t.Errorf("found %q, want %q", got, story)
	}
	for i := range r.found {
		f := &r.found[i]
		if f.Score < 0 || f.Score > 100 || f.Confidence < 0 || f.Confidence > 100 || f.Summary == "" || len(f.Why) == 0 || f.First > f.Last {
			r.t.Errorf("malformed finding %+v", f)
		}
	}
}

const host = "10.10.10.10"

// TestFloodFloors: each kind at its floor less one, at it, and above, in ten equal ticks; the finding comes in the tick that
// crosses. Numbers are those of detections.md.
func TestFloodFloors(t *testing.T) {
	for _, c := range []struct {
		name  string
		want  string
		floor int
		add   func(r *river, n int)
	}{
		{"syn", "syn 10.10.10.10:80", 500, func(r *river, n int) { r.syn(host, 80, n, 0, 0) }},
		{"syn answered", "syn 10.10.10.10:80", 500, func(r *river, n int) { r.syn(host, 80, n, n, 0) }},
		{"syn of IPv6", "syn [2001:db8::1]:80", 500, func(r *river, n int) { r.syn("2001:db8::1", 80, n, n, 0) }},
		{"connection", "connection 10.10.10.10:80", 1000, func(r *river, n int) { r.syn(host, 80, n, n, n) }},
		{"connection over services", "connection 10.10.10.10", 1000, func(r *river, n int) {
			for i := range n {
				r.syn(host, uint16(80+i%4), 1, 1, 1)
			}
		}},
		{"udp", "udp 10.10.10.10:9", 5000, func(r *river, n int) { r.ask(host, 9, protoUDP, n, 100, 0) }},
		{"udp beside answers", "udp 10.10.10.10:53", 5000, func(r *river, n int) { r.ask(host, 53, protoUDP, n+1000, 100, 1000) }},
		{"icmp", "icmp 10.10.10.10", 5000, func(r *river, n int) { r.ask(host, 0, protoICMP, n, 100, 0) }},
		{"icmp answered", "icmp 10.10.10.10", 5000, func(r *river, n int) { r.ask(host, 0, protoICMP, n, 100, n) }},
		{"unasked echo replies", "icmp 10.10.10.10", 5000, func(r *river, n int) { r.answers(host, 0, protoICMP, n, 100) }},
		{"rst", "rst 10.10.10.10:80", 5000, func(r *river, n int) {
			s := r.to(host, 80, protoTCP)
			s.StrayRST, s.Packets = uint64(n), uint64(n)
		}},
		{"ack", "ack 10.10.10.10:80", 5000, func(r *river, n int) {
			s := r.to(host, 80, protoTCP)
			s.StrayACK, s.Packets = uint64(n), uint64(n)
		}},
		{"later fragments", "fragment 10.10.10.10", 5000, func(r *river, n int) {
			s := r.ask(host, 0, protoUDP, n, 1500/100, 0)
			s.Fragments = uint64(n)
		}},
		{"fragments that no table knows", "fragment 10.10.10.10", 5000, func(r *river, n int) {
			s := r.to(host, 0, protoUDP)
			s.Fragments, s.Packets = uint64(n), uint64(n)
		}},
		{"amplification", "amplification 10.10.10.10", 300, func(r *river, n int) { r.answers(host, 53, protoUDP, n, 400) }},
		{"amplification from several ports", "amplification 10.10.10.10", 300, func(r *river, n int) {
			r.answers(host, 123, protoUDP, n/2, 400)
			r.answers(host, 4500, protoUDP, n-n/2, 400)
			r.senders(&r.epoch.Services[1], 20)
		}},
		{"TCP reflection", "amplification 10.10.10.10", 300, func(r *river, n int) { r.answers(host, 443, protoTCP, n, 60) }},
		{"amplification of a prefix", "amplification 10.10.10.0/24", 300, func(r *river, n int) {
			for i := range n {
				r.answers(fmt.Sprintf("10.10.10.%d", i%4), 53, protoUDP, 1, 400)
			}
		}},
	} {
		for _, over := range []int{-1, 0, 1} {
			t.Run(fmt.Sprint(c.name, " ", over), func(t *testing.T) {
				r := newRiver(t)
				total := c.floor + over
				r.run(10, func(i int) { c.add(r, total*(i+1)/10-total*i/10) })
				if over < 0 {
					r.want()
					return
				}
				r.want(c.want)
				if len(r.ticks) != 1 || r.ticks[0] != 9 {
					t.Errorf("found in ticks %v, want 9", r.ticks)
				}
				if f := r.found[0]; f.Score < 60 || f.Score > 61 || f.Count < uint64(c.floor) {
					t.Errorf("score %d, count %d at the floor", f.Score, f.Count)
				}
			})
		}
	}
}

// TestFloodBits: the floors in bits per second.
func TestFloodBits(t *testing.T) {
	for _, c := range []struct {
		want  string
		bytes int // a second
		add   func(r *river, bytes int)
	}{
		{"udp 10.10.10.10:9", 12_500_000, func(r *river, b int) {
			s := r.ask(host, 9, protoUDP, 100, 0, 0)
			s.UnansweredBytes = uint64(b)
		}},
		{"icmp 10.10.10.10", 12_500_000, func(r *river, b int) {
			r.ask(host, 0, protoICMP, 100, 0, 0).Bytes = uint64(b)
		}},
		{"fragment 10.10.10.10", 12_500_000, func(r *river, b int) {
			s := r.ask(host, 0, protoUDP, 100, 0, 0)
			s.Fragments, s.FragBytes, s.UnansweredBytes = 100, uint64(b), uint64(b)
		}},
		{"amplification 10.10.10.10", 1_250_000, func(r *river, b int) {
			r.answers(host, 11211, protoUDP, 20, 0)
			r.epoch.Services[0].Bytes = uint64(b)
		}},
	} {
		for _, over := range []int{-1, 0} {
			r := newRiver(t)
			total := c.bytes + over
			r.run(10, func(i int) { c.add(r, total*(i+1)/10-total*i/10) })
			if over < 0 {
				r.want()
			} else {
				r.want(c.want)
			}
		}
	}
}

// TestFloodSlow: the census of one interval counts each connection once; its sum fires, and fades with the interval.
func TestFloodSlow(t *testing.T) {
	for _, n := range []int{49, 50, 51} {
		r := newRiver(t)
		r.run(90, func(i int) {
			s := r.to(host, 80, protoTCP)
			s.Packets = 10
			s.Slow = uint32(n*(i+1)/90 - n*i/90)
		})
		if n < 50 {
			r.want()
			continue
		}
		r.want("slow 10.10.10.10:80")
		r.run(100, func(int) { r.to(host, 80, protoTCP).Packets = 10 })
		found := len(r.found)
		r.run(100, func(int) { r.to(host, 80, protoTCP).Packets = 10 })
		if len(r.found) != found {
			t.Error("still found an interval after the last slow connection")
		}
	}
}

// TestFloodCUSUM: a service that goes on completing handshakes for half of its clients is under attack nevertheless; the
// same service at the same load without an attack is not, however long.
func TestFloodCUSUM(t *testing.T) {
	r := newRiver(t)
	normal := func(i int) { n := 50 + i%7; r.syn(host, 80, n, n, n) }
	r.run(100, normal)
	r.want()
	r.run(20, func(i int) { normal(i); r.syn(host, 80, 60, 0, 0) })
	r.want("syn 10.10.10.10:80")
	if d := r.ticks[0] - 100; d > 9 {
		t.Errorf("found %d ticks after the flood began", d)
	}
	found := len(r.found)
	r.run(20, normal)
	late := len(r.found)
	r.run(200, normal)
	if late > found+1 || len(r.found) != late {
		t.Errorf("%d findings in the two seconds after the flood, %d later", late-found, len(r.found)-late)
	}
}

// TestFloodMulti: two kinds at one victim are one finding that names them; with one left, that one speaks again.
func TestFloodMulti(t *testing.T) {
	r := newRiver(t)
	r.run(20, func(i int) {
		r.syn(host, 80, 100, 0, 0)
		r.ask(host, 9, protoUDP, 900, 100, 0)
	})
	r.run(15, func(i int) { r.ask(host, 9, protoUDP, 1000, 100, 0) })
	r.want("syn 10.10.10.10:80", "multi 10.10.10.10") // the kinds of a flood do not end in the same tick
	r.run(25, func(i int) { r.ask(host, 9, protoUDP, 1000, 100, 0) })
	r.want("syn 10.10.10.10:80", "multi 10.10.10.10", "udp 10.10.10.10:9")
	for i, f := range r.found {
		if f.Kind == "multi" && (!strings.Contains(f.Summary, "syn") || !strings.Contains(f.Summary, "udp")) {
			t.Errorf("summary %q names not both kinds", f.Summary)
		}
		if f.Kind == "syn" && r.ticks[i] > 5 {
			t.Errorf("syn speaks in tick %d, beside multi", r.ticks[i])
		}
	}
}

// TestFloodPieces: reflected answers that come in fragments are one amplification.
func TestFloodPieces(t *testing.T) {
	r := newRiver(t)
	r.run(20, func(int) {
		r.answers(host, 53, protoUDP, 600, 1500)
		r.epoch.Services[0].Fragments = 600
		s := r.ask(host, 0, protoUDP, 1200, 1500, 0)
		s.Fragments, s.FragBytes = 1200, 1200*1500
	})
	r.want("amplification 10.10.10.10")
}

// TestFloodScore: 60 at the floor, 80 at ten times, 100 at a hundred times, capped by kind.
func TestFloodScore(t *testing.T) {
	for _, c := range []struct {
		value uint64
		want  int
	}{{500, 60}, {550, 60}, {570, 61}, {5000, 80}, {49000, 99}, {50000, 100}, {5e9, 100}} {
		if got := floodScore(floodLoad{value: c.value, floor: 500}); got != c.want {
			t.Errorf("score of %d over 500 is %d, want %d", c.value, got, c.want)
		}
	}
}
