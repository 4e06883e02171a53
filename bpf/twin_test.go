//go:build linux

package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weir/decode"
)

// The slow twin of the program: the same verdicts by plain lists, written from package bpf's comment and the RFCs.

// seen is what the twin reads of a frame.
type seen struct {
	why          Reason
	src, dst     netip.Addr
	proto, ttl   uint8
	len          int // of the IP packet
	sport, dport uint16
	ports        bool
	tcp          bool // flags and window were read
	flags        uint16
	window       uint16
	options      []byte
	payload      []byte
	later        bool
	fresh        bool
}

func look(f []byte) (s seen) {
	s.why = ReasonNotIP
	if len(f) < 14 {
		return s
	}
	kind, rest := binary.BigEndian.Uint16(f[12:]), f[14:]
	for range 2 {
		if kind != 0x8100 && kind != 0x88a8 && kind != 0x9100 {
			break
		}
		if len(rest) < 4 {
			return s
		}
		kind, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	switch kind {
	case 0x0800:
		s.v4(rest)
	case 0x86dd:
		s.v6(rest)
	}
	return s
}

func (s *seen) v4(b []byte) {
	s.why = ReasonMalformed
	if len(b) < 20 || b[0]>>4 != 4 {
		return
	}
	size, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if size < 20 || total != 0 && total < size {
		return
	}
	if total != 0 && total < len(b) {
		b = b[:total]
	}
	s.why, s.len = ReasonNone, len(b)
	s.src, s.dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	s.proto, s.ttl = b[9], b[8]
	if s.later = binary.BigEndian.Uint16(b[6:])&0x1fff != 0; !s.later {
		s.upper(b[min(size, len(b)):])
	}
}

func (s *seen) v6(b []byte) {
	s.why = ReasonMalformed
	if len(b) < 40 || b[0]>>4 != 6 {
		return
	}
	if size := int(binary.BigEndian.Uint16(b[4:])); (size != 0 || b[6] == 59) && 40+size < len(b) {
		b = b[:40+size]
	}
	s.why, s.len = ReasonNone, len(b)
	s.src, s.dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	s.ttl = b[7]
	next, rest := b[6], b[40:]
	for range 8 {
		s.proto = next
		if !slices.Contains([]uint8{0, 43, 44, 51, 60}, next) {
			s.upper(rest)
			return
		}
		if len(rest) < 8 {
			return
		}
		size := (int(rest[1]) + 1) * 8
		switch next {
		case 44:
			size = 8
			if binary.BigEndian.Uint16(rest[2:])>>3 != 0 {
				s.proto, s.later = rest[0], true
				return
			}
		case 51:
			size = (int(rest[1]) + 2) * 4
		}
		next, rest = rest[0], rest[min(size, len(rest)):]
	}
}

func (s *seen) upper(b []byte) {
	s.fresh = s.proto == 6
	head := map[uint8]int{6: 20, 17: 8, 132: 12, 136: 8}[s.proto]
	if head == 0 {
		s.payload = b
		return
	}
	if len(b) < 4 {
		return
	}
	s.ports, s.sport, s.dport = true, binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if s.proto != 6 {
		s.payload = b[min(head, len(b)):]
		return
	}
	if len(b) < 20 {
		return
	}
	s.tcp, s.flags, s.window = true, binary.BigEndian.Uint16(b[12:])&0x1ff, binary.BigEndian.Uint16(b[14:])
	s.fresh = s.flags&syn != 0 && s.flags&ack == 0
	if size := max(int(b[12]>>4)*4, 20); size <= len(b) {
		s.options, s.payload = b[20:size], b[size:]
	}
}

// layoutOf is the option layout as package decode gives it, by a frame of our own that holds the options.
func layoutOf(options []byte) uint32 {
	var p decode.Packet
	d := decode.NewDecoder(0)
	b := frame{options: options}.bytes()
	d.Decode(&decode.Frame{Data: b, Link: decode.LinkEthernet, WireLen: uint32(len(b))}, &p)
	return p.Opt.Layout
}

func (in *tables) expect(f []byte) (Verdict, Reason) {
	s := look(f)
	if len(in.drops)+len(in.services)+len(in.signed) == 0 {
		return Pass, ReasonNone // nobody looks
	}
	if s.why != ReasonNone {
		return Pass, s.why
	}
	v, r := Pass, ReasonNone
	spared := slices.ContainsFunc(in.never, func(p string) bool { return netip.MustParsePrefix(p).Contains(s.src) })
	// meets reports whether a rule settles the packet.
	meets := func(rule Rule, reason Reason) bool {
		if rule.Expires <= Now() {
			return false
		}
		concerned := s.fresh
		if (rule.Action == ActionDrop || rule.Action == ActionLimit) && rule.Canary <= Now() {
			concerned = true
		}
		admits := rule.Action == ActionLimit || rule.Action == ActionLimitNew // a fresh bucket, one frame
		switch {
		case !concerned || admits:
			if r == ReasonNone {
				r = reason
			}
			return false
		case spared:
			v, r = Pass, ReasonNever
			return true
		case rule.Shadow || in.rehearse:
			if v == Pass {
				v, r = Shadow, reason
			}
			return false
		}
		v, r = Dropped, reason
		return true
	}
	var host, net *Drop
	for i := range in.drops {
		d := &in.drops[i]
		switch {
		case !d.Prefix.Contains(s.src):
		case d.Prefix.IsSingleIP():
			host = d
		case net == nil || d.Prefix.Bits() > net.Prefix.Bits():
			net = d
		}
	}
	if host != nil && meets(host.Rule, ReasonHost) || net != nil && meets(net.Rule, ReasonPrefix) {
		return v, r
	}
	var service, whole *Service
	for i := range in.services {
		e := &in.services[i]
		switch {
		case e.Addr != s.dst || e.Proto != s.proto:
		case e.Port == 0:
			whole = e
		case e.Port == s.dport:
			service = e
		}
	}
	if service == nil {
		service = whole
	}
	if service != nil && service.Expires > Now() {
		if slices.Contains(in.peers, s.src.String()) {
			if r == ReasonNone {
				r = ReasonPeer
			}
		} else if meets(service.Rule, ReasonService) {
			return v, r
		}
	}
	for i := range in.signed {
		if e := &in.signed[i]; !s.later && s.matches(e) && meets(e.Rule, ReasonSignature) {
			return v, r
		}
	}
	return v, r
}

func (s *seen) matches(e *Signature) bool {
	switch {
	case e.To.IsValid() && !e.To.Contains(s.dst), e.Proto != 0 && e.Proto != s.proto, e.SrcPort != 0 && e.SrcPort != s.sport,
		e.DstPort != 0 && e.DstPort != s.dport, s.len < int(e.MinLen), e.MaxLen != 0 && s.len > int(e.MaxLen), s.ttl < e.MinTTL,
		e.MaxTTL != 0 && s.ttl > e.MaxTTL:
		return false
	case (e.FlagMask != 0 || e.Window != nil || e.Layout != nil) && !s.tcp, (s.flags^e.Flags)&e.FlagMask != 0,
		e.Window != nil && *e.Window != s.window, e.Layout != nil && *e.Layout != layoutOf(s.options), len(s.payload) < len(e.Opening):
		return false
	}
	for i, want := range e.Opening {
		mask := uint8(0xff)
		if e.Mask != nil {
			mask = e.Mask[i]
		}
		if (want^s.payload[i])&mask != 0 {
			return false
		}
	}
	return true
}

// TestTwin compares the program with its twin on random tables and frames, whole, cut and with bytes changed.
func TestTwin(t *testing.T) {
	for _, m := range []Mode{ModeXDP, ModeTCX} {
		g := gateOf(t, m)
		t.Run(string(m), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				in := drawTables(rt)
				g.fill(t, in)
				for range 40 {
					f := drawFrame(rt)
					if m == ModeTCX && len(f) < 14+40 {
						continue // BPF_PROG_TEST_RUN refuses a packet buffer that ends within an IP header
					}
					for i := range g.slots.hits { // buckets are full again
						g.slots.hits[i].Paid = 0
					}
					wantV, wantR := in.expect(f)
					last, sum := g.run(t, f, 1)
					if (last == Dropped) != (wantV == Dropped) || sum[wantV][wantR].Packets != 1 {
						var got string
						for v := range sum {
							for r := range sum[v] {
								if sum[v][r].Packets > 0 {
									got += fmt.Sprintf("%s for %s ", Verdict(v), Reason(r))
								}
							}
						}
						rt.Fatalf("%x\n%+v\ngot %s, want %s for %s\n%+v", f, look(f), got, wantV, wantR, in)
					}
				}
			})
		})
	}
}

