package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/sensor/alert"
)

// TestRemedies: what each kind of alert is answered with.
func TestRemedies(t *testing.T) {
	with := func(a *alert.Alert, s *alert.Signature) *alert.Alert {
		a.Signature = s
		return a
	}
	flooder := func(kind string) *alert.Alert {
		a := unproven("192.0.2.9")
		a.Analyzer, a.Kind, a.Victim = "flood", kind, &web
		return a
	}
	proven := func(a *alert.Alert) *alert.Alert {
		a.Subject.ReturnPath = "proven"
		return a
	}
	kind := func(analyzer, kind string, a *alert.Alert) *alert.Alert {
		a.Analyzer, a.Kind = analyzer, kind
		return a
	}
	spoiled := signature()
	spoiled.Normal = 0.02
	unknown := signature()
	unknown.Fields[0].Name = "colour"
	host := alert.Party{IP: web.IP}
	six := alert.Party{IP: addr("2001:db8::1")}
	sig := "signature.198.51.100.1.tcp.80.c354af158125a1d7"
	for _, c := range []struct {
		name  string
		cfg   func(*Config)
		alert *alert.Alert
		want  string // keys and actions, and guards of refusals on the way
	}{
		{"proven source", nil, offence("192.0.2.9"), "address.192.0.2.9 drop"},
		{"unproven source", nil, unproven("192.0.2.9"), "address.192.0.2.9 limit_new 10"},
		{"unproven, anti-spoofing upstream", func(c *Config) { c.Unproven = UnprovenDropNew }, unproven("192.0.2.9"), "address.192.0.2.9 drop_new"},
		{"return path not said", nil, change(offence("192.0.2.9"), func(a *alert.Alert) { a.Subject.ReturnPath = "" }), "address.192.0.2.9 limit_new 10"},
		{"return path of another kind", nil, change(offence("192.0.2.9"), func(a *alert.Alert) { a.Subject.ReturnPath = "PROVEN" }), "address.192.0.2.9 limit_new 10"},
		{"source in IPv6", nil, offence("2001:db8:9::9"), "address.20010db8000900000000000000000009 drop"},

		{"proven flooder", nil, proven(flooder("connection")), "address.192.0.2.9 drop"},
		{"proven flooder with signature", nil, with(proven(flooder("connection")), signature()), "address.192.0.2.9 drop"},
		{"SYN flooder", nil, flooder("syn"), "address.192.0.2.9 limit_new 10"},
		{"SYN flooder with signature", nil, with(flooder("syn"), signature()), sig + " drop"},
		{"SYN flooder with a bad signature", nil, with(flooder("syn"), spoiled), "signature_hits_normal address.192.0.2.9 limit_new 10"},
		{"UDP flooder", nil, flooder("udp"), "service.198.51.100.1.tcp.80 limit 200"},
		{"ACK flooder", nil, flooder("ack"), "service.198.51.100.1.tcp.80 limit 200"},

		{"SYN flood", nil, flooding("syn", web), "service.198.51.100.1.tcp.80 limit 200"},
		{"SYN flood with signature", nil, with(flooding("syn", web), signature()), sig + " drop"},
		{"SYN flood with unknown field", nil, with(flooding("syn", web), unknown), "malformed service.198.51.100.1.tcp.80 limit 200"},
		{"SYN flood with a bad signature", nil, with(flooding("syn", web), spoiled), "signature_hits_normal service.198.51.100.1.tcp.80 limit 200"},
		{"signatures off", func(c *Config) { c.Signatures = false }, with(flooding("syn", web), signature()), "service.198.51.100.1.tcp.80 limit 200"},
		{"multi with signature", nil, with(flooding("multi", host), signature()), "signature.198.51.100.1.any.0.c354af158125a1d7 drop"},
		{"multi with a bad signature", nil, with(flooding("multi", host), spoiled), "signature_hits_normal no_remedy"},
		{"network with signature", nil, with(flooding("udp", alert.Party{Prefix: prefix("198.51.100.0/24")}), signature()), "signature.198.51.100.0_24.any.0.c354af158125a1d7 drop"},
		{"UDP flood of a host", nil, flooding("udp", host), "service.198.51.100.1.udp.0 limit 200"},
		{"amplification", nil, flooding("amplification", host), "service.198.51.100.1.udp.0 limit 200"},
		{"ICMP", nil, flooding("icmp", host), "service.198.51.100.1.icmp.0 limit 200"},
		{"ICMPv6", nil, flooding("icmp", six), "service.20010db8000000000000000000000001.icmpv6.0 limit 200"},
		{"fragments", nil, flooding("fragment", host), "no_remedy"},

		{"guesser", nil, kind("bruteforce", "password", offence("192.0.2.9")), "address.192.0.2.9 drop"},
		{"guesser, by a proxy's header", nil, kind("bruteforce", "web_login", unproven("192.0.2.9")), "address.192.0.2.9 limit_new 10"},
		{"stuffing", nil, kind("bruteforce", "stuffing", flooding("", web)), "no_remedy"},
		{"probing", nil, kind("http", "probing", offence("192.0.2.9")), "address.192.0.2.9 drop"},
		{"error surge", nil, kind("http", "errors", flooding("", web)), "no_remedy"},
		{"a new print at a protected service", nil, change(kind("fingerprint", "new", offence("192.0.2.9")), func(a *alert.Alert) { a.Severity = alert.Medium }), "below_threshold"},

		{"not a flood", nil, with(change(flooding("syn", web), func(a *alert.Alert) { a.Analyzer = "http" }), signature()), "no_remedy"},
		{"rehearsal", func(c *Config) { c.Shadow = true }, offence("192.0.2.9"), "address.192.0.2.9 shadow of drop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Defaults()
			if c.cfg != nil {
				c.cfg(&cfg)
			}
			if got := describe(New(cfg, site()).Judge(c.alert, begin)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// describe is what was decided in few words.
func describe(list []Decision) string {
	var words []string
	for _, d := range list {
		if d.Refusal != nil {
			words = append(words, d.Refusal.Guard)
			continue
		}
		w := d.Drop.Key() + " " + d.Drop.Action.String()
		if d.Drop.Would != NoAction {
			w += " of " + d.Drop.Would.String()
		}
		if d.Drop.Rate != 0 {
			w += fmt.Sprintf(" %d", d.Drop.Rate)
		}
		if d.Drop.State != Requested {
			w += " " + d.Drop.State.String()
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// TestForm holds a drop to all that is published of it.
func TestForm(t *testing.T) {
	d := wanted(t, New(Defaults(), site()).Judge(offence("192.0.2.9"), begin))
	b, err := d.AppendLine(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"schema":"weir.drop/1","id":"` + d.ID + `","generation":1795176000000000,"state":"requested","scope":"address","ip":"192.0.2.9",` +
		`"action":"drop","canary":1795176030,"created":1795176000,"until":1795176600,"by":"policy","alert":"0011223344556677",` +
		`"return_path":"proven","strikes":1,"reason":"it scanned","summary":"drop 192.0.2.9 for 10 min until 2026-11-20T12:10:00Z (strike 1), ` +
		`because of scan.vertical with severity high, score 75, confidence 90; return path proven; in the first 30 s only new connections."}` + "\n"
	if string(b) != want {
		t.Errorf("got  %swant %s", b, want)
	}
	back, err := ParseDrop(b)
	if err != nil || *back != *d {
		t.Errorf("read back: %v\n%+v\n%+v", err, back, d)
	}
	if d.Key() != "address.192.0.2.9" {
		t.Errorf("key %s", d.Key())
	}
}

// TestRefusal holds refusals to what is published of them.
func TestRefusal(t *testing.T) {
	p := New(Defaults(), site())
	d := wanted(t, p.Judge(offence("192.0.2.9"), begin))
	head := `{"schema":"weir.refusal/1","time":"2026-11-20T12:00:00.000000000Z","guard":"`
	for _, c := range []struct {
		alert *alert.Alert
		want  string
	}{
		{offence("192.0.2.9"), `duplicate","alert":"0011223344556677","scope":"address","subject":"192.0.2.9","by":"policy","drop":"` + d.ID +
			`","sentence":"No drop of 192.0.2.9 (guard duplicate): 192.0.2.9 is requested already, until 2026-11-20T12:10:00Z (drop ` + d.ID + `)."}`},
		{offence("192.0.2.22"), `ssh_peer","alert":"0011223344556677","scope":"address","subject":"192.0.2.22","by":"policy",` +
			`"sentence":"No drop of 192.0.2.22 (guard ssh_peer): 192.0.2.22/32 is the remote end of an SSH session."}`},
		{flooding("slow", web), `no_remedy","alert":"0011223344556677","subject":"flood.slow on 198.51.100.1:80/tcp","by":"policy",` +
			`"sentence":"No drop for flood.slow on 198.51.100.1:80/tcp (guard no_remedy): there is no proven source and no header signature, ` +
			`and a limit on the service would not help against flood.slow."}`},
	} {
		got, err := one(t, p.Judge(c.alert, begin)).Refusal.AppendLine(nil)
		if want := head + c.want + "\n"; err != nil || string(got) != want {
			t.Errorf("%v\ngot  %swant %s", err, got, want)
		}
	}
}

// TestUpgrade: a source that proves its return path while its alert lasts is dropped, under the id it had.
func TestUpgrade(t *testing.T) {
	p := New(Defaults(), site())
	first := wanted(t, p.Judge(unproven("192.0.2.9"), begin))
	if first.Strikes != 0 || first.Canary != 0 {
		t.Errorf("an unproven source has %d strikes and a canary until %d", first.Strikes, first.Canary)
	}
	a := offence("192.0.2.9")
	a.State, a.Rev = alert.Update, 2
	second := wanted(t, p.Judge(a, after(time.Second)))
	if second.ID != first.ID || second.Generation <= first.Generation || second.Action != DropAll || second.Strikes != 1 {
		t.Errorf("%+v, then %+v", first, second)
	}
	if e := p.drops[second.Key()]; len(p.Drops()) != 1 || e.since != int64(a.First) {
		t.Errorf("%d drops, evidence since %d", len(p.Drops()), e.since)
	}

	// What lasts almost as long as anything may is not prolonged by becoming harder.
	cfg := Defaults()
	cfg.Longest, cfg.Strikes = 15*time.Minute, []time.Duration{10 * time.Minute}
	p = New(cfg, site())
	first = wanted(t, p.Judge(unproven("192.0.2.9"), begin))
	p.Advance(after(9 * time.Minute))
	p.Hit(first.ID, after(9*time.Minute))
	wanted(t, p.Advance(after(10*time.Minute)))
	a = offence("192.0.2.9")
	a.Time, a.First = alert.Time(after(14*time.Minute)), alert.Time(after(13*time.Minute))
	if d := wanted(t, p.Judge(a, after(14*time.Minute))); d.Until != first.Created+900 || p.drops[d.Key()].since != begin-int64(time.Second) {
		t.Errorf("prolonged to %d s, evidence since %d", d.Until-first.Created, p.drops[d.Key()].since)
	}
}

// TestRelief: what stands in for something better, or for an attack that is over, ends.
func TestRelief(t *testing.T) {
	p := New(Defaults(), site())
	a := flooding("syn", web)
	limit := wanted(t, p.Judge(a, begin))
	b := *a
	b.State, b.Signature = alert.Update, signature()
	got := p.Judge(&b, after(time.Second))
	if len(got) != 2 || got[0].Drop.Scope != ScopeSignature || got[1].Drop.ID != limit.ID || got[1].Drop.State != Removed {
		t.Fatalf("signature after limit: %v", got)
	}
	if got[1].Drop.Until != limit.Until || got[1].Drop.Generation <= limit.Generation {
		t.Errorf("tombstone %+v of %+v", got[1].Drop, limit)
	}

	// Still met after the last evidence: another alert has taken over. Not met: over.
	id := got[0].Drop.ID
	b.State, b.Last = alert.Closed, alert.Time(after(10*time.Second))
	p.Advance(after(20 * time.Second))
	p.Hit(id, after(16*time.Second))
	if got := p.Judge(&b, after(40*time.Second)); len(got) != 0 {
		t.Errorf("removed although it is still met: %v", got)
	}
	p = New(Defaults(), site())
	d := wanted(t, p.Judge(a, begin))
	source := wanted(t, p.Judge(offence("192.0.2.9"), begin))
	own := wanted(t, p.Add(byHand("", Drop{Scope: ScopeService, Service: &Service{IP: web.IP, Port: 443, Protocol: "tcp"}, Alert: a.ID}), begin))
	b.Signature = nil
	p.Advance(after(20 * time.Second))
	p.Hit(d.ID, after(14*time.Second))
	early := b
	early.Early = true
	if got := p.Judge(&early, after(40*time.Second)); len(got) != 0 {
		t.Errorf("removed although nobody knows whether the attack is over: %v", got)
	}
	if end := wanted(t, p.Judge(&b, after(40*time.Second))); end.ID != d.ID || end.State != Removed || end.Guard != "" {
		t.Errorf("end of the alert: %+v", end)
	}
	if p.Drop(source.ID) == nil {
		t.Error("the end of an alert ended the drop of a source")
	}
	if p.Drop(own.ID) == nil {
		t.Error("the end of an alert ended what a human made because of it")
	}
}

// TestWiden: enough addresses of one /64 bring the prefix, which then holds the next.
func TestWiden(t *testing.T) {
	p := New(Defaults(), site())
	for i := range 3 {
		wanted(t, p.Judge(offence(fmt.Sprintf("2001:db8:9::%d", i+1)), begin))
	}
	got := p.Judge(offence("2001:db8:9::4"), begin)
	if want := "address.20010db8000900000000000000000004 drop prefix.20010db8000900000000000000000000_64 drop"; describe(got) != want {
		t.Fatalf("fourth sibling: %s, want %s", describe(got), want)
	}
	if d := got[1].Drop; d.Siblings != 4 || d.Strikes != 1 || d.ReturnPath != "proven" || d.Check() != nil {
		t.Errorf("prefix %+v", d)
	}
	if g := spared(t, p.Judge(offence("2001:db8:9::5"), begin)); g != "duplicate" {
		t.Errorf("fifth sibling: %s", g)
	}
	for i := range 8 {
		if got := p.Judge(offence(fmt.Sprintf("203.0.113.%d", i+1)), begin); len(got) != 1 {
			t.Errorf("IPv4 was widened: %v", got)
		}
	}
	// A /48 takes evidence of four /64, not of four addresses of one.
	wide := offence("192.0.2.1")
	wide.Subject = &alert.Party{Prefix: prefix("2001:db8:9::/48"), ReturnPath: "proven"}
	if g := spared(t, p.Judge(wide, begin)); g != "prefix_without_siblings" {
		t.Errorf("/48 with one /64: %s", g)
	}
	// A guarded neighbour keeps the prefix from being dropped, and only the prefix.
	p = New(Defaults(), site())
	for i := range 3 {
		wanted(t, p.Judge(offence(fmt.Sprintf("2001:db8:22::%d", i+1)), begin))
	}
	got = p.Judge(offence("2001:db8:22::4"), begin)
	if want := "address.20010db8002200000000000000000004 drop ssh_peer"; describe(got) != want {
		t.Errorf("siblings of an SSH peer: %s, want %s", describe(got), want)
	}
}

// TestStrikes: each offence lasts longer, one is forgiven a day, and what may be forged collects none.
func TestStrikes(t *testing.T) {
	p := New(Defaults(), site())
	now := begin
	for i, want := range []time.Duration{10 * time.Minute, 30 * time.Minute, 2 * time.Hour, 24 * time.Hour, 24 * time.Hour} {
		a := offence("192.0.2.9")
		a.Time = alert.Time(now)
		d := wanted(t, p.Judge(a, now))
		if d.Strikes != i+1 || d.Until != now/second+int64(want.Seconds()) {
			t.Errorf("offence %d: strike %d for %d s, want %v", i+1, d.Strikes, d.Until-now/second, want)
		}
		now = d.Until*second + second
		if end := wanted(t, p.Advance(now)); end.State != Expired || end.ID != d.ID {
			t.Errorf("end of offence %d: %+v", i+1, end)
		}
	}
	now += 3*24*int64(time.Hour) - 2*second // forgetting begins at the end of the drop, a second ago
	a := offence("192.0.2.9")
	a.Time = alert.Time(now)
	if d := wanted(t, p.Judge(a, now)); d.Strikes != 4 {
		t.Errorf("strike %d after all but three days, want 4: two of five are forgiven", d.Strikes)
	}

	p = New(Defaults(), site())
	now = begin
	for range 3 {
		a := unproven("192.0.2.9")
		a.Time = alert.Time(now)
		got := p.Judge(a, now)
		d := got[len(got)-1].Drop // after the end of the one before
		if d.Strikes != 0 || d.Until != now/second+600 {
			t.Errorf("unproven: %+v", d)
		}
		now = d.Until * second
	}
}

// TestExtend: what is still hit goes on, what is quiet ends, nothing lasts longer than the longest.
func TestExtend(t *testing.T) {
	cfg := Defaults()
	cfg.Longest = 24 * time.Hour
	p := New(cfg, site())
	d := wanted(t, p.Judge(offence("192.0.2.9"), begin))
	if got := p.Advance(after(10*time.Minute - 11*time.Second)); len(got) != 0 {
		t.Fatalf("early: %v", got)
	}
	p.Hit(d.ID, after(9*time.Minute))
	longer := wanted(t, p.Advance(after(10*time.Minute-10*time.Second)))
	if longer.ID != d.ID || longer.Until != d.Until+600 || longer.Extended != 1 || longer.Generation <= d.Generation || longer.State != Requested {
		t.Errorf("extended: %+v", longer)
	}
	// A hit between the first look and the end counts.
	if got := p.Advance(after(20*time.Minute - 5*time.Second)); len(got) != 0 {
		t.Fatalf("quiet: %v", got)
	}
	p.Hit(d.ID, after(20*time.Minute-6*time.Second))
	if again := wanted(t, p.Advance(after(20*time.Minute-4*time.Second))); again.Until != longer.Until+600 || again.Extended != 2 {
		t.Errorf("extended at the end: %+v", again)
	}
	if end := wanted(t, p.Advance(after(30*time.Minute))); end.State != Expired || p.Drop(d.ID) != nil {
		t.Errorf("quiet: %+v", end)
	}

	d = wanted(t, p.Judge(change(offence("192.0.2.10"), func(a *alert.Alert) { a.Time = alert.Time(after(time.Hour)) }), after(time.Hour)))
	last := d
	for now := after(time.Hour); ; now += second * 60 {
		p.Hit(d.ID, now-60*second)
		got := p.Advance(now)
		if len(got) == 0 {
			continue
		}
		if e := wanted(t, got); e.State == Requested {
			last = e
			continue
		}
		break
	}
	if last.Until != d.Created+86400 {
		t.Errorf("a drop that is hit for ever lasts %d s, want a day", last.Until-d.Created)
	}
	p.Hit("nobody", begin)
	if p.Stats().Unknown != 1 {
		t.Error("a hit on nothing was not counted")
	}
}

// TestByHand goes through what a human may do.
func TestByHand(t *testing.T) {
	p := New(Defaults(), site())
	d := wanted(t, p.Add(byHand("192.0.2.9", Drop{By: "alice", Strikes: 7, Siblings: 9, ReturnPath: "proven", Extended: 1}), begin))
	if d.By != "alice" || d.Until != begin/second+600 || d.Strikes != 0 || d.Siblings != 0 || d.ReturnPath != "" || d.Action != DropAll {
		t.Errorf("added %+v", d)
	}
	p.Advance(after(9 * time.Minute))
	p.Hit(d.ID, after(9*time.Minute))
	if end := wanted(t, p.Advance(after(10*time.Minute))); end.State != Expired {
		t.Errorf("a hand-made drop goes on: %+v", end)
	}
	d = wanted(t, p.Add(with(byHand("192.0.2.9", Drop{By: ByPolicy}), func(d *Drop) { d.Until += 600 }), after(10*time.Minute)))
	if d.By != "unknown" {
		t.Errorf("a human took the policy's name: %+v", d)
	}
	for _, c := range []struct {
		in   Drop
		want string
	}{
		{byHand("192.0.2.20/32", Drop{}), "address.192.0.2.20 drop"},
		{byHand("192.0.2.28/30", Drop{Action: DropNew}), "prefix.192.0.2.28_30 drop_new"},
		{byHand("192.0.2.33/30", Drop{}), "prefix.192.0.2.32_30 drop"},
		{byHand("::ffff:192.0.2.40", Drop{Action: LimitNew}), "address.192.0.2.40 limit_new 10"},
		{byHand("192.0.2.41", Drop{Action: LimitNew, Rate: 3}), "address.192.0.2.41 limit_new 3"},
		{byHand("192.0.2.44", Drop{Action: Shadow}), "address.192.0.2.44 shadow of drop"},
		{byHand("192.0.2.43", Drop{Action: Shadow, Would: LimitNew}), "address.192.0.2.43 shadow of limit_new 10"},
		{byHand("", Drop{Scope: ScopeService, Service: &Service{IP: addr("198.51.100.1"), Port: 80, Protocol: "tcp"}}), "service.198.51.100.1.tcp.80 limit 200"},
	} {
		c.in.Until += 600
		if got := describe(p.Add(c.in, after(10*time.Minute))); got != c.want {
			t.Errorf("added %q, want %q", got, c.want)
		}
	}

	// Removing forgives the strike.
	p = New(Defaults(), site())
	d = wanted(t, p.Judge(offence("192.0.2.9"), begin))
	gone := wanted(t, p.Remove(d.ID, "bob", "a customer", after(time.Minute)))
	if gone.State != Removed || gone.Until != d.Until || gone.Generation <= d.Generation || !strings.Contains(gone.Summary, "by bob: a customer") {
		t.Errorf("removed %+v", gone)
	}
	if got := p.Remove(d.ID, "bob", "", after(time.Minute)); len(got) != 0 {
		t.Errorf("removed twice: %v", got)
	}
	if d := wanted(t, p.Judge(offence("192.0.2.9"), after(2*time.Minute))); d.Strikes != 1 {
		t.Errorf("strike %d after a mistake", d.Strikes)
	}
}

func with(d Drop, f func(*Drop)) Drop {
	f(&d)
	return d
}

func TestPanic(t *testing.T) {
	p := New(Defaults(), site())
	a, b := wanted(t, p.Judge(offence("192.0.2.9"), begin)), wanted(t, p.Add(byHand("192.0.2.10", Drop{}), begin))
	got := p.Panic("carol", after(time.Second))
	if len(got) != 2 || got[0].Drop.ID != b.ID || got[1].Drop.ID != a.ID || got[0].Drop.State != Removed || got[0].Drop.Guard != "panic" {
		t.Fatalf("panic: %v", got)
	}
	if h := p.Held(); h == nil || h.By != "carol" || h.Since != begin/second+1 || len(p.Drops()) != 0 {
		t.Fatalf("held %+v with %d drops", p.Held(), len(p.Drops()))
	}
	if p.Panic("dave", after(2*time.Second)); p.Held().By != "carol" {
		t.Error("a second panic took the place of the first")
	}
	p.Resume(after(time.Minute))
	if d := wanted(t, p.Judge(offence("192.0.2.9"), after(time.Minute))); p.Held() != nil || d.Strikes != 1 {
		t.Errorf("after the panic: %+v", d)
	}
}

func TestKeys(t *testing.T) {
	legal := func(s string) bool { return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._") == "" }
	for want, d := range map[string]Drop{
		"prefix.192.0.2.0_24":                               {Scope: ScopePrefix, Prefix: prefix("192.0.2.0/24")},
		"prefix.20010db8000000000000000000000000_32":        {Scope: ScopePrefix, Prefix: prefix("2001:db8::/32")},
		"service.192.0.2.1.tcp.443":                         {Scope: ScopeService, Service: &Service{IP: addr("192.0.2.1"), Port: 443, Protocol: "tcp"}},
		"service.20010db8000000000000000000000001.icmpv6.0": {Scope: ScopeService, Service: &Service{IP: addr("2001:db8::1"), Protocol: "icmpv6"}},
		"signature.192.0.2.0_24.any.0.c354af158125a1d7":     {Scope: ScopeSignature, Service: &Service{Prefix: prefix("192.0.2.0/24")}, Signature: signature()},
		"": {},
	} {
		if got := d.Key(); got != want || !legal(got) {
			t.Errorf("key %q, want %q", got, want)
		}
	}
}

func TestProtected(t *testing.T) {
	text := strings.Join(New(Defaults(), site()).Protected(), "\n")
	for _, want := range []string{"203.0.113.128/25 never", "198.51.100.2/32 own", "192.0.2.22/32 ssh_peer", "list office (1 prefixes) never"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}
