//go:build linux

package bpf

import (
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
)

// tables is what is put before a frame comes.
type tables struct {
	drops    []Drop
	services []Service
	signed   []Signature
	never    []string
	peers    []string
	rehearse bool
}

// prepared is a gate that sits at no interface.
func prepared(t testing.TB, cfg Config) *Gate {
	t.Helper()
	needRoot(t)
	cfg.Survive = false
	g := &Gate{cfg: cfg, signed: map[uint64]uint32{}}
	if err := g.prepare(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// small is a configuration whose tables load fast.
func small(m Mode) Config {
	c := Defaults()
	c.Mode, c.Hosts4, c.Hosts6, c.Prefixes, c.Services, c.Peers = m, 1024, 1024, 1024, 64, 1024
	return c
}

// later is an expiry that no test lives to see.
func later() Time { return Now() + 3600e9 }

var signatureID uint64

// fill puts the tables in place of what is there; rules without an expiry get one.
func (g *Gate) fill(t testing.TB, in tables) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var drops []netip.Prefix
	check(g.Drops(func(d Drop, _ Hits) bool { drops = append(drops, d.Prefix); return true }))
	_, err := g.Delete(drops)
	check(err)
	var services []Service
	check(g.Services(func(s Service, _ Hits) bool { services = append(services, s); return true }))
	_, err = g.DeleteServices(services)
	check(err)
	var key gatePeerKey
	for g.maps.Peers.NextKey(nil, &key) == nil {
		check(g.maps.Peers.Delete(&key))
	}
	var never []netip.Prefix
	for _, p := range in.never {
		never = append(never, netip.MustParsePrefix(p))
	}
	var peers []netip.Addr
	for _, p := range in.peers {
		peers = append(peers, netip.MustParseAddr(p))
	}
	for i := range in.drops {
		in.drops[i].Expires = or(in.drops[i].Expires, later())
	}
	for i := range in.services {
		in.services[i].Expires = or(in.services[i].Expires, later())
	}
	for i := range in.signed {
		signatureID++
		in.signed[i].ID = signatureID // hits go on under an ID
		in.signed[i].Expires = or(in.signed[i].Expires, later())
	}
	if g.control.Tables&uint32(gateTableTABLE_NEVER) != 0 || len(never) > 0 { // 15 ms each: the kernel waits for its programs
		check(g.SetNever(never))
	}
	_, err = g.Put(in.drops)
	check(err)
	_, err = g.PutServices(in.services)
	check(err)
	if len(g.signed)+len(in.signed) > 0 {
		check(g.SetSignatures(in.signed))
	}
	check(g.AddPeers(peers))
	g.flag(gateTableTABLE_REHEARSE, in.rehearse)
}

// run hands a frame to the program n times, and returns what became of all of them.
func (g *Gate) run(t testing.TB, frame []byte, n int) (last Verdict, sum Totals) {
	t.Helper()
	before, err := g.Totals()
	if err != nil {
		t.Fatal(err)
	}
	var ret uint32
	for range n {
		ret, err = g.prog.Run(&ebpf.RunOptions{Data: frame})
		if err != nil {
			t.Fatal(err)
		}
	}
	after, err := g.Totals()
	if err != nil {
		t.Fatal(err)
	}
	for v := range Verdicts {
		for r := range Reasons {
			sum[v][r] = Total{Packets: after[v][r].Packets - before[v][r].Packets, Bytes: after[v][r].Bytes - before[v][r].Bytes}
		}
	}
	pass, drop := uint32(2), uint32(1) // XDP_PASS, XDP_DROP
	if g.cfg.Mode == ModeTCX {
		pass, drop = 1<<32-1, 2 // TCX_NEXT, TCX_DROP
	}
	switch ret {
	case pass:
		return Pass, sum
	case drop:
		return Dropped, sum
	}
	t.Fatalf("the program returned %d", ret)
	return 0, sum
}

func drop(p string, r Rule) Drop { return Drop{netip.MustParsePrefix(p), r} }

var (
	just    = Rule{Action: ActionDrop}
	fresh   = Rule{Action: ActionDropNew}
	limited = Rule{Action: ActionLimit, Rate: 1, Burst: 3}
	newly   = Rule{Action: ActionLimitNew, Rate: 1, Burst: 3}
)

func (r Rule) shadow() Rule       { r.Shadow = true; return r }
func (r Rule) until(t Time) Rule  { r.Expires = t; return r }
func (r Rule) canary(t Time) Rule { r.Canary = t; return r }
func to(s string, proto uint8, port uint16, r Rule) Service {
	return Service{netip.MustParseAddr(s), proto, port, r}
}

const (
	lo = 1<<64 - 1 // a time that never comes
	v6 = "2001:db8::1"
)

// TestVerdicts holds what becomes of a frame, in both modes: the verdict of each frame, its reason, and what its entry counted.
func TestVerdicts(t *testing.T) {
	one := tables{drops: []Drop{drop("192.0.2.1/32", just)}}
	one6 := tables{drops: []Drop{drop(v6+"/128", just)}}
	newOnly := tables{drops: []Drop{drop("192.0.2.1/32", fresh)}}
	window, layout, nops := uint16(1024), uint32(0), layoutOf([]byte{1, 1, 1, 1})
	sign := func(s Signature) tables {
		if s.Action == 0 {
			s.Rule = just
		}
		return tables{signed: []Signature{s}}
	}
	web := tables{services: []Service{to("198.51.100.1", 6, 80, newly)}}
	for _, c := range []struct {
		name    string
		in      tables
		frame   []byte
		n       int // times, 1
		dropped int // of them
		verdict Verdict
		reason  Reason
	}{
		// Nothing to judge by.
		{"empty", tables{}, frame{}.bytes(), 1, 0, Pass, ReasonNone},
		{"empty, IPv6", tables{}, frame{src: v6}.bytes(), 1, 0, Pass, ReasonNone},
		{"empty, ARP", tables{}, append(make([]byte, 12), append([]byte{8, 6}, make([]byte, 28)...)...), 1, 0, Pass, ReasonNone},
		{"empty with a never-list", tables{never: []string{"192.0.2.0/24"}}, frame{}.bytes(), 1, 0, Pass, ReasonNone},
		{"ARP", one, append(make([]byte, 12), append([]byte{8, 6}, make([]byte, 28)...)...), 1, 0, Pass, ReasonNotIP},
		{"no more than Ethernet", one, append(make([]byte, 12), 8, 0), 1, 0, Pass, ReasonMalformed},

		// Sources.
		{"host", one, frame{}.bytes(), 1, 1, Dropped, ReasonHost},
		{"host, its neighbour", one, frame{src: "192.0.2.2"}.bytes(), 1, 0, Pass, ReasonNone},
		{"host as destination", one, frame{src: "198.51.100.7", dst: "192.0.2.1"}.bytes(), 1, 0, Pass, ReasonNone},
		{"host, IPv6", one6, frame{src: v6}.bytes(), 1, 1, Dropped, ReasonHost},
		{"host, IPv6, its neighbour", one6, frame{src: "2001:db8::2"}.bytes(), 1, 0, Pass, ReasonNone},
		{"host, UDP", one, frame{proto: 17}.bytes(), 1, 1, Dropped, ReasonHost},
		{"host, unknown protocol", one, frame{proto: 253, payload: []byte{1}}.bytes(), 1, 1, Dropped, ReasonHost},
		{"IPv4-mapped IPv6 is not IPv4", one, frame{src: "::ffff:192.0.2.1"}.bytes(), 1, 0, Pass, ReasonNone},
		{"IPv4-mapped instruction is IPv4", tables{drops: []Drop{drop("::ffff:192.0.2.1/128", just)}}, frame{}.bytes(), 1, 1, Dropped, ReasonHost},
		{"prefix", tables{drops: []Drop{drop("192.0.2.0/30", just)}}, frame{}.bytes(), 1, 1, Dropped, ReasonPrefix},
		{"prefix /24", tables{drops: []Drop{drop("192.0.2.0/24", just)}}, frame{src: "192.0.2.255"}.bytes(), 1, 1, Dropped, ReasonPrefix},
		{"prefix /9", tables{drops: []Drop{drop("192.0.0.0/9", just)}}, frame{src: "192.127.255.255"}.bytes(), 1, 1, Dropped, ReasonPrefix},
		{"prefix /9, outside", tables{drops: []Drop{drop("192.0.0.0/9", just)}}, frame{src: "192.128.0.0"}.bytes(), 1, 0, Pass, ReasonNone},
		{"prefix /1", tables{drops: []Drop{drop("128.0.0.0/1", just)}}, frame{src: "255.0.0.1"}.bytes(), 1, 1, Dropped, ReasonPrefix},
		{"prefix, IPv6 /48", tables{drops: []Drop{drop("2001:db8::/48", just)}}, frame{src: v6}.bytes(), 1, 1, Dropped, ReasonPrefix},
		{"prefix, IPv6 /64", tables{drops: []Drop{drop("2001:db8::/64", just)}}, frame{src: v6}.bytes(), 1, 1, Dropped, ReasonPrefix},
		{"prefix, IPv6 /32", tables{drops: []Drop{drop("2001:db8::/32", just)}}, frame{src: "2001:db8:7777::1"}.bytes(), 1, 1, Dropped, ReasonPrefix},
		{"prefix, IPv6 /32, outside", tables{drops: []Drop{drop("2001:db8::/32", just)}}, frame{src: "2001:db9::1"}.bytes(), 1, 0, Pass, ReasonNone},
		{"longest prefix", tables{drops: []Drop{drop("192.0.2.0/24", just), drop("192.0.2.0/30", fresh)}}, frame{flags: ack}.bytes(), 1, 0, Pass, ReasonPrefix},
		{"host that lets pass, prefix that does not", tables{drops: []Drop{drop("192.0.2.0/24", just), drop("192.0.2.1/32", fresh)}}, frame{flags: ack}.bytes(), 1, 1, Dropped, ReasonPrefix},

		// Time.
		{"expired", tables{drops: []Drop{drop("192.0.2.1/32", just.until(1))}}, frame{}.bytes(), 1, 0, Pass, ReasonNone},
		{"expires now", tables{drops: []Drop{drop("192.0.2.1/32", just.until(Now()))}}, frame{}.bytes(), 1, 0, Pass, ReasonNone},
		{"host expired, prefix in force", tables{drops: []Drop{drop("192.0.2.0/24", just), drop("192.0.2.1/32", just.until(1))}}, frame{}.bytes(), 1, 1, Dropped, ReasonPrefix},
		{"canary, new", tables{drops: []Drop{drop("192.0.2.1/32", just.canary(lo))}}, frame{}.bytes(), 1, 1, Dropped, ReasonHost},
		{"canary, established", tables{drops: []Drop{drop("192.0.2.1/32", just.canary(lo))}}, frame{flags: ack}.bytes(), 1, 0, Pass, ReasonHost},
		{"canary, UDP", tables{drops: []Drop{drop("192.0.2.1/32", just.canary(lo))}}, frame{proto: 17}.bytes(), 1, 0, Pass, ReasonHost},
		{"canary over", tables{drops: []Drop{drop("192.0.2.1/32", just.canary(1))}}, frame{flags: ack}.bytes(), 1, 1, Dropped, ReasonHost},

		// Actions.
		{"new only, SYN", newOnly, frame{}.bytes(), 1, 1, Dropped, ReasonHost},
		{"new only, SYN with ECN bits", newOnly, frame{flags: syn | 1<<6 | 1<<7}.bytes(), 1, 1, Dropped, ReasonHost},
		{"new only, SYN and ACK", newOnly, frame{flags: syn | ack}.bytes(), 1, 0, Pass, ReasonHost},
		{"new only, ACK", newOnly, frame{flags: ack}.bytes(), 1, 0, Pass, ReasonHost},
		{"new only, UDP", newOnly, frame{proto: 17}.bytes(), 1, 0, Pass, ReasonHost},
		{"new only, TCP header cut before the flags", newOnly, frame{cut: 14 + 20 + 8}.bytes(), 1, 1, Dropped, ReasonHost},
		{"limit", tables{drops: []Drop{drop("192.0.2.1/32", limited)}}, frame{flags: ack}.bytes(), 5, 2, Limit, ReasonHost},
		{"limit of new, SYN", tables{drops: []Drop{drop("192.0.2.1/32", newly)}}, frame{}.bytes(), 5, 2, Limit, ReasonHost},
		{"limit of new, ACK", tables{drops: []Drop{drop("192.0.2.1/32", newly)}}, frame{flags: ack}.bytes(), 5, 0, Pass, ReasonHost},
		{"shadow", tables{drops: []Drop{drop("192.0.2.1/32", just.shadow())}}, frame{}.bytes(), 1, 1, Shadow, ReasonHost},
		{"shadow of a limit", tables{drops: []Drop{drop("192.0.2.1/32", limited.shadow())}}, frame{}.bytes(), 5, 2, Shadow, ReasonHost},
		{"shadow, then a drop", tables{drops: []Drop{drop("192.0.2.1/32", just.shadow()), drop("192.0.2.0/24", just)}}, frame{}.bytes(), 1, 1, Dropped, ReasonPrefix},
		{"rehearsal", tables{drops: one.drops, rehearse: true}, frame{}.bytes(), 1, 1, Shadow, ReasonHost},

		// The never-list over everything.
		{"never, host", tables{drops: one.drops, never: []string{"192.0.2.1/32"}}, frame{}.bytes(), 1, 0, Pass, ReasonNever},
		{"never, prefix", tables{drops: one.drops, never: []string{"192.0.0.0/16"}}, frame{}.bytes(), 1, 0, Pass, ReasonNever},
		{"never, all", tables{drops: one.drops, never: []string{"0.0.0.0/0"}}, frame{}.bytes(), 1, 0, Pass, ReasonNever},
		{"never, another", tables{drops: one.drops, never: []string{"192.0.2.2/32"}}, frame{}.bytes(), 1, 1, Dropped, ReasonHost},
		{"never, IPv6", tables{drops: one6.drops, never: []string{"2001:db8::/64"}}, frame{src: v6}.bytes(), 1, 0, Pass, ReasonNever},
		{"never, all of IPv6", tables{drops: one6.drops, never: []string{"::/0"}}, frame{src: v6}.bytes(), 1, 0, Pass, ReasonNever},
		{"never, IPv4 only", tables{drops: one6.drops, never: []string{"0.0.0.0/0"}}, frame{src: v6}.bytes(), 1, 1, Dropped, ReasonHost},
		{"never, shadow", tables{drops: []Drop{drop("192.0.2.1/32", just.shadow())}, never: []string{"192.0.2.1/32"}}, frame{}.bytes(), 1, 0, Pass, ReasonNever},
		{"never, limit", tables{drops: []Drop{drop("192.0.2.1/32", limited)}, never: []string{"192.0.2.1/32"}}, frame{}.bytes(), 5, 0, Pass, ReasonNever},
		{"never, service", tables{services: web.services, never: []string{"192.0.2.1/32"}}, frame{}.bytes(), 5, 0, Pass, ReasonNever},
		{"never, signature", tables{signed: []Signature{{Proto: 6, Rule: just}}, never: []string{"192.0.2.1/32"}}, frame{}.bytes(), 1, 0, Pass, ReasonNever},

		// Parsing.
		{"VLAN", one, frame{vlans: []uint16{0x8100}}.bytes(), 1, 1, Dropped, ReasonHost},
		{"VLAN in VLAN", one, frame{vlans: []uint16{0x88a8, 0x8100}}.bytes(), 1, 1, Dropped, ReasonHost},
		{"VLAN, cut", one, frame{vlans: []uint16{0x8100}, cut: 16}.bytes(), 1, 0, Pass, ReasonNotIP},
		{"IPv4 header, cut", one, frame{cut: 14 + 19}.bytes(), 1, 0, Pass, ReasonMalformed},
		{"IPv4 header alone", one, frame{cut: 14 + 20}.bytes(), 1, 1, Dropped, ReasonHost},
		{"IPv4 options", newOnly, frame{ipOptions: 40, flags: ack}.bytes(), 1, 0, Pass, ReasonHost},
		{"IPv4 options and SYN", newOnly, frame{ipOptions: 40}.bytes(), 1, 1, Dropped, ReasonHost},
		{"IPv4 total below its header", one, frame{length: 19}.bytes(), 1, 0, Pass, ReasonMalformed},
		{"IPv4 total of 0", one, frame{length: -1}.bytes(), 1, 1, Dropped, ReasonHost},
		{"IPv4 total beyond the frame", one, frame{length: 1500}.bytes(), 1, 1, Dropped, ReasonHost},
		{"IPv4 header length 4", one, with(frame{}.bytes(), 14, 0x44), 1, 0, Pass, ReasonMalformed},
		{"IPv4 EtherType, version 6", one, with(frame{}.bytes(), 14, 0x65), 1, 0, Pass, ReasonMalformed},
		{"IPv6 header, cut", one6, frame{src: v6, cut: 14 + 39}.bytes(), 1, 0, Pass, ReasonMalformed},
		{"IPv6 version 4", one6, with(frame{src: v6}.bytes(), 14, 0x40), 1, 0, Pass, ReasonMalformed},
		{"IPv6 without payload, its padding looks like TCP", tables{signed: []Signature{{To: netip.MustParsePrefix("::/0"), MinLen: 41, Rule: just}}}, append(frame{src: v6, proto: 59, raw: []byte{}}.bytes(), frame{}.bytes()...), 1, 0, Pass, ReasonNone},
		{"IPv6, two VLANs, extension headers", one6, frame{src: v6, vlans: []uint16{0x9100, 0x8100}, ext: []byte{0, 43, 60}}.bytes(), 1, 1, Dropped, ReasonHost},
		{"IPv6 new only, behind seven headers", tables{drops: []Drop{drop(v6+"/128", fresh)}}, frame{src: v6, ext: []byte{0, 60, 43, 60, 51, 60, 60}, flags: ack}.bytes(), 1, 0, Pass, ReasonHost},
		{"IPv6 new only, SYN behind seven headers", tables{drops: []Drop{drop(v6+"/128", fresh)}}, frame{src: v6, ext: []byte{0, 60, 43, 60, 51, 60, 60}}.bytes(), 1, 1, Dropped, ReasonHost},
		{"IPv6, a chain too long", one6, frame{src: v6, ext: []byte{0, 60, 60, 60, 60, 60, 60, 60, 60}}.bytes(), 1, 1, Dropped, ReasonHost},
		{"IPv6, a chain cut", one6, frame{src: v6, ext: []byte{0, 60}, cut: 14 + 40 + 12}.bytes(), 1, 1, Dropped, ReasonHost},

		// Fragments.
		{"first fragment", newOnly, frame{fragment: 0x2000}.bytes(), 1, 1, Dropped, ReasonHost},
		{"later fragment of a dropped source", one, frame{fragment: 0x2010, raw: make([]byte, 64)}.bytes(), 1, 1, Dropped, ReasonHost},
		{"later fragment that looks like a SYN", newOnly, frame{fragment: 0x0010}.bytes(), 1, 0, Pass, ReasonHost},
		{"later fragment to a limited port", web, frame{fragment: 0x0010}.bytes(), 5, 0, Pass, ReasonNone},
		{"later fragment and a signature", sign(Signature{Proto: 6}), frame{fragment: 0x0010}.bytes(), 1, 0, Pass, ReasonNone},
		{"later fragment, IPv6", tables{drops: []Drop{drop(v6+"/128", fresh)}}, frame{src: v6, withFragment: true, fragment: 0x0010}.bytes(), 1, 0, Pass, ReasonHost},
		{"later fragment of a dropped source, IPv6", one6, frame{src: v6, withFragment: true, fragment: 0x0011}.bytes(), 1, 1, Dropped, ReasonHost},
		{"first fragment, IPv6", tables{drops: []Drop{drop(v6+"/128", fresh)}}, frame{src: v6, withFragment: true, fragment: 1}.bytes(), 1, 1, Dropped, ReasonHost},

		// Services.
		{"service", web, frame{}.bytes(), 5, 2, Limit, ReasonService},
		{"service, another port", web, frame{dport: 81}.bytes(), 5, 0, Pass, ReasonNone},
		{"service, another address", web, frame{dst: "198.51.100.2"}.bytes(), 5, 0, Pass, ReasonNone},
		{"service, another protocol", web, frame{proto: 17}.bytes(), 5, 0, Pass, ReasonNone},
		{"service, within a connection", web, frame{flags: ack}.bytes(), 5, 0, Pass, ReasonService},
		{"service, peer", tables{services: web.services, peers: []string{"192.0.2.1"}}, frame{}.bytes(), 5, 0, Pass, ReasonPeer},
		{"service, peer above its own allowance", tables{services: web.services, peers: []string{"192.0.2.77"}}, frame{src: "192.0.2.77"}.bytes(), 45, 2, Limit, ReasonService},
		{"service, other peer", tables{services: web.services, peers: []string{"192.0.2.9"}}, frame{}.bytes(), 5, 2, Limit, ReasonService},
		{"service, IPv6", tables{services: []Service{to("2001:db8:ff::1", 6, 80, newly)}}, frame{src: v6}.bytes(), 5, 2, Limit, ReasonService},
		{"service of all ports", tables{services: []Service{to("198.51.100.1", 17, 0, limited)}}, frame{proto: 17}.bytes(), 5, 2, Limit, ReasonService},
		{"service of all ports, a port of its own", tables{services: []Service{to("198.51.100.1", 17, 0, limited), to("198.51.100.1", 17, 80, just)}}, frame{proto: 17}.bytes(), 5, 5, Dropped, ReasonService},
		{"service of all ports, later fragment", tables{services: []Service{to("198.51.100.1", 17, 0, limited)}}, frame{proto: 17, fragment: 0x0010}.bytes(), 5, 2, Limit, ReasonService},
		{"service without ports", tables{services: []Service{to("198.51.100.1", 1, 0, limited)}}, frame{proto: 1, raw: make([]byte, 8)}.bytes(), 5, 2, Limit, ReasonService},
		{"service, expired", tables{services: []Service{to("198.51.100.1", 6, 80, newly.until(1))}}, frame{}.bytes(), 5, 0, Pass, ReasonNone},
		{"service, shadow", tables{services: []Service{to("198.51.100.1", 6, 80, newly.shadow())}}, frame{}.bytes(), 5, 2, Shadow, ReasonService},

		// Signatures, each field by a frame that has it and one that has not.
		{"signature, protocol", sign(Signature{Proto: 6}), frame{}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"signature, other protocol", sign(Signature{Proto: 6}), frame{proto: 17}.bytes(), 1, 0, Pass, ReasonNone},
		{"signature, source port", sign(Signature{SrcPort: 123}), frame{proto: 17, sport: 123}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"signature, other source port", sign(Signature{SrcPort: 123}), frame{proto: 17}.bytes(), 1, 0, Pass, ReasonNone},
		{"signature, port", sign(Signature{DstPort: 80}), frame{}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"signature, other port", sign(Signature{DstPort: 443}), frame{}.bytes(), 1, 0, Pass, ReasonNone},
		{"signature, length", sign(Signature{MinLen: 40, MaxLen: 40}), frame{}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"signature, shorter", sign(Signature{MinLen: 41}), frame{}.bytes(), 1, 0, Pass, ReasonNone},
		{"signature, longer", sign(Signature{MaxLen: 39}), frame{}.bytes(), 1, 0, Pass, ReasonNone},
		{"signature, length without padding", sign(Signature{MaxLen: 40}), append(frame{}.bytes(), make([]byte, 6)...), 1, 1, Dropped, ReasonSignature},
		{"signature, TTL", sign(Signature{MinTTL: 60, MaxTTL: 64}), frame{}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"signature, TTL below", sign(Signature{MinTTL: 65}), frame{}.bytes(), 1, 0, Pass, ReasonNone},
		{"signature, TTL above", sign(Signature{MaxTTL: 63}), frame{}.bytes(), 1, 0, Pass, ReasonNone},
		{"signature, hop limit", sign(Signature{MinTTL: 64, MaxTTL: 64}), frame{src: v6}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"signature, flags", sign(Signature{Proto: 6, Flags: syn, FlagMask: 0x1ff}), frame{}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"signature, other flags", sign(Signature{Proto: 6, Flags: syn, FlagMask: 0x1ff}), frame{flags: syn | 1<<8}.bytes(), 1, 0, Pass, ReasonNone},
		{"signature, flags not masked", sign(Signature{Proto: 6, Flags: syn, FlagMask: syn}), frame{flags: syn | ack}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"signature, no flag set, header cut", sign(Signature{Proto: 6, FlagMask: 0x1ff}), frame{cut: 14 + 20 + 12}.bytes(), 1, 0, Pass, ReasonNone},
		{"signature, window", sign(Signature{Proto: 6, Window: &window}), frame{window: 1024}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"signature, other window", sign(Signature{Proto: 6, Window: &window}), frame{window: 1025}.bytes(), 1, 0, Pass, ReasonNone},
		{"signature, no options", sign(Signature{Proto: 6, Layout: &layout}), frame{}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"signature, options", sign(Signature{Proto: 6, Layout: &layout}), frame{options: []byte{1, 1, 1, 0}}.bytes(), 1, 0, Pass, ReasonNone},
		{"signature, options in the padding", sign(Signature{Proto: 6, Layout: &nops}), append(with(frame{}.bytes(), 14+20+12, 6<<4), 1, 1, 1, 1), 1, 0, Pass, ReasonNone},
		{"signature, the same options in the packet", sign(Signature{Proto: 6, Layout: &nops}), frame{options: []byte{1, 1, 1, 1}}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"signature, opening", sign(Signature{Proto: 17, Opening: []byte("\x17\x00\x03\x2a")}), frame{proto: 17, payload: []byte("\x17\x00\x03\x2a\x00")}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"signature, other opening", sign(Signature{Proto: 17, Opening: []byte("\x17\x00\x03\x2a")}), frame{proto: 17, payload: []byte("\x17\x00\x03\x2b\x00")}.bytes(), 1, 0, Pass, ReasonNone},
		{"signature, opening cut", sign(Signature{Proto: 17, Opening: []byte("\x17\x00\x03\x00")}), frame{proto: 17, payload: []byte("\x17\x00\x03")}.bytes(), 1, 0, Pass, ReasonNone},
		{"signature, opening in the padding", sign(Signature{Proto: 17, Opening: []byte{0, 0}}), append(frame{proto: 17, payload: []byte{0}}.bytes(), 0, 0), 1, 0, Pass, ReasonNone},
		{"signature, masked opening", sign(Signature{Proto: 17, Opening: []byte{9, 9, 0x80}, Mask: []byte{0, 0, 0x80}}), frame{proto: 17, payload: []byte{1, 2, 0xff}}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"signature, 16 bytes", sign(Signature{Proto: 6, Opening: []byte("GET / HTTP/1.1\r\n")}), frame{flags: ack, options: []byte{1, 1, 1, 1}, payload: []byte("GET / HTTP/1.1\r\nHost")}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"signature, the 16th byte", sign(Signature{Proto: 6, Opening: []byte("GET / HTTP/1.1\r\n")}), frame{flags: ack, payload: []byte("GET / HTTP/1.1\r\r")}.bytes(), 1, 0, Pass, ReasonNone},
		{"signature, ICMP type", sign(Signature{Proto: 1, Opening: []byte{8}}), frame{proto: 1, raw: []byte{8, 0, 1, 2}}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"signature, victim", sign(Signature{To: netip.MustParsePrefix("198.51.100.0/24")}), frame{}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"signature, other victim", sign(Signature{To: netip.MustParsePrefix("198.51.101.0/24")}), frame{}.bytes(), 1, 0, Pass, ReasonNone},
		{"signature, IPv6 victim", sign(Signature{To: netip.MustParsePrefix("2001:db8:ff::1/128")}), frame{src: v6}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"signature, all of IPv4, not IPv6", sign(Signature{To: netip.MustParsePrefix("0.0.0.0/0")}), frame{src: v6}.bytes(), 1, 0, Pass, ReasonNone},
		{"signature, expired", sign(Signature{Proto: 6, Rule: just.until(1)}), frame{}.bytes(), 1, 0, Pass, ReasonNone},
		{"signature, limit", sign(Signature{Proto: 6, Rule: limited}), frame{}.bytes(), 5, 2, Limit, ReasonSignature},
		{"signature, shadow", sign(Signature{Proto: 6, Rule: just.shadow()}), frame{}.bytes(), 1, 1, Shadow, ReasonSignature},
		{"signature, IPv6 behind headers", sign(Signature{Proto: 6, Window: &window}), frame{src: v6, ext: []byte{0, 60}, window: 1024}.bytes(), 1, 1, Dropped, ReasonSignature},
		{"known client, then a signature", tables{services: web.services, peers: []string{"192.0.2.1"}, signed: []Signature{{Proto: 6, Rule: just}}}, frame{}.bytes(), 1, 1, Dropped, ReasonSignature},
	} {
		for _, m := range []Mode{ModeXDP, ModeTCX} {
			if m == ModeTCX && c.reason == ReasonMalformed && len(c.frame) < 14+40 {
				continue // BPF_PROG_TEST_RUN refuses a packet buffer that ends within the IP header
			}
			t.Run(c.name+"/"+string(m), func(t *testing.T) {
				g := gateOf(t, m)
				g.fill(t, c.in)
				last, sum := g.run(t, c.frame, c.n)
				if want := c.verdict >= Limit; (last == Dropped) != want {
					t.Errorf("dropped %v, want %v", last == Dropped, want)
				}
				var want Totals
				if c.dropped > 0 {
					want[c.verdict][c.reason] = Total{Packets: uint64(c.dropped), Bytes: uint64(c.dropped * len(c.frame))}
				} else {
					want[c.verdict][c.reason] = Total{Packets: uint64(c.n), Bytes: uint64(c.n * len(c.frame))}
				}
				if got := sum[c.verdict][c.reason]; c.reason != ReasonNever && got != want[c.verdict][c.reason] {
					t.Errorf("%s for %s: %+v, want %+v", c.verdict, c.reason, got, want[c.verdict][c.reason])
				}
				var all uint64
				for v := range sum {
					for r := range sum[v] {
						all += sum[v][r].Packets
					}
				}
				if all != uint64(c.n) {
					t.Errorf("%d frames counted, of %d: %+v", all, c.n, sum)
				}
				if c.reason == ReasonNever && sum[Pass][ReasonNever].Packets == 0 {
					t.Errorf("not spared: %+v", sum)
				}
				var hits uint64
				add := func(h Hits) {
					hits += h.Packets
					if h.Packets > 0 && (Now()-h.Last > 60e9 || h.Bytes != h.Packets*uint64(len(c.frame))) {
						t.Errorf("hits %+v at %d", h, Now())
					}
				}
				_ = g.Drops(func(_ Drop, h Hits) bool { add(h); return true })
				_ = g.Services(func(_ Service, h Hits) bool { add(h); return true })
				for _, h := range g.SignatureHits() {
					add(h)
				}
				if want := uint64(c.dropped); hits != want && c.name != "shadow, then a drop" {
					t.Errorf("entries counted %d hits, want %d", hits, want)
				}
			})
		}
	}
}

func with(b []byte, i int, v byte) []byte {
	b[i] = v
	return b
}

var gates = map[Mode]*Gate{}

// gateOf is one gate a mode for the whole table: loading takes the verifier half a second.
func gateOf(t testing.TB, m Mode) *Gate {
	t.Helper()
	needRoot(t)
	if gates[m] == nil {
		g := &Gate{cfg: small(m), signed: map[uint64]uint32{}}
		if err := g.prepare(); err != nil {
			t.Fatal(err)
		}
		gates[m] = g
	}
	return gates[m]
}
