package truth

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"weir/sensor/alert"
)

const (
	hour = Time(time.Hour)
	day  = 24 * hour
)

// attacks of a site of three days.
func hand() *File {
	party := func(ip string) *alert.Party { return &alert.Party{IP: netip.MustParseAddr(ip)} }
	return &File{
		Site: Site{Schema: Schema, Seed: 3, First: 0, Last: 3 * day, Attacks: 3},
		Attacks: []Attack{
			{
				ID: "a1", Analyzer: "scan", Kind: "vertical", Also: []string{"scan.block"}, Subject: party("198.51.100.7"),
				Victim: party("10.0.0.1"), First: 30 * hour, Last: 31 * hour, Tool: "nmap", Source: "pcaps/scan/x", Stretch: 1,
			},
			{
				ID: "a2", Analyzer: "flood", Kind: "syn", Victim: &alert.Party{IP: netip.MustParseAddr("10.0.0.2"), Port: 80, Protocol: "tcp"},
				Parties: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/28")}, First: 40 * hour, Last: 41 * hour,
			},
			{
				ID: "a3", Analyzer: "scan", Kind: "horizontal", Subject: party("198.51.100.9"),
				Victim: &alert.Party{Prefix: netip.MustParsePrefix("10.0.7.0/24")}, First: 50 * hour, Last: 50 * hour,
			},
		},
	}
}

// TestForm writes a truth and reads it again.
func TestForm(t *testing.T) {
	var b bytes.Buffer
	want := hand()
	if err := want.Write(&b); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v\nwant %+v", got, want)
	}
}

// TestBadLines holds errors to the line they are in.
func TestBadLines(t *testing.T) {
	const head = `{"schema":"weir.truth/1","first":"2026-01-05T00:00:00Z","last":"2026-01-06T00:00:00Z","attacks":1}` + "\n"
	for text, want := range map[string]string{
		"":                          "1: empty",
		"nonsense":                  "1: invalid",
		`{"schema":"weir.alert/1"}`: `1: schema "weir.alert/1", want "weir.truth/1"`,
		`{"schema":"weir.truth/1"}`: "1: the site needs",
		head:                        "1: 1 attacks are announced, 0 lines follow",
		head + "\n{}":               "3: an attack needs",
		head + `{"what":1}`:         `2: json: unknown field "what"`,
		head + `{"analyzer":"scan","kind":"x","first":"yesterday"}`: "2: parsing time",
		head + `{}{}`: "2: more than one",
	} {
		if _, err := Read(strings.NewReader(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if err := Alerts(strings.NewReader("\n{}\n"), func(*alert.Alert) {}); err == nil || !strings.HasPrefix(err.Error(), `2: schema ""`) {
		t.Errorf("an alert without schema: %v", err)
	}
}

// TestScore holds each rule of the comparison: who is found, who is not, and what is false.
func TestScore(t *testing.T) {
	type story struct {
		analyzer, kind, subject, victim string
		first, last, opened             Time
		severity                        alert.Severity
	}
	scan := story{"scan", "vertical", "198.51.100.7", "10.0.0.1", 30 * hour, 31 * hour, 30*hour + 5e9, alert.Medium}
	flood := story{"flood", "syn", "", "10.0.0.2:80", 40 * hour, 41 * hour, 40*hour + 1e9, alert.High}
	with := func(s story, change func(*story)) story { change(&s); return s }
	for name, c := range map[string]struct {
		story story
		found int
		wrong int
	}{
		"right":                          {scan, 1, 0},
		"another kind that is right":     {with(scan, func(s *story) { s.kind = "block" }), 1, 0},
		"low severity":                   {with(scan, func(s *story) { s.severity = alert.Low }), 1, 0},
		"wrong kind, right parties":      {with(scan, func(s *story) { s.kind = "fin" }), 0, 0},
		"the victim's network":           {with(scan, func(s *story) { s.victim = "10.0.0.0/24" }), 1, 0},
		"too wide a network":             {with(scan, func(s *story) { s.victim = "10.0.0.0/16" }), 0, 0},
		"another victim":                 {with(scan, func(s *story) { s.victim = "10.0.0.9" }), 0, 0},
		"another subject":                {with(scan, func(s *story) { s.subject = "198.51.100.8" }), 0, 1},
		"the victim accused":             {with(scan, func(s *story) { s.subject, s.victim = "10.0.0.1", "198.51.100.7" }), 0, 1},
		"nobody, where somebody is true": {with(scan, func(s *story) { s.subject = "" }), 0, 0},
		"before it began":                {with(scan, func(s *story) { s.first, s.last, s.opened = 29*hour, 29*hour, 29*hour }), 0, 1},
		"soon after its end":             {with(scan, func(s *story) { s.opened = 31*hour + Time(Grace) }), 1, 0},
		"long after its end":             {with(scan, func(s *story) { s.first, s.opened = 32*hour, 32*hour }), 0, 1},
		"false, but low":                 {with(scan, func(s *story) { s.subject, s.severity = "192.0.2.1", alert.Low }), 0, 0},
		"false, but in the warm-up":      {with(scan, func(s *story) { s.first, s.last, s.opened = hour, hour, hour }), 0, 0},
		"flood":                          {flood, 1, 0},
		"flood by a part of it":          {with(flood, func(s *story) { s.subject = "203.0.113.5" }), 1, 0},
		"flood by somebody else":         {with(flood, func(s *story) { s.subject = "203.0.113.77" }), 0, 1},
		"flood on another port":          {with(flood, func(s *story) { s.victim = "10.0.0.2:443" }), 0, 0},
		"flood on the host":              {with(flood, func(s *story) { s.victim = "10.0.0.2" }), 1, 0},
		"sweep of a part of the network": {story{"scan", "horizontal", "198.51.100.9", "10.0.7.0/25", 50 * hour, 50 * hour, 50 * hour, alert.Medium}, 1, 0},
	} {
		s := c.story
		compared := NewComparison(hand(), 24*time.Hour)
		for rev := 2; rev > 0; rev-- { // in any order
			a := &alert.Alert{
				ID: "x", Rev: rev, Analyzer: s.analyzer, Kind: s.kind, Severity: s.severity, Time: s.opened + Time(rev-1)*1e9,
				First: s.first, Last: s.last, Subject: party(s.subject), Victim: party(s.victim),
			}
			compared.Add(a)
		}
		got := compared.Score()
		if got.Attacks != 3 || got.Found != c.found || got.False != c.wrong || got.Alerts != 1 || len(got.Missed) != 3-c.found {
			t.Errorf("%s: found %d, false %d, want %d, %d (%+v)", name, got.Found, got.False, c.found, c.wrong, got)
		}
		if want := float64(c.wrong) / 2; got.Days != 2 || got.FalsePerDay != want {
			t.Errorf("%s: %g false a day in %g days, want %g in 2", name, got.FalsePerDay, got.Days, want)
		}
		if name == "right" && (got.Kinds[2].Latency != 5 || got.Kinds[2].Kind != "vertical" || got.Kinds[1].Missed != 1) {
			t.Errorf("by kind: %+v", got.Kinds)
		}
	}
}

func party(s string) *alert.Party {
	switch {
	case s == "":
		return nil
	case strings.Contains(s, "/"):
		return &alert.Party{Prefix: netip.MustParsePrefix(s)}
	case strings.Contains(s, ":"):
		ap := netip.MustParseAddrPort(s)
		return &alert.Party{IP: ap.Addr(), Port: ap.Port(), Protocol: "tcp"}
	}
	return &alert.Party{IP: netip.MustParseAddr(s)}
}
