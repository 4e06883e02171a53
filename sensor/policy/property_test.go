package policy

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/sensor/alert"
)

// untouchable is what no decision may hit as a source, written down apart from the guards: the site of the tests, and the
// ranges of RFC 6890 that hosts need to live.
var untouchable = []netip.Prefix{
	prefix("198.51.100.1/32"), prefix("198.51.100.2/32"), prefix("2001:db8::1/128"), prefix("198.51.100.32/28"),
	prefix("203.0.113.128/25"), prefix("2001:db8:5::/48"), prefix("198.18.7.0/24"), prefix("198.51.100.254/32"), prefix("192.0.2.53/32"),
	prefix("192.0.2.42/32"), prefix("192.0.2.22/32"), prefix("2001:db8:22::22/128"), prefix("127.0.0.0/8"), prefix("224.0.0.0/4"),
	prefix("10.0.0.0/8"), prefix("192.168.0.0/16"), prefix("172.16.0.0/12"), prefix("fe80::/10"), prefix("fc00::/7"), prefix("ff00::/8"),
}

// hostile addresses: guarded ones, their neighbours, other spellings, and nonsense.
func anyAddr() *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		a := netip.AddrFrom4([4]byte{192, 0, 2, rapid.ByteRange(0, 60).Draw(t, "host")})
		if rapid.Bool().Draw(t, "guarded") {
			a = rapid.SampledFrom(untouchable).Draw(t, "near").Addr()
			for range rapid.IntRange(0, 3).Draw(t, "on") {
				a = a.Next()
			}
		}
		return or(t, "form", a, netip.Addr{}, netip.AddrFrom16(a.As16()), a.WithZone("eth0"))
	})
}

func anyPrefix() *rapid.Generator[netip.Prefix] {
	return rapid.Custom(func(t *rapid.T) netip.Prefix {
		if rapid.Bool().Draw(t, "plain") {
			a := netip.AddrFrom4([4]byte{192, 0, 2, rapid.ByteRange(0, 21).Draw(t, "host")})
			return netip.PrefixFrom(a, rapid.SampledFrom([]int{28, 30, 31}).Draw(t, "plain bits")).Masked()
		}
		a := anyAddr().Draw(t, "address")
		bits := rapid.SampledFrom([]int{-1, 0, 8, 20, 24, 25, 28, 30, 31, 32, 48, 64, 96, 120, 127, 128, 200}).Draw(t, "bits")
		if rapid.Bool().Draw(t, "masked") {
			return netip.PrefixFrom(a, bits).Masked()
		}
		return netip.PrefixFrom(a, bits)
	})
}

func anyParty() *rapid.Generator[*alert.Party] {
	return rapid.Custom(func(t *rapid.T) *alert.Party {
		v := &alert.Party{
			ReturnPath: rapid.SampledFrom([]string{"", "proven", "proven", "unproven", "x"}).Draw(t, "path"),
			Port:       rapid.SampledFrom([]uint16{0, 22, 80}).Draw(t, "port"), Protocol: rapid.SampledFrom([]string{"", "tcp", "udp", "T:*>"}).Draw(t, "protocol"),
		}
		switch rapid.IntRange(0, 9).Draw(t, "what") {
		case 0:
			return nil
		case 1, 2:
			v.Prefix = anyPrefix().Draw(t, "prefix")
		case 3:
			v.IP, v.Prefix = anyAddr().Draw(t, "ip"), anyPrefix().Draw(t, "prefix")
		default:
			v.IP = anyAddr().Draw(t, "ip")
		}
		return v
	})
}

// seldom is true once in so often: what stops a drop early must not stop nearly all.
func seldom(t *rapid.T, what string) bool { return rapid.IntRange(0, 99).Draw(t, what)%16 == 15 }

// or is usual, and seldom one of the others.
func or[T any](t *rapid.T, what string, usual T, others ...T) T {
	if seldom(t, what) {
		return rapid.SampledFrom(others).Draw(t, what+" other")
	}
	return usual
}

