// Package sensor is the engine: it takes frames in blocks from a capture source, decodes them, keeps connection state and
// tallies by shard, merges the shards at every tick of event time, and hands the merged Epoch to the analyzers, whose
// findings become alerts.
package sensor

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"

	"weir/analyzers"
	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
	"weir/decode/slab"
	"weir/sensor/alert"
)

// MaxWorkers is the most workers an engine runs: one a shard of the tallies.
const MaxWorkers = tally.Shards

// Config sets an engine up.
type Config struct {
	Workers   int    // decoding goroutines, 1 to MaxWorkers; 0: one a core
	Live      bool   // the engine is for live traffic: memory for a second set of tallies
	Seed      uint64 // of the tables' hashes: fixed in replays, so that the same input gives the same output; live a secret of the process
	SketchKey uint64 // of the sketches: live one secret of the site, so that epochs of its sensors merge; 0: as Seed
	Conn      conn.Config
	Tally     tally.Config
	Alert     alert.Config
	Analyzers []analyzers.Analyzer
	Site      *analyzers.Site           // what the analyzers share; nil: they share nothing
	Keep      func(*decode.Packet) bool // nil: every packet; false: the packet is as if it had not been captured
	Openings  Openings                  // what is read of openings
	Recent    Recent                    // frames that a live engine keeps
	Outer     bool                      // track the outer connections of UDP tunnels for Records, too
}

// Sinks receive what an engine produces, in order of event time, from one goroutine at a time. Nil sinks cost nothing.
type Sinks struct {
	Alert  func(*alert.Alert)
	Record func(*conn.Record) // connections at their end; valid only during the call, and may be written to

	// Baseline gets the saved form of the baseline of Config.Site, once a minute of event time, in bytes that are its own from
	// then on. What was learned since stands in the Site, which nobody writes to any more when the engine has ended.
	Baseline func([]byte)

	// Established gets the originators whose TCP handshake with the other side was completed in a tick, return path proven,
	// and again every conn.PeerEvery while their connections carry packets: each once a tick, at most tally.MaxPeers; the rest
	// are counted (tally.Link.PeersLost). It is called before the tick's alerts. The slice is valid only during the call.
	Established func([]netip.Addr)
}

// Engine runs one input from its start to its end. Same input, Config (but Workers) and analyzers: same output.
type Engine struct {
	cfg      Config
	sinks    Sinks
	decoder  *decode.Decoder
	conns    *conn.Tables
	sets     [][]*tally.Shard // one; live two, so that a worker counts on while the judge merges
	tallies  *slab.Slab       // memory of the sets
	recent   []*recent        // live, by worker; nil: none
	frames   *slab.Slab       // memory of recent
	openings atomic.Pointer[Openings]
	workers  []*worker
	judge    *judge
	ring     *ring // of a replay
	live     live  // of live traffic
	gate     gate  // likewise
}

// New reserves all memory that the engine will use. Close gives it back.
func New(cfg Config, sinks Sinks) (*Engine, error) {
	if cfg.Workers == 0 {
		cfg.Workers = min(runtime.GOMAXPROCS(0), MaxWorkers)
	}
	if cfg.Workers < 1 || cfg.Workers > MaxWorkers {
		return nil, fmt.Errorf("workers: %d is not within 1 to %d", cfg.Workers, MaxWorkers)
	}
	conns, err := conn.NewTables(cfg.Conn, cfg.Seed)
	if err != nil {
		return nil, err
	}
	sets, tallies, err := tally.NewSets(Sets(cfg.Live), tally.Shards, cfg.Tally, cmp.Or(cfg.SketchKey, cfg.Seed))
	if err != nil {
		return nil, errors.Join(err, conns.Close())
	}
	recent, frames, err := newRecents(cfg.Recent, cfg.Workers)
	if err != nil {
		return nil, errors.Join(err, conns.Close(), tallies.Unmap())
	}
	e := &Engine{
		cfg: cfg, sinks: sinks, decoder: decode.NewDecoder(cfg.Seed), conns: conns, sets: sets, tallies: tallies, recent: recent, frames: frames,
	}
	e.openings.Store(&cfg.Openings)
	e.judge = newJudge(e)
	e.live.keep.Store(&cfg.Keep)
	e.live.wake, e.live.ended = make(chan struct{}, 1), make(chan struct{})
	e.live.change = make(chan func([]analyzers.Analyzer, *alert.Manager))
	return e, nil
}

// SetOpenings changes what is read of openings from now on. Any goroutine may call it.
func (e *Engine) SetOpenings(o Openings) { e.openings.Store(&o) }

// Sets is how many sets of tallies an engine has.
func Sets(live bool) int {
	if live {
		return 2
	}
	return 1
}

// Close unmaps the tables. No Collector of the engine may be at work.
func (e *Engine) Close() error {
	return errors.Join(e.conns.Close(), e.tallies.Unmap(), e.frames.Unmap())
}
