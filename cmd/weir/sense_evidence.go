package main

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/store"
)

// collectEvery is how often recent frames are looked through for alerts that are new.
const collectEvery = 500 * time.Millisecond

// gathering writes the evidence of alerts. A nil one writes none.
type gathering struct {
	*sensor.Collector
	s       *sensing
	reading sync.Mutex // of an engine's recent frames: it is not closed meanwhile
}

// openEvidence makes the folder of evidence.
func (s *sensing) openEvidence() error {
	cfg := &s.settings.Store
	if !cfg.Evidence {
		return nil
	}
	c, err := sensor.NewCollector(filepath.Join(storeFolder(cfg, s.state.Dir()), "evidence"))
	if err != nil {
		return err
	}
	if kept := s.store; kept != nil {
		c.Room = func() bool { return !kept.store.Stats().Paused }
	}
	s.evidence = &gathering{Collector: c, s: s}
	return nil
}

// recent is what an engine keeps of recent frames.
func recent(cfg *store.Config) sensor.Recent {
	if !cfg.Evidence {
		return sensor.Recent{}
	}
	return sensor.Recent{Bytes: cfg.EvidenceMiB << 20, Snaplen: cfg.EvidenceSnap}
}

// alert takes in a revision, and gives it its evidence if that is written already. On the judge's goroutine: it never waits.
func (g *gathering) alert(a *alert.Alert) {
	if g == nil {
		return
	}
	g.Alert(a)
	if found := g.Find(a.ID); found != nil {
		a.Evidence = found
	}
}

// run gathers until ctx ends.
func (g *gathering) run(ctx context.Context) {
	if g == nil {
		return
	}
	ticker := time.NewTicker(collectEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			g.collect(g.s.run.Load(), false)
		case <-ctx.Done():
			return
		}
	}
}

// collect looks through the recent frames of a run; with end for the last time, before its engine is closed.
func (g *gathering) collect(r *sensingRun, end bool) {
	if g == nil || r == nil {
		return
	}
	g.reading.Lock()
	defer g.reading.Unlock()
	if r.ended {
		return
	}
	r.ended = end
	if err := g.Collect(r.engine, end); err != nil {
		g.s.seldom.Error("evidence cannot be written", "error", err)
	}
}
