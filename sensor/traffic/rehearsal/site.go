// Package rehearsal makes the traffic of a site that does not exist, as a mirror port of its core switch would show it: 200 inside hosts
// and 40 services, office hours and weekends, and attacks, which are captures of real tools (package pcaps) with other
// addresses and times. What is true in it is told beside it (package truth). It serves rehearsals: a user tries a configuration, a
// test tries the analyzers.
//
// Bytes depend on the seed and the settings only. Benign traffic does not depend on the attacks. Packets come out in order of time
// and are well-formed: handshakes, sequence numbers, lengths and checksums are right, and openings of applications
// (TLS, HTTP/1, SSH, DNS) are whole; other payload is zeros, cut by the capture's snaplen.
//
// What it is not: its traffic has less variety than that of any real network. That a configuration is silent here does not show
// that it will be silent there.
package rehearsal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"weir/sensor/traffic/truth"
)

// Config says what to make.
type Config struct {
	Seed    uint64
	Start   time.Time // midnight of a Monday makes a week readable
	Length  time.Duration
	Attacks int
	Rate    float64 // of what people do, 1: some 4 M packets a weekday
}

// DefaultStart is a Monday.
var DefaultStart = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// Bounds of Config.
const (
	longest     = 366 * 24 * time.Hour
	shortest    = time.Minute
	highestRate = 100
	mostAttacks = 10000
)

// Check tells what cannot be.
func (c *Config) Check() error {
	last := time.Unix(1<<32-1, 0) // of a pcap
	switch {
	case c.Length < shortest || c.Length > longest:
		return fmt.Errorf("a length of %s is not within %s to %s", c.Length, shortest, longest)
	case c.Start.Unix() < 0 || c.Start.Add(c.Length+longest).After(last):
		return fmt.Errorf("start %s: a capture file cannot tell that time", c.Start.Format(time.RFC3339))
	case !(c.Rate > 0 && c.Rate <= highestRate):
		return fmt.Errorf("a rate of %g is not above 0 and at most %d", c.Rate, highestRate)
	case c.Attacks < 0 || c.Attacks > mostAttacks:
		return fmt.Errorf("%d attacks are not within 0 to %d", c.Attacks, mostAttacks)
	}
	return nil
}

// Made is what Write made.
type Made struct {
	Packets, Bytes uint64 // bytes on the wire
	Truth          truth.File
}

// generator is the state of a run.
type generator struct {
	cfg        Config
	r          *rand.Rand
	start, end int64
	queue      queue
	out        *writer
	header     []byte // scratch of transport headers
	plan
	asked map[string]int64 // names in the resolvers' caches, until when
}

// Write writes the capture. It tells now and then until when it is done. Memory does not grow with the length.
func Write(ctx context.Context, w io.Writer, cfg Config, progress func(time.Time)) (*Made, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	g := newGenerator(w, cfg)
	g.people()
	g.machines()
	attacks, err := g.attacks()
	if err != nil {
		return nil, err
	}
	for at := g.start; at < g.end && g.out.err == nil; at += int64(time.Minute) {
		g.queue.runUntil(min(at+int64(time.Minute), g.end))
		if ctx.Err() != nil {
			return nil, errors.New("interrupted: the capture is not whole")
		}
		if progress != nil {
			progress(time.Unix(0, at))
		}
	}
	if err := g.out.out.Flush(); g.out.err == nil {
		g.out.err = err
	}
	if g.out.err != nil {
		return nil, g.out.err
	}
	return &Made{Packets: g.out.packets, Bytes: g.out.bytes, Truth: g.truth(attacks)}, nil
}

func newGenerator(w io.Writer, cfg Config) *generator {
	g := &generator{
		cfg: cfg, r: rand.New(rand.NewPCG(cfg.Seed, 1)), out: newWriter(w), header: make([]byte, 0, 128),
		start: cfg.Start.UnixNano(), end: cfg.Start.Add(cfg.Length).UnixNano(), asked: map[string]int64{},
	}
	g.plan = newPlan(rand.New(rand.NewPCG(cfg.Seed, 2)))
	return g
}

// truth is what is true of the site and in the capture.
func (g *generator) truth(list []*attack) truth.File {
	var attacks []truth.Attack
	for _, a := range list {
		attacks = append(attacks, a.truth)
	}
	slices.SortStableFunc(attacks, func(a, b truth.Attack) int { return cmp.Compare(a.First, b.First) })
	return truth.File{
		Site: truth.Site{
			Schema: truth.Schema, Seed: g.cfg.Seed, First: truth.Time(g.start), Last: truth.Time(g.end),
			Inside: Inside, TrustedProxies: g.balancer.addrs(), KnownDestinations: []netip.Addr{g.vault.addr()},
			Packets: g.out.packets, Attacks: len(attacks),
		},
		Attacks: attacks,
	}
}

// Inside are the site's networks.
var Inside = []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd00:20::/64")}

// habit lets something happen at random times, on average once in mean while the level is 1.
func (g *generator) habit(level func(time.Time) float64, mean time.Duration, do func(now int64)) {
	pause := func() int64 { return int64(g.r.ExpFloat64()*float64(mean)) + 1 }
	g.queue.push(g.start+pause(), func(now int64) int64 {
		if g.r.Float64() < level(time.Unix(0, now).UTC()) {
			do(now)
		}
		return now + pause()
	})
}

// often is a habit of people, which the rate scales.
func (g *generator) often(level func(time.Time) float64, mean time.Duration, do func(now int64)) {
	g.habit(level, time.Duration(float64(mean)/g.cfg.Rate), do)
}

// every lets something happen once a period, from a random time on, up to jitter late.
func (g *generator) every(period, jitter time.Duration, do func(now int64)) {
	first := g.start + g.r.Int64N(int64(period))
	n := int64(0)
	g.queue.push(first, func(now int64) int64 {
		do(now)
		n++
		return max(now, first+n*int64(period)+g.r.Int64N(int64(jitter)+1))
	})
}

// at lets something happen once.
func (g *generator) at(when int64, do func(now int64)) {
	g.queue.push(when, func(now int64) int64 { do(now); return done })
}

// office is how busy the people of the site are: working hours, lunch, hardly any weekend.
func office(t time.Time) float64 {
	if d := t.Weekday(); d == time.Saturday || d == time.Sunday {
		return 0.04
	}
	return between(t, officeHours[:])
}

// abroad is how busy the visitors are: they have all time zones and more time in the evening and at the weekend.
func abroad(t time.Time) float64 {
	level := between(t, abroadHours[:])
	if d := t.Weekday(); d == time.Saturday || d == time.Sunday {
		level *= 0.85
	}
	return level
}

// always is for what has no hours.
func always(time.Time) float64 { return 1 }

var (
	officeHours = [24]float64{.02, .02, .02, .02, .02, .03, .08, .3, .75, 1, 1, .95, .6, .75, .95, 1, .9, .6, .3, .15, .1, .08, .05, .03}
	abroadHours = [24]float64{.4, .3, .25, .22, .2, .22, .3, .4, .5, .6, .65, .68, .7, .7, .7, .7, .75, .8, .9, 1, 1, .95, .8, .6}
)

// between interpolates hours.
func between(t time.Time, hours []float64) float64 {
	h := t.Hour()
	f := float64(t.Minute()) / 60
	return hours[h]*(1-f) + hours[(h+1)%24]*f
}