func anyAlert(now int64) *rapid.Generator[*alert.Alert] {
	return rapid.Custom(func(t *rapid.T) *alert.Alert {
		return &alert.Alert{
			ID:         rapid.SampledFrom([]string{"a", "b", "c", "", string(make([]byte, 300))}).Draw(t, "id"),
			State:      rapid.SampledFrom([]alert.State{alert.Open, alert.Open, alert.Update, alert.Closed}).Draw(t, "state"),
			Time:       alert.Time(or(t, "time", now, now-second, now-1e15, now+1e15)),
			First:      alert.Time(or(t, "first", now-60*second, now, 0, -1<<63, 1<<63-1)),
			Last:       alert.Time(or(t, "last", now, 0, -1<<63, 1<<63-1)),
			Analyzer:   rapid.SampledFrom([]string{"flood", "flood", "scan", "fingerprint", ""}).Draw(t, "analyzer"),
			Kind:       rapid.SampledFrom([]string{"syn", "udp", "multi", "connection", "icmp", "vertical", "\xff\"\n"}).Draw(t, "kind"),
			Severity:   or(t, "severity", alert.High, alert.Info, alert.Low, alert.Medium, alert.Critical),
			Score:      rapid.Int().Draw(t, "score"),
			Confidence: or(t, "confidence", 90, -1000, 0, 59, 1000),
			Subject:    anyParty().Draw(t, "subject"),
			Victim:     anyParty().Draw(t, "victim"),
			Summary:    or(t, "summary", "x", "", string(bytes.Repeat([]byte("\xc3\xa4\xff"), 1000))),
			Signature: rapid.SampledFrom([]*alert.Signature{
				nil, signature(), {}, {Fields: signature().Fields, Normal: 0.02, NNormal: 100}, {Fields: []alert.Field{{Name: "ttl_min", Value: "9"}, {Name: "ttl_max", Value: "8"}}, NNormal: 100},
			}).Draw(t, "signature"),
			Muted: or(t, "muted", nil, &alert.Muted{Reason: "x"}),
			Loss:  alert.Loss{Ratio: or(t, "loss", 0, 0.2, -1, 7)},
		}
	})
}

func anyHand(now int64) *rapid.Generator[Drop] {
	return rapid.Custom(func(t *rapid.T) Drop {
		d := Drop{
			Scope:     Scope(or(t, "scope", rapid.Uint8Range(1, 4).Draw(t, "a scope"), 0, 5, 255)),
			Action:    Action(or(t, "action", rapid.Uint8Range(0, 5).Draw(t, "an action"), 6, 255)),
			Until:     or(t, "until", now/second+rapid.Int64Range(1, 7000).Draw(t, "span"), 0, -1<<63, 1<<63-1, now/second),
			Rate:      or[uint32](t, "rate", 0, 1, 1<<32-1),
			Reason:    or(t, "reason", "r", ""),
			By:        rapid.SampledFrom([]string{"alice", "policy", ""}).Draw(t, "by"),
			Signature: or(t, "signature", nil, signature()),
		}
		switch d.Scope {
		case ScopeAddress:
			d.IP = anyAddr().Draw(t, "ip")
		case ScopePrefix:
			d.Prefix = anyPrefix().Draw(t, "prefix")
		case ScopeSignature:
			d.Action, d.Signature = DropAll, signature()
			fallthrough
		default:
			d.Service = &Service{IP: anyAddr().Draw(t, "ip"), Protocol: or(t, "protocol", "tcp", "")}
		}
		if seldom(t, "also") {
			d.IP, d.Prefix = anyAddr().Draw(t, "other ip"), anyPrefix().Draw(t, "other prefix")
		}
		return d
	})
}

// small is a policy whose limits are soon reached.
func small() Config {
	c := Defaults()
	c.MaxDrops, c.MaxPerSecond, c.MaxStrikes, c.MaxPeers, c.EstablishedFrom, c.Siblings = 8, 3, 4, 16, 4, 2
	c.Longest, c.Strikes = 2*time.Hour, []time.Duration{time.Minute, 10 * time.Minute}
	return c
}

// step does one of all things that can happen to a policy.
func step(t *rapid.T, p *Policy, now int64) []Decision {
	var id string
	if list := p.Drops(); len(list) > 0 {
		id = rapid.SampledFrom(list).Draw(t, "drop").ID
	}
	switch rapid.IntRange(0, 15).Draw(t, "step") {
	case 0: // a neighbourhood, so that a prefix can hurt it
		a := anyAddr().Draw(t, "peer")
		for range rapid.IntRange(1, 8).Draw(t, "neighbours") {
			p.Established(a, now)
			a = a.Next()
		}
	case 1:
		p.Hit(id, now)
	case 2:
		return p.Approve(id, "alice", now)
	case 3:
		return p.Remove(id, "alice", "why", now)
	case 4:
		if seldom(t, "panic") {
			return p.Panic("alice", now)
		}
		return p.Resume(now)
	case 5, 6, 7:
		return p.Add(anyHand(now).Draw(t, "hand"), now)
	case 8:
		return p.Advance(now)
	default:
		return p.Judge(anyAlert(now).Draw(t, "alert"), now)
	}
	return nil
}

