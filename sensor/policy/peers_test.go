package policy

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/analyzers/context"
	"weir/sensor/alert"
)

// TestEstablished: drops may hurt one of twenty peers (5 %), counted from fifty on; what exceeds it waits for approval.
func TestEstablished(t *testing.T) {
	grow := func(p *Policy, n int) {
		for i := range n {
			p.Established(netip.AddrFrom4([4]byte{192, 0, 2, byte(60 + i)}), begin-int64(time.Minute))
		}
	}
	accuse := func(i int) *alert.Alert { return offence(fmt.Sprintf("192.0.2.%d", 60+i)) }

	p := New(Defaults(), site())
	grow(p, 101) // others of a subject: 100
	for i := range 6 {
		if d := wanted(t, p.Judge(accuse(i), begin)); d.State != Requested {
			t.Fatalf("number %d: %+v", i+1, d) // five others hurt are 5 %
		}
	}
	d := wanted(t, p.Judge(accuse(6), begin))
	if d.State != Pending || d.Guard != "cap_established" || d.Strikes != 0 {
		t.Fatalf("number 7: %+v, want it pending", d)
	}
	if g := spared(t, p.Judge(accuse(6), begin)); g != "duplicate" {
		t.Errorf("number 7 again: %s", g)
	}
	if d := wanted(t, p.Judge(offence("192.0.2.4"), begin)); d.State != Requested {
		t.Errorf("a stranger, while many peers are hurt: %+v", d)
	}
	if d := wanted(t, p.Add(byHand("192.0.2.67", Drop{}), begin)); d.State != Pending {
		t.Errorf("by hand: %+v, want it pending", d)
	}
	p.Established(addr("192.0.2.6"), begin)
	if d := wanted(t, p.Judge(offence("192.0.2.6"), begin)); d.State != Requested {
		t.Errorf("who became a peer in the attack, while many peers are hurt: %+v", d)
	}
	if d := wanted(t, p.Judge(unproven("192.0.2.5"), begin)); d.State != Requested {
		t.Errorf("a limit hurts nobody: %+v", d)
	}

	if n := p.Pending(); n != 2 {
		t.Errorf("%d drops wait for approval, want 2", n)
	}

	// Approval: the guards are asked once more.
	ok := wanted(t, p.Approve(d.ID, "alice", after(time.Minute)))
	if ok.State != Requested || ok.Approved != "alice" || ok.Guard != "" || ok.ID != d.ID || ok.Strikes != 1 || ok.Until != begin/second+660 {
		t.Errorf("approved %+v", ok)
	}
	if n := p.Pending(); n != 1 {
		t.Errorf("%d drops wait after the approval of one, want 1", n)
	}
	if got := p.Approve(d.ID, "alice", after(time.Minute)); len(got) != 0 {
		t.Errorf("approved twice: %v", got)
	}
	late := New(Defaults(), site())
	grow(late, 101)
	for i := range 6 {
		late.Judge(accuse(i), begin)
	}
	d = wanted(t, late.Judge(accuse(6), begin))
	late.Panic("bob", begin)
	if got := late.Approve(d.ID, "alice", begin); len(got) != 0 {
		t.Errorf("approved after a panic: %v", got)
	}
	if end := wanted(t, endOfPending(t)); end.State != Expired {
		t.Errorf("nobody approved: %+v", end)
	}

	// With 50 peers there are 49 others.
	p = New(Defaults(), site())
	grow(p, 50)
	for i := range 20 {
		if d := wanted(t, p.Judge(accuse(i), begin)); d.State != Requested {
			t.Fatalf("number %d of few: %+v", i+1, d)
		}
	}

	// Who became a peer only after the attack began does not count: 200 sources of a connection flood.
	p = New(Defaults(), site())
	grow(p, 60)
	for i := range 90 {
		ip := netip.AddrFrom4([4]byte{198, 18, 0, byte(i)})
		p.Established(ip, begin-second/2)
		if d := wanted(t, p.Judge(offence(ip.String()), begin)); d.State != Requested {
			t.Fatalf("bot %d: %+v", i+1, d)
		}
	}

	// A prefix hurts all who are in it, and after an hour nobody remembers.
	p = New(Defaults(), site())
	grow(p, 60)
	if d := wanted(t, p.Add(byHand("192.0.2.64/28", Drop{}), begin)); d.State != Pending {
		t.Errorf("a prefix with 16 of 60 peers: %+v", d)
	}
	if d := wanted(t, p.Judge(offence("192.0.2.64"), begin)); d.State != Requested {
		t.Errorf("what waits for approval stands in for nothing: %+v", d)
	}
	if d := wanted(t, p.Add(with(byHand("192.0.2.96/28", Drop{}), func(d *Drop) { d.Until += 7200 }), after(3660*time.Second))[2:]); d.State != Requested {
		t.Errorf("after an hour: %+v", d)
	}
}