// A small world, so that frames and entries meet.
var (
	drawnSources  = []string{"192.0.2.1", "192.0.2.2", "192.0.3.1", "2001:db8::1", "2001:db8::2", "2001:db8:1::1", "::ffff:192.0.2.1"}
	drawnTargets  = []string{"198.51.100.1", "198.51.100.2"}
	drawnTargets6 = []string{"2001:db8:ff::1", "2001:db8:ff::2"}
	drawnOptions  = [][]byte{
		nil,
		{1, 1, 1, 1},
		{2, 4, 5, 180},
		{2, 4, 5, 180, 1, 3, 3, 7, 4, 2, 0, 0},
		{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2},
		{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7},
		{0, 0, 0, 0},
		{8, 0, 0, 0},
		{8, 40, 0, 0},
		{255, 4, 0, 0},
		bytes.Repeat([]byte{1}, 40),
	}
)

func drawFrame(t *rapid.T) []byte {
	pick := func(l []string, name string) string { return rapid.SampledFrom(l).Draw(t, name) }
	f := frame{
		src: pick(drawnSources, "src"), proto: rapid.SampledFrom([]uint8{6, 6, 6, 17, 1, 58, 132, 253}).Draw(t, "proto"),
		sport: rapid.SampledFrom([]uint16{53, 1234}).Draw(t, "sport"), dport: rapid.SampledFrom([]uint16{53, 80}).Draw(t, "dport"),
		flags: rapid.SampledFrom([]uint16{2, 16, 18, 24, 0x102, 4}).Draw(t, "flags"), window: rapid.SampledFrom([]uint16{0, 1024}).Draw(t, "window"),
		ttl: rapid.SampledFrom([]uint8{1, 64, 255}).Draw(t, "ttl"), options: rapid.SampledFrom(drawnOptions).Draw(t, "options"),
		payload: rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1}), 0, 20).Draw(t, "payload"),
		vlans:   rapid.SliceOfN(rapid.SampledFrom([]uint16{0x8100, 0x88a8, 0x9100, 0x9200}), 0, 3).Draw(t, "vlans"),
		ext:     rapid.SliceOfN(rapid.SampledFrom([]byte{0, 43, 44, 51, 60, 59, 135}), 0, 10).Draw(t, "ext"),
	}
	if !rapid.Bool().Draw(t, "headers") {
		f.ext = nil
	}
	if rapid.IntRange(0, 3).Draw(t, "tagged") > 0 {
		f.vlans = nil
	}
	f.dst = pick(drawnTargets, "dst")
	if netip.MustParseAddr(f.src).Is6() {
		f.dst = pick(drawnTargets6, "dst6")
	}
	f.fragment = rapid.SampledFrom([]uint16{0, 0, 0, 0x4000, 0x2000, 1, 0x2001, 8}).Draw(t, "fragment")
	f.ipOptions = rapid.SampledFrom([]int{0, 0, 4, 40}).Draw(t, "ip options")
	f.length = rapid.SampledFrom([]int{0, 0, 0, -1, 20, 30, 45, 60, 9000}).Draw(t, "length")
	b := f.bytes()
	switch rapid.IntRange(0, 4).Draw(t, "damage") {
	case 0:
		b = b[:rapid.IntRange(14, len(b)).Draw(t, "cut")]
	case 1:
		b[rapid.IntRange(12, len(b)-1).Draw(t, "where")] = rapid.Byte().Draw(t, "byte")
	}
	return b
}

