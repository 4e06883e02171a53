package alert

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"weir/analyzers"
	"weir/analyzers/context"
)

var update = flag.Bool("update", false, "rewrite testdata/incidents.jsonl")

// deed is one finding in short.
type deed struct {
	at              int64 // s
	kind            string
	subject, victim string // "192.0.2.1" or "198.51.100.10:22"
	score           int
	proven          bool
}

// techniques are those of the analyzers, and the highest score that counts for the severity of their kinds.
var techniques = map[string]struct {
	attack string
	limit  int
}{
	"scan.vertical": {"T1046", 69}, "scan.block": {"T1595.001", 69}, "fingerprint.tool": {"T1046", 69}, "bruteforce.password": {"T1110", 69},
	"beacon.beacon": {"T1071", 69}, "exfil.volume": {"T1048", 89}, "flood.connection": {"T1499.002", 89}, "dns.tunnel": {"T1071.004", 89},
	"tunnel.icmp": {"T1095", 89}, "rate.spike": {"", 69},
}

func (d deed) finding() *analyzers.Finding {
	f := finding()
	f.Analyzer, f.Kind, _ = strings.Cut(d.kind, ".")
	f.Time = base + d.at*second
	f.First, f.Last, f.Quiet, f.Count = f.Time-second, f.Time, 300*second, 10
	f.Score, f.MaxScore = d.score, techniques[d.kind].limit
	f.Attack = nil
	if id := techniques[d.kind].attack; id != "" {
		f.Attack = []string{id}
	}
	f.Subject, f.Victim = sideOf(d.subject), sideOf(d.victim)
	f.Subject.ReturnPath = d.proven
	f.Summary = d.kind + " by " + d.subject
	return f
}

func sideOf(s string) (p analyzers.Party) {
	if at, err := netip.ParseAddrPort(s); err == nil {
		return analyzers.Party{Prefix: context.Single(at.Addr()), Port: at.Port(), Proto: 6}
	}
	if s != "" {
		p.Prefix, _ = context.ParsePrefix(s)
	}
	return p
}

// tell runs deeds through a manager and returns all revisions.
func tell(t testing.TB, cfg Config, n *context.Networks, deeds ...deed) (all []*Alert) {
	t.Helper()
	cfg.Incidents = true
	m := New(cfg)
	if n != nil {
		m.SetSite(analyzers.NewSite(n, nil))
	}
	emit := func(a *Alert) { all = append(all, a) }
	for _, d := range deeds {
		f := d.finding()
		m.Add(f)
		m.Advance(f.Time, emit)
	}
	m.Flush(emit)
	return all
}

// incidentsOf are the last revisions of incidents, as "kind severity score subject victim: members".
func incidentsOf(all []*Alert) (out []string) {
	last := map[string]*Alert{}
	names := map[string]string{}
	var order []string
	for _, a := range all {
		names[a.ID] = a.Analyzer + "." + a.Kind
		if a.Analyzer != incidentName {
			continue
		}
		if last[a.ID] == nil {
			order = append(order, a.ID)
		}
		last[a.ID] = a
	}
	for _, id := range order {
		a := last[id]
		s := fmt.Sprintf("%s %s %d", a.Kind, a.Severity, a.Score)
		for _, p := range []*Party{a.Subject, a.Victim} {
			if p == nil {
				s += " -"
			} else {
				s += " " + p.String()
			}
		}
		s += ":"
		for _, m := range a.Why {
			if m.Alert != "" {
				s += " " + m.Name
				if names[m.Alert] != m.Name {
					s += " (which is " + names[m.Alert] + ")"
				}
			}
		}
		out = append(out, s)
	}
	return out
}

const (
	offender = "198.51.100.23"
	server   = "10.20.0.10"
	outside  = "203.0.113.9:443"
)

// origins knows one autonomous system.
type origins struct{}

func (origins) Of(ip netip.Addr) (uint32, string) {
	if netip.MustParsePrefix("192.0.0.0/8").Contains(ip) {
		return 64500, "DE"
	}
	return 0, ""
}

