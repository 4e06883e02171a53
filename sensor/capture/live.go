package capture

import (
	"cmp"
	"fmt"
	"math/bits"
	"net"
	"slices"
	"strings"
	"time"
	"unsafe"

	"weir/decode"
	"weir/decode/filter"
)

// LiveConfig sets live capture up.
type LiveConfig struct {
	Fanout       string        `yaml:"fanout"`        // how the kernel spreads packets over workers: pair, hash, cpu, qm, or off (one worker)
	Snaplen      int           `yaml:"snaplen"`       // bytes of a frame that are kept; 0: what the privacy setting needs
	RingMiB      int           `yaml:"ring_mib"`      // ring memory of an interface, shared out among its workers
	BlockKiB     int           `yaml:"block_kib"`     // the kernel hands frames over in blocks of this size; a power of two that holds a super-packet
	BlockTimeout time.Duration `yaml:"block_timeout"` // or after this time: latency against wake-ups
	Promiscuous  bool          `yaml:"promiscuous"`   // also what is not addressed to this host, as on a mirror port

	Gated func(iface string) uint64 `yaml:"-"` // packets that a gate of ours dropped before the tap, in all; may be nil
}

// LiveDefaults are the settings of a sensor that nobody configured. Blocks are small, because the kernel starts a new one each
// block timeout, however little is in the old: with two workers a ring of 128 blocks has 1.3 s of patience with a reader that is
// held up, where 32 blocks of 1 MiB had 0.3 s at any rate.
func LiveDefaults() LiveConfig {
	return LiveConfig{Fanout: "pair", RingMiB: 64, BlockKiB: 256, BlockTimeout: 10 * time.Millisecond, Promiscuous: true}
}

// Bounds of LiveConfig.
const (
	minSnaplen      = 96 // Ethernet, two VLAN tags, IPv6, TCP with options
	maxSnaplen      = 65535
	superPacket     = 65535 + 256 // bytes that the largest frame with its ring header takes
	maxRingMiB      = 16 << 10
	maxBlockTimeout = 64 * time.Millisecond // a silent worker is known to be silent twice as late, and the judge waits 200 ms
)

// Fanouts are the names that LiveConfig.Fanout takes.
var Fanouts = []string{"pair", "hash", "cpu", "qm", "off"}

// Check tells which setting cannot be.
func (c *LiveConfig) Check() error {
	switch {
	case !slices.Contains(Fanouts, c.Fanout):
		return fmt.Errorf("capture: fanout is %q, must be one of %q", c.Fanout, Fanouts)
	case c.Snaplen != 0 && (c.Snaplen < minSnaplen || c.Snaplen > maxSnaplen):
		return fmt.Errorf("capture: snaplen is %d, must be %d to %d, or 0", c.Snaplen, minSnaplen, maxSnaplen)
	case c.BlockKiB<<10 < superPacket || c.BlockKiB > 64<<10 || bits.OnesCount(uint(c.BlockKiB)) != 1:
		return fmt.Errorf("capture: block_kib is %d, must be a power of two from 128 to 65536", c.BlockKiB)
	case c.RingMiB<<10 < 2*c.BlockKiB || c.RingMiB > maxRingMiB:
		return fmt.Errorf("capture: ring_mib is %d, must be two blocks at least and at most %d", c.RingMiB, maxRingMiB)
	case c.BlockTimeout < time.Millisecond || c.BlockTimeout > maxBlockTimeout:
		return fmt.Errorf("capture: block_timeout is %v, must be 1ms to %v", c.BlockTimeout, maxBlockTimeout)
	}
	return nil
}

// Bytes is the memory that live capture takes: rings, which are the kernel's, and blocks, those of readers that merge several
// interfaces included.
func (c *LiveConfig) Bytes(interfaces, workers int) int {
	if c.Fanout == "off" {
		workers = 1
	}
	blocks := workers
	if interfaces > 1 {
		blocks += workers * interfaces * mergeBlocks
	}
	frames := BlockFrames * int(unsafe.Sizeof(decode.Frame{}))
	return interfaces*workers*c.ringBlocks(workers)*c.BlockKiB<<10 + blocks*(liveArena(cmp.Or(c.Snaplen, liveSnaplen))+frames)
}

// ringBlocks is how many blocks a worker's ring has: two at least, so that one fills while the other is read.
func (c *LiveConfig) ringBlocks(workers int) int { return max(2, c.RingMiB<<10/workers/c.BlockKiB) }

// mergeBlocks is how many blocks each interface's reader fills ahead.
const mergeBlocks = 4

// Drops counts what a live source's share of the traffic lost before it could be read, since the source was opened.
type Drops struct {
	Kernel    uint64 // packets: the ring was full (PACKET_STATISTICS tp_drops)
	Freezes   uint64 // times that the ring stood still, full; the packets are in Kernel (tp_freeze_q_cnt)
	Interface uint64 // packets dropped by the interface or the kernel before the tap (rx_dropped, rx_missed_errors); from one worker of an interface only
}

