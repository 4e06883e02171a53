package sensor

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"weir/decode"
	"weir/sensor/alert"
	"weir/sensor/capture"
)

// Bounds of a Collector.
const (
	collectLead   = int64(1e9)  // ns before the first evidence that frames are taken from: how a victim was before
	collectBegun  = int64(30e9) // likewise between two parties: how their connections began
	collectTail   = int64(5e9)  // ns after an alert's opening that frames are taken
	collectOpen   = 16          // alerts that are collected for at once
	collectFrames = 10_000      // of one alert: twice what makes a flood
	collectBytes  = 2 << 20     // likewise
	collectKnown  = 4096        // alerts whose files are remembered
)

// Collector writes the evidence of a live engine's alerts: of each alert of medium severity or more the frames between its parties
// that the workers still have, from shortly before its first evidence to five seconds after its opening, as pcapng, named after
// its id. Alert and Find may be called by any goroutine and never wait; Collect is called by one, a few times a second.
type Collector struct {
	dir  string
	Room func() bool // whether there is room on the disk; nil: there is

	mu     sync.Mutex
	opened []*collected // since the last Collect
	ids    []string     // known, oldest first
	known  map[string]*alert.Evidence
	stats  CollectStats

	engine *Engine // of the last Collect
	open   []*collected
	p      decode.Packet
	coder  *decode.Decoder
}

// CollectStats counts a Collector's work.
type CollectStats struct {
	Files   uint64 // written
	Bytes   uint64
	Skipped uint64 // alerts without evidence: too many at once
	Failed  uint64 // files that could not be written
	Empty   uint64 // alerts of whose packets none was left
	Lost    uint64 // frames that were not kept: all memory was being read
}

// collected is an alert whose frames are gathered.
type collected struct {
	id    string
	pick  *alert.Selector
	until int64
	had   []uint64 // by worker: serial of the last chunk that was looked through
	list  []decode.Frame
}

// NewCollector makes a Collector that writes into dir, which it makes if need be. Files that another one did not finish go.
func NewCollector(dir string) (*Collector, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	stray, err := filepath.Glob(filepath.Join(dir, "*"+partial))
	for _, f := range stray {
		err = errors.Join(err, os.Remove(f))
	}
	return &Collector{dir: dir, known: map[string]*alert.Evidence{}, coder: decode.NewDecoder(0)}, err
}

// partial is the end of the name of a file that is not whole.
const partial = ".part"

// Alert takes in a revision: at its first one of medium severity or more its frames are gathered.
func (c *Collector) Alert(a *alert.Alert) {
	if a.Severity < alert.Medium || a.State == alert.Closed || a.Muted != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.known[a.ID]; known {
		return
	}
	if len(c.opened) >= collectOpen {
		c.stats.Skipped++
		return
	}
	c.remember(a.ID)
	pick, lead := alert.NewSelector(a), collectLead
	if a.Subject != nil && a.Victim != nil {
		lead = collectBegun
	}
	pick.Widen(int64(a.First)-lead, int64(a.Time)+collectTail, collectFrames, collectBytes)
	c.opened = append(c.opened, &collected{id: a.ID, pick: pick, until: int64(a.Time) + collectTail})
}

// remember makes a place for an alert's file; the oldest is forgotten.
func (c *Collector) remember(id string) {
	if len(c.ids) >= collectKnown {
		delete(c.known, c.ids[0])
		c.ids = c.ids[1:]
	}
	c.ids = append(c.ids, id)
	c.known[id] = nil
}

// forget lets a later revision of an alert try anew.
func (c *Collector) forget(id string) {
	delete(c.known, id)
	c.ids = slices.DeleteFunc(c.ids, func(known string) bool { return known == id })
}

// Find is the evidence of an alert, nil if there is none, or not yet.
func (c *Collector) Find(id string) *alert.Evidence {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[id]
}

