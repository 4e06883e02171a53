package policy

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/analyzers/context"
	"weir/sensor/alert"
)

// saved is the state of a policy with something in each table.
func saved(t testing.TB) []byte {
	t.Helper()
	p := New(Defaults(), site())
	wanted(t, p.Judge(offence("192.0.2.9"), begin))
	wanted(t, p.Judge(offence("2001:db8:9::9"), begin))
	wanted(t, p.Judge(flooding("syn", web), begin))
	wanted(t, p.Add(byHand("", Drop{Scope: ScopeSignature, Service: &Service{IP: web.IP}, Signature: signature()}), begin))
	p.Established(addr("192.0.2.77"), begin)
	b, err := p.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestLoad: a state goes on under settings, networks and a time that may be others.
func TestLoad(t *testing.T) {
	b := saved(t)
	p, changed, err := Load(b, Defaults(), site(), after(time.Minute))
	if err != nil || len(changed) != 0 || len(p.Drops()) != 4 {
		t.Fatalf("%v, %d drops, changed %v", err, len(p.Drops()), changed)
	}
	if _, strikes, peers := p.Sizes(); strikes != 2 || peers != 1 {
		t.Errorf("%d strikes, %d peers", strikes, peers)
	}
	old := p.Drops()[0].Generation
	if d := wanted(t, p.Judge(offence("192.0.2.8"), after(time.Minute))); d.Generation <= old {
		t.Errorf("generation %d after %d", d.Generation, old)
	}

	// Down for longer than the drops last.
	p, changed, err = Load(b, Defaults(), site(), after(time.Hour))
	if err != nil || len(changed) != 4 || len(p.Drops()) != 0 {
		t.Fatalf("%v, %d drops, changed %v", err, len(p.Drops()), changed)
	}
	for _, d := range changed {
		if d.Drop.State != Expired {
			t.Errorf("%v", d)
		}
	}

	// What is guarded by now.
	n := site().WithHost(context.Host{SSHPeers: []netip.Addr{addr("192.0.2.9")}})
	p, changed, err = Load(b, Defaults(), n, begin)
	if err != nil || len(p.Drops()) != 3 {
		t.Fatalf("%v, %d drops", err, len(p.Drops()))
	}
	if d := wanted(t, changed); d.State != Removed || d.Guard != "ssh_peer" {
		t.Errorf("changed %v", changed)
	}

	// Smaller limits.
	cfg := Defaults()
	cfg.MaxDrops, cfg.MaxStrikes = 2, 1
	p, changed, err = Load(b, cfg, site(), begin)
	if _, strikes, _ := p.Sizes(); err != nil || len(p.Drops()) != 2 || strikes != 1 || len(changed) != 2 || changed[0].Drop.Guard != "cap_total" {
		t.Errorf("%v, %d drops, %d strikes, changed %v", err, len(p.Drops()), strikes, changed)
	}

	// A clock that was far ahead when it was saved: what it made lasts too long now, and new time counts.
	p, changed, err = Load(b, Defaults(), site(), begin-int64(30*24*time.Hour))
	if err != nil || len(p.Drops()) != 0 || len(changed) != 4 || changed[0].Drop.Guard != "too_long" || p.now >= begin {
		t.Errorf("%v, %d drops, changed %v", err, len(p.Drops()), changed)
	}

	// A panic holds.
	p = New(Defaults(), site())
	p.Panic("alice", begin)
	b, _ = p.AppendJSON(nil)
	if p, _, err = Load(b, Defaults(), site(), after(time.Hour)); err != nil || p.Held() == nil || p.Held().By != "alice" {
		t.Errorf("%v, held %+v", err, p.Held())
	}
	if g := spared(t, p.Add(with(byHand("192.0.2.9", Drop{}), func(d *Drop) { d.Until += 7200 }), after(time.Hour))); g != "panic" {
		t.Errorf("guard %s", g)
	}
}

// TestLoadErrors: each damage is told, and nothing is used.
func TestLoadErrors(t *testing.T) {
	good := string(saved(t))
	for _, c := range []struct{ old, new, want string }{
		{good, "", "byte 0: EOF"},
		{good, "[]", "cannot unmarshal array"},
		{good, good + "{}", "more than one JSON value"},
		{"weir.policy/1", "weir.policy/2", `schema "weir.policy/2", want "weir.policy/1"`},
		{`"now":`, `"then":1,"now":`, `unknown field "then"`},
		{`"state":"requested"`, `"state":"removed"`, `is "removed", which is not kept`},
		{`"state":"requested"`, `"state":"wild"`, `"wild" is none of`},
		{`"schema":"weir.drop/1"`, `"schema":"weir.drop/2"`, "drops: number 1: schema"},
		{`"drops":[`, `"drops":[{"drop":null,"since":0},`, "drops: number 1 is none"},
		{`"ip":"192.0.2.9"`, `"ip":"::ffff:192.0.2.9"`, "not in its plain form"},
		{`"ip":"192.0.2.9"`, `"prefix":"0.0.0.0/0"`, "address needs its source and no other"},
		{`"return_path":"proven"`, `"return_path":"maybe"`, "neither proven nor unproven"},
		{`"generation":1`, `"generation":9`, "generation 9"},
		{`"generation":1795`, `"generation":1695`, "above the last"},
		{`"strikes":[{"source":"192.0.2.9/32","n":1`, `"strikes":[{"source":"192.0.2.9/32","n":0`, "strikes: number 1"},
		{`"strikes":[`, `"strikes":[{"source":"2001:db8:9::9/128","n":1,"last":1},`, "strikes: number 3"},
		{`"peers":[`, `"peers":[{"ip":"192.0.2.77","first":1,"last":1},`, "peers: number 2"},
		{`"peers":[{"ip":"192.0.2.77","first":17`, `"peers":[{"ip":"192.0.2.77","first":18`, "peers: number 1"},
		{`"recent":[`, `"recent":[9e99,`, "cannot unmarshal"},
		{`"recent":[`, `"recent":[5,4,`, "recent"},
		{`"drops":[`, `"held":{"by":"","since":1},"drops":[`, "held"},
	} {
		bad := strings.Replace(good, c.old, c.new, 1)
		if bad == good {
			t.Errorf("%s: not there", c.old)
		}
		p, changed, err := Load([]byte(bad), Defaults(), site(), begin)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "policy state: ") || p != nil || changed != nil {
			t.Errorf("%s -> %s: %v, want %q", clip(c.old, 60), clip(c.new, 60), err, c.want)
		}
	}
}