// LiveSource is one worker's share of live traffic. Next waits for frames, but not long: it returns none when none came
// within a few block timeouts, with Block.Until set. After the end was asked for it hands out what was captured by then,
// and io.EOF. All methods are for one goroutine, that of the worker.
type LiveSource interface {
	Source
	Drops() Drops
}

// Live captures from network interfaces. The methods are for any goroutine, unless they say otherwise.
type Live struct{ backend }

// backend is how frames are captured: AF_PACKET rings, or libpcap.
type backend interface {
	// Workers is how many sources there are: as asked for, or 1 with fanout off.
	Workers() int
	// Source is one worker's share of the traffic of all interfaces, in the order of their frames' times.
	Source(worker int) LiveSource
	// SetFilter replaces the kernel filter of all interfaces, now and after they were re-opened; nil lets everything pass.
	// Readers attach it before they read on. Frames that the kernel kept until then were judged by the old one.
	SetFilter(f *filter.Filter) error
	// Interfaces tells how the interfaces are, in the order in which they were named.
	Interfaces() []InterfaceStatus
	// Clock tells how far event time is ahead of the wall clock, because that was set back: it shrinks by 1/16 of real time.
	Clock() time.Duration
	// Stop asks for the end: the sources hand out what was captured by now, and then io.EOF.
	Stop()
	// Close frees everything, once all sources are at their end, closed, or were never read.
	Close() error
}

// LiveEvent tells what happened to live capture.
type LiveEvent struct {
	Kind      LiveEventKind
	Interface string        // of which; empty: of all
	Step      time.Duration // of the clock
	Err       error         // why
}

// LiveEventKind is what happened.
type LiveEventKind uint8

// Kinds of events.
const (
	InterfaceDown     LiveEventKind = iota // set down, or without carrier; capture goes on when it is up again
	InterfaceUp                            // up, with carrier
	InterfaceGone                          // no interface has that name any more; capture goes on when one has
	InterfaceReopened                      // capture goes on
	InterfaceFailed                        // could not be opened again; it is tried on, with pauses of up to 2 s
	ClockStepped                           // the wall clock was set; event time goes on and nears it by 1/16 of real time if it was set back
	ClockReset                             // as ClockStepped, but so far back that it takes longer than 16 minutes
)

func (e LiveEvent) String() string {
	var s string
	switch e.Kind {
	case InterfaceDown:
		s = e.Interface + " is down or has no carrier"
	case InterfaceUp:
		s = e.Interface + " is up"
	case InterfaceGone:
		s = e.Interface + " is gone"
	case InterfaceReopened:
		s = "capture on " + e.Interface + " goes on"
	case InterfaceFailed:
		s = "capture on " + e.Interface + " fails"
	case ClockStepped, ClockReset:
		s = fmt.Sprintf("the wall clock was set by %v", e.Step)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// InterfaceStatus is how an interface is, and what it counted since capture began.
type InterfaceStatus struct {
	Name         string
	Index        int    // the kernel's; 0: there is none now
	MTU          int    // bytes
	Up           bool   // set up, and with carrier
	Open         bool   // it is being captured from
	Reopened     uint64 // times that capture began anew
	Received     uint64 // packets by the interface's own count (rx_packets), of this host too
	Dropped      uint64 // packets before the tap (rx_dropped, rx_missed_errors)
	Errors       uint64 // packets that arrived broken (rx_errors)
	SuperPackets uint64 // frames longer than the interface sends: segments that were joined, or not yet split, by offloads
}

// forbidden says how to get the right to capture.
func forbidden(name string, err error) error {
	return fmt.Errorf("capture: %s: no permission to capture; run it with sudo, or give it the right: sudo setcap cap_net_raw+ep weir: %w", name, err)
}

// absent says that there is no interface of a name, and which there are.
func absent(name string) error {
	var names []string
	all, _ := net.Interfaces()
	for _, i := range all {
		names = append(names, i.Name)
	}
	return fmt.Errorf("capture: no interface %s; there are %s", name, strings.Join(names, ", "))
}

// liveSnaplen is how much of a frame is kept if the configuration leaves it open: openings of connections are read.
const liveSnaplen = 2048

// liveArena is the room that a block has for the bytes of its frames. It ends early when that is full, which suits the
// processor's second-level cache: frames are 500 to 800 bytes long on average.
func liveArena(snaplen int) int { return max(snaplen, min(BlockFrames*snaplen, 512<<10)) }

// reserve empties a block and makes sure that it has its memory.
func (b *Block) reserve(arena int) {
	if cap(b.Frames) < BlockFrames {
		b.Frames = make([]decode.Frame, 0, BlockFrames)
	}
	if cap(b.arena) < arena {
		b.arena = make([]byte, arena)
	}
	b.Frames, b.arena = b.Frames[:0], b.arena[:arena]
}
