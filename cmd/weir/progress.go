package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows how far a run is, on a terminal only.
type progress struct {
	bar  *progressbar.ProgressBar
	quit chan struct{}
	done chan struct{}
}

// startProgress begins to show the source's progress, ten times a second. A nil result shows nothing, and is what there is
// without a terminal, and with one that lines of output run through.
func startProgress(std *streams, lines bool, src interface{ Progress() (done, total int64) }) *progress {
	if !isTerminal(std.err) || lines && isTerminal(std.out) {
		return nil
	}
	w := std.err
	p := &progress{quit: make(chan struct{}), done: make(chan struct{})}
	p.bar = progressbar.NewOptions64(-1, progressbar.OptionSetWriter(w), progressbar.OptionShowBytes(true),
		progressbar.OptionSetDescription("replay"), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetSpinnerChangeInterval(0)) // no goroutine of its own, which would race with ours
	go p.run(src)
	return p
}

func (p *progress) run(src interface{ Progress() (done, total int64) }) {
	defer close(p.done)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.quit:
			return
		case <-tick.C:
			done, total := src.Progress()
			if total > 0 && p.bar.GetMax64() != total {
				p.bar.ChangeMax64(total)
			}
			_ = p.bar.Set64(done) // a terminal that went away is no failure of the run
		}
	}
}

func (p *progress) stop() {
	if p == nil {
		return
	}
	close(p.quit)
	<-p.done
	_ = p.bar.Finish()
}
