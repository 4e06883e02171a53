package capture

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/afpacket"
	"golang.org/x/sys/unix"

	"weir/decode"
)

// How long a reader waits.
const (
	pollTimeout  = 5 * time.Millisecond  // of the kernel's poll: what a block with few frames waits for more
	idleTimeout  = 20 * time.Millisecond // of Next without frames
	blockSpan    = 10 * time.Millisecond // from a block's first frame to its last
	brokenPause  = 2 * time.Millisecond  // between looks at a ring whose interface is gone
	accountEvery = 100 * time.Millisecond
	stopLimit    = time.Second // after Stop, for what was captured before it
)

// ring is one AF_PACKET ring: an interface's share for one worker. Only the goroutine that reads it may close it, because
// closing unmaps its memory.
type ring struct {
	*afpacket.TPacket
	opened  int64  // monotonic ns
	since   int64  // wall clock, ns: earlier frames are from before all rings of the interface were ready
	fresh   int64  // monotonic ns until which since counts; 0: no more
	filter  int64  // version of the filter that is attached
	drops   uint32 // as counted last
	freezes uint32
}

// attach gives the kernel a filter. It has little room for them (net.core.optmem_max: 20 KiB before Linux 6.9), where the old
// one and the new one must fit together: where there is none, the old one goes first, and then a new one that is too large
// only cuts.
func (r *ring) attach(f *kernelFilter, k *link) error {
	r.filter = f.version
	program := f.program(k)
	err := r.SetBPF(program)
	if errors.Is(err, unix.ENOMEM) {
		if err = r.SetBPF(f.cut(k)); err == nil {
			_ = r.SetBPF(program) // else what does not match is left to the readers
		}
	}
	return err
}

// port is a worker's place at an interface. Its ring comes and goes with the interface. All methods but drops are for the
// goroutine that reads it.
type port struct {
	link     *link
	worker   int
	patience time.Duration // of Next, without frames; 0: one poll
	ring     *ring         // nil: none now
	stamps   stamps
	held     bool // data and info are of a frame that did not fit into the last block
	data     []byte
	info     gopacket.CaptureInfo
	until    int64 // event time: never goes backwards
	broken   int64 // monotonic ns: when the ring was found to be useless; 0: it is not
	ended    bool

	accounted int64 // monotonic ns
	kernel    atomic.Uint64
	freezes   atomic.Uint64
	super     atomic.Uint64
}

// Next fills a block. After the end it returns io.EOF.
func (p *port) Next(b *Block) error {
	l := p.link.live
	b.reserve(l.arena)
	began := mono()
	p.stamps.now = began
	if !p.ended {
		p.follow(began)
	}
	for used := 0; !p.ended && p.ring != nil && len(b.Frames) < BlockFrames; {
		if !p.held {
			if ok := p.poll(b, began); !ok {
				break
			}
		}
		data := p.data[:min(len(p.data), l.snaplen)]
		if used+len(data) > len(b.arena) {
			break // goes first into the next block
		}
		p.held = false
		if p.stale() {
			continue
		}
		event, at := p.stamps.event(p.info.Timestamp.UnixNano())
		if p.past(at) {
			break
		}
		copy(b.arena[used:], data)
		p.append(b, b.arena[used:used+len(data):used+len(data)], event)
		used += len(data)
		if event-b.Frames[0].Time > int64(blockSpan) {
			break
		}
	}
	if p.ring == nil && !p.ended {
		p.absent()
	}
	if len(b.Frames) > 0 {
		p.until = max(p.until, b.Frames[len(b.Frames)-1].Time)
	}
	b.Until = p.until
	if p.ended && len(b.Frames) == 0 {
		return io.EOF
	}
	return nil
}

// poll waits for a frame. It returns false if the block shall end here.
func (p *port) poll(b *Block, began int64) bool {
	for {
		var err error
		p.data, p.info, err = p.ring.ZeroCopyReadPacketData()
		if err == nil {
			p.held = true
			return true
		}
		if len(b.Frames) > 0 {
			return false
		}
		now := mono()
		p.ring.fresh = 0
		if !errors.Is(err, afpacket.ErrTimeout) {
			if errors.Is(err, afpacket.ErrPoll) { // all that afpacket says of a socket's error
				err = unix.ENETDOWN
			}
			p.fail(err, now)
			return false
		}
		p.until = max(p.until, p.stamps.idle(now-p.link.live.hold))
		if p.overdue(now) {
			p.end()
			return false
		}
		if p.link.broken.Load() || now-began >= int64(p.patience) {
			return false
		}
	}
}

