package tally

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"weir/decode"
	"weir/decode/conn"
)

// anyDrop draws what met one of a few drops.
func anyDrop(t *rapid.T) GateDrop {
	n := rapid.IntRange(0, 7).Draw(t, "drop")
	prefixes := []netip.Prefix{{}, netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/48"), netip.MustParsePrefix("::ffff:198.51.100.7/128")}
	return GateDrop{
		ID: fmt.Sprint("d", n), Alert: []string{"", "a1"}[n%2], Kind: []string{"", "flood.syn", "scan.udp"}[n%3],
		Source: prefixes[n%4], Victim: prefixes[(n+1)%4], Port: uint16(n), Proto: uint8(n), Shadow: rapid.Bool().Draw(t, "shadow"),
		Packets: rapid.Uint64Max(1000).Draw(t, "packets"), Bytes: rapid.Uint64Max(1e6).Draw(t, "bytes"), Last: rapid.Int64Range(0, 2e9).Draw(t, "last"),
	}
}

// gated adds what drops and samples counted to an epoch.
func gated(e *Epoch, drops []GateDrop, samples []*decode.Packet) *Epoch {
	for _, d := range drops {
		e.Gate.Add(d)
	}
	for _, p := range samples {
		e.Gate.Sample(p, 100)
	}
	e.Gate.Settle()
	return e
}

// TestGatesUnite: the union of two machines' gates is that of one which heard all reports, in either order, and survives its binary
// form. The sums are those of a twin that knows maps only.
func TestGatesUnite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drops := rapid.SliceOfN(rapid.Custom(anyDrop), 0, 40).Draw(t, "drops")
		samples := rapid.SliceOfN(rapid.Custom(anyPacket), 0, 20).Draw(t, "samples")
		cut, cutSamples := rapid.IntRange(0, len(drops)).Draw(t, "cut"), rapid.IntRange(0, len(samples)).Draw(t, "cutSamples")
		all := gated(&Epoch{}, drops, samples)
		a, b := gated(&Epoch{}, drops[:cut], samples[:cutSamples]), gated(&Epoch{}, drops[cut:], samples[cutSamples:])
		if rapid.Bool().Draw(t, "swap") {
			a, b = b, a
		}
		unite(t, a, b)
		if d := diff(all, a); d != "" {
			t.Fatalf("(-all +united):\n%s", d)
		}
		form, _ := a.AppendBinary(nil)
		var read Epoch
		if err := read.UnmarshalBinary(form); err != nil {
			t.Fatal(err)
		}
		if d := diff(a, &read); d != "" {
			t.Fatalf("(-written +read):\n%s", d)
		}
		checkGate(t, &all.Gate, drops, samples)
	})
}

// checkGate compares a gate's part with sums over the reports.
func checkGate(t *rapid.T, g *Gate, drops []GateDrop, samples []*decode.Packet) {
	packets, shadow := map[string]uint64{}, map[string]uint64{}
	last := map[string]int64{}
	named := map[string]uint64{}
	var dropped, bytes uint64
	for _, d := range drops {
		key := fmt.Sprint(d.ID, d.Shadow)
		last[key] = max(last[key], d.Last)
		if d.Shadow {
			shadow[d.ID] += d.Packets
			continue
		}
		packets[d.ID] += d.Packets
		dropped, bytes = dropped+d.Packets, bytes+d.Bytes
		if a := d.Victim.Addr().Unmap(); d.Victim.IsValid() && d.Victim.IsSingleIP() {
			named[fmt.Sprint(a, d.Port, d.Proto)] += d.Packets
		}
	}
	sampled, placed := map[string]uint64{}, uint64(0)
	for _, p := range samples {
		if p.Kind != decode.KindIPv4 && p.Kind != decode.KindIPv6 {
			continue
		}
		dst, port := p.Dst()
		if icmp := p.Key.Proto == 1 || p.Key.Proto == 58; icmp || p.FragOff > 0 {
			port = 0
		}
		sampled[fmt.Sprint(dst.Netip(p.Key.Ver), port, p.Key.Proto)] += 100
		placed += 100
	}
	if g.Packets != dropped || g.Bytes != bytes || g.Other != 0 || g.Unplaced != uint64(len(samples))*100-placed {
		t.Fatalf("%+v, want %d packets, %d bytes", g, dropped, bytes)
	}
	for i := range g.Drops {
		d := &g.Drops[i]
		want := packets[d.ID]
		if d.Shadow {
			want = shadow[d.ID]
		}
		if d.Packets != want || d.Last != last[fmt.Sprint(d.ID, d.Shadow)] {
			t.Fatalf("%+v, want %d packets", d, want)
		}
		delete(last, fmt.Sprint(d.ID, d.Shadow))
	}
	if len(last) > 0 {
		t.Fatalf("not told: %v", last)
	}
	for i := range g.Services {
		s := &g.Services[i]
		key := fmt.Sprint(s.Key.Addr.Netip(s.Key.Ver), s.Key.Port, s.Key.Proto)
		if s.Packets != named[key] || s.SampledPackets != sampled[key] {
			t.Fatalf("%s: %+v, want %d and %d", key, s, named[key], sampled[key])
		}
		delete(named, key)
		delete(sampled, key)
	}
	if len(named)+len(sampled) > 0 {
		t.Fatalf("services not told: %v %v", named, sampled)
	}
}

