// Package sensor is the engine: it takes frames in blocks from a capture source, decodes them, keeps connection state and
// tallies by shard, merges the shards at every tick of event time, and hands the merged Epoch to the analyzers, whose
// findings become alerts.
package sensor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"weir/analyzers"
	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
	"weir/decode/slab"
	"weir/sensor/alert"
	"weir/sensor/capture"
)

// MaxWorkers is the most workers an engine runs: one a shard of the tallies.
const MaxWorkers = tally.Shards

// Config sets an engine up.
type Config struct {
	Workers   int    // decoding goroutines, 1 to MaxWorkers; 0: one a core
	Seed      uint64 // of hashes and sketches: fixed in replays, so that the same input gives the same output
	Conn      conn.Config
	Tally     tally.Config
	Alert     alert.Config
	Analyzers []analyzers.Analyzer
	Keep      func(*decode.Packet) bool // nil: every packet; false: the packet is as if it had not been captured
	Outer     bool                      // track the outer connections of UDP tunnels for Records, too
}

// Sinks receive what an engine produces, in order of event time, from one goroutine at a time. Nil sinks cost nothing.
type Sinks struct {
	Alert  func(*alert.Alert)
	Record func(*conn.Record) // connections at their end; valid only during the call
}

// Engine runs one input from its start to its end. Same input, Config (but Workers) and analyzers: same output.
type Engine struct {
	cfg     Config
	sinks   Sinks
	decoder *decode.Decoder
	conns   *conn.Tables
	shards  []*tally.Shard
	tallies *slab.Slab // memory of the shards
	workers []*worker
	judge   *judge
	ring    *ring
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
	shards, tallies, err := tally.NewShards(tally.Shards, cfg.Tally, cfg.Seed)
	if err != nil {
		return nil, errors.Join(err, conns.Close())
	}
	e := &Engine{cfg: cfg, sinks: sinks, decoder: decode.NewDecoder(cfg.Seed), conns: conns, shards: shards, tallies: tallies}
	for id := range cfg.Workers {
		e.workers = append(e.workers, newWorker(e, id))
	}
	e.judge = newJudge(e)
	return e, nil
}

// Close unmaps the tables.
func (e *Engine) Close() error { return errors.Join(e.conns.Close(), e.tallies.Unmap()) }

// Replay runs the whole of src. An error of the source does not void what came before it: all frames read are processed,
// the alerts emitted, and the error returned with the summary. A cancelled context ends the input early.
func (e *Engine) Replay(ctx context.Context, src capture.Source) (*Summary, error) {
	e.ring = newRing(ctx, src, len(e.workers))
	var wg sync.WaitGroup
	for _, w := range e.workers {
		wg.Go(w.run)
	}
	wg.Wait()
	e.judge.finish()
	err := e.ring.err
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return &e.judge.summary, err
}
