package baseline

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
)

// Schema is that of an export.
const Schema = "weir.baseline/1"

// maxLine is the longest line of an import. One with 168 hours has some 10 kB.
const maxLine = 1 << 20

// Line is one line of an export: a header, a series, a spread, or a thing that was seen. Times are RFC 3339.
type Line struct {
	Schema string `json:"schema,omitempty"` // of the header
	Salt   string `json:"salt,omitempty"`   // of the header: hashes of another one mean nothing

	Series string `json:"series,omitempty"` // Key.String
	Spread string `json:"spread,omitempty"` // the same
	Seen   string `json:"seen,omitempty"`   // hash, hexadecimal

	First    string   `json:"first,omitempty"`
	Last     string   `json:"last,omitempty"`
	Active   string   `json:"active,omitempty"` // the last value that was not 0
	Pinned   bool     `json:"pinned,omitempty"`
	Samples  bool     `json:"samples,omitempty"` // quiet seconds are not zeros
	Held     uint32   `json:"held,omitempty"`    // values above the floor while it was cold
	Values   uint32   `json:"values,omitempty"`  // that were not 0
	Busy     float32  `json:"busy,omitempty"`    // seconds with traffic in an hour
	Rolling  *Moments `json:"rolling,omitempty"`
	Hour     *Moments `json:"hour,omitempty"` // that is being learned; it begins at from
	HourBusy uint32   `json:"hour_busy,omitempty"`
	Day      *Moments `json:"day,omitempty"` // that is being learned, n in hours
	Anchor   *Moments `json:"anchor,omitempty"`
	Days     uint32   `json:"days,omitempty"` // of the anchor, since it is known
	// Hours of the week that are known, by "Mon 00" in UTC: mean, deviation, seconds or samples.
	Hours     map[string][3]float64 `json:"hours,omitempty"`
	Bursts    *Bursts               `json:"bursts,omitempty"`
	P50       float32               `json:"p50,omitempty"`
	P99       float32               `json:"p99,omitempty"`
	Zeros     uint32                `json:"zeros,omitempty"`     // of the quantiles
	Quantiles [][2]float64          `json:"quantiles,omitempty"` // least value of a bucket, and how many
}

// Moments are a mean and a standard deviation.
type Moments struct {
	Mean   float64 `json:"mean"`
	Stddev float64 `json:"stddev"`
	N      uint32  `json:"n"`
	From   string  `json:"from,omitempty"`
}

// Bursts are short ones that were alarmed: their levels, one an hour, the newest first, when that was, and when traffic was last
// as high as half of them.
type Bursts struct {
	Levels []float32 `json:"levels"`
	Last   string    `json:"last"`
	Used   string    `json:"used"`
}

// Export writes all that is known as JSON lines: a header, the series, the spreads, what was seen. What Import makes of it is
// the same but for the parts of the rolling window, which become one.
func (s *Store) Export(w io.Writer) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	head := Line{Schema: Schema, Salt: fmt.Sprintf("%016x", s.saltTag()), Last: clock(s.now)}
	if s.since != 0 {
		head.First = time.Unix(0, s.since).UTC().Format(time.RFC3339Nano)
	}
	if err := enc.Encode(head); err != nil {
		return err
	}
	err := s.Each(func(l *Line) error { return enc.Encode(l) })
	if err != nil {
		return err
	}
	for i := range s.seen.sets {
		set := &s.seen.sets[i]
		for j, hash := range set.hash {
			if hash == 0 {
				break
			}
			l := Line{Seen: fmt.Sprintf("%016x", hash), First: clock(int64(set.first[j])), Last: clock(int64(set.last[j]))}
			if err := enc.Encode(l); err != nil {
				return err
			}
		}
	}
	return out.Flush()
}

// Each hands out the lines of the series, then of the spreads, until f returns an error.
func (s *Store) Each(f func(*Line) error) error {
	for id := range s.table.nodes {
		if s.table.nodes[id].state != nodeFree {
			s.at(int32(id)).settle(s.now)
		}
	}
	for id := range s.table.nodes {
		if s.table.nodes[id].state == nodeFree {
			continue
		}
		r := *s.at(int32(id))
		r.Thaw(s.now * second)
		l := r.line()
		if err := f(&l); err != nil {
			return err
		}
	}
	for id := range s.spreadAt.nodes {
		if s.spreadAt.nodes[id].state == nodeFree {
			continue
		}
		l := s.spread(int32(id)).line(s.spreadAt.nodes[id].key)
		if err := f(&l); err != nil {
			return err
		}
	}
	return nil
}

func clock(sec int64) string { return time.Unix(sec, 0).UTC().Format(time.RFC3339) }

