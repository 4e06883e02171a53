package alert

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"weir/analyzers/context"
)

// Mute is a rule of the section `mutes` of the configuration: alerts for which all that it names is true are muted. They are made, counted
// and published as ever, with the rule's reason in the field `muted`; nobody acts on them, and they are part of no incident. Every rule says
// why it is there, and ends.
type Mute struct {
	Analyzer string  `yaml:"analyzer"` // "scan"
	Kind     string  `yaml:"kind"`     // "vertical", with its analyzer "scan.vertical", or all of an analyzer "scan"
	Subject  []Place `yaml:"subject"`  // any of these holds the subject
	Victim   []Place `yaml:"victim"`   // the same of the victim
	Network  []Place `yaml:"network"`  // the same of either
	Reason   string  `yaml:"reason"`   // required
	Until    Until   `yaml:"until"`    // required; event time
}

// maxMutes bounds the rules: an alert is held against each when it opens.
const maxMutes = 1000

// Muted is the rule that mutes an alert.
type Muted struct {
	Reason string `json:"reason"`
	Until  Time   `json:"until"`
}

// CheckMutes tells what is wrong with rules; lists are the names of the prefix lists, and origins tells whether there is a database that knows
// ASN and country.
func CheckMutes(all []Mute, lists []string, origins bool) error {
	if len(all) > maxMutes {
		return fmt.Errorf("mutes: %d rules, at most %d", len(all), maxMutes)
	}
	for i := range all {
		if err := all[i].check(lists, origins); err != nil {
			return fmt.Errorf("mutes: rule %d: %w", i+1, err)
		}
	}
	return nil
}

func (r *Mute) check(lists []string, origins bool) error {
	places := append(append(append([]Place(nil), r.Subject...), r.Victim...), r.Network...)
	switch {
	case strings.TrimSpace(r.Reason) == "":
		return errors.New("no reason: say why, for who reads it in a year")
	case r.Until == 0:
		return errors.New("no end: set until, as 2027-01-31 or 2027-01-31T18:00:00Z")
	case r.Analyzer == "" && r.Kind == "" && len(places) == 0:
		return errors.New("it would mute everything: name an analyzer, a kind or a network")
	}
	for _, word := range []struct {
		text     string
		analyzer bool
	}{{r.Analyzer, true}, {r.Kind, false}} {
		if word.text != "" && !known(word.text, word.analyzer) {
			return fmt.Errorf("nothing is called %q; there are %s", word.text, strings.Join(Kinds(), ", "))
		}
	}
	for _, p := range places {
		if err := p.check(lists, origins); err != nil {
			return err
		}
	}
	return nil
}

// Expired tells whether a rule has ended at a time, in ns.
func (r *Mute) Expired(now int64) bool { return int64(r.Until) <= now }

// String is the rule in words: "scan.vertical from 192.0.2.7".
func (r *Mute) String() string {
	s := strings.Trim(r.Analyzer+"."+r.Kind, ".")
	if strings.Contains(r.Kind, ".") {
		s = r.Kind
	}
	if s == "" {
		s = "everything"
	}
	for _, side := range []struct {
		word   string
		places []Place
	}{{" from ", r.Subject}, {" against ", r.Victim}, {" of ", r.Network}} {
		for i, p := range side.places {
			if i > 0 {
				side.word = " or "
			}
			s += side.word + p.String()
		}
	}
	return s
}

// mutes tells whether a rule is about an alert.
func (r *Mute) mutes(a *Alert) bool {
	if r.Analyzer != "" && r.Analyzer != a.Analyzer || r.Kind != "" && !named(r.Kind, a.Analyzer, a.Kind) {
		return false
	}
	return (len(r.Subject) == 0 || a.Subject.within(r.Subject)) && (len(r.Victim) == 0 || a.Victim.within(r.Victim)) &&
		(len(r.Network) == 0 || a.Subject.within(r.Network) || a.Victim.within(r.Network))
}

// named tells whether a word means a kind: by itself, with its analyzer, or as one of the analyzer's.
func named(word, analyzer, kind string) bool {
	return word == kind || word == analyzer || word == analyzer+"."+kind
}

// known tells whether a word means any kind that there is; analyzer: of the analyzers only.
func known(word string, analyzer bool) bool {
	for _, name := range Kinds() {
		a, k, _ := strings.Cut(name, ".")
		if word == a || !analyzer && named(word, a, k) {
			return true
		}
	}
	return false
}

