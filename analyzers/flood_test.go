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
	return &river{t: t, flood: NewFlood(DefaultFlood()), tick: floodStart, epoch: &tally.Epoch{}, random: rand.New(rand.NewPCG(1, 2))}
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

// TestFloodWindow: the sum slides over one second, forgets what is older, and survives jumps of event time.
func TestFloodWindow(t *testing.T) {
	for _, c := range []struct {
		name string
		at   map[int]int // handshakes by tick
		want []int64
	}{
		{"all in one tick", map[int]int{3: 500}, []int64{3}},
		{"first and last tick of a second", map[int]int{0: 250, 9: 250}, []int64{9}},
		{"a tick too far apart", map[int]int{0: 250, 10: 250}, nil},
		{"the middle slides", map[int]int{0: 200, 5: 200, 10: 200, 11: 100}, []int64{11}},
		{"over a jump", map[int]int{0: 499, 1000: 499}, nil},
		{"after a jump", map[int]int{0: 10, 1000: 499, 1009: 1}, []int64{1009}},
		{"across a second's border", map[int]int{7: 250, 14: 250}, []int64{14}},
		{"at most one finding a second", map[int]int{0: 500, 1: 500, 9: 500, 10: 500, 15: 500, 20: 500}, []int64{0, 10, 20}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRiver(t)
			var ticks []int
			for tick := range c.at {
				ticks = append(ticks, tick)
			}
			slices.Sort(ticks)
			for _, tick := range ticks {
				r.tick = floodStart + int64(tick)
				r.syn(host, 80, c.at[tick], 0, 0)
				r.flow()
			}
			if !slices.Equal(r.ticks, c.want) {
				t.Errorf("found in ticks %v, want %v", r.ticks, c.want)
			}
		})
	}
}

// TestFloodWindowSums compares the running sums with sums made anew, over random ticks and jumps.
func TestFloodWindowSums(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		var w floodWindow
		counted := map[int64]uint64{}
		tick := r.Int64N(1000) - 500
		for range 200 {
			var c floodCounts
			c[mUDP] = r.Uint64N(100)
			w.add(tick, &c)
			counted[tick] += c[mUDP]
			sum := uint64(0)
			for back := range int64(10) {
				sum += counted[tick-back]
			}
			if w.sum[mUDP] != sum {
				t.Fatalf("tick %d: sum %d, want %d", tick, w.sum[mUDP], sum)
			}
			tick += []int64{0, 1, 1, 1, 2, 5, 9, 10, 11, 500}[r.IntN(10)]
		}
	}
}