// TestGateBounds: the drops and services with the most packets stay, in order; the rest is summed up.
func TestGateBounds(t *testing.T) {
	var g Gate
	for i := range 2 * MaxGateDrops {
		d := GateDrop{ID: fmt.Sprintf("%06d", i), Packets: uint64(i % 4), Bytes: 1, Victim: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)}
		if !g.Add(d) {
			t.Fatal(i)
		}
	}
	g.Settle()
	if len(g.Drops) != MaxGateDrops || len(g.Services) != MaxGateServices {
		t.Fatalf("%d drops, %d services", len(g.Drops), len(g.Services))
	}
	told := g.Other
	for i := range g.Drops {
		told += g.Drops[i].Packets
		if g.Drops[i].Packets < 2 || i > 0 && g.Drops[i].ID <= g.Drops[i-1].ID {
			t.Fatalf("drop %d: %+v", i, g.Drops[i])
		}
	}
	if told != g.Packets || g.OtherBytes != MaxGateDrops {
		t.Errorf("%d of %d packets told; other %d bytes", told, g.Packets, g.OtherBytes)
	}
	for _, d := range []GateDrop{{}, {ID: string(make([]byte, MaxGateName+1))}, {ID: "x", Alert: string(make([]byte, MaxGateName+1))}} {
		if g.Add(d) {
			t.Errorf("took %+v", d)
		}
	}
}

// TestPeers: originators are told once, whoever their connections belong to, and unite; those without room are counted.
func TestPeers(t *testing.T) {
	sh := shards(2, Defaults())
	for i := range uint32(300) {
		for range 2 {
			sh[i%2].Peer(&conn.Peer{Addr: v4(i / 2), Ver: 4})
		}
	}
	var e Epoch
	NewMerger(Defaults()).Merge(&e, 1, sh)
	if len(e.Peers) != 150 || e.Link.PeersLost != 0 {
		t.Fatalf("%d peers, %d lost", len(e.Peers), e.Link.PeersLost)
	}
	for i, p := range e.Peers {
		if p != (Peer{v4(uint32(i)), 4}) {
			t.Fatalf("peer %d: %+v", i, p)
		}
	}
	for i := range uint32(2 * shardPeers) {
		sh[0].Peer(&conn.Peer{Addr: v4(i), Ver: 4})
	}
	var o Epoch
	NewMerger(Defaults()).Merge(&o, 1, sh)
	if n := uint64(len(o.Peers)); n < shardPeers*9/10 || n+o.Link.PeersLost != 2*shardPeers {
		t.Errorf("%d peers, %d lost", n, o.Link.PeersLost)
	}
	if err := e.Merge(&o); err != nil {
		t.Fatal(err)
	}
	form, _ := e.AppendBinary(nil)
	var read Epoch
	if err := read.UnmarshalBinary(form); err != nil || diff(&e, &read) != "" {
		t.Errorf("%v\n%s", err, diff(&e, &read))
	}
	seen := map[Peer]bool{}
	for _, p := range append(o.Peers, e.Peers...) {
		seen[p] = true
	}
	if len(seen) != len(e.Peers) {
		t.Errorf("%d peers after the union, %d in all", len(e.Peers), len(seen))
	}
}