func endOfPending(t *testing.T) []Decision {
	p := New(Defaults(), site())
	for i := range 60 {
		p.Established(netip.AddrFrom4([4]byte{192, 0, 2, byte(60 + i)}), begin-int64(time.Minute))
	}
	wanted(t, p.Add(byHand("192.0.2.64/28", Drop{}), begin))
	return p.Advance(after(10 * time.Minute))
}

// TestForceStays: what is in force is not taken back to wait for the approval of something harder.
func TestForceStays(t *testing.T) {
	p := New(Defaults(), site())
	for i := range 60 {
		p.Established(netip.AddrFrom4([4]byte{192, 0, 2, byte(60 + i)}), begin-int64(time.Minute))
	}
	d := wanted(t, p.Add(byHand("192.0.2.64/28", Drop{Action: LimitNew}), begin))
	if g := spared(t, p.Add(byHand("192.0.2.64/28", Drop{}), begin)); g != "cap_established" {
		t.Errorf("guard %s", g)
	}
	if now := p.Drop(d.ID); now == nil || now.State != Requested || now.Action != LimitNew {
		t.Errorf("now %+v", now)
	}
}

// TestPeersTwin holds the running counts against a plain count over all peers and drops.
func TestPeersTwin(t *testing.T) {
	networks := context.New(context.Config{}, nil, nil)
	rapid.Check(t, func(t *rapid.T) {
		cfg := Defaults()
		cfg.MaxPeers, cfg.EstablishedFrom, cfg.EstablishedPercent = 12, 1, 100
		p := New(cfg, networks)
		now := begin
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += int64(rapid.IntRange(0, 1000).Draw(t, "pause")) * second
			ip := netip.AddrFrom4([4]byte{192, 0, 2, byte(rapid.IntRange(0, 15).Draw(t, "host"))})
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0, 1:
				p.Established(ip, now)
			case 2:
				a := offence(ip.String())
				a.Time, a.First, a.Victim = alert.Time(now), alert.Time(now-int64(rapid.IntRange(0, 900).Draw(t, "age"))*second), nil
				p.Judge(a, now)
			case 3:
				d := byHand("", Drop{Scope: ScopePrefix, Prefix: netip.PrefixFrom(ip, rapid.IntRange(28, 31).Draw(t, "bits")).Masked()})
				d.Until = now/second + int64(rapid.IntRange(1, 5000).Draw(t, "span"))
				p.Add(d, now)
			case 4:
				if list := p.Drops(); len(list) > 0 {
					p.Remove(rapid.SampledFrom(list).Draw(t, "drop").ID, "x", "y", now)
				}
			}
			p.peers.expire(p.now)
			checkPeers(t, p)
		}
	})
}

func checkPeers(t *rapid.T, p *Policy) {
	total, hit, guilty := 0, 0, 0
	for q := p.peers.oldest; q != nil; q = q.next {
		total++
		hurt, came := false, false
		for _, e := range p.drops {
			if s := e.drop.Source(); s.IsValid() && s.Contains(q.ip) && e.drop.State == Requested && e.drop.Effect() >= DropNew {
				hurt = hurt || q.first < e.since
				came = came || q.first >= e.since
			}
		}
		if hurt {
			hit++
		} else if came {
			guilty++
		}
	}
	if total != p.peers.table.Size() || hit != p.peers.hit || guilty != p.peers.guilty || total > p.cfg.MaxPeers {
		t.Fatalf("%d peers, %d hit, %d came with the attack; counted %d, %d, %d", total, hit, guilty, p.peers.table.Size(), p.peers.hit, p.peers.guilty)
	}
	// The share of a candidate is what the counts would be with it, without itself.
	s := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, 8}), 29)
	wantHit, wantOf, own := 0, 0, 0
	for q := p.peers.oldest; q != nil; q = q.next {
		isHit := q.hit > 0 || s.Contains(q.ip) && q.first < p.now
		came := !isHit && (q.guilty > 0 || s.Contains(q.ip))
		if isHit {
			wantHit++
		}
		if s.Contains(q.ip) && q.first < p.now {
			own++
		}
		if !came {
			wantOf++
		}
	}
	if own == 0 {
		wantHit = 0
	}
	if hit, of := p.peers.share(s, p.now); hit != wantHit || of != wantOf {
		t.Fatalf("share %d of %d, want %d of %d", hit, of, wantHit, wantOf)
	}
}
