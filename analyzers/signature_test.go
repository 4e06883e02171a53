package analyzers

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"weir/analyzers/tally"
	"weir/decode"
)

// matches reports whether a header meets all conditions of a signature, read from their text: the slow twin of what a gate
// does.
func matches(fields []Field, h *tally.Header) bool {
	for _, f := range fields {
		n, _ := strconv.Atoi(f.Value)
		tcp := h.Proto == protoTCP
		ports := h.SrcPort != 0 || h.DstPort != 0
		var ok bool
		switch f.Name {
		case "protocol":
			ok = map[string]uint8{"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58}[f.Value] == h.Proto
		case "src_port":
			ok = ports && h.SrcPort != 0 && int(h.SrcPort) == n
		case "dst_port":
			ok = ports && int(h.DstPort) == n
		case "length":
			ok = int(h.Len) == n
		case "ttl_min":
			ok = int(h.TTL) >= n
		case "ttl_max":
			ok = int(h.TTL) <= n
		case "tcp_window":
			ok = tcp && ports && int(h.Window) == n
		case "tcp_flags":
			ok = tcp && ports && flagNames(uint64(h.Flags)) == f.Value
		case "tcp_options":
			ok = tcp && ports && fmt.Sprintf("%08x", h.Layout) == f.Value
		case "payload":
			ok = strings.HasPrefix(fmt.Sprintf("%x", h.Payload[:h.NPayload]), f.Value)
		}
		if !ok {
			return false
		}
	}
	return true
}

func share(fields []Field, list []tally.Header) float64 {
	n := 0
	for i := range list {
		if matches(fields, &list[i]) {
			n++
		}
	}
	return float64(n) / float64(len(list))
}

// bruteForce tries every set of conditions on values that occur in the attack: the least number of conditions, and among
// those the least share of normal headers, then the greatest of the attack.
func bruteForce(attack, normal []tally.Header) (size int, hit, covered float64) {
	options := make([][][]Field, 9) // by field: ways to ask for it; the first is not at all
	for i := range options {
		options[i] = [][]Field{nil}
	}
	seen := map[Field]bool{}
	add := func(i int, fields ...Field) {
		if !seen[fields[0]] || len(fields) > 1 {
			seen[fields[0]] = true
			options[i] = append(options[i], fields)
		}
	}
	low, high := 255, 0
	for i := range attack {
		h := &attack[i]
		low, high = min(low, int(h.TTL)), max(high, int(h.TTL))
		add(0, Field{"protocol", protocolName(uint64(h.Proto))})
		add(1, Field{"src_port", fmt.Sprint(h.SrcPort)})
		add(2, Field{"dst_port", fmt.Sprint(h.DstPort)})
		add(3, Field{"length", fmt.Sprint(h.Len)})
		add(4, Field{"tcp_window", fmt.Sprint(h.Window)})
		add(5, Field{"tcp_flags", flagNames(uint64(h.Flags))})
		add(6, Field{"tcp_options", fmt.Sprintf("%08x", h.Layout)})
		for n := 1; n <= int(h.NPayload); n++ {
			add(7, Field{"payload", fmt.Sprintf("%x", h.Payload[:n])})
		}
	}
	for a := low; a <= high; a++ {
		for b := a; b <= high; b++ {
			add(8, Field{"ttl_min", fmt.Sprint(a)}, Field{"ttl_max", fmt.Sprint(b)})
		}
	}
	size = 99
	var walk func(i, n int, fields []Field)
	walk = func(i, n int, fields []Field) {
		c := share(fields, attack)
		if c < 0.8 || n > size {
			return
		}
		if n > 0 {
			if s := share(fields, normal); s <= 0.01 && (n < size || n == size && (s < hit || s == hit && c > covered)) {
				size, hit, covered = n, s, c
			}
		}
		for ; i < len(options); i++ {
			for _, o := range options[i][1:] {
				walk(i+1, n+1, append(fields[:len(fields):len(fields)], o...))
			}
		}
	}
	walk(0, 0, nil)
	return size, hit, covered
}

// randomHeader draws few values, so that fields overlap between attack and normal traffic; skew makes a usual one likely.
func randomHeader(r *rand.Rand, skew float64, usual int) tally.Header {
	pick := func(n int) int {
		if r.Float64() < skew {
			return usual
		}
		return r.IntN(n)
	}
	h := tally.Header{
		Proto: []uint8{protoTCP, protoTCP, protoUDP}[pick(3)], SrcPort: uint16(1 + pick(3)), DstPort: uint16(80 + pick(2)),
		Len: uint16(40 + pick(3)), TTL: uint8(50 + pick(6)), NPayload: uint8(pick(3)),
	}
	if h.Proto == protoTCP {
		h.Flags, h.Window, h.Layout = []uint16{decode.FlagSYN, decode.FlagACK}[pick(2)], uint16(pick(3)), uint32(pick(3))
	}
	for i := range h.NPayload {
		h.Payload[i] = byte(pick(2))
	}
	return h
}

func TestSignatureBruteForce(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	found, none := 0, 0
	for range 150 {
		attack, normal := make([]tally.Header, MinAttackSample+r.IntN(20)), make([]tally.Header, MinNormalSample+r.IntN(100))
		skewA, skewN := 0.75+r.Float64()/4, 0.6+r.Float64()*0.4
		for i := range attack {
			attack[i] = randomHeader(r, skewA, 0)
		}
		for i := range normal {
			normal[i] = randomHeader(r, skewN, 1)
		}
		search := newSignatureSearch(attack, normal)
		search.run()
		got := search.result()
		size, hit, covered := bruteForce(attack, normal)
		checkNarrowed(t, ExtractSignature(attack, normal), got, attack, normal)
		if got == nil {
			if size != 99 {
				t.Fatalf("none found, but %d conditions cover %.2f and hit %.3f", size, covered, hit)
			}
			none++
			continue
		}
		found++
		n := len(got.Fields)
		if strings.HasPrefix(got.Fields[n-1].Name, "ttl") {
			n--
		}
		if n != size || got.Normal != hit || got.Attack != covered {
			t.Fatalf("%+v, but %d conditions cover %.3f and hit %.4f", got, size, covered, hit)
		}
		if a, b := share(got.Fields, attack), share(got.Fields, normal); a != got.Attack || b != got.Normal {
			t.Fatalf("%+v covers %.3f and hits %.4f", got, a, b)
		}
	}
	if found < 30 || none < 10 {
		t.Errorf("%d found, %d without: the samples test one side only", found, none)
	}
}

// checkNarrowed holds a narrowed signature to the smallest: it asks for all that that one does, hits no more, covers a hundredth less
// at most, and says what it does.
func checkNarrowed(t *testing.T, got, smallest *Signature, attack, normal []tally.Header) {
	t.Helper()
	if (got == nil) != (smallest == nil) {
		t.Fatalf("%+v, but the smallest is %+v", got, smallest)
	}
	if got == nil {
		return
	}
	for _, f := range smallest.Fields {
		if !slices.Contains(got.Fields, f) {
			t.Fatalf("%+v has lost %v of %+v", got, f, smallest)
		}
	}
	a, b := share(got.Fields, attack), share(got.Fields, normal)
	if a != got.Attack || b != got.Normal || b > smallest.Normal || a < 0.8 || a < 0.99*smallest.Attack-1e-9 {
		t.Fatalf("%+v covers %.4f and hits %.4f, the smallest is %+v", got, a, b, smallest)
	}
	for _, f := range []Field{{"protocol", "tcp"}, {"dst_port", "80"}, {"tcp_flags", "syn"}} { // costs nothing: is asked for
		with := append(slices.Clone(got.Fields), f)
		if !slices.Contains(got.Fields, f) && share(with, attack) == a {
			t.Fatalf("%+v does not ask for %v, which all have", got, f)
		}
	}
}

// TestSignatureSparesTheUnseen: a client of a kind that the sample does not have loses nothing to a signature that a shorter set
// would have given.
func TestSignatureSparesTheUnseen(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	var attack, normal []tally.Header
	for range 1000 {
		attack = append(attack, tally.Header{Proto: protoTCP, DstPort: 80, SrcPort: uint16(r.Uint32()), Flags: decode.FlagSYN, Len: 40, TTL: 64, Window: 512})
	}
	for range 256 { // all of clients with timestamps
		normal = append(normal, tally.Header{
			Proto: protoTCP, DstPort: 80, SrcPort: uint16(r.Uint32()), Flags: decode.FlagACK, Len: 52, TTL: 64, Window: 501, Layout: 0xcccc,
		})
	}
	g := ExtractSignature(attack, normal)
	if g == nil {
		t.Fatal("no signature")
	}
	bare := tally.Header{Proto: protoTCP, DstPort: 80, SrcPort: 40000, Flags: decode.FlagACK, Len: 40, TTL: 64, Window: 64240}
	if matches(g.Fields, &bare) {
		t.Errorf("%v drops the bare acknowledgements of a client without timestamps", g.Fields)
	}
}

// browserSYN is what clients of a web server send: several systems, distances and option layouts.
func browserSYN(r *rand.Rand) tally.Header {
	h := tally.Header{Proto: protoTCP, DstPort: 80, SrcPort: uint16(1024 + r.IntN(64000)), Class: tally.ClassNormalSYN, Flags: decode.FlagSYN}
	switch r.IntN(3) {
	case 0:
		h.Len, h.TTL, h.Window, h.Layout = 60, uint8(40+r.IntN(24)), 64240, 0xaaaa
	case 1:
		h.Len, h.TTL, h.Window, h.Layout = 52, uint8(100+r.IntN(28)), 64240, 0xbbbb
	case 2:
		h.Class, h.Flags, h.Len, h.TTL, h.Window = tally.ClassNormal, decode.FlagACK, uint16(40+r.IntN(1400)), uint8(40+r.IntN(88)), uint16(r.Uint32())
	}
	return h
}

// TestSignatureHeldOut: signatures of tools' floods hold on headers that they were not made from.
func TestSignatureHeldOut(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for _, c := range []struct {
		name   string
		attack func() tally.Header
	}{
		{"bare SYN of hping3", func() tally.Header {
			return tally.Header{Proto: protoTCP, DstPort: 80, SrcPort: uint16(r.Uint32()), Flags: decode.FlagSYN, Len: 40, TTL: 64, Window: 512}
		}},
		{"random but for the window", func() tally.Header {
			return tally.Header{
				Proto: protoTCP, DstPort: 80, SrcPort: uint16(r.Uint32()), Flags: decode.FlagSYN, Len: []uint16{52, 60}[r.IntN(2)],
				TTL: uint8(40 + r.IntN(88)), Window: 5840, Layout: []uint32{0xaaaa, 0xbbbb}[r.IntN(2)],
			}
		}},
		{"distance alone", func() tally.Header {
			h := browserSYN(r)
			h.TTL = uint8(200 + r.IntN(8))
			return h
		}},
		{"DNS answers", func() tally.Header {
			return tally.Header{
				Proto: protoUDP, DstPort: uint16(r.Uint32()), SrcPort: 53, Len: uint16(500 + r.IntN(1000)), TTL: uint8(r.Uint32()),
				NPayload: 8, Payload: [8]byte{byte(r.Uint32()), byte(r.Uint32()), 0x81, 0x80},
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			draw := func(n int, f func() tally.Header) (list []tally.Header) {
				for range n {
					list = append(list, f())
				}
				return list
			}
			mixed := func() tally.Header { // one in ten of the flood's sample is a client that had no answer yet
				if r.IntN(10) == 0 {
					return browserSYN(r)
				}
				return c.attack()
			}
			normal := func() tally.Header { return browserSYN(r) }
			g := ExtractSignature(draw(1000, mixed), draw(256, normal))
			if g == nil {
				t.Fatal("no signature")
			}
			a, n := share(g.Fields, draw(5000, c.attack)), share(g.Fields, draw(5000, normal))
			t.Logf("%v: covers %.3f of the flood, hits %.4f of normal traffic", g.Fields, a, n)
			if a < 0.8 || n > 0.02 {
				t.Errorf("%+v covers %.3f of new attack headers and hits %.4f of new normal ones", g, a, n)
			}
		})
	}
	list := make([]tally.Header, 1000)
	for i := range list {
		list[i] = browserSYN(r)
	}
	if g := ExtractSignature(list[:500], list[500:]); g != nil {
		t.Errorf("normal traffic told from itself by %+v", g)
	}
	if ExtractSignature(list[:MinAttackSample-1], list) != nil || ExtractSignature(list, list[:MinNormalSample-1]) != nil {
		t.Error("a signature from too small a sample")
	}
}

// TestFloodSignature: a SYN flood beside clients carries a signature; without known clients it says why not. What the
// victim gets while its alarm runs is not learned.
func TestFloodSignature(t *testing.T) {
	attack := func(r *river) tally.Header {
		return tally.Header{
			Dst: addrOf(host), DstPort: 80, Proto: protoTCP, Class: tally.ClassSYN, Flags: decode.FlagSYN, Len: 40, TTL: 240,
			Window: 0, SrcPort: uint16(r.random.Uint32()), Src: decode.Addr{Lo: r.random.Uint64()},
		}
	}
	for _, known := range []int{0, 30} {
		r := newRiver(t)
		clients := func(n int) {
			for range n {
				h := browserSYN(r.random)
				h.Dst, h.Ver, h.Rank = addrOf(host), 4, r.random.Uint64()
				r.epoch.Normals = append(r.epoch.Normals, h)
			}
		}
		r.run(20, func(int) { clients(known); r.syn(host, 80, 10, 10, 10) })
		before := len(r.flood.normal.of(&tally.ServiceKey{Addr: addrOf(host), Ver: 4}, levelHost))
		r.run(20, func(int) {
			r.syn(host, 80, 200, 200, 0)
			r.sample(100, func(int) tally.Header { return attack(r) })
		})
		r.want("syn 10.10.10.10:80")
		f := &r.found[0]
		if (f.Signature != nil) != (known > 0) {
			t.Fatalf("%d clients a tick: signature %+v, notes %q", known, f.Signature, f.Notes)
		}
		if f.Signature == nil {
			if !strings.Contains(strings.Join(f.Notes, ";"), "no signature: 0 headers") {
				t.Errorf("notes %q", f.Notes)
			}
			continue
		}
		h := attack(r)
		if !matches(f.Signature.Fields, &h) || f.Signature.Attack < 0.99 || f.Signature.Normal > 0.01 || f.Signature.NNormal != before {
			t.Errorf("signature %+v, %d normal headers before", f.Signature, before)
		}
		s := &r.flood.normal.hosts[0]
		seen := s.seen
		r.run(5, func(int) { clients(10); r.syn(host, 80, 200, 200, 0) })
		if s.seen != seen {
			t.Error("the victim's traffic is learned while its alarm runs")
		}
	}
}

func BenchmarkSignature(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	attack, normal := make([]tally.Header, 8000), make([]tally.Header, 256)
	for i := range attack { // the hardest: nothing but all fields together tell it apart
		attack[i] = randomHeader(r, 0.99, 0)
	}
	for i := range normal {
		normal[i] = randomHeader(r, 0.9, 0)
	}
	for b.Loop() {
		ExtractSignature(attack, normal)
	}
}