// Stats are the counters.
func (c *Collector) Stats() CollectStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// Collect looks through what the engine's workers have kept since the last call, and finishes the files whose time is over. With end
// all are: the engine has ended, and is not closed yet. It reads no clock: event time is the engine's.
func (c *Collector) Collect(e *Engine, end bool) error {
	if len(e.recent) == 0 || e.recent[0] == nil {
		return nil
	}
	c.mu.Lock()
	fresh := c.opened
	c.opened = nil
	c.mu.Unlock()
	if e != c.engine { // begun anew: what was gathered of the one before is all there is
		err := c.finish(func(*collected) bool { return true })
		c.engine, c.open = e, nil
		if err != nil {
			return err
		}
	}
	for _, o := range fresh {
		if len(c.open) >= collectOpen {
			c.mu.Lock()
			c.stats.Skipped++
			c.forget(o.id)
			c.mu.Unlock()
			continue
		}
		o.had = make([]uint64, len(e.recent))
		c.open = append(c.open, o)
	}
	if len(c.open) == 0 {
		return nil
	}
	for id, r := range e.recent {
		c.look(id, r)
		r.closing.Store(true)
	}
	now := int64(0)
	if s := e.Status(); s != nil {
		now = s.Time
	}
	return c.finish(func(o *collected) bool { return end || now > o.until+int64(1e9) })
}

// look takes the frames of one worker that are evidence.
func (c *Collector) look(id int, r *recent) {
	after := c.open[0].had[id]
	for _, o := range c.open {
		after = min(after, o.had[id])
	}
	last := r.read(after, func(serial uint64, f *decode.Frame) {
		decoded := false
		for _, o := range c.open {
			if serial <= o.had[id] || !o.pick.During(f.Time) {
				continue
			}
			if !decoded {
				c.coder.Decode(f, &c.p)
				decoded = true
			}
			if o.pick.Take(&c.p) {
				kept := *f
				kept.Data = slices.Clone(f.Data)
				o.list = append(o.list, kept)
			}
		}
	})
	for _, o := range c.open {
		o.had[id] = max(o.had[id], last)
	}
	c.count(func(s *CollectStats) { s.Lost += r.lost.Swap(0) })
}

// finish writes the files of those that are due.
func (c *Collector) finish(due func(*collected) bool) error {
	var errs []error
	c.open = slices.DeleteFunc(c.open, func(o *collected) bool {
		if !due(o) {
			return false
		}
		errs = append(errs, c.write(o))
		return true
	})
	return errors.Join(errs...)
}

// write writes an alert's file, in order of time.
func (c *Collector) write(o *collected) error {
	if len(o.list) == 0 {
		c.count(func(s *CollectStats) { s.Empty++ })
		return nil
	}
	slices.SortStableFunc(o.list, func(a, b decode.Frame) int { return cmp.Compare(a.Time, b.Time) })
	found, size, err := c.file(o)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.stats.Failed++
		return err
	}
	c.stats.Files++
	c.stats.Bytes += uint64(size)
	if _, known := c.known[o.id]; known {
		c.known[o.id] = found
	}
	return nil
}

// errNoRoom is that the disk has no room for evidence.
var errNoRoom = errors.New("evidence: no room on the disk")

// file writes frames under a temporary name, syncs them, and gives the file its name.
func (c *Collector) file(o *collected) (found *alert.Evidence, size int64, err error) {
	if c.Room != nil && !c.Room() {
		return nil, 0, errNoRoom
	}
	path := filepath.Join(c.dir, o.id+".pcapng")
	f, err := os.OpenFile(path+partial, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, 0, err
	}
	sum := sha256.New()
	w := capture.NewWriter(io.MultiWriter(f, sum), o.list[0].Link)
	for i := range o.list {
		if err = w.Write(&o.list[i]); err != nil {
			break
		}
	}
	err = errors.Join(err, w.Flush(), f.Sync())
	if info, bad := f.Stat(); bad == nil {
		size = info.Size()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(path+partial, path)
	}
	if err != nil {
		return nil, 0, errors.Join(err, os.Remove(path+partial))
	}
	return &alert.Evidence{File: path, SHA256: hex.EncodeToString(sum.Sum(nil))}, size, nil
}

func (c *Collector) count(f func(*CollectStats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.stats)
}
