package alert

import (
	"net/netip"
	"slices"
	"testing"

	"weir/analyzers/context"
)

func places(words ...string) (all []Place) {
	for _, w := range words {
		p, err := ParsePlace(w)
		if err != nil {
			panic(err)
		}
		all = append(all, p)
	}
	return all
}

// TestMutes holds which alerts a rule is about.
func TestMutes(t *testing.T) {
	a := &Alert{
		Analyzer: "scan", Kind: "vertical",
		Subject: &Party{IP: netip.MustParseAddr("192.0.2.7"), ASN: 64500, Country: "DE", Lists: []string{"office", "it"}},
		Victim:  &Party{Prefix: netip.MustParsePrefix("10.20.0.0/24")},
	}
	for _, c := range []struct {
		rule Mute
		want bool
	}{
		{Mute{Kind: "scan"}, true},
		{Mute{Kind: "vertical"}, true},
		{Mute{Kind: "scan.vertical"}, true},
		{Mute{Kind: "scan.udp"}, false},
		{Mute{Kind: "flood"}, false},
		{Mute{Analyzer: "scan", Kind: "udp"}, false},
		{Mute{Subject: places("192.0.2.7")}, true},
		{Mute{Subject: places("192.0.2.8", "192.0.2.0/29")}, true},
		{Mute{Subject: places("192.0.2.8/29")}, false},
		{Mute{Subject: places("10.20.0.0/16")}, false},
		{Mute{Network: places("10.20.0.0/16")}, true},
		{Mute{Victim: places("10.20.0.0/24")}, true},
		{Mute{Victim: places("10.20.0.0/25")}, false}, // half of the victim
		{Mute{Victim: places("10.20.0.10")}, false},
		{Mute{Subject: places("list:it")}, true},
		{Mute{Victim: places("list:it")}, false},
		{Mute{Network: places("AS64500")}, true},
		{Mute{Network: places("AS64501")}, false},
		{Mute{Subject: places("country:DE")}, true},
		{Mute{Subject: places("country:FR")}, false},
		{Mute{Kind: "scan", Subject: places("AS64500"), Victim: places("10.0.0.0/8")}, true},
		{Mute{Kind: "scan", Subject: places("AS64500"), Victim: places("11.0.0.0/8")}, false},
		{Mute{Subject: places("::/0")}, false},
	} {
		if got := c.rule.mutes(a); got != c.want {
			t.Errorf("%s: %v", c.rule.String(), got)
		}
	}
	if nobody := (&Mute{Subject: places("0.0.0.0/0")}); nobody.mutes(&Alert{Analyzer: "flood", Kind: "syn"}) {
		t.Error("a rule about a subject mutes what has none")
	}
}

// TestMuteInTime: a rule mutes from when it is set until it ends, by event time; an open alert is told again each time.
func TestMuteInTime(t *testing.T) {
	s := &story{t: t, m: New(Config{})}
	muted := func() (out []bool) {
		for _, a := range s.seen {
			out = append(out, a.Muted != nil)
		}
		return out
	}
	s.add(0, score(50))
	s.m.Reconfigure(Config{Mutes: []Mute{{Kind: "scan", Reason: "tested", Until: Until(base + 20*second)}}})
	s.add(10*second, score(50))
	s.add(15*second, score(50))
	s.add(20*second, score(50))
	s.add(30*second, score(50))
	s.m.Advance(base+30*second, s.emit)
	if want := []bool{false, true, false}; !slices.Equal(muted(), want) {
		t.Errorf("muted %v, want %v", muted(), want)
	}
	if m := s.seen[1].Muted; m == nil || *m != (Muted{"tested", Time(base + 20*second)}) {
		t.Errorf("%+v", m)
	}
	s.expect("1 open medium 1 0", "2 update medium 2 10000", "3 update medium 4 20000")
	if got := s.m.Stats(); got.Muted != 1 || got.Opened != 1 || got.Updated != 2 {
		t.Errorf("%+v", got)
	}
}

// TestMutedIsNoIncident: what is expected is no stage of an attack, until its rule ends.
func TestMutedIsNoIncident(t *testing.T) {
	rule := Mute{Kind: "scan", Subject: places(offender), Reason: "tested", Until: Until(base + 100*second)}
	deeds := []deed{{0, "scan.vertical", offender, server, 95, false}, {60, "bruteforce.password", offender, server + ":22", 66, true}}
	all := tell(t, Config{Mutes: []Mute{rule}}, nil, deeds...)
	if got := incidentsOf(all); got != nil {
		t.Errorf("%q", got)
	}
	if all[0].Muted == nil || all[1].Muted != nil {
		t.Errorf("muted: %v, %v", all[0].Muted, all[1].Muted)
	}
	again := append(deeds, deed{120, "scan.vertical", offender, server, 95, false})
	if got := incidentsOf(tell(t, Config{Mutes: []Mute{rule}}, nil, again...)); len(got) != 1 {
		t.Errorf("%q", got)
	}
	whole := Mute{Kind: "incident.campaign", Reason: "known", Until: Until(base + 1000*second)}
	for _, a := range tell(t, Config{Mutes: []Mute{whole}}, nil, deeds...) {
		if (a.Analyzer == incidentName) != (a.Muted != nil) {
			t.Errorf("%s %s muted: %v", a.Analyzer, a.Kind, a.Muted)
		}
	}
}

// TestPartiesTellTheSite: names, services, lists and origins stand with the parties.
func TestPartiesTellTheSite(t *testing.T) {
	cfg := context.Config{
		Names:    map[string]string{"10.20.0.0/16": "site", "10.20.0.10": "shop"},
		Services: map[string]string{"22": "shell", "10.20.0.10:22/tcp": "gate"},
	}
	all := tell(t, Config{}, context.New(cfg, nil, origins{}), deed{0, "bruteforce.password", "192.0.2.1", server + ":22", 66, true},
		deed{0, "bruteforce.password", "10.20.3.3", "10.20.0.11:22", 66, true})
	for i, want := range []Party{
		{IP: netip.MustParseAddr("192.0.2.1"), ASN: 64500, Country: "DE", ReturnPath: "proven"},
		{IP: netip.MustParseAddr("10.20.3.3"), Name: "site", ReturnPath: "proven"},
	} {
		if got := all[i].Subject; got.IP != want.IP || got.Name != want.Name || got.ASN != want.ASN || got.Country != want.Country || got.ReturnPath != want.ReturnPath {
			t.Errorf("%+v", got)
		}
	}
	if v := all[1].Victim; v.Name != "site" || v.Service != "shell" {
		t.Errorf("%+v", v)
	}
	if v := all[0].Victim; v.Name != "shop" || v.Service != "gate" {
		t.Errorf("%+v", v)
	}
}
