package policy

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/analyzers/context"
	"weir/sensor/alert"
)

// Event time of the tests' beginning.
var begin = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC).UnixNano()

const second = int64(time.Second)

func after(d time.Duration) int64 { return begin + int64(d) }

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// site is a network with one of everything that is never dropped.
func site() *context.Networks {
	office, err := context.ReadList(context.ListConfig{Name: "office", File: "office", Never: true}, strings.NewReader("198.18.7.0/24\n"))
	if err != nil {
		panic(err)
	}
	spam, err := context.ReadList(context.ListConfig{Name: "spam", File: "spam"}, strings.NewReader("198.18.66.0/24\n"))
	if err != nil {
		panic(err)
	}
	list := func(s ...string) (out []context.Prefix) {
		for _, p := range s {
			out = append(out, context.Prefix{Prefix: prefix(p)})
		}
		return out
	}
	return context.New(context.Config{
		Own: list("198.51.100.1/32", "2001:db8::1/128"), TrustedProxies: list("198.51.100.32/28"),
		Never: list("203.0.113.128/25", "2001:db8:5::/48"),
	}, []*context.List{office, spam}, nil).WithHost(context.Host{
		Addresses: []netip.Addr{addr("198.51.100.2")}, Gateways: []netip.Addr{addr("198.51.100.254"), addr("fe80::1")},
		Resolvers: []netip.Addr{addr("192.0.2.53"), addr("198.51.100.2")}, NATSServers: []netip.Addr{addr("192.0.2.42")},
		SSHPeers: []netip.Addr{addr("192.0.2.22"), addr("2001:db8:22::22")},
	})
}

// offence is an alert on the site's web server, by a source that proved its return path.
func offence(ip string) *alert.Alert {
	return &alert.Alert{
		Schema: alert.Schema, ID: "00112233445566" + "77", Rev: 1, Time: alert.Time(begin), Sensor: "s", Analyzer: "scan", Kind: "vertical",
		Severity: alert.High, Score: 75, Confidence: 90, Subject: &alert.Party{IP: addr(ip), ReturnPath: "proven"},
		Victim: &alert.Party{IP: addr("198.51.100.1")}, Count: 9, First: alert.Time(begin - second), Last: alert.Time(begin),
		Summary: "it scanned",
	}
}

func unproven(ip string) *alert.Alert {
	a := offence(ip)
	a.Subject.ReturnPath = "unproven"
	return a
}

// flooding is a flood by nobody who can be named.
func flooding(kind string, victim alert.Party) *alert.Alert {
	a := offence("192.0.2.1")
	a.Analyzer, a.Kind, a.Subject, a.Victim = "flood", kind, nil, &victim
	return a
}

var web = alert.Party{IP: addr("198.51.100.1"), Port: 80, Protocol: "tcp"}

func signature() *alert.Signature {
	return &alert.Signature{Fields: []alert.Field{{Name: "length", Value: "40"}}, Attack: 0.9, Normal: 0.01, NAttack: 500, NNormal: 100}
}

// one is the only decision.
func one(t testing.TB, list []Decision) Decision {
	t.Helper()
	if len(list) != 1 {
		t.Fatalf("%d decisions, want one: %v", len(list), list)
	}
	return list[0]
}

// wanted is the only decision, a drop.
func wanted(t testing.TB, list []Decision) *Drop {
	t.Helper()
	d := one(t, list)
	if d.Drop == nil {
		t.Fatalf("refused: %v", d)
	}
	if err := d.Drop.Check(); err != nil {
		t.Fatalf("%v: %+v", err, d.Drop)
	}
	return d.Drop
}

// spared is the guard of the only decision, a refusal.
func spared(t testing.TB, list []Decision) string {
	t.Helper()
	d := one(t, list)
	if d.Refusal == nil {
		t.Fatalf("not refused: %v", d)
	}
	return d.Refusal.Guard
}

func byHand(s string, d Drop) Drop {
	if d.By == "" {
		d.By = "operator"
	}
	d.Reason = "asked for"
	d.Until = begin/second + 600
	if p, err := netip.ParsePrefix(s); err == nil {
		d.Scope, d.Prefix = ScopePrefix, p
	} else if s != "" {
		d.Scope, d.IP = ScopeAddress, addr(s)
	}
	return d
}

// TestHeard: of two sensors that want the same, neither ends or softens what the other wants.
func TestHeard(t *testing.T) {
	p := New(Defaults(), site())
	own := wanted(t, p.Judge(offence("192.0.2.9"), begin))
	other := *own
	other.ID = "00000000000000aa"
	for _, c := range []struct {
		name  string
		later uint64 // generations
		is    func(*Drop)
		again bool
	}{
		{"the same", 1, func(*Drop) {}, false},
		{"older", 0, func(d *Drop) { d.State = Removed }, false},
		{"our own", 1, func(d *Drop) { d.ID, d.State = own.ID, Removed }, false},
		{"of another key", 1, func(d *Drop) { d.IP, d.State = addr("192.0.2.10"), Removed }, false},
		{"removed", 1, func(d *Drop) { d.State = Removed }, true},
		{"expired", 3600e6, func(d *Drop) { d.State = Expired }, true},
		{"over", 1, func(d *Drop) { d.Until = begin / second }, true},
		{"milder", 1, func(d *Drop) { d.Action, d.Rate, d.Canary = LimitNew, 10, 0 }, true},
		{"a rehearsal", 1, func(d *Drop) { d.Action, d.Would = Shadow, DropAll }, true},
		{"pending", 1, func(d *Drop) { d.State = Pending }, true},
	} {
		o := other
		before := p.Drop(own.ID)
		o.Generation = before.Generation + c.later
		c.is(&o)
		out := p.Heard(&o, begin)
		if !c.again {
			if len(out) != 0 {
				t.Errorf("%s: %v", c.name, out)
			}
			continue
		}
		d := wanted(t, out)
		if d.Generation <= o.Generation || d.ID != own.ID || d.Until != own.Until || d.Action != own.Action || d != p.Drop(own.ID) {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}
