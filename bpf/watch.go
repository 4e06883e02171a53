//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
)

// Verdict is what became of a frame, and the first index of Totals.
type Verdict uint8

// Reason is why, and the second.
type Reason uint8

// Verdicts.
const (
	Pass    = Verdict(gateVerdictVERDICT_PASS)
	Shadow  = Verdict(gateVerdictVERDICT_SHADOW) // passed, but only because the entry rehearses
	Limit   = Verdict(gateVerdictVERDICT_LIMIT)  // dropped: above a rate
	Dropped = Verdict(gateVerdictVERDICT_DROP)

	Verdicts = int(gateVerdictVERDICTS)
)

// Reasons.
const (
	ReasonNone      = Reason(gateReasonREASON_NONE) // no entry
	ReasonNotIP     = Reason(gateReasonREASON_NOT_IP)
	ReasonMalformed = Reason(gateReasonREASON_MALFORMED) // IP header cut or contradictory
	ReasonNever     = Reason(gateReasonREASON_NEVER)     // on the never-list, else an entry would have dropped it
	ReasonPeer      = Reason(gateReasonREASON_PEER)      // a known peer of a limited service
	ReasonHost      = Reason(gateReasonREASON_HOST)      // with Pass: an entry that let it through
	ReasonPrefix    = Reason(gateReasonREASON_PREFIX)
	ReasonService   = Reason(gateReasonREASON_SERVICE)
	ReasonSignature = Reason(gateReasonREASON_SIGNATURE)

	Reasons = int(gateReasonREASONS)
)

func (v Verdict) String() string {
	if int(v) < Verdicts {
		return [Verdicts]string{"pass", "shadow", "limit", "drop"}[v]
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

func (r Reason) String() string {
	if int(r) < Reasons {
		return [Reasons]string{"none", "not_ip", "malformed", "never", "peer", "host", "prefix", "service", "signature"}[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Total counts frames. Each frame is in one Total.
type Total struct {
	Packets, Bytes uint64
	Lost           uint64 // samples that found no room, because nobody read
}

// Totals are all frames since the tables began, by verdict and reason. While all tables are empty frames are not parsed, and
// every one passes for ReasonNone.
type Totals [Verdicts][Reasons]Total

// Totals reads the counters of all CPUs.
func (g *Gate) Totals() (Totals, error) {
	var t Totals
	var cpus []gateTotal
	for v := range Verdicts {
		for r := range Reasons {
			if err := g.maps.Totals.Lookup(uint32(v*Reasons+r), &cpus); err != nil {
				return t, fmt.Errorf("totals: %w", err)
			}
			for i := range cpus {
				t[v][r].Packets += cpus[i].Packets
				t[v][r].Bytes += cpus[i].Bytes
				t[v][r].Lost += cpus[i].Lost
			}
		}
	}
	return t, nil
}

// Sample is the beginning of a frame that was dropped, or would have been: on average one in Config.Sample of them.
type Sample struct {
	Time      Time
	Interface int // index
	WireLen   int // bytes of the frame
	Verdict   Verdict
	Reason    Reason
	Data      []byte // from the Ethernet header on, at most 128 bytes; valid until the next Read
}

// Samples reads samples. Who reads too slowly loses them, which Total.Lost counts. Not safe for concurrent use, but for Close.
type Samples struct {
	r      *ringbuf.Reader
	record ringbuf.Record
}

// Samples begins to read the gate's samples. There is one reader at a time.
func (g *Gate) Samples() (*Samples, error) {
	r, err := ringbuf.NewReader(g.maps.Samples)
	if err != nil {
		return nil, explain("samples", err)
	}
	return &Samples{r: r}, nil
}

// SetDeadline makes Read return os.ErrDeadlineExceeded when nothing came until then.
func (s *Samples) SetDeadline(t time.Time) { s.r.SetDeadline(t) }

// Read waits for a sample. After Close it returns os.ErrClosed.
func (s *Samples) Read(to *Sample) error {
	if err := s.r.ReadInto(&s.record); err != nil {
		if errors.Is(err, ringbuf.ErrClosed) {
			return os.ErrClosed
		}
		return err
	}
	raw := s.record.RawSample
	if len(raw) < int(unsafe.Sizeof(gateSample{})) {
		return errors.New("samples: a record of another size")
	}
	k := (*gateSample)(unsafe.Pointer(&raw[0]))
	*to = Sample{
		Time: Time(k.Time), Interface: int(k.Ifindex), WireLen: int(k.Bytes), Verdict: Verdict(k.Verdict), Reason: Reason(k.Reason),
		Data: k.Data[:min(int(k.Len), len(k.Data))],
	}
	return nil
}

// Close ends a Read that waits.
func (s *Samples) Close() error { return s.r.Close() }