// append puts the frame that was read last into the block.
func (p *port) append(b *Block, data []byte, event int64) {
	b.Frames = b.Frames[:len(b.Frames)+1]
	f := &b.Frames[len(b.Frames)-1]
	f.Data, f.Time, f.WireLen, f.Link, f.Iface = data, event, uint32(p.info.Length), p.link.kind, p.link.number
	f.Tags = [2]decode.Tag{}
	if len(p.info.AncillaryData) > 0 {
		if vlan, ok := p.info.AncillaryData[0].(afpacket.AncillaryVLAN); ok {
			f.Tags[0] = decode.Tag{TPID: 0x8100, TCI: uint16(vlan.VLAN)}
		}
	}
	if p.info.Length > int(p.link.longest.Load()) {
		p.super.Add(1)
	}
}

// stale reports whether a frame came into the ring before all rings of the interface shared out its traffic.
func (p *port) stale() bool {
	r := p.ring
	if r.fresh == 0 {
		return false
	}
	if p.info.Timestamp.UnixNano() < r.since && p.stamps.now < r.fresh {
		return true
	}
	r.fresh = 0
	return false
}

// past ends the port at the first frame that was stamped after Stop.
func (p *port) past(at int64) bool {
	stop := p.link.live.stopped.Load()
	if stop == 0 || at <= stop && mono() < stop+int64(stopLimit) {
		return false
	}
	p.end()
	return true
}

// overdue reports whether all frames from before Stop must have been seen.
func (p *port) overdue(now int64) bool {
	stop := p.link.live.stopped.Load()
	return stop != 0 && now > stop+p.link.live.hold
}

// follow does what was asked for since the last block: another filter, another ring, the end.
func (p *port) follow(now int64) {
	l := p.link.live
	if p.ring == nil {
		if p.ring = p.link.take(p.worker); p.ring != nil {
			p.broken, p.stamps.seen = 0, p.ring.opened
		} else if l.stopped.Load() != 0 {
			p.end()
		}
		return
	}
	if now-p.accounted > int64(accountEvery) {
		p.accounted = now
		p.account()
	}
	if p.link.broken.Load() {
		p.leave(now)
		return
	}
	if f := l.filter.Load(); f.version != p.ring.filter {
		if err := p.ring.attach(f, p.link); err != nil {
			p.link.fail(fmt.Errorf("attach the filter: %w", err))
		}
	}
}

// fail says that the interface needs new rings.
func (p *port) fail(err error, now int64) {
	p.link.fail(err)
	p.leave(now)
}

// leave gives the ring up once the kernel has handed over what it holds.
func (p *port) leave(now int64) {
	if p.broken == 0 {
		p.broken = now
	}
	if now-p.broken < p.link.live.hold && !p.overdue(now) {
		time.Sleep(brokenPause)
		return
	}
	p.drop()
}

// drop closes the ring.
func (p *port) drop() {
	if p.ring == nil {
		return
	}
	p.account()
	p.ring.Close()
	p.ring, p.data, p.held = nil, nil, false
	p.link.gaveUp()
}

// absent passes the time while the interface has no ring.
func (p *port) absent() {
	time.Sleep(pollTimeout)
	p.until = max(p.until, p.stamps.idle(mono()-p.link.live.hold))
}

func (p *port) end() {
	p.drop()
	p.ended = true
	if p.worker == 0 {
		p.link.refresh()
	}
}

// account adds up what the kernel counted. Its counters have 32 bits; afpacket adds them up in 32 bits too.
func (p *port) account() {
	_, s, err := p.ring.SocketStats()
	if err != nil {
		return
	}
	drops, freezes := uint32(s.Drops()), uint32(s.QueueFreezes())
	p.kernel.Add(uint64(drops - p.ring.drops))
	p.freezes.Add(uint64(freezes - p.ring.freezes))
	p.ring.drops, p.ring.freezes = drops, freezes
}