func drawTables(t *rapid.T) (in tables) {
	rule := rapid.Custom(func(t *rapid.T) Rule {
		return Rule{
			Action: Action(rapid.IntRange(1, 4).Draw(t, "action")), Shadow: rapid.IntRange(0, 3).Draw(t, "shadow") == 0, Rate: 1, Burst: 1,
			Canary: rapid.SampledFrom([]Time{0, lo}).Draw(t, "canary"), Expires: rapid.SampledFrom([]Time{1, lo, lo, lo}).Draw(t, "expires"),
		}
	})
	one := func(name string) bool { return rapid.IntRange(0, 2).Draw(t, name) == 0 }
	for _, p := range []string{
		"192.0.2.1/32", "192.0.2.2/32", "192.0.2.0/24", "192.0.2.0/31", "192.0.0.0/8", "2001:db8::1/128", "2001:db8::/64", "2001:db8::/48",
		"2001:db8::/32", "2001:db8:1::/56", "::ffff:0:0/80",
	} {
		if one(p) {
			in.drops = append(in.drops, Drop{netip.MustParsePrefix(p), rule.Draw(t, "rule")})
		}
	}
	for _, p := range []string{"192.0.2.1/32", "192.0.0.0/9", "2001:db8::/47", "0.0.0.0/0", "::/0", "2001:db8::2/128"} {
		if rapid.IntRange(0, 7).Draw(t, p) == 0 {
			in.never = append(in.never, p)
		}
	}
	for _, a := range append(slices.Clone(drawnTargets), drawnTargets6...) {
		for _, proto := range []uint8{6, 17, 1} {
			for _, port := range []uint16{0, 53, 80} {
				if rapid.IntRange(0, 5).Draw(t, "service") == 0 {
					in.services = append(in.services, Service{netip.MustParseAddr(a), proto, port, rule.Draw(t, "rule")})
				}
			}
		}
	}
	for _, a := range drawnSources {
		if one(a) && a != "::ffff:192.0.2.1" {
			in.peers = append(in.peers, a)
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "signatures") {
		in.signed = append(in.signed, drawSignature(t, rule.Draw(t, "rule")))
	}
	in.rehearse = rapid.IntRange(0, 9).Draw(t, "rehearse") == 0
	return in
}

func drawSignature(t *rapid.T, r Rule) Signature {
	s := Signature{Rule: r, Proto: rapid.SampledFrom([]uint8{6, 6, 17, 1}).Draw(t, "proto")}
	field := func(name string) bool { return rapid.IntRange(0, 5).Draw(t, name) == 0 }
	if field("to") {
		s.To = netip.MustParsePrefix(rapid.SampledFrom([]string{"198.51.100.1/32", "198.51.100.0/24", "2001:db8:ff::/64", "0.0.0.0/0", "::/0"}).Draw(t, "prefix"))
	}
	if field("source port") {
		s.SrcPort = 53
	}
	if field("port") {
		s.DstPort = 80
	}
	if field("length") {
		s.MinLen, s.MaxLen = 40, 60
	}
	if field("ttl") {
		s.MinTTL, s.MaxTTL = 2, 64
	}
	if s.Proto == 6 && field("flags") {
		s.Flags, s.FlagMask = syn, rapid.SampledFrom([]uint16{syn, syn | ack, 0x1ff}).Draw(t, "mask")
	}
	if s.Proto == 6 && field("window") {
		w := rapid.SampledFrom([]uint16{0, 1024}).Draw(t, "value")
		s.Window = &w
	}
	if s.Proto == 6 && field("layout") {
		l := layoutOf(rapid.SampledFrom(drawnOptions).Draw(t, "options"))
		s.Layout = &l
	}
	if field("opening") {
		s.Opening = rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1}), 1, 16).Draw(t, "bytes")
		if rapid.Bool().Draw(t, "masked") {
			s.Mask = rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 255}), len(s.Opening), len(s.Opening)).Draw(t, "mask")
		}
	}
	return s
}