// within tells whether any of the places holds all of a party.
func (p *Party) within(places []Place) bool {
	for i := range places {
		if places[i].Holds(p) {
			return true
		}
	}
	return false
}

// mute finds the rule that mutes an alert now, and tells whether that has changed.
func (m *Manager) mute(e *entry) (changed bool) {
	if e.rules == m.rules && (e.muted == nil || !e.muted.Expired(m.now)) {
		return false
	}
	e.rules = m.rules
	before := e.muted
	e.muted = nil
	for i := range m.cfg.Mutes {
		if r := &m.cfg.Mutes[i]; !r.Expired(m.now) && r.mutes(&e.alert) {
			e.muted = r
			break
		}
	}
	if e.alert.Muted = nil; e.muted != nil {
		e.alert.Muted = &Muted{e.muted.Reason, Time(e.muted.Until)}
	}
	return (before == nil) != (e.muted == nil)
}

// Until is when a rule ends: a day, of which it takes the beginning in UTC, or a time as in RFC 3339.
type Until Time

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *Until) UnmarshalText(b []byte) error {
	t, err := time.Parse(time.DateOnly, string(b))
	if err != nil {
		t, err = time.Parse(time.RFC3339, string(b))
	}
	if err != nil || t.Year() < 1971 || t.Year() > 2200 {
		return fmt.Errorf("%q is no end of a rule: write a day (2027-01-31) or a time (2027-01-31T18:00:00Z)", b)
	}
	*u = Until(t.UnixNano())
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (u Until) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// String is the end as RFC 3339 writes it.
func (u Until) String() string { return time.Unix(0, int64(u)).UTC().Format(time.RFC3339) }

// Place is where a party may be: a prefix or an address, "list:NAME" of networks.lists, "AS64500", or "country:DE". The zero value holds
// nobody.
type Place struct {
	prefix  netip.Prefix
	list    string
	asn     uint32
	country string
}

// ParsePlace reads a Place.
func ParsePlace(s string) (p Place, err error) {
	if name, is := strings.CutPrefix(s, "list:"); is && name != "" {
		return Place{list: name}, nil
	}
	if code, is := strings.CutPrefix(s, "country:"); is {
		if len(code) != 2 || code != strings.ToUpper(code) {
			return p, fmt.Errorf("country %q, must be two capital letters", code)
		}
		return Place{country: code}, nil
	}
	if number, is := strings.CutPrefix(s, "AS"); is {
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || n == 0 {
			return p, fmt.Errorf("%q is no autonomous system: write AS64500", s)
		}
		return Place{asn: uint32(n)}, nil
	}
	if p.prefix, err = context.ParsePrefix(s); err != nil {
		return p, fmt.Errorf("%w; nor is it list:NAME, AS64500 or country:DE", err)
	}
	return p, nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Place) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePlace(string(b))
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (p Place) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// String is the place as ParsePlace reads it.
func (p Place) String() string {
	switch {
	case p.list != "":
		return "list:" + p.list
	case p.country != "":
		return "country:" + p.country
	case p.asn != 0:
		return fmt.Sprintf("AS%d", p.asn)
	case p.prefix.IsSingleIP():
		return p.prefix.Addr().String()
	}
	return p.prefix.String()
}

func (p Place) check(lists []string, origins bool) error {
	if (p.asn != 0 || p.country != "") && !origins {
		return fmt.Errorf("it asks for %s, which networks.origins has to tell", p)
	}
	if p.list == "" {
		return nil
	}
	for _, name := range lists {
		if name == p.list {
			return nil
		}
	}
	return fmt.Errorf("it names list %q, which networks.lists does not have", p.list)
}

// Holds tells whether all of a party is there, by what its alert says of it. Nobody is nowhere.
func (p *Place) Holds(who *Party) bool {
	switch {
	case who == nil:
		return false
	case p.list != "":
		for _, name := range who.Lists {
			if name == p.list {
				return true
			}
		}
		return false
	case p.asn != 0:
		return who.ASN == p.asn
	case p.country != "":
		return who.Country == p.country
	}
	q := context.Native(who.Prefix)
	if who.IP.IsValid() {
		q = context.Single(who.IP)
	}
	return p.prefix.IsValid() && q.IsValid() && p.prefix.Bits() <= q.Bits() && p.prefix.Contains(q.Addr())
}