func (r *Series) line() Line {
	l := Line{
		Series: r.Key().String(), First: clock(r.begin), Last: clock(r.last), Active: clock(r.active), Pinned: r.pinned, Samples: r.samples,
		Held: r.held, Values: r.values, Busy: r.busy, HourBusy: r.hour.busy, Days: r.anchor.days,
	}
	if !r.begun {
		l.First, l.Last, l.Active = "", "", ""
	}
	l.Rolling = r.roll.line()
	if h := &r.hour; h.n > 0 {
		mean, stddev := moments(h.sum, h.sq, float64(h.n))
		l.Hour = &Moments{mean, stddev, h.n, clock(h.hour * hourSeconds)}
	}
	a := &r.anchor
	if a.dayHours > 0 {
		n := float64(a.dayHours)
		l.Day = &Moments{a.daySum / n, math.Sqrt(a.dayVar / n), a.dayHours, clock(a.dayFrom * hourSeconds)}
	}
	if a.warm {
		l.Anchor = &Moments{a.mean, math.Sqrt(a.variance), a.hours, ""}
	}
	if r.profile != none {
		l.Hours = map[string][3]float64{}
		p := &r.store.profiles[r.profile]
		for i, n := range p.n {
			if n > 0 {
				l.Hours[hourName(i)] = [3]float64{float64(p.mean[i]), float64(p.stddev[i]), float64(n)}
			}
		}
	}
	if b := &r.bursts; b.hours > 0 {
		l.Bursts = &Bursts{b.tops[:b.hours:b.hours], clock(b.last * hourSeconds), clock(b.used * hourSeconds)}
	}
	r.quant.line(&l)
	return l
}

func (d *Spread) line(k Key) Line {
	l := Line{Spread: k.String(), First: clock(d.begin), Last: clock(d.last), Pinned: d.pinned, Rolling: d.roll.line()}
	d.quant.line(&l)
	return l
}

func (w *window) line() *Moments {
	if w.count() == 0 {
		return nil
	}
	mean, stddev := w.moments()
	return &Moments{mean, stddev, w.count(), ""}
}

func (q *quantiles) line(l *Line) {
	l.P50, l.P99, l.Zeros = q.p50, q.p99, q.zero
	for i, n := range q.count {
		if n > 0 {
			l.Quantiles = append(l.Quantiles, [2]float64{edge(i), float64(n)})
		}
	}
}

var dayNames = [7]string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}

func hourName(i int) string { return fmt.Sprintf("%s %02d", dayNames[i%7], i/7) }

func hourIndex(name string) (int, bool) {
	if len(name) == 6 && name[3] == ' ' {
		for day, n := range dayNames {
			h, err := strconv.Atoi(name[4:])
			if n == name[:3] && err == nil && h >= 0 && h < dayHours && name == hourName(h*7+day) {
				return h*7 + day, true
			}
		}
	}
	return 0, false
}

// Import reads an export into the Store: what has the same key is replaced, the rest stays. Errors name the line; what came
// before it is in.
func (s *Store) Import(r io.Reader) error {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLine)
	number, keepSeen := 0, true
	for in.Scan() {
		number++
		text := bytes.TrimSpace(in.Bytes())
		if len(text) == 0 {
			continue
		}
		if err := s.importLine(text, &keepSeen); err != nil {
			return fmt.Errorf("baseline: line %d: %w", number, err)
		}
	}
	if err := in.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("baseline: line %d: longer than %d bytes", number+1, maxLine)
	} else if err != nil {
		return err
	}
	if number == 0 {
		return errors.New("baseline: line 1: empty: want what 'weir baseline export' writes")
	}
	return nil
}

func (s *Store) importLine(text []byte, keepSeen *bool) error {
	var l Line
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("more than one object")
	}
	p := lineReader{}
	switch {
	case l.Schema != "":
		if l.Schema != Schema {
			return fmt.Errorf("schema is %.40q, this program reads %q", l.Schema, Schema)
		}
		*keepSeen = l.Salt == fmt.Sprintf("%016x", s.saltTag())
		s.importTimes(&l, &p)
	case l.Series != "":
		s.importSeries(&l, &p)
	case l.Spread != "":
		s.importSpread(&l, &p)
	case l.Seen != "":
		hash, err := strconv.ParseUint(l.Seen, 16, 64)
		if err != nil || hash&1 == 0 {
			return fmt.Errorf("seen: %.40q is not a hash", l.Seen)
		}
		first, last := p.time("first", l.First), p.time("last", l.Last)
		if p.err == nil && *keepSeen {
			s.seen.note(hash, seenSecond(first*second))
			s.seen.note(hash, seenSecond(last*second))
		}
	default:
		return errors.New("neither a header nor a series, a spread, or a thing that was seen")
	}
	return p.err
}

func (s *Store) importTimes(l *Line, p *lineReader) {
	last := p.time("last", l.Last)
	if l.First != "" {
		if t, err := time.Parse(time.RFC3339Nano, l.First); err != nil || t.Unix() > timeLimit || t.Unix() < -timeLimit {
			p.fail("first: %.40q is not a time", l.First)
		} else if s.since == 0 || t.UnixNano() < s.since {
			s.since = t.UnixNano()
		}
	}
	if p.err == nil && !s.started {
		s.now = max(s.now, last)
	}
}