// FuzzFrame hands any frame to the program and its twin, with tables of each kind in place.
func FuzzFrame(f *testing.F) {
	needRoot(f)
	l, w := layoutOf(drawnOptions[3]), uint16(1024)
	in := tables{
		drops: []Drop{
			drop("192.0.2.1/32", fresh.until(lo)), drop("192.0.2.2/32", just.until(lo)), drop("192.0.0.0/16", just.until(lo)),
			drop("2001:db8::1/128", fresh.until(lo)), drop("2001:db8::/32", just.until(lo)),
		},
		services: []Service{to("198.51.100.1", 17, 0, just.until(lo)), to("2001:db8:ff::1", 6, 80, fresh.until(lo))},
		signed: []Signature{
			{Proto: 6, Layout: &l, Rule: just.until(lo)},
			{Proto: 6, Window: &w, Rule: just.until(lo)},
			{Proto: 17, Opening: []byte{0, 1, 0}, Rule: just.until(lo)},
			{Proto: 6, Flags: 4, FlagMask: 0x1ff, Rule: just.until(lo)},
			{To: netip.MustParsePrefix("198.51.100.2/32"), MaxLen: 45, MinTTL: 2, Rule: just.until(lo)},
		},
		never: []string{"192.0.2.64/26", "2001:db8:1::/48"},
	}
	g := gateOf(f, ModeXDP)
	g.fill(f, in)
	for _, s := range []string{"192.0.2.1", "10.0.0.1", "2001:db8::1", "2001:db9::1"} {
		for _, o := range drawnOptions {
			f.Add(frame{src: s, options: o, vlans: []uint16{0x8100}}.bytes())
			f.Add(frame{src: s, proto: 17, payload: o, ext: []byte{0, 44, 51}}.bytes())
			f.Add(frame{src: s, options: o, window: w, fragment: 0x2000, withFragment: true}.bytes())
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 14 || len(b) > 3000 {
			return // BPF_PROG_TEST_RUN takes Ethernet headers, and a page
		}
		v, r := in.expect(b)
		if _, sum := g.run(t, b, 1); sum[v][r].Packets != 1 {
			t.Errorf("%x: want %s for %s, got %+v", b, v, r, sum)
		}
	})
}
