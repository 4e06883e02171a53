package sensor

import (
	"encoding/binary"
	"io"
	"testing"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
	"weir/sensor/capture"
)

// spoofed is a worker's share of a SYN flood from addresses that never repeat, all in one tick.
type spoofed struct {
	worker, blocks int
	frames         [capture.BlockFrames][54]byte
}

func (s *spoofed) Next(b *capture.Block) error {
	const at = 1_700_000_000 * int64(1e9)
	b.Frames, b.Until = b.Frames[:0], at
	if s.blocks--; s.blocks < 0 {
		return io.EOF
	}
	if s.blocks == 0 {
		b.Until = at + tally.Tick
		return nil
	}
	for i := range s.frames {
		f := s.frames[i][:]
		copy(f[12:], "\x08\x00\x45\x00\x00\x28\x00\x00\x00\x00\x40\x06\x00\x00")
		binary.BigEndian.PutUint32(f[26:], uint32(s.worker<<24|s.blocks<<12|i))
		copy(f[30:], "\xc6\x33\x64\x07\x80\x00\x00\x50")
		f[46], f[47] = 0x50, 2
		b.Frames = append(b.Frames, decode.Frame{Data: f, Time: at, WireLen: 60, Link: decode.LinkEthernet})
	}
	return nil
}

func (*spoofed) Drops() (d capture.Drops) { return d }
func (*spoofed) Close() error             { return nil }

// TestLiveRecordsBounded shows that connection records of a flood do not keep the judge from the next tick, whatever the
// number of workers: what is beyond the bound of a tick is counted.
func TestLiveRecordsBounded(t *testing.T) {
	for _, workers := range []int{1, 3, 16} {
		cfg := config(workers)
		cfg.Live = true
		var e *Engine
		tick, all := 0, uint64(0)
		e, err := New(cfg, Sinks{Record: func(*conn.Record) {
			all++
			select {
			case <-e.live.ended: // what is left in the tables
			default:
				tick++
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		var sources []capture.LiveSource
		for w := range workers {
			sources = append(sources, &spoofed{worker: w, blocks: 400/workers + 2})
		}
		sum, err := e.Live(sources)
		if err != nil {
			t.Fatal(err)
		}
		if tick == 0 || tick > recordsPerTick {
			t.Errorf("%d workers: %d records of the flood's tick, want up to %d", workers, tick, recordsPerTick)
		}
		if all != sum.Records || sum.Records+sum.RecordsLost != sum.Link.Packets {
			t.Errorf("%d workers: %d packets, %d records handed on, %d counted, %d lost", workers, sum.Link.Packets, all, sum.Records, sum.RecordsLost)
		}
	}
}
