package analyzers

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"weir/analyzers/tally"
	"weir/decode"
)

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
		{"service above, a port scan beside it", []string{"syn 10.10.10.10:80"}, func(r *river) {
			r.syn(host, 80, 100, 0, 0)
			r.senders(r.to(host, 80, protoTCP), 100)
			for range 100 {
				r.syn(host, 1024+uint16(r.random.IntN(60000)), 1, 0, 0)
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
			r.syn(host, 80, 20, 20, 20)
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
				return tally.Header{
					Dst: addrOf(host), Src: addrOf("10.0.0.1"), DstPort: 40000, SrcPort: uint16(n), Proto: protoTCP,
					Class: tally.ClassStray, Flags: decode.FlagRST | decode.FlagACK,
				}
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
				r.epoch.Normals = append(r.epoch.Normals, tally.Header{
					Dst: addrOf(host), DstPort: 80, Ver: 4, Proto: protoTCP,
					Class: tally.ClassNormalSYN, Src: source(7), Rank: r.random.Uint64(),
				})
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
	for _, others := range []int{0, 1} {
		mute := newRiver(t)
		mute.run(10, func(int) { mute.syn(host, 80, 50, 0, 0); mute.syn("10.9.9.9", 80, others, others, others) })
		if f := mute.found[0]; f.Confidence != 80 || !strings.Contains(f.Notes[0], []string{"nobody answered", "no answer of the victim"}[others]) {
			t.Errorf("confidence %d without answers, notes %q", f.Confidence, f.Notes)
		}
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

// TestFloodReflected: answers of reflectors that conn takes for questions, because the victim's port is a service, too.
func TestFloodReflected(t *testing.T) {
	for _, c := range []struct {
		name    string
		port    uint16 // of the senders
		senders int
		want    []string
	}{
		{"memcached", 11211, 3, []string{"amplification 10.10.10.10"}},
		{"IKE of many", 4500, 1000, []string{"amplification 10.10.10.10"}},
		{"one VPN", 4500, 1, nil},
		{"no reflectors", 40000, 1000, nil},
		{"NTP peers", 123, 1000, nil}, // 123 on both sides
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRiver(t)
			dst := uint16(431)
			if c.port == 123 {
				dst = 123
			}
			r.run(20, func(int) {
				r.ask(host, dst, protoUDP, 300, 1400, 0)
				r.sample(60, func(i int) tally.Header {
					return tally.Header{
						Dst: addrOf(host), Src: decode.Addr{Lo: uint64(1 + r.random.IntN(c.senders))}, SrcPort: c.port, DstPort: dst,
						Proto: protoUDP, Class: tally.ClassUnanswered,
					}
				})
			})
			r.want(c.want...)
		})
	}
}

// TestFloodChangingSubjects: who forges another single source each second makes no endless list of alerts.
func TestFloodChangingSubjects(t *testing.T) {
	r := newRiver(t)
	r.run(300, func(tick int) {
		r.syn(host, 80, 100, 100, 0)
		r.sample(50, func(int) tally.Header {
			return tally.Header{Dst: addrOf(host), DstPort: 80, Proto: protoTCP, Class: tally.ClassSYN, Src: decode.Addr{Lo: 0xffff_0a00_0000 + uint64(tick+5)/10}}
		})
	})
	named := map[netip.Prefix]bool{}
	for i := range r.found {
		named[r.found[i].Subject.Prefix] = true
	}
	if len(named) != maxSubjects+1 { // and nobody
		t.Errorf("%d different subjects in 30 s", len(named))
	}
}

// TestFloodAnsweredPings: the echoes of a flood that is answered are sampled as normal traffic, and name its source.
func TestFloodAnsweredPings(t *testing.T) {
	r := newRiver(t)
	r.run(10, func(int) {
		r.ask(host, 0, protoICMP, 600, 100, 600)
		for range 8 {
			r.epoch.Normals = append(r.epoch.Normals, tally.Header{
				Dst: addrOf(host), Src: addrOf("10.0.0.9"), Ver: 4, Proto: protoICMP,
				Class: tally.ClassNormal, Rank: r.random.Uint64(),
			})
		}
	})
	r.want("icmp 10.10.10.10")
	if s := r.found[0].Subject; s.Prefix.String() != "10.0.0.9/32" || s.ReturnPath {
		t.Errorf("subject %+v", s)
	}
}
