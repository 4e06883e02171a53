package main

import (
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"weir/sensor/alert"
)

// printer writes alerts to standard output as they come. Whoever reads it may be slow: beyond a bound it loses alerts, which
// are on the bus all the same, and never makes the judge wait.
type printer struct {
	queue chan *alert.Alert
	done  chan error
	lost  atomic.Uint64
	log   *slog.Logger
}

// printed is how many alerts wait for a slow reader at most.
const printed = 1024

// newPrinter returns a printer of a format; nil, which prints nothing, for none.
func newPrinter(format string, out io.Writer, log *slog.Logger) *printer {
	if format == "none" {
		return nil
	}
	p := &printer{queue: make(chan *alert.Alert, printed), done: make(chan error, 1), log: log}
	show := newRevisionWriter(format, out)
	go func() {
		var failed error
		for a := range p.queue {
			if failed == nil {
				line, err := a.AppendLine(nil)
				if err == nil {
					err = show(a, line)
				}
				if failed = err; failed != nil {
					p.log.Error("alerts can no longer be printed; they are on the bus", "error", failed)
				}
			}
		}
		p.done <- failed
	}()
	return p
}

// put prints an alert, if there is room for it.
func (p *printer) put(a *alert.Alert) {
	if p == nil {
		return
	}
	select {
	case p.queue <- a:
	default:
		p.lost.Add(1)
	}
}

// close prints what waits, and tells what was lost.
func (p *printer) close() error {
	if p == nil {
		return nil
	}
	close(p.queue)
	err := <-p.done
	if n := p.lost.Load(); n > 0 {
		p.log.Warn(fmt.Sprintf("standard output was read too slowly: %d alerts were not printed; they are on the bus", n))
	}
	return err
}
