package sensor

import (
	"io"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/analyzers/tally"
	"weir/sensor/capture"
)

// silentLink is a source without traffic: it says until when there was none, each time after a pause, and ends.
type silentLink struct {
	until []int64
	pause time.Duration
}

func (s *silentLink) Next(b *capture.Block) error {
	time.Sleep(s.pause)
	if len(s.until) == 0 {
		return io.EOF
	}
	b.Frames, b.Until, s.until = b.Frames[:0], s.until[0], s.until[1:]
	return nil
}

func (*silentLink) Drops() capture.Drops { return capture.Drops{} }
func (*silentLink) Close() error         { return nil }

// TestLiveBrief ends a run in which one worker never begins, and the other closes ticks and ends before it.
func TestLiveBrief(t *testing.T) {
	defer goleak.VerifyNone(t)
	cfg := config(2)
	cfg.Live = true
	e, err := New(cfg, Sinks{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()
	done := make(chan error, 1)
	go func() {
		_, err := e.Live([]capture.LiveSource{
			&silentLink{[]int64{now, now + 5*tally.Tick}, 10 * time.Millisecond}, &silentLink{nil, 100 * time.Millisecond},
		})
		done <- err
	}()
	select {
	case err = <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
	if err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
