package sensor

import (
	"io"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/sensor/capture"
)

// sparseLink is a source of few frames, each after a pause, and then of none.
type sparseLink struct {
	frames []decode.Frame
	pause  time.Duration
}

func (s *sparseLink) Next(b *capture.Block) error {
	time.Sleep(s.pause)
	if b.Frames = b.Frames[:0]; len(s.frames) == 0 {
		return io.EOF
	}
	b.Frames, s.frames = append(b.Frames[:0], s.frames[0]), s.frames[1:]
	return nil
}

func (*sparseLink) Drops() capture.Drops { return capture.Drops{} }
func (*sparseLink) Close() error         { return nil }

// TestLiveBrief ends a run in which one worker never begins, and the other closes ticks and ends before it.
func TestLiveBrief(t *testing.T) {
	defer goleak.VerifyNone(t)
	cfg := config(2)
	cfg.Live = true
	e, err := New(cfg, Sinks{})
	if err != nil {
		t.Fatal(err)
	}
	frame := func(at int64) decode.Frame {
		data := []byte("\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00" + // Ethernet, IPv4, UDP
			"\x45\x00\x00\x1c\x00\x01\x00\x00\x40\x11\x00\x00\xc6\x33\x64\x01\xc6\x33\x64\x02" + "\x10\x00\x20\x00\x00\x08\x00\x00")
		return decode.Frame{Time: at, Data: data, WireLen: uint32(len(data)), Link: decode.LinkEthernet}
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()
	done := make(chan error, 1)
	go func() {
		_, err := e.Live([]capture.LiveSource{
			&sparseLink{[]decode.Frame{frame(now), frame(now + 5*tally.Tick)}, 10 * time.Millisecond},
			&sparseLink{nil, 100 * time.Millisecond},
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
