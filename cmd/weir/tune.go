package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"weir/analyzers"
	"weir/sensor/alert"
)

type tuneCmd struct {
	Files  []string `arg:"" name:"file" help:"Captures of normal traffic, as for 'weir replay'; several are read one after the other."`
	Config string   `placeholder:"FILE" help:"Configuration (YAML) that is in use (default: the defaults)."`
	Margin float64  `default:"2" placeholder:"FACTOR" help:"Propose so many times the highest value seen (default: ${default})."`
	Accept float64  `default:"0" placeholder:"N" help:"Leave so many alerts a day of each threshold be (default: none)."`
	Format string   `enum:"yaml,jsonl" default:"yaml" help:"yaml (a piece of a configuration) or jsonl (a line for each threshold)."`
	trial
}

// Help is the long form of --help.
func (*tuneCmd) Help() string {
	return `Learns from normal traffic how high its thresholds can be to be silent, and how low: it replays the captures with every threshold at
the least that makes sense, and proposes a multiple of the highest value that the analyzers found. Then it replays them with the
settings in use and with the proposed ones, and counts the alerts of both.

Examples:
  weir tune monday.pcap.zst tuesday.pcap.zst > tuned.yaml && weir check tuned.yaml
  weir tune --config /etc/weir/weir.yaml --baseline good.baseline --accept 1 week/*.pcap.zst
  weir diff /etc/weir/weir.yaml tuned.yaml monday.pcap.zst

Nothing is lowered by less than a day of traffic, nor raised more than tenfold: that would be an attack that passes for normal.
A short sample proves little: nights, backups and ends of months are not in it. docs/tuning.md tells what is proposed and what not.`
}

// Bounds of what is proposed.
const (
	tuneDay   = 24 * time.Hour // of traffic that may lower a threshold
	tuneWeek  = 7 * tuneDay    // that has nights and weekends
	tuneRaise = 10             // times the setting, at most
)

// Run proposes.
func (c *tuneCmd) Run(ctx context.Context, std *streams) error {
	if err := c.check(c.Files); err != nil {
		return usageError{err}
	}
	if !(c.Margin >= 1 && c.Margin <= 100) || !(c.Accept >= 0 && c.Accept <= 1e6) {
		return usageError{fmt.Errorf("--margin is %v and --accept %v, must be 1 to 100 and 0 to 1000000", c.Margin, c.Accept)}
	}
	settings, err := readConfig(c.Config)
	if err != nil {
		return err
	}
	t := &tuning{cmd: c, now: settings}
	if err := t.probe(ctx, std); err != nil {
		return err
	}
	t.propose()
	if err := t.confirm(ctx, std); err != nil {
		return err
	}
	return t.write(std.out)
}

// tuning is what was learned, and what follows from it.
type tuning struct {
	cmd      *tuneCmd
	now      config // settings in use
	next     config // proposed
	watched  watched
	packets  uint64
	heard    map[string]*tuningOf // by "analyzer.kind measure"
	all      []*tuningOf          // in the order of knobs
	before   map[string]int       // alerts by kind, with the settings in use
	after    map[string]int       // with the proposed ones
	grave    int                  // of before: medium severity or more
	graveNow []string             // kinds of those
}

// tuningOf is what was learned of one threshold.
type tuningOf struct {
	*knob
	probed   float64 // setting of the probe
	stories  map[tuningKey]*tuningStory
	left     int // out, because there were too many
	now      float64
	proposed float64
	reason   string
	top      *tuningStory // the highest that counts; nil: none
}

type tuningKey struct {
	kind            string
	subject, victim analyzers.Party
}

// tuningStory is who went how far.
type tuningStory struct {
	value float64 // the highest
	until int64   // ns: after it another story begins
	at    int64
	n     int // stories
	who   string
}

// maxStories bounds what is remembered of a threshold.
const maxStories = 1 << 16

// begin has nothing heard yet. It returns the settings to hear with: every threshold at its least.
func (t *tuning) begin() config {
	settings := t.now
	t.heard = map[string]*tuningOf{}
	for i := range knobs {
		k := &knobs[i]
		one := &tuningOf{knob: k, now: k.get(&t.now.Analyzers), stories: map[tuningKey]*tuningStory{}}
		one.probed = min(one.now, k.least)
		k.set(&settings.Analyzers, one.probed)
		for _, of := range k.of {
			t.heard[of] = one
		}
		t.all = append(t.all, one)
	}
	return settings
}

// probe replays the captures, and hears how far the findings go.
func (t *tuning) probe(ctx context.Context, std *streams) error {
	settings := t.begin()
	sum, err := t.cmd.run(ctx, std, t.cmd.Files, &settings, trialSinks{finding: t.hear, tick: t.watched.tick})
	if err != nil {
		return err
	}
	t.packets = sum.Link.Packets
	return nil
}

// hear takes a finding in.
func (t *tuning) hear(f *analyzers.Finding) {
	for i := range f.Why {
		m := &f.Why[i]
		one := t.heard[f.Analyzer+"."+f.Kind+" "+m.Name]
		if one == nil || m.Threshold <= 0 || m.Value < m.Threshold {
			continue
		}
		value := m.Value
		if one.value != nil {
			value = one.value(f, m, one.probed)
		}
		if value > 0 {
			one.take(f, value)
		}
	}
}