// drops may be called by any goroutine.
func (p *port) drops() Drops {
	d := Drops{Kernel: p.kernel.Load(), Freezes: p.freezes.Load()}
	if p.worker == 0 {
		d.Interface = p.link.dropped.Load()
	}
	return d
}

// Drops are up to accountEvery old.
func (p *port) Drops() Drops {
	if p.ring != nil {
		p.account()
	}
	return p.drops()
}

// Close ends the source before its time.
func (p *port) Close() error {
	if !p.ended {
		p.end()
	}
	return nil
}

func (p *port) wait() {} // its goroutine is the worker's

// openRings opens an interface's rings, one a worker, in the order of workers: dealt by pair or hash, both directions of a flow
// reach the same worker, on all interfaces. index is the interface's.
func (l *afPacket) openRings(k *link, index int) (rings []*ring, err error) {
	defer func() {
		if err != nil {
			closeRings(rings)
			rings = nil
		}
	}()
	opened := mono()
	f := l.filter.Load()
	kind := fanouts[l.cfg.Fanout]
	blocks := l.cfg.ringBlocks(l.workers)
	var group uint16
	for w := range l.workers {
		t, err := afpacket.NewTPacket(afpacket.OptInterface(k.name), afpacket.TPacketVersion3,
			afpacket.OptBlockSize(l.cfg.BlockKiB<<10), afpacket.OptFrameSize(4096), afpacket.OptNumBlocks(blocks),
			afpacket.OptBlockTimeout(l.cfg.BlockTimeout), afpacket.OptPollTimeout(pollTimeout))
		if err != nil {
			return rings, k.explain(err)
		}
		r := &ring{TPacket: t, opened: opened}
		rings = append(rings, r)
		if err := r.attach(f, k); err != nil {
			return rings, fmt.Errorf("capture: %s: attach the filter: %w", k.name, err)
		}
		if l.workers == 1 {
			break
		}
		if w == 0 {
			if group, err = freeGroup(index, kind); err != nil {
				return rings, fmt.Errorf("capture: %s: fanout: %w", k.name, err)
			}
		}
		if err := t.SetFanout(kind, group); err != nil {
			return rings, fmt.Errorf("capture: %s: fanout %s: %w", k.name, l.cfg.Fanout, err)
		}
		if w == 0 && kind == afpacket.FanoutCBPF {
			if err := r.deal(dealByPair(k.kind, l.seed)); err != nil {
				return rings, fmt.Errorf("capture: %s: fanout %s: %w", k.name, l.cfg.Fanout, err)
			}
		}
	}
	time.Sleep(time.Millisecond) // packets that other processors are about to hand to the sockets as they were
	since := time.Now()
	for _, r := range rings {
		r.since, r.fresh = since.UnixNano(), int64(since.Sub(base)+time.Second)
	}
	return rings, nil
}

func closeRings(rings []*ring) {
	for _, r := range rings {
		if r != nil {
			r.Close()
		}
	}
}

// freeGroup asks the kernel for the number of a fanout group that nobody has: joining another program's would take half of
// its packets. It needs a socket for that, which must not keep the number.
func freeGroup(index int, kind afpacket.FanoutType) (uint16, error) {
	const experimental = 0x88b5 // an EtherType that nobody sends (IEEE 802 local experimental)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(experimental), Ifindex: index}); err != nil {
		return 0, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT, (int(kind)|unix.PACKET_FANOUT_FLAG_UNIQUEID)<<16); err != nil {
		return 0, err
	}
	v, err := unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
	return uint16(v), err
}

func bigEndian(v uint16) uint16 { return v<<8 | v>>8 }

// explain turns what afpacket says into what to do.
func (k *link) explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return forbidden(k.name, err)
	case strings.Contains(err.Error(), "packet_rx_ring") || errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("capture: %s: the kernel refuses ring memory; set capture.ring_mib lower: %w", k.name, err)
	}
	return fmt.Errorf("capture: %s: %w", k.name, err)
}