// TestProperties: whatever alerts and humans say, no drop is without an end, nobody guarded is hit, only the proven are
// dropped, every limit holds, what Drops lists is what the decisions said, and what is saved goes on as if nothing was. It
// goes on until every guard and every end of a drop was met, which -short does not insist on.
func TestProperties(t *testing.T) {
	reached := map[string]int{}
	var missing []string
	for round := range 30 { // the rarest is met twice in a round
		rapid.Check(t, func(t *rapid.T) { live(t, reached) })
		if missing = unmet(reached); missing == nil {
			t.Logf("all met after %d rounds: %v", round+1, reached)
			return
		}
	}
	if testing.Short() { // a fifth of the checks
		t.Logf("never met: %q", missing)
		return
	}
	t.Errorf("never met: %q: the alerts are too tame or too wild; met: %v", missing, reached)
}

func unmet(reached map[string]int) (missing []string) {
	want := append(GuardNames(), "pending prefix")
	for _, scope := range scopeNames[1:] {
		for _, state := range []State{Requested, Removed, Expired} {
			want = append(want, state.String()+" "+scope)
		}
	}
	for _, w := range want {
		if reached[w] == 0 && w != "cap_established" { // which is pending
			missing = append(missing, w)
		}
	}
	return missing
}

// live is the life of one policy.
func live(t *rapid.T, reached map[string]int) {
	cfg := small()
	cfg.Unproven = rapid.SampledFrom([]Unproven{UnprovenLimitNew, UnprovenLimitNew, UnprovenAlert, UnprovenDropNew}).Draw(t, "unproven")
	cfg.MaxDrops = rapid.SampledFrom([]int{2, 8}).Draw(t, "max drops")
	p := New(cfg, site())
	now := begin
	told := map[string]*Drop{}
	generation := uint64(0)
	var requests []int64
	pauses := rapid.SampledFrom([][]int64{{0, second / 3, second, 20 * second}, {0, 0, second / 3}}).Draw(t, "pace")
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		now += or(t, "pause", rapid.SampledFrom(pauses).Draw(t, "a pause"), 3600*second, -5*second)
		for _, d := range slices.Concat(p.Advance(now), step(t, p, now), p.Advance(now)) {
			if d.Refusal != nil {
				reached[d.Refusal.Guard]++
				if !slices.Contains(GuardNames(), d.Refusal.Guard) || d.String() == "" || d.Drop != nil {
					t.Fatalf("refusal %+v", d.Refusal)
				}
				continue
			}
			reached[d.Drop.State.String()+" "+d.Drop.Scope.String()]++
			sound(t, cfg, d.Drop, p.now)
			if d.Drop.Generation <= generation {
				t.Fatalf("generation %d after %d", d.Drop.Generation, generation)
			}
			generation = d.Drop.Generation
			if told[d.Drop.Key()] = d.Drop; d.Drop.State == Removed || d.Drop.State == Expired {
				delete(told, d.Drop.Key())
			}
			if d.Drop.State == Requested && d.Drop.Extended == 0 {
				requests = append(requests, p.now)
			}
		}
		bounded(t, p, requests)
		list := p.Drops()
		for _, d := range list {
			if told[d.Key()] != d {
				t.Fatalf("%s is wanted and nobody said so", d.Summary)
			}
		}
		if len(list) != len(told) {
			t.Fatalf("wanted %d, told %d", len(list), len(told))
		}
		p = reborn(t, p)
	}
}

// sound holds a drop to what must always be.
func sound(t *rapid.T, cfg Config, d *Drop, now int64) {
	if err := d.Check(); err != nil {
		t.Fatalf("%v: %+v", err, d)
	}
	b, err := d.AppendLine(nil)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParseDrop(b); err != nil || back.Key() != d.Key() {
		t.Fatalf("%v: %s", err, b)
	}
	if d.State == Removed || d.State == Expired {
		return
	}
	if d.Until <= now/second || d.Until > now/second+7200 || d.Until > d.Created+7200 {
		t.Fatalf("until %d, created %d, now %d", d.Until, d.Created, now/second)
	}
	s := d.Source()
	for _, u := range untouchable {
		if s.IsValid() && u.Overlaps(s) {
			t.Fatalf("%v hits %v", s, u)
		}
	}
	unproven := map[Unproven]Action{UnprovenLimitNew: LimitNew, UnprovenDropNew: DropNew}[cfg.Unproven]
	if s.IsValid() && d.By == ByPolicy && d.ReturnPath != "proven" && (d.Effect() != unproven || d.Effect() == LimitNew && d.Rate != 10) {
		t.Fatalf("an unproven source gets %+v", d)
	}
	if s.IsValid() && (s.Addr().Is4() && s.Bits() < 24 || s.Addr().Is6() && s.Bits() < 48) {
		t.Fatalf("%v is too wide", s)
	}
}