// take notes how far somebody went. A party with several stories counts as often, each with the highest value of all: what is proposed is
// above it.
func (o *tuningOf) take(f *analyzers.Finding, value float64) {
	key := tuningKey{f.Kind, f.Subject, f.Victim}
	key.subject.ReturnPath = false
	s := o.stories[key]
	switch {
	case s == nil && len(o.stories) >= maxStories:
		o.left++
		return
	case s == nil:
		s = &tuningStory{who: partiesOf(f)}
		o.stories[key] = s
		fallthrough
	case f.Time > s.until:
		s.n++
	}
	if value > s.value {
		s.value, s.at = value, f.Time
	}
	s.until = max(s.until, f.Time+f.Quiet)
}

// partiesOf names who a finding is about.
func partiesOf(f *analyzers.Finding) string {
	name := func(p analyzers.Party) string {
		if !p.Prefix.IsValid() {
			return map[bool]string{true: "the link", false: fmt.Sprintf("AS%d", p.ASN)}[p.ASN == 0 && p.Country == ""] + p.Country
		}
		s := p.Prefix.String()
		if p.Prefix.IsSingleIP() {
			s = p.Prefix.Addr().String()
		}
		if p.Port != 0 {
			s += fmt.Sprintf(" port %d", p.Port)
		}
		return s
	}
	switch none := (analyzers.Party{}); {
	case f.Subject == none:
		return name(f.Victim)
	case f.Victim == none:
		return name(f.Subject)
	}
	return name(f.Subject) + " at " + name(f.Victim)
}

// propose makes settings of what was heard.
func (t *tuning) propose() {
	t.next = t.now
	for _, one := range t.all {
		one.top = one.highest(int(t.cmd.Accept * t.watched.length().Hours() / 24))
		one.proposed = one.now
		want := one.probed
		if one.top != nil {
			want = one.roundUp(&t.now.Analyzers, t.cmd.Margin*one.top.value)
		}
		switch want = max(want, one.least); {
		case want >= one.now && one.calm():
			one.reason = "stays"
		case want > tuneRaise*one.now:
			one.reason = fmt.Sprintf("stays: %s would be more than %d times as much; look whether that is normal", one.text(&t.now.Analyzers, want), tuneRaise)
		case want < one.now && t.watched.length() < tuneDay:
			one.reason = "stays: less than a day of traffic lowers nothing"
		default:
			t.change(one, want)
		}
	}
}

// calm reports that the traffic stays a fifth below the setting in use.
func (o *tuningOf) calm() bool { return o.top == nil || o.top.value < 0.8*o.now }

// change proposes a value, if the settings may have it.
func (t *tuning) change(one *tuningOf, want float64) {
	one.set(&t.next.Analyzers, want)
	if err := t.next.Analyzers.Check(); err != nil {
		one.set(&t.next.Analyzers, one.now)
		one.reason = fmt.Sprintf("stays: %s cannot be (%v)", one.text(&t.now.Analyzers, want), err)
		return
	}
	one.proposed = want
	one.reason = fmt.Sprintf("%g times the highest", t.cmd.Margin)
	if want == one.least && (one.top == nil || t.cmd.Margin*one.top.value < want) {
		one.reason = "the least that makes sense: " + one.why
	}
}

// highest is the highest story when so many are left out.
func (o *tuningOf) highest(left int) *tuningStory {
	all := slices.SortedFunc(maps.Values(o.stories), func(a, b *tuningStory) int {
		return cmp.Or(cmp.Compare(b.value, a.value), cmp.Compare(a.at, b.at), cmp.Compare(a.who, b.who))
	})
	for _, s := range all {
		if left < s.n {
			return s
		}
		left -= s.n
	}
	return nil
}

// confirm replays the captures with the settings in use and with those proposed.
func (t *tuning) confirm(ctx context.Context, std *streams) (err error) {
	if t.before, err = t.count(ctx, std, &t.now, true); err != nil {
		return err
	}
	t.after = t.before
	if slices.ContainsFunc(t.all, func(o *tuningOf) bool { return o.proposed != o.now }) {
		t.after, err = t.count(ctx, std, &t.next, false)
	}
	return err
}

// count is how many alerts there are, by kind.
func (t *tuning) count(ctx context.Context, std *streams, settings *config, look bool) (map[string]int, error) {
	kinds := map[string]int{}
	_, err := t.cmd.run(ctx, std, t.cmd.Files, settings, trialSinks{alert: func(a *alert.Alert) {
		if a.State != alert.Closed || a.Muted != nil {
			return
		}
		kinds[a.Analyzer+"."+a.Kind]++
		if look && a.Severity >= alert.Medium {
			t.grave++
			t.graveNow = append(t.graveNow, a.Analyzer+"."+a.Kind)
		}
	}})
	return kinds, err
}

// alertsOf are the alerts of a threshold's kinds.
func (o *tuningOf) alertsOf(kinds map[string]int) (n int) {
	told := map[string]bool{}
	for _, of := range o.of {
		for kind, count := range kinds {
			if len(of) > len(kind) && of[:len(kind)+1] == kind+" " && !told[kind] {
				told[kind] = true
				n += count
			}
		}
	}
	return n
}

// often is a number of alerts as one a day; of less than an hour the day would be made up.
func (t *tuning) often(n int) string {
	if t.watched.length() < time.Hour {
		return fmt.Sprintf("%d", n)
	}
	day := t.watched.perDay(n)
	return fmt.Sprintf("%g a day", math.Round(day*100)/100)
}