// TestFloodVictims: the part that carries half is the victim, many parts are one whole, and each other victim has its own.
func TestFloodVictims(t *testing.T) {
	each := func(n int) string { return fmt.Sprintf("10.10.10.%d", n) }
	for _, c := range []struct {
		name string
		want []string
		add  func(r *river) // a tick
	}{
		{"carpet of many senders", []string{"syn 10.10.10.0/24"}, func(r *river) {
			for i := range 100 {
				r.syn(each(i), 80, 1, 0, 0)
				r.senders(r.to(each(i), 80, protoTCP), 1)
			}
		}},
		{"carpet of UDP by volume from one sender", []string{"udp 10.10.10.0/24"}, func(r *river) {
			for i := range 200 {
				r.ask(each(i), uint16(1000+i), protoUDP, 8, 1400, 0)
			}
		}},
		{"carpet of IPv6", []string{"amplification 2001:db8:0:1::/64"}, func(r *river) {
			for i := range 40 {
				r.answers(fmt.Sprintf("2001:db8:0:1::%x", i), 123, protoUDP, 1, 400)
			}
		}},
		{"one host carries half", nil, func(r *river) {
			r.answers(each(1), 53, protoUDP, 20, 400)
			r.answers(each(2), 53, protoUDP, 20, 400)
		}},
		{"three hosts of a prefix, each above", []string{"udp 10.10.10.1:9", "udp 10.10.10.2:9", "udp 10.10.10.3:9"}, func(r *river) {
			for i := range 3 {
				r.ask(each(i+1), 9, protoUDP, 5000, 100, 0)
			}
		}},
		{"three hosts of a prefix, together above first", []string{"udp 10.10.10.0/24", "udp 10.10.10.1:9", "udp 10.10.10.2:9", "udp 10.10.10.3:9"}, func(r *river) {
			for i := range 3 {
				r.ask(each(i+1), 9, protoUDP, 600, 100, 0)
			}
		}},
		{"two prefixes", []string{"udp 10.10.10.1:9", "udp 10.10.11.1:9"}, func(r *river) {
			r.ask("10.10.10.1", 9, protoUDP, 600, 100, 0)
			r.ask("10.10.11.1", 9, protoUDP, 600, 100, 0)
		}},
		{"twenty hosts, each above", []string{"udp 10.10.10.0/24"}, func(r *river) {
			for i := range 20 {
				r.ask(each(i), 9, protoUDP, 600, 100, 0)
			}
		}},
		{"service above, a carpet beside it", []string{"amplification 10.10.10.1", "amplification 10.10.10.0/24"}, func(r *river) {
			r.answers(each(1), 53, protoUDP, 100, 400)
			for i := range 40 {
				r.answers(each(10+i), 53, protoUDP, 1, 400)
			}
		}},
		{"random ports of many senders", []string{"udp 10.10.10.10"}, func(r *river) {
			for range 600 {
				s := r.ask(host, uint16(r.random.Uint32()), protoUDP, 1, 100, 0)
				r.senders(s, 1)
			}
		}},
		{"few ports of one sender", []string{"syn 10.10.10.10"}, func(r *river) {
			for i := range 10 {
				r.syn(host, uint16(1000+i), 10, 0, 0)
			}
		}},
		{"folded services of many senders", []string{"syn 10.10.10.10"}, func(r *river) {
			k := tally.ServiceKey{Addr: addrOf(host), Ver: 4, Proto: protoTCP, Role: tally.RoleFolded}
			s := r.entry(k)
			s.SYN, s.Packets = 100, 100
			r.senders(s, 100)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRiver(t)
			r.run(20, func(int) { c.add(r) })
			r.want(c.want...)
		})
	}
}