// TestIncidents holds which alerts are one incident, with the arithmetic that the documentation gives: 69 points for what is medium, 10 for a
// further stage, 5 for one that may be forged.
func TestIncidents(t *testing.T) {
	scanned := deed{0, "scan.vertical", offender, server, 95, false}
	forced := deed{60, "bruteforce.password", offender, server + ":22", 66, true}
	for _, c := range []struct {
		name  string
		deeds []deed
		want  []string
	}{
		{"scan, then brute force", []deed{scanned, forced}, []string{
			"campaign high 79 198.51.100.23 10.20.0.10: scan.vertical bruteforce.password",
		}},
		{"a third stage", []deed{scanned, forced, {4000, "exfil.volume", offender, server, 72, true}}, []string{
			"campaign high 79 198.51.100.23 10.20.0.10: scan.vertical bruteforce.password", // an hour of quiet ended it
		}},
		{"a third stage in time", []deed{scanned, forced, {1200, "dns.tunnel", offender, "", 72, true}}, []string{
			"campaign high 87 198.51.100.23 10.20.0.10: scan.vertical bruteforce.password dns.tunnel",
		}},
		{"hours between", []deed{scanned, {20 * 3600, forced.kind, offender, server + ":22", 66, true}}, []string{
			"campaign high 79 198.51.100.23 10.20.0.10: scan.vertical bruteforce.password",
		}},
		{"more than a day between", []deed{scanned, {25 * 3600, forced.kind, offender, server + ":22", 66, true}}, nil},
		{"nmap -A: several kinds, one stage", []deed{
			scanned, {1, "scan.block", offender, "10.20.0.0/24", 80, false}, {2, "fingerprint.tool", offender, "", 65, false},
		}, nil},
		{"weak alerts", []deed{{0, "scan.vertical", offender, server, 49, false}, forced}, nil},
		{"nobody proves the address", []deed{scanned, {30, "tunnel.icmp", offender, server, 65, false}}, []string{
			"campaign medium 74 198.51.100.23 10.20.0.10: scan.vertical tunnel.icmp",
		}},
		{"a brute force so fast that it is a flood, too", []deed{forced, {61, "flood.connection", offender, server + ":22", 72, true}}, nil},
		{"a flood an hour after the brute force", []deed{forced, {3600, "flood.connection", offender, server + ":22", 72, true}}, []string{
			"campaign high 82 198.51.100.23 10.20.0.10:22/tcp: bruteforce.password flood.connection",
		}},
		{"what is no attack", []deed{scanned, {5, "rate.spike", offender, server, 60, true}}, nil},
		{"two victims of one network", []deed{scanned, {60, forced.kind, offender, "10.20.0.77:22", 66, true}}, []string{
			"campaign high 79 198.51.100.23 10.20.0.0/24: scan.vertical bruteforce.password",
		}},
		{"two victims far apart", []deed{scanned, {60, forced.kind, offender, "10.99.0.77:22", 66, true}}, []string{
			"campaign high 79 198.51.100.23 -: scan.vertical bruteforce.password",
		}},
		{"neighbours", []deed{scanned, {60, forced.kind, "198.51.100.99", server + ":22", 66, true}}, []string{
			"campaign high 74 198.51.100.0/24 10.20.0.10: scan.vertical bruteforce.password",
		}},
		{"neighbours with other victims", []deed{scanned, {60, forced.kind, "198.51.100.99", "10.99.0.77:22", 66, true}}, nil},
		{"neighbours that prove nothing", []deed{scanned, {60, "tunnel.icmp", "198.51.100.99", server, 66, false}}, nil},
		{"IPv6 neighbours", []deed{
			{0, "scan.vertical", "2001:db8:5:1::1", "fd00:20::10", 95, false}, {60, forced.kind, "2001:db8:5:ffff::2", "fd00:20::10", 66, true},
		}, []string{"campaign high 74 2001:db8:5::/48 fd00:20::10: scan.vertical bruteforce.password"}},
		{"one autonomous system", []deed{
			{0, "scan.vertical", "192.0.2.1", server, 95, false}, {60, forced.kind, "192.100.0.9", server + ":22", 66, true},
		}, []string{"campaign medium 74 AS64500 10.20.0.10: scan.vertical bruteforce.password"}},
		{"decoys", []deed{
			{0, "scan.vertical", offender, server, 75, false},
			{0, "scan.vertical", "203.0.113.11", server, 75, false},
			{1, "scan.vertical", "203.0.113.12", server, 75, false},
			{1, "scan.vertical", "192.0.2.9", server, 75, false},
		}, []string{"crowd medium 69 - 10.20.0.10: scan.vertical scan.vertical scan.vertical scan.vertical"}},
		{"scans of one day", []deed{
			{0, "scan.vertical", offender, server, 75, false},
			{100, "scan.vertical", "203.0.113.11", server, 75, false},
			{200, "scan.vertical", "203.0.113.12", server, 75, false},
			{300, "scan.vertical", "192.0.2.9", server, 75, false},
		}, nil},
		{"attacked, then it speaks", []deed{forced, {1200, "beacon.beacon", server, outside, 61, true}}, []string{
			"compromise high 76 198.51.100.23 10.20.0.10: bruteforce.password beacon.beacon",
		}},
		{"spoke before it was attacked", []deed{{0, "beacon.beacon", server, outside, 61, true}, forced}, nil},
		{"scanned, then it speaks", []deed{scanned, {600, "beacon.beacon", server, outside, 61, true}}, nil},
		{"a beacon that is the data leaving", []deed{
			{0, "beacon.beacon", server, outside, 61, true}, {30, "exfil.volume", server, outside, 75, true},
		}, nil},
		{"the whole story", []deed{
			scanned, forced, {1800, "beacon.beacon", server, outside, 61, true}, {3600, "exfil.volume", server, "203.0.113.99", 75, true},
		}, []string{
			"campaign high 79 198.51.100.23 10.20.0.10: scan.vertical bruteforce.password",
			"compromise critical 95 198.51.100.23 10.20.0.10: bruteforce.password beacon.beacon exfil.volume",
			"campaign high 85 10.20.0.10 203.0.113.0/24: beacon.beacon exfil.volume",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := tell(t, Config{}, context.New(context.Config{}, nil, origins{}), c.deeds...)
			if got := incidentsOf(all); !slices.Equal(got, c.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
		})
	}
}

// TestIncidentByPrint joins sources that nothing but their tool's print has in common.
func TestIncidentByPrint(t *testing.T) {
	m := New(Config{Incidents: true})
	var all []*Alert
	for _, d := range []deed{
		{0, "fingerprint.tool", offender, "", 30, false},
		{0, "scan.vertical", offender, server, 70, false},
		{9, "fingerprint.tool", "203.0.113.50", "", 30, false},
		{10, "bruteforce.password", "203.0.113.50", server + ":22", 66, true},
	} {
		f := d.finding()
		if f.Analyzer == "fingerprint" {
			f.Print = "masscan"
		}
		m.Add(f)
	}
	m.Flush(func(a *Alert) { all = append(all, a) })
	want := []string{"campaign medium 74 - 10.20.0.10: scan.vertical bruteforce.password"}
	if got := incidentsOf(all); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestIncidentInAlerts: alerts name their incident from the moment it is known, and are what they are without incidents.
func TestIncidentInAlerts(t *testing.T) {
	deeds := []deed{
		{0, "scan.vertical", offender, server, 95, false},
		{60, "bruteforce.password", offender, server + ":22", 66, true},
		{70, "scan.vertical", offender, server, 96, false},
		{90, "exfil.volume", offender, server, 75, true},
	}
	var with, without, revisions []string
	for _, a := range tell(t, Config{}, nil, deeds...) {
		if a.Analyzer == incidentName {
			revisions = append(revisions, fmt.Sprintf("%d %s %s %d", a.Rev, a.State, a.Severity, a.Count))
			continue
		}
		with = append(with, fmt.Sprintf("%s %d %v", a.Kind, a.Rev, a.Incident != ""))
		a.Incident = ""
		without = append(without, golden(a))
	}
	want := []string{"vertical 1 false", "password 1 true", "volume 1 true", "password 2 true", "vertical 2 true", "volume 2 true"}
	slices.Sort(with)
	slices.Sort(want)
	if !slices.Equal(with, want) {
		t.Errorf("got %q", with)
	}
	if want := []string{"1 open high 2", "2 update critical 3", "3 closed critical 3"}; !slices.Equal(revisions, want) {
		t.Errorf("revisions %q, want %q", revisions, want)
	}
	var plain []string
	m := New(Config{})
	for _, d := range deeds {
		m.Add(d.finding())
	}
	m.Flush(func(a *Alert) { plain = append(plain, golden(a)) })
	slices.Sort(plain)
	slices.Sort(without)
	if !slices.Equal(plain, without) {
		t.Errorf("incidents change their alerts:\n%s\n%s", strings.Join(plain, "\n"), strings.Join(without, "\n"))
	}
}

// TestIncidentEnds closes an hour after the last evidence, and not while one of its alerts is open.
func TestIncidentEnds(t *testing.T) {
	m := New(Config{Incidents: true})
	var all []*Alert
	emit := func(a *Alert) { all = append(all, a) }
	m.Add(deed{0, "scan.vertical", offender, server, 95, false}.finding())
	f := deed{60, "bruteforce.password", offender, server + ":22", 66, true}.finding()
	f.Quiet = 7200 * second
	m.Add(f)
	m.Advance(base+7259*second, emit)
	for _, a := range all {
		if a.Analyzer == incidentName && a.State == Closed {
			t.Errorf("closed at %v, before its alert", a.Time)
		}
	}
	all = nil
	m.Advance(base+7260*second, emit)
	if len(all) != 2 || all[1].Analyzer != incidentName || all[1].State != Closed || all[1].Early {
		t.Errorf("%d revisions at the end, the last %+v", len(all), all[len(all)-1])
	}
	if n := len(m.incidents.groups); n == 0 || n > 5 {
		t.Errorf("%d groups are left", n)
	}
}

// TestIncidentsAreBounded makes alerts of twenty thousand subjects, after an incident and the first half of another one.
func TestIncidentsAreBounded(t *testing.T) {
	m := New(Config{Incidents: true, MaxOpen: 1000})
	m.Add(deed{0, "scan.vertical", offender, server, 95, false}.finding())
	m.Add(deed{0, "bruteforce.password", offender, server + ":22", 66, true}.finding())
	for i := range 20_000 {
		m.Add(deed{int64(i / 50), "scan.vertical", subject(i).Prefix.Addr().String(), subject(i + 1e6).Prefix.Addr().String(), 60, true}.finding())
		if i%1000 == 0 {
			m.Advance(m.now, func(*Alert) {})
		}
		if n := len(m.incidents.groups); n > maxGroups || m.incidents.weak.Len()+m.incidents.strong.Len() != n {
			t.Fatalf("%d groups, %d and %d in order", n, m.incidents.weak.Len(), m.incidents.strong.Len())
		}
	}
	if n := len(m.incidents.groups); n != maxGroups {
		t.Errorf("%d groups, the test is to fill them", n)
	}
	if g := m.incidents.groups[groupKey{kind: campaign, subject: context.Single(netip.MustParseAddr(offender))}]; g == nil || len(g.members) != 2 {
		t.Error("noise drove out a group of two stages")
	}
	for i := range 2 * maxMembers {
		m.Add(deed{500, "scan.vertical", fmt.Sprintf("198.18.0.%d", i), server, 60, true}.finding())
	}
	for _, g := range m.incidents.groups {
		if len(g.members) > maxMembers {
			t.Fatalf("a group of %d", len(g.members))
		}
	}
	m.Flush(func(*Alert) {})
	if s := m.Stats(); s.Opened != s.Closed {
		t.Errorf("%+v", s)
	}
}

// TestIncidentForm holds the published form of each kind.
func TestIncidentForm(t *testing.T) {
	const file = "testdata/incidents.jsonl"
	var text []byte
	for _, a := range tell(t, Config{}, nil,
		deed{0, "scan.vertical", offender, server, 95, false}, deed{0, "scan.vertical", "203.0.113.11", server, 75, false},
		deed{1, "scan.vertical", "203.0.113.12", server, 75, false}, deed{1, "scan.vertical", "192.0.2.9", server, 75, false},
		deed{60, "bruteforce.password", offender, server + ":22", 66, true}, deed{1800, "exfil.volume", server, outside, 75, true},
	) {
		if a.Analyzer != incidentName {
			continue
		}
		var err error
		if text, err = a.AppendLine(text); err != nil {
			t.Fatal(err)
		}
	}
	if *update {
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(text) {
		t.Errorf("got\n%swant\n%s", text, want)
	}
}