func bounded(t *rapid.T, p *Policy, requests []int64) {
	drops, strikes, peers := p.Sizes()
	maxDrops, maxStrikes, maxPeers := p.Limits()
	if drops > maxDrops || strikes > maxStrikes || peers > maxPeers || len(p.recent) > p.cfg.MaxPerSecond {
		t.Fatalf("%d drops, %d strikes, %d peers, %d requests", drops, strikes, peers, len(p.recent))
	}
	if len(p.ids) != drops || len(p.due.list) != drops || strikes != p.strikes.table.Size() {
		t.Fatalf("%d drops, %d ids, %d due; %d strikes of %d", drops, len(p.ids), len(p.due.list), strikes, p.strikes.table.Size())
	}
	n := 0
	for _, list := range p.alerts {
		n += len(list)
	}
	sources := 0
	for _, d := range p.Drops() {
		if d.Source().IsValid() {
			sources++
		}
	}
	if n > drops || p.sources.Size() != sources {
		t.Fatalf("%d of alerts, %d sources of %d", n, p.sources.Size(), sources)
	}
	if k := len(requests) - 1 - p.cfg.MaxPerSecond; k >= 0 && requests[len(requests)-1]-requests[k] < second {
		t.Fatalf("%d drops within a second", p.cfg.MaxPerSecond+1)
	}
}

// reborn is a policy of the saved state of another.
func reborn(t *rapid.T, p *Policy) *Policy {
	b, err := p.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	q, changed, err := Load(b, p.cfg, p.networks, p.now)
	if err != nil || len(changed) > 0 {
		t.Fatalf("%v, changed %v\n%s", err, changed, b)
	}
	again, err := q.AppendJSON(nil)
	if err != nil || !bytes.Equal(b, again) {
		t.Fatalf("%v: saved %s\nand after loading %s", err, b, again)
	}
	for i, d := range p.Drops() {
		if e := q.drops[d.Key()]; e.dueAt != p.drops[d.Key()].dueAt && e.dueAt != d.Until-lead {
			t.Fatalf("drop %d is due at %d", i, e.dueAt)
		}
	}
	if rapid.Bool().Draw(t, "go on with the old one") {
		return p
	}
	for _, d := range p.Drops() { // the same pointers, for the test's sake
		q.drops[d.Key()].drop = d
	}
	return q
}

// TestDeterminism: the same happens twice.
func TestDeterminism(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := New(small(), site()), New(small(), site()), New(small(), site())
		now := begin
		for i := range rapid.IntRange(1, 30).Draw(t, "steps") {
			now += rapid.SampledFrom([]int64{0, second, 60 * second}).Draw(t, "pause")
			alert := anyAlert(now).Draw(t, "alert")
			peer := anyAddr().Draw(t, "peer")
			var out [3]string
			for j, p := range []*Policy{a, b, c} {
				p.Established(peer, now)
				out[j] = lines(t, p.Judge(alert, now))
			}
			if out[0] != out[1] || out[0] != out[2] {
				t.Fatalf("%s\n%s\n%s", out[0], out[1], out[2])
			}
			// One of them goes through its saved state now and then.
			if i%3 == 0 {
				s, err := c.AppendJSON(nil)
				if err != nil {
					t.Fatal(err)
				}
				if c, _, err = Load(s, small(), site(), now); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func lines(t *rapid.T, list []Decision) string {
	var b []byte
	for _, d := range list {
		var err error
		if d.Drop != nil {
			b, err = d.Drop.AppendLine(b)
		} else {
			b, err = d.Refusal.AppendLine(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return string(b)
}

// TestCaps: a hundred thousand offenders get as many drops as the caps say, to the number.
func TestCaps(t *testing.T) {
	cfg := Defaults()
	cfg.MaxDrops, cfg.MaxPerSecond, cfg.MaxStrikes = 1000, 30, 500
	p := New(cfg, site())
	n := map[string]int{}
	var times []int64
	for i := range 100_000 {
		now := begin + int64(i)*second/1000
		a := offence(fmt.Sprintf("203.%d.%d.%d", i>>16, i>>8&255, i&255))
		a.Time = alert.Time(now)
		d := one(t, p.Judge(a, now))
		if d.Refusal != nil {
			n[d.Refusal.Guard]++
			continue
		}
		n["drop"]++
		if times = append(times, now); len(times) > 30 && now-times[len(times)-31] < second {
			t.Fatalf("31 drops within %d ns", now-times[len(times)-31])
		}
	}
	// 30 in each second until there are 1,000; 203.0.113.128/25 is 128 addresses, which come before the first is full.
	if n["drop"] != 1000 || n["drop"]+n["cap_rate"]+n["cap_total"]+n["never_list"] != 100_000 || n["never_list"] != 128 {
		t.Errorf("%v", n)
	}
	s := p.Stats()
	if drops, strikes, _ := p.Sizes(); drops != 1000 || strikes != 500 || s.Forgotten != 500 || s.Requested != 1000 {
		t.Errorf("%d drops, %d strikes, %+v", drops, strikes, s)
	}
}
