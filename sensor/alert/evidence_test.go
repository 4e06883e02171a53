package alert

import (
	"net/netip"
	"testing"

	"weir/decode"
)

// packet is one from src to dst at base.
func packet(src, dst string) *decode.Packet {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	p := &decode.Packet{Time: base, Data: make([]byte, 100), Kind: decode.KindIPv4}
	p.Key = keyBetween(s, d)
	p.Reverse = p.Key.A != decode.AddrFrom(s.Addr()) || p.Key.PortA != s.Port()
	return p
}

func keyBetween(s, d netip.AddrPort) decode.Key {
	k := decode.Key{A: decode.AddrFrom(s.Addr()), B: decode.AddrFrom(d.Addr()), PortA: s.Port(), PortB: d.Port(), Proto: 6, Ver: 4}
	if s.Addr().Is6() {
		k.Ver = 6
	}
	if k.B.Less(k.A) || k.A == k.B && k.PortB < k.PortA {
		k.A, k.B, k.PortA, k.PortB = k.B, k.A, k.PortB, k.PortA
	}
	return k
}

func TestSelector(t *testing.T) {
	address := func(s string) *Party { return &Party{IP: netip.MustParseAddr(s)} }
	network := func(s string) *Party { return &Party{Prefix: netip.MustParsePrefix(s)} }
	service := func(s string, port uint16) *Party { p := address(s); p.Port = port; return p }
	for _, c := range []struct {
		name            string
		subject, victim *Party
		packet          *decode.Packet
		want            bool
	}{
		{"there", address("192.0.2.1"), address("192.0.2.9"), packet("192.0.2.1:5", "192.0.2.9:80"), true},
		{"back", address("192.0.2.1"), address("192.0.2.9"), packet("192.0.2.9:80", "192.0.2.1:5"), true},
		{"another victim", address("192.0.2.1"), address("192.0.2.9"), packet("192.0.2.1:5", "192.0.2.8:80"), false},
		{"another subject", address("192.0.2.1"), address("192.0.2.9"), packet("192.0.2.2:5", "192.0.2.9:80"), false},
		{"into the network", address("192.0.2.1"), network("198.51.100.0/24"), packet("192.0.2.1:5", "198.51.100.255:80"), true},
		{"beside the network", address("192.0.2.1"), network("198.51.100.0/24"), packet("192.0.2.1:5", "198.51.101.0:80"), false},
		{"the whole internet", address("192.0.2.1"), network("0.0.0.0/0"), packet("192.0.2.1:5", "198.51.101.0:80"), true},
		{"the other internet", address("2001:db8::1"), network("0.0.0.0/0"), packet("[2001:db8::1]:5", "[2001:db8::2]:80"), false},
		{"IPv6", network("2001:db8::/32"), network("2001:db9::/65"), packet("[2001:db8:1::]:5", "[2001:db9::1]:80"), true},
		{"IPv6 beside", network("2001:db8::/32"), network("2001:db9::/65"), packet("[2001:db8:1::]:5", "[2001:db9::8000:0:0:1]:80"), false},
		{"mapped is IPv6", network("::ffff:0:0/96"), nil, packet("192.0.2.1:5", "192.0.2.9:80"), false},
		{"service", nil, service("192.0.2.9", 80), packet("192.0.2.1:5", "192.0.2.9:80"), true},
		{"answer of the service", nil, service("192.0.2.9", 80), packet("192.0.2.9:80", "192.0.2.1:5"), true},
		{"another port", nil, service("192.0.2.9", 80), packet("192.0.2.1:80", "192.0.2.9:81"), false},
		{"only a subject", address("192.0.2.1"), nil, packet("192.0.2.9:5", "192.0.2.1:80"), true},
		{"nobody", nil, nil, packet("192.0.2.9:5", "192.0.2.1:80"), false},
	} {
		a := &Alert{Subject: c.subject, Victim: c.victim, First: Time(base), Last: Time(base)}
		if got := NewSelector(a).Take(c.packet); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestSelectorQuoteTimeAndKind(t *testing.T) {
	a := &Alert{Subject: &Party{IP: netip.MustParseAddr("192.0.2.1")}, Victim: &Party{IP: netip.MustParseAddr("192.0.2.9")}, First: Time(base), Last: Time(base + 10)}
	router := packet("203.0.113.1:3", "192.0.2.1:1")
	if NewSelector(a).Take(router) {
		t.Error("an error that quotes nothing")
	}
	router.HasQuote, router.Quote = true, packet("192.0.2.1:5", "192.0.2.9:80").Key
	if !NewSelector(a).Take(router) {
		t.Error("not an error that quotes the packet")
	}
	for at, want := range map[int64]bool{base - 1: false, base: true, base + 10: true, base + 11: false} {
		p := packet("192.0.2.1:5", "192.0.2.9:80")
		p.Time = at
		if NewSelector(a).Take(p) != want {
			t.Errorf("at %d: %v", at-base, !want)
		}
	}
	arp := packet("192.0.2.1:0", "192.0.2.9:0")
	arp.Kind, arp.Key.Ver = decode.KindARP, 0
	if !NewSelector(a).Take(arp) {
		t.Error("not ARP")
	}
	arp.Outer = true
	if NewSelector(a).Take(arp) {
		t.Error("an outer packet: its frame was taken once")
	}
}

func TestSelectorIsBounded(t *testing.T) {
	a := &Alert{Subject: &Party{IP: netip.MustParseAddr("192.0.2.1")}, First: Time(base), Last: Time(base)}
	small, large := packet("192.0.2.1:5", "192.0.2.9:80"), packet("192.0.2.1:5", "192.0.2.9:80")
	large.Data = make([]byte, 60<<10)
	for p, want := range map[*decode.Packet]int{small: 1000, large: 4} {
		s := NewSelector(a)
		n := 0
		for range 2000 {
			if s.Take(p) {
				n++
			}
		}
		if n != want || s.Full() != (p == small) {
			t.Errorf("%d packets of %d bytes, full: %v", n, len(p.Data), s.Full())
		}
	}
	s := NewSelector(a)
	if n := testing.AllocsPerRun(100, func() { s.Take(small) }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}
