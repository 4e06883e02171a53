package capture

import (
	"fmt"
	"math/bits"
	"slices"
	"time"
)

// LiveConfig sets live capture up.
type LiveConfig struct {
	Fanout       string        `yaml:"fanout"`        // how the kernel spreads packets over workers: hash, cpu, qm, or off (one worker)
	Snaplen      int           `yaml:"snaplen"`       // bytes of a frame that are kept; 0: what the privacy setting needs
	RingMiB      int           `yaml:"ring_mib"`      // ring memory of an interface, shared out among its workers
	BlockKiB     int           `yaml:"block_kib"`     // the kernel hands frames over in blocks of this size; a power of two that holds a super-packet
	BlockTimeout time.Duration `yaml:"block_timeout"` // or after this time: latency against wake-ups
	Promiscuous  bool          `yaml:"promiscuous"`   // also what is not addressed to this host, as on a mirror port
}

// LiveDefaults are the settings of a sensor that nobody configured.
func LiveDefaults() LiveConfig {
	return LiveConfig{Fanout: "hash", RingMiB: 64, BlockKiB: 1024, BlockTimeout: 10 * time.Millisecond, Promiscuous: true}
}

// Bounds of LiveConfig.
const (
	minSnaplen      = 96 // Ethernet, two VLAN tags, IPv6, TCP with options
	maxSnaplen      = 65535
	superPacket     = 65535 + 256 // bytes that the largest frame with its ring header takes
	maxRingMiB      = 16 << 10
	maxBlockTimeout = time.Second
)

// Fanouts are the names that LiveConfig.Fanout takes.
var Fanouts = []string{"hash", "cpu", "qm", "off"}

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
