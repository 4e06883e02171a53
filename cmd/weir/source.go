package main

import (
	"context"
	"os"

	"weir/sensor/capture"
)

// source is a set of captures whose wait for input ends with a context: a pipe may be silent for ever, and a read from it
// cannot be called off. The read is then left behind with the block it fills, for the rest of the process.
type source struct {
	set   *capture.Set
	ctx   context.Context
	waits bool           // some input is no regular file
	block *capture.Block // that the reader fills; swapped with the caller's
	ask   chan *capture.Block
	done  chan error
	left  bool // a read was left behind: set belongs to it
}

func newSource(ctx context.Context, paths []string, merge bool) *source {
	s := &source{set: capture.Files(paths, merge), ctx: ctx}
	for _, p := range paths {
		info, err := os.Stat(p)
		s.waits = s.waits || p == "-" || err == nil && !info.Mode().IsRegular()
	}
	return s
}

// Next implements capture.Source.
func (s *source) Next(b *capture.Block) error {
	if !s.waits {
		return s.set.Next(b)
	}
	if s.ask == nil {
		s.block, s.ask, s.done = new(capture.Block), make(chan *capture.Block), make(chan error, 1)
		go s.read()
	}
	s.ask <- s.block
	select {
	case err := <-s.done:
		*b, *s.block = *s.block, *b
		return err
	case <-s.ctx.Done():
		s.left = true
		return s.ctx.Err()
	}
}

func (s *source) read() {
	for b := range s.ask {
		s.done <- s.set.Next(b)
	}
}

// Fault hands on what capture.Set tells of a fault on its mapped input.
func (s *source) Fault(recovered any) error { return s.set.Fault(recovered) }

// counters are those of the set; none if a read was left behind.
func (s *source) counters() capture.Counters {
	if s.left {
		return capture.Counters{}
	}
	return s.set.Counters()
}

// Close closes the captures, unless a read was left behind.
func (s *source) Close() error {
	if s.ask != nil {
		close(s.ask)
	}
	if s.left {
		return nil
	}
	return s.set.Close()
}