// FuzzLoad: whatever is read, it is refused, or sound and saved as it was read.
func FuzzLoad(f *testing.F) {
	f.Add(saved(f))
	f.Add([]byte(`{"schema":"weir.policy/1","now":1,"generation":0}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, _, err := Load(b, small(), site(), begin)
		if err != nil {
			return
		}
		drops, strikes, peers := p.Sizes()
		if drops > 8 || strikes > 4 || peers > 16 {
			t.Fatalf("%d drops, %d strikes, %d peers", drops, strikes, peers)
		}
		for _, d := range p.Drops() {
			if r := NewGuards(small(), site()).Check(d, p.now); r != nil {
				t.Fatal(r.Sentence)
			}
		}
		one, err := p.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		q, _, err := Load(one, small(), site(), p.now)
		if err != nil {
			t.Fatalf("%v: %s", err, one)
		}
		if two, _ := q.AppendJSON(nil); !bytes.Equal(one, two) {
			t.Fatalf("%s\n%s", one, two)
		}
		p.Judge(offence("192.0.2.9"), begin)
		p.Advance(begin + int64(time.Hour))
	})
}

// FuzzParseDrop: what is accepted survives being written, and guards answer it.
func FuzzParseDrop(f *testing.F) {
	s := new(savedState)
	if err := json.Unmarshal(saved(f), s); err != nil {
		f.Fatal(err)
	}
	for _, d := range s.Drops {
		b, err := d.Drop.AppendLine(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDrop(b)
		if err != nil {
			return
		}
		out, err := d.AppendLine(nil)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseDrop(out)
		if err != nil || back.Key() != d.Key() {
			t.Fatalf("%v: %s", err, out)
		}
		if r := NewGuards(Defaults(), site()).Check(d, begin); r == nil {
			for _, u := range untouchable {
				if s := d.Source(); s.IsValid() && s.Overlaps(u) {
					t.Fatalf("%s hits %v", out, u)
				}
			}
		}
	})
}

// TestParseDrop: what a drop of another machine may look like.
func TestParseDrop(t *testing.T) {
	b, err := wanted(t, New(Defaults(), site()).Judge(offence("192.0.2.9"), begin)).AppendLine(nil)
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	for _, c := range []struct{ old, new, want string }{
		{`"id":"`, `"id":"x`, "16 hex digits"},
		{`"action":"drop",`, ``, "no action"},
		{`"action":"drop"`, `"action":"limit_new"`, "a rate belongs to"},
		{`"action":"drop"`, `"action":"limit","rate":5`, "limit is no action for address"},
		{`"action":"drop"`, `"action":"shadow"`, "no action"},
		{`"action":"drop"`, `"action":"drop","would":"drop"`, "would belongs to shadow"},
		{`"action":"drop"`, `"action":"drop","rate":7`, "a rate belongs to"},
		{`"action":"drop"`, `"action":"limit_new","rate":4000000000`, "rate 4000000000"},
		{`"action":"drop"`, `"action":"drop","service":{"ip":"192.0.2.1"}`, "service belongs to"},
		{`"scope":"address"`, `"scope":"prefix"`, "prefix needs its source"},
		{`"scope":"address","ip":"192.0.2.9"`, `"scope":"prefix","prefix":"192.0.2.9/24"`, "not in its plain form"},
		{`"scope":"address","ip":"192.0.2.9"`, `"scope":"prefix","prefix":"192.0.2.9/32"`, "is an address"},
		{`"ip":"192.0.2.9"`, `"ip":"fe80::1%eth0"`, "not in its plain form"},
		{`"canary":1795176030`, `"canary":1795999999`, "canary"},
		{`"until":1795176600`, `"until":1`, "no span of time"},
		{`"until":1795176600`, `"until":1795176600.5`, "cannot unmarshal"},
		{`"by":"policy"`, `"by":""`, "text is missing"},
		{`"strikes":1`, `"strikes":-1`, "negative"},
		{`"reason":"it scanned"`, `"reason":"` + strings.Repeat("x", maxReason+1) + `"`, "too long"},
		{`"reason":"it scanned"`, `"reason":"` + strings.Repeat("x", maxDrop) + `"`, "at most 16384"},
		{`"schema"`, `"Schema2"`, "unknown field"},
	} {
		bad := strings.Replace(good, c.old, c.new, 1)
		if bad == good {
			t.Errorf("%s: not there", c.old)
		}
		if _, err := ParseDrop([]byte(bad)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", clip(c.new, 60), err, c.want)
		}
	}
	for _, s := range []string{
		`{"fields":[]}`, `{"fields":[{"name":"length","value":"040"}]}`, `{"fields":[{"name":"length","value":"40"},{"name":"length","value":"41"}]}`,
		`{"fields":[{"name":"tcp_flags","value":"syn,,ack"}]}`, `{"fields":[{"name":"tcp_flags","value":"fin syn"}]}`, `{"fields":[{"name":"payload","value":"0G"}]}`,
		`{"fields":[{"name":"payload","value":""}]}`, `{"fields":[{"name":"ttl_min","value":"65"},{"name":"ttl_max","value":"64"}]}`,
		`{"fields":[{"name":"ttl_max","value":"256"}]}`, `{"fields":[{"name":"tcp_options","value":"0"}]}`, `{"fields":[{"name":"length","value":"40"}],"normal":2}`,
		`{"fields":[{"name":"length","value":"40"}],"n_normal":-1}`,
	} {
		bad := strings.Replace(good, `"scope":"address","ip":"192.0.2.9"`, `"scope":"signature","service":{"ip":"192.0.2.1"},"signature":`+s, 1)
		bad = strings.Replace(bad, `"canary":1795176030,`, "", 1)
		if _, err := ParseDrop([]byte(bad)); err == nil || !strings.Contains(err.Error(), "ignature") {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, f := range []string{
		`"protocol","value":"47"`, `"protocol","value":"icmpv6"`, `"src_port","value":"53"`, `"tcp_flags","value":"none"`, `"tcp_flags","value":"syn,ack"`,
		`"tcp_options","value":"0badcafe"`, `"payload","value":"deadbeef00112233"`, `"ttl_max","value":"64"`, `"tcp_window","value":"65535"`,
	} {
		ok := strings.Replace(good, `"scope":"address","ip":"192.0.2.9"`, `"scope":"signature","service":{"prefix":"192.0.2.0/24"},"signature":{"fields":[{"name":`+f+`}],"attack":1,"normal":0,"n_attack":100,"n_normal":100}`, 1)
		ok = strings.Replace(ok, `"canary":1795176030,`, "", 1)
		if _, err := ParseDrop([]byte(ok)); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// TestBack: a clock that was an hour ahead and is put right does not make all alerts things of the past.
func TestBack(t *testing.T) {
	p := New(Defaults(), site())
	at := func(ip string, now int64) *alert.Alert {
		a := offence(ip)
		a.Time, a.First, a.Last = alert.Time(now), alert.Time(now), alert.Time(now)
		return a
	}
	wanted(t, p.Judge(at("192.0.2.9", after(time.Hour)), after(time.Hour)))
	if q, _, err := p.Back(after(time.Hour) - 1e9); q != p || err != nil {
		t.Fatalf("a second back is another policy, %v", err)
	}
	if out := p.Judge(at("192.0.2.8", after(time.Minute)), after(time.Minute)); len(out) != 1 || out[0].Refusal == nil || out[0].Refusal.Guard != "expired" {
		t.Fatalf("this test tests nothing: %v", out)
	}
	q, changed, err := p.Back(after(time.Minute))
	if err != nil || q == p || len(changed) != 0 || len(q.Drops()) != 1 {
		t.Fatalf("%v, changed %v, %d drops", err, changed, len(q.Drops()))
	}
	before := q.Drops()[0].Generation
	if d := wanted(t, q.Judge(at("192.0.2.8", after(time.Minute)), after(time.Minute))); d.Until != after(11*time.Minute)/second || d.Generation <= before {
		t.Errorf("until %d, generation %d after %d", d.Until, d.Generation, before)
	}
	if got := q.Stats().Requested; got != 2 {
		t.Errorf("%d drops were requested, want 2", got)
	}
}