// TestFloodLookAlikes: what resembles a flood and is none.
func TestFloodLookAlikes(t *testing.T) {
	for _, c := range []struct {
		name string
		add  func(r *river, i int)
	}{
		{"600 connections a second", func(r *river, i int) { r.syn(host, 80, 60, 60, 60) }},
		{"600 connections a second over 200 ms of RTT", func(r *river, i int) {
			late := 60
			if i < 2 {
				late = 0
			}
			r.syn(host, 80, 60, late, late)
		}},
		{"half of the handshakes fail", func(r *river, i int) { r.syn(host, 80, 90, 45, 45) }},
		{"iperf3 UDP with reports", func(r *river, i int) {
			s := r.to(host, 5201, protoUDP)
			s.Packets, s.Bytes, s.BackPackets = 9000, 9000*1470, 3
			if i == 0 {
				s.Unanswered, s.UnansweredBytes = 20, 20*1470
			}
		}},
		{"iperf3 UDP in fragments", func(r *river, i int) {
			s := r.to(host, 5201, protoUDP)
			s.Packets, s.Fragments, s.FragBytes, s.BackPackets = 900, 900, 900*1500, 3
			s = r.to(host, 0, protoUDP)
			s.Packets, s.Fragments, s.FragBytes = 4500, 4500, 4500*1500
		}},
		{"iperf3 TCP begun before the capture", func(r *river, i int) {
			s := r.to(host, 5201, protoTCP)
			s.Packets, s.Bytes, s.BackPackets, s.Unanswered, s.UnansweredBytes = 9000, 9000*1500, 4000, 9000, 9000*1500
			if i == 0 {
				s.StrayACK = 1
			}
		}},
		{"20,000 connections older than the capture", func(r *river, i int) {
			s := r.to(host, 443, protoTCP)
			s.Packets, s.BackPackets = 6000, 6000
			if i < 5 {
				s.StrayACK = 4000
			}
		}},
		{"QUIC and video", func(r *river, i int) {
			s := r.to(host, 443, protoUDP)
			s.Packets, s.Unanswered, s.UnansweredBytes, s.BackPackets = 4000, 100, 100*1250, 20000
		}},
		{"resolver", func(r *river, i int) { r.ask(host, 53, protoUDP, 2000, 80, 1990) }},
		{"resolver that is slow", func(r *river, i int) {
			answers := 2000
			if i < 2 {
				answers = 0
			}
			r.ask(host, 53, protoUDP, 2000, 80, answers)
		}},
		{"NTP server", func(r *river, i int) { r.ask(host, 123, protoUDP, 1500, 90, 1490) }},
		{"syslog server", func(r *river, i int) { r.ask(host, 514, protoUDP, 3000, 200, 0) }},
		{"multicast video", func(r *river, i int) { r.ask("239.1.2.3", 5000, protoUDP, 2000, 1350, 0) }},
		{"pings by many, answered", func(r *river, i int) {
			s := r.to(host, 0, protoICMP)
			s.Packets, s.Bytes, s.BackPackets = 400, 400*98, 400
			r.senders(s, 100)
		}},
		{"VPN stream from a reflector's port, its other direction not seen", func(r *river, i int) {
			r.answers(host, 4500, protoUDP, 200, 400)
			r.senders(&r.epoch.Services[0], 1)
		}},
		{"masscan of one host's ports", func(r *river, i int) {
			for p := range 1000 {
				port := uint16(i*1000 + p)
				r.syn(host, port, 1, 0, 0)
				r.to(host, port, protoTCP).Sources.Add(1)
			}
		}},
		{"nmap with ten decoys", func(r *river, i int) {
			for p := range 100 {
				s := r.to(host, uint16(i*100+p), protoTCP)
				s.SYN, s.Packets = 10, 10
				for d := range 10 {
					s.Sources.Add(uint64(d) * 0x9e3779b97f4a7c15)
				}
			}
		}},
		{"port scan beside a busy service", func(r *river, i int) {
			r.syn(host, 80, 50, 50, 50)
			r.senders(r.to(host, 80, protoTCP), 50)
			for p := range 100 {
				r.syn(host, uint16(1000+i*100+p), 1, 0, 0)
			}
		}},
		{"scan folded by the tally", func(r *river, i int) {
			s := r.entry(tally.ServiceKey{Addr: addrOf(host), Ver: 4, Proto: protoTCP, Role: tally.RoleFolded})
			s.SYN, s.Packets = 1000, 1000
			s.Sources.Add(1)
		}},
		{"UDP scan of one host", func(r *river, i int) {
			for p := range 600 {
				r.ask(host, uint16(i*600+p), protoUDP, 1, 60, 0)
			}
		}},
		{"horizontal scan in order, 5 ports", func(r *river, i int) {
			for a := range 250 {
				for _, port := range []uint16{22, 23, 80, 443, 8080} {
					r.syn(fmt.Sprintf("10.20.%d.%d", i, a), port, 1, 0, 0)
				}
			}
		}},
		{"closed ports of a scanned host, probes not seen", func(r *river, i int) {
			s := r.to(host, 40000, protoTCP)
			s.StrayRST, s.Packets = 1000, 1000
			s.Sources.Add(7)
			r.sample(50, func(n int) tally.Header {
				return tally.Header{Dst: addrOf(host), Src: addrOf("10.0.0.1"), DstPort: 40000, SrcPort: uint16(n), Proto: protoTCP,
					Class: tally.ClassStray, Flags: decode.FlagRST | decode.FlagACK}
			})
		}},
		{"a client that retries", func(r *river, i int) { r.syn(host, 80, 1, 0, 0) }},
		{"49 idle connections", func(r *river, i int) {
			if i == 0 {
				r.to(host, 80, protoTCP).Slow = 49
			}
		}},
		{"low-rate TCP reflection", func(r *river, i int) { r.answers(host, 21, protoTCP, 1, 60) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRiver(t)
			r.run(30, func(i int) { c.add(r, i) })
			r.want()
		})
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
	r.run(20, func(i int) { r.ask(host, 9, protoUDP, 1000, 100, 0) })
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

// TestFloodSubject: who is named, who is listed, and when a return path is proven.
func TestFloodSubject(t *testing.T) {
	source := func(i int) decode.Addr { return decode.Addr{Hi: 0, Lo: 0xffff_0a00_0000 | uint64(i)} }
	for _, c := range []struct {
		name    string
		sources int
		n       int // headers a tick
		subject bool
		listed  bool
	}{
		{"one", 1, 50, true, false},
		{"three", 3, 50, false, true},
		{"sixteen", 16, 50, false, true},
		{"forty", 40, 50, false, false},
		{"spoofed", 1 << 20, 50, false, false},
		{"one, too few packets", 1, 0, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRiver(t)
			r.run(10, func(int) {
				r.syn(host, 80, 50, 50, 0)
				r.sample(c.n, func(i int) tally.Header {
					return tally.Header{Dst: addrOf(host), DstPort: 80, Proto: protoTCP, Class: tally.ClassSYN, Src: source(r.random.IntN(c.sources))}
				})
			})
			r.want("syn 10.10.10.10:80")
			f := &r.found[0]
			if f.Subject.Prefix.IsValid() != c.subject || f.Subject.ReturnPath {
				t.Errorf("subject %+v", f.Subject)
			}
			if got := strings.Contains(strings.Join(f.Notes, "\n"), "sources carry"); got != c.listed {
				t.Errorf("listed: %v in %q", got, f.Notes)
			}
		})
	}
	t.Run("completed connections prove the return path", func(t *testing.T) {
		r := newRiver(t)
		r.run(10, func(int) {
			r.syn(host, 80, 100, 100, 100)
			for range 20 {
				r.epoch.Normals = append(r.epoch.Normals, tally.Header{Dst: addrOf(host), DstPort: 80, Ver: 4, Proto: protoTCP,
					Class: tally.ClassNormalSYN, Src: source(7), Rank: r.random.Uint64()})
			}
		})
		r.want("connection 10.10.10.10:80")
		if s := r.found[0].Subject; s.Prefix.String() != "10.0.0.7/32" || !s.ReturnPath {
			t.Errorf("subject %+v", s)
		}
	})
}

// TestFloodSight: loss and one-way views lower the confidence and are said.
func TestFloodSight(t *testing.T) {
	syn := func(r *river) func(int) { return func(int) { r.syn(host, 80, 50, 50, 0) } }
	full := newRiver(t)
	full.run(10, syn(full))
	if c := full.found[0].Confidence; c != 100 {
		t.Errorf("confidence %d with all seen", c)
	}
	loss := newRiver(t)
	loss.run(10, func(i int) { syn(loss)(i); loss.epoch.Link.Loss[tally.LossKernel] = 100 })
	if f := loss.found[0]; f.Confidence != 50 || len(f.Notes) == 0 {
		t.Errorf("confidence %d with half of the packets lost, notes %q", f.Confidence, f.Notes)
	}
	mute := newRiver(t)
	mute.run(10, func(int) { mute.syn(host, 80, 50, 0, 0) })
	if f := mute.found[0]; f.Confidence >= 100 || !strings.Contains(f.Notes[0], "no answer") {
		t.Errorf("confidence %d without answers, notes %q", f.Confidence, f.Notes)
	}
	blind := newRiver(t)
	blind.run(100, func(int) {
		s := blind.to(host, 80, protoTCP) // clients whose answers pass elsewhere
		s.SYN, s.Packets, s.Bytes = 80, 800, 80000
		blind.answers(host, 53, protoUDP, 100, 100)
		blind.epoch.Link.VisibleOneWay = 50
	})
	blind.run(10, func(int) {
		blind.ask(host, 9, protoUDP, 1000, 100, 0)
		blind.epoch.Link.VisibleOneWay = 50
	})
	last := &blind.found[len(blind.found)-1]
	if last.Kind != "udp" || last.Confidence != 50 || !strings.Contains(strings.Join(last.Notes, ";"), "one-way") {
		t.Errorf("one-way view: %+v", last)
	}
	for _, f := range blind.found {
		if f.Kind == "syn" || f.Kind == "amplification" && f.Time > (floodStart+10)*tally.Tick {
			t.Errorf("one-way view: %s", f.Summary)
		}
	}
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

// TestFloodBounds: a million services, a million spoofed victims, and a flood among them.
func TestFloodBounds(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	cfg := DefaultFlood()
	cfg.MaxVictims = 256
	f := NewFlood(cfg)
	e := &tally.Epoch{}
	for i := range 1 << 20 { // 4,096 prefixes of 256 hosts, each host with a few handshakes
		e.Services = append(e.Services, tally.Service{
			Key: tally.ServiceKey{Addr: decode.Addr{Lo: 0xffff_1400_0000 + uint64(i)}, Ver: 4, Proto: protoTCP, Port: 80},
			SYN: 6, Packets: 6,
		})
	}
	e.Services[777_777].SYN, e.Services[777_777].Packets = 600, 600
	var found []string
	for i := range 5 {
		e.Tick = floodStart + int64(i)
		f.Judge(e, func(w *Finding) { found = append(found, w.Kind+" "+victimText(&w.Victim)) })
		for _, v := range []*victims{&f.services, &f.hosts, &f.prefixes} {
			if n := len(v.known) + len(v.free); n > 3*cfg.MaxVictims {
				t.Fatalf("%d victims kept, limit %d", n, cfg.MaxVictims)
			}
		}
	}
	if !slices.Contains(found, "syn 20.11.222.49:80") {
		t.Errorf("the one real flood is not among %d findings", len(found))
	}
	if f.Untracked() == 0 {
		t.Error("what found no room was not counted")
	}
	for i := range 1 << 20 {
		f.learn(&tally.Epoch{Normals: []tally.Header{{Dst: decode.Addr{Lo: uint64(i)}, Ver: 4}}})
	}
	if n := len(f.normal.hosts); n > cfg.MaxNormals || len(f.normal.place) != n {
		t.Errorf("normal headers of %d hosts kept, limit %d", n, cfg.MaxNormals)
	}
}

// TestFloodScanOfMillions: ten million probes of one source over ports and hosts raise no flood.
func TestFloodScanOfMillions(t *testing.T) {
	r := newRiver(t)
	r.run(15, func(i int) {
		e := r.epoch
		for port := range 1 << 16 {
			s := tally.Service{Key: tally.ServiceKey{Addr: decode.Addr{Lo: 0xffff_0a0a_0a00 + uint64(i)}, Ver: 4, Proto: protoTCP, Port: uint16(port)}, SYN: 1, Packets: 1}
			s.Sources.Add(1)
			e.Services = append(e.Services, s)
		}
	})
	r.want()
}

// TestFloodDeterministic: the same epochs give the same findings, word for word.
func TestFloodDeterministic(t *testing.T) {
	once := func() string {
		r := newRiver(t)
		r.run(40, func(i int) {
			for range 200 {
				r.syn(fmt.Sprintf("10.10.%d.%d", r.random.IntN(3), r.random.IntN(20)), uint16(r.random.IntN(5)), r.random.IntN(30), 0, 0)
			}
			r.sample(500, func(n int) tally.Header {
				return tally.Header{Dst: decode.Addr{Lo: 0xffff_0a0a_0000 + r.random.Uint64N(1<<10)}, DstPort: uint16(r.random.IntN(5)), Proto: protoTCP,
					Class: tally.ClassSYN, Src: decode.Addr{Lo: r.random.Uint64N(20)}, TTL: uint8(r.random.IntN(9))}
			})
		})
		return fmt.Sprintf("%+v", r.found)
	}
	first := once()
	if len(first) < 1000 {
		t.Fatal("nothing was found")
	}
	for range 3 {
		if once() != first {
			t.Fatal("findings differ between runs")
		}
	}
}

func TestFloodConfigCheck(t *testing.T) {
	cfg := DefaultFlood()
	if err := cfg.Check(); err != nil {
		t.Error(err)
	}
	cfg.SYNPerSecond = 0
	if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), "syn_per_second") {
		t.Errorf("floor 0: %v", err)
	}
}

// BenchmarkFloodJudge judges 100,000 services: of hosts that do little, and of hosts that are all worth a window, three
// times as many as there is room for.
func BenchmarkFloodJudge(b *testing.B) {
	for name, syns := range map[string]uint32{"idle": 1, "active": 2} {
		b.Run(name, func(b *testing.B) {
			f := NewFlood(DefaultFlood())
			e := &tally.Epoch{}
			for i := range 100_000 {
				s := tally.Service{Key: tally.ServiceKey{Addr: decode.Addr{Lo: 0xffff_1400_0000 + uint64(i/4*3)}, Ver: 4, Proto: protoTCP, Port: uint16(i % 4)}}
				s.SYN, s.Proven, s.Packets, s.BackPackets = syns, 1, 20, 20
				e.Services = append(e.Services, s)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				e.Tick = floodStart + int64(i)
				f.Judge(e, func(*Finding) {})
			}
		})
	}
}
