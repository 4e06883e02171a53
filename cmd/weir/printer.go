package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

	"weir/sensor/alert"
)

// Whoever reads what a sensor writes may be slow, or stand still. Nothing waits for it: not the judge, and not the end.
const (
	waiting   = 1024        // alerts, or lines of the log, that wait for their reader at most
	lastWords = time.Second // that the end gives a reader
)

// printer writes alerts to standard output as they come. Beyond a bound it loses alerts, which are on the bus all the same.
type printer struct {
	queue chan *alert.Alert
	done  chan struct{}
	lost  atomic.Uint64
	log   *slog.Logger
}

// newPrinter returns a printer of a format; nil, which prints nothing, for none.
func newPrinter(format string, out io.Writer, log *slog.Logger) *printer {
	if format == "none" {
		return nil
	}
	p := &printer{queue: make(chan *alert.Alert, waiting), done: make(chan struct{}), log: log}
	go p.print(newRevisionWriter(format, out))
	return p
}

func (p *printer) print(show func(*alert.Alert, []byte) error) {
	defer close(p.done)
	var failed error
	for a := range p.queue {
		if failed != nil {
			continue
		}
		line, err := a.AppendLine(nil)
		if err == nil {
			err = show(a, line)
		}
		if failed = err; errors.Is(err, syscall.EPIPE) {
			p.log.Info("nobody reads standard output any more; alerts are on the bus")
		} else if err != nil {
			p.log.Error("alerts can no longer be printed; they are on the bus", "error", err)
		}
	}
}

// put prints an alert, if there is room for it. It does not keep up its caller, which is the only one.
func (p *printer) put(a *alert.Alert) {
	if p == nil {
		return
	}
	select {
	case p.queue <- a:
	default:
		if p.lost.Add(1) == 1 {
			p.log.Warn("standard output is read too slowly: alerts are not printed; they are on the bus")
		}
	}
}

// close prints what waits, and tells what was lost.
func (p *printer) close() {
	if p == nil {
		return
	}
	close(p.queue)
	select {
	case <-p.done:
	case <-time.After(lastWords):
		p.lost.Add(uint64(len(p.queue) + 1))
	}
	if n := p.lost.Load(); n > 0 {
		p.log.Warn(fmt.Sprintf("standard output was read too slowly: %d alerts were not printed; they are on the bus", n))
	}
}

// patient is a writer that never waits: what it is given is written by a goroutine, in order. Beyond a bound it loses what
// comes, and says so when there is room again.
type patient struct {
	queue chan []byte
	done  chan struct{}
	lost  atomic.Uint64
}

func newPatient(out io.Writer) *patient {
	p := &patient{queue: make(chan []byte, waiting), done: make(chan struct{})} // a nil ends it
	go func() {
		defer close(p.done)
		for {
			b := <-p.queue
			if b == nil {
				return
			}
			_, _ = out.Write(b) // nobody is left to be told
			if n := p.lost.Swap(0); n > 0 {
				fmt.Fprintf(out, "weir: standard error was read too slowly: %d lines are missing here\n", n)
			}
		}
	}()
	return p
}

// Write implements io.Writer. Any goroutine may call it; what comes after close is lost.
func (p *patient) Write(b []byte) (int, error) {
	select {
	case p.queue <- append([]byte{}, b...):
	default:
		p.lost.Add(1)
	}
	return len(b), nil
}

// close writes what waits, if that is read within a moment.
func (p *patient) close() {
	late := time.After(lastWords)
	select {
	case p.queue <- nil:
	case <-late:
		return
	}
	select {
	case <-p.done:
	case <-late:
	}
}
