//go:build libpcap

package capture

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/gopacket"
	libpcap "github.com/google/gopacket/pcap"

	"weir/decode"
	"weir/decode/filter"
)

// pcapLive captures from one interface for one worker, with what libpcap can on the system: also devices that are no network
// interfaces, as "any" of Linux. It is its own source. VLAN tags are in the frames.
type pcapLive struct {
	cfg     LiveConfig
	name    string
	snaplen int
	event   func(LiveEvent)
	clock   *clock
	filter  atomic.Pointer[pcapFilter]
	stopped atomic.Int64 // monotonic ns of Stop; 0: none

	mu     sync.Mutex
	status InterfaceStatus
	drops  Drops
	super  atomic.Uint64

	// Of the reader alone.
	handle  *libpcap.Handle // nil: none now
	version int64           // of the filter that is attached
	counted libpcap.Stats
	link    decode.LinkType
	longest int
	stamps  stamps
	held    bool // data and info are of a frame that did not fit into the last block
	data    []byte
	info    gopacket.CaptureInfo
	until   int64
	looked  int64 // monotonic ns
	retry   int64
	ended   bool
}

type pcapFilter struct {
	f       *filter.Filter
	version int64
}

// OpenPcap begins to capture from an interface with libpcap. It is as OpenLive with one interface and one worker, but for
// what libpcap hides: no counters of the interface but what libpcap counts, and a link that goes away is only noticed by
// the errors it causes.
func OpenPcap(cfg LiveConfig, name string, f *filter.Filter, event func(LiveEvent)) (*Live, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if event == nil {
		event = func(LiveEvent) {}
	}
	l := &pcapLive{cfg: cfg, name: name, snaplen: cfg.Snaplen, event: event, status: InterfaceStatus{Name: name}}
	if l.snaplen == 0 {
		l.snaplen = liveSnaplen
	}
	l.clock = newClock(readClocks, event)
	l.stamps = newStamps(l.clock)
	l.filter.Store(&pcapFilter{f: f})
	if err := l.open(); err != nil {
		return nil, err
	}
	return &Live{l}, nil
}

// dltRaw is what libpcap calls raw IP on most systems; the registry of link types says 101.
const dltRaw = 12

// open opens the device.
func (l *pcapLive) open() error {
	in, err := libpcap.NewInactiveHandle(l.name)
	if err != nil {
		return fmt.Errorf("capture: %s: libpcap: %w", l.name, err)
	}
	defer in.CleanUp()
	err = errors.Join(in.SetSnapLen(l.snaplen), in.SetPromisc(l.cfg.Promiscuous && l.name != "any"), in.SetTimeout(l.cfg.BlockTimeout),
		in.SetBufferSize(min(l.cfg.RingMiB, 2047)<<20))
	if err != nil {
		return fmt.Errorf("capture: %s: libpcap: %w", l.name, err)
	}
	h, err := in.Activate()
	if err != nil {
		return l.explain(err)
	}
	l.link = decode.LinkType(h.LinkType())
	if l.link == dltRaw {
		l.link = decode.LinkRaw
	}
	l.handle, l.counted, l.longest = h, libpcap.Stats{}, maxSnaplen
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.Open, l.status.Up = true, true
	if i, err := net.InterfaceByName(l.name); err == nil {
		l.status.Index, l.status.MTU = i.Index, i.MTU
		l.longest = i.MTU + 14 + 2*4
	}
	return l.attach(l.filter.Load())
}

// explain turns what libpcap says into what to do.
func (l *pcapLive) explain(err error) error {
	switch _, missing := net.InterfaceByName(l.name); {
	case err.Error() == "Permission Denied":
		return forbidden(l.name, err)
	case missing != nil && l.name != "any":
		return absent(l.name)
	}
	return fmt.Errorf("capture: %s: libpcap: %w", l.name, err)
}

// attach compiles the filter for the kernel; what is too long for it, or not for this link type, lets everything pass.
func (l *pcapLive) attach(f *pcapFilter) error {
	l.version = f.version
	raw, err := f.f.BPF(l.link, l.snaplen)
	if err != nil {
		raw, _ = (*filter.Filter)(nil).BPF(l.link, l.snaplen)
	}
	program := make([]libpcap.BPFInstruction, len(raw))
	for i, r := range raw {
		program[i] = libpcap.BPFInstruction{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	if err := l.handle.SetBPFInstructionFilter(program); err != nil {
		return fmt.Errorf("capture: %s: attach the filter: %w", l.name, err)
	}
	return nil
}

func (l *pcapLive) Workers() int          { return 1 }
func (l *pcapLive) Source(int) LiveSource { return pcapSource{l} }
func (l *pcapLive) Stop()                 { l.stopped.CompareAndSwap(0, mono()) }
func (l *pcapLive) Clock() time.Duration  { return time.Duration(l.clock.last.Load().ahead(mono())) }

func (l *pcapLive) SetFilter(f *filter.Filter) error {
	l.filter.Store(&pcapFilter{f: f, version: l.filter.Load().version + 1})
	return nil
}

func (l *pcapLive) Interfaces() []InterfaceStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.status
	s.SuperPackets = l.super.Load()
	return []InterfaceStatus{s}
}

// Close closes the device if nobody read to the end.
func (l *pcapLive) Close() error {
	l.Stop()
	l.end()
	return nil
}

// pcapSource is libpcap's reading side.
type pcapSource struct{ l *pcapLive }

func (s pcapSource) Close() error {
	s.l.end()
	return nil
}

func (s pcapSource) Drops() Drops {
	s.l.account()
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	return s.l.drops
}

// Next fills a block. After the end it returns io.EOF.
func (s pcapSource) Next(b *Block) error {
	l := s.l
	b.reserve(liveArena(l.snaplen))
	began := mono()
	l.stamps.now = began
	if !l.ended {
		l.follow(began)
	}
	for used := 0; l.handle != nil && len(b.Frames) < BlockFrames; {
		if !l.held && !l.poll(b, began) {
			break
		}
		data := l.data[:min(len(l.data), l.snaplen)]
		if used+len(data) > len(b.arena) {
			break // goes first into the next block
		}
		l.held = false
		event, at := l.stamps.event(l.info.Timestamp.UnixNano())
		if stop := l.stopped.Load(); stop != 0 && (at > stop || mono() > stop+int64(time.Second)) {
			l.end()
			break
		}
		copy(b.arena[used:], data)
		b.Frames = append(b.Frames, decode.Frame{
			Data: b.arena[used : used+len(data) : used+len(data)], Time: event, WireLen: uint32(l.info.Length), Link: l.link,
		})
		used += len(data)
		if l.info.Length > l.longest {
			l.super.Add(1)
		}
		if event-b.Frames[0].Time > int64(10*time.Millisecond) {
			break
		}
	}
	if n := len(b.Frames); n > 0 {
		l.until = max(l.until, b.Frames[n-1].Time)
	}
	b.Until = l.until
	if l.ended && len(b.Frames) == 0 {
		return io.EOF
	}
	return nil
}

// poll waits for a frame. It returns false if the block shall end here.
func (l *pcapLive) poll(b *Block, began int64) bool {
	for {
		var err error
		l.data, l.info, err = l.handle.ZeroCopyReadPacketData()
		if err == nil {
			l.held = true
			return true
		}
		if len(b.Frames) > 0 {
			return false
		}
		now := mono()
		if !errors.Is(err, libpcap.NextErrorTimeoutExpired) {
			l.fail(fmt.Errorf("libpcap: %w", errors.Join(err, l.handle.Error())), now)
			return false
		}
		hold := l.hold()
		l.until = max(l.until, l.stamps.idle(now-hold))
		if stop := l.stopped.Load(); stop != 0 && now > stop+hold {
			l.end()
			return false
		}
		if now-began >= int64(20*time.Millisecond) {
			return false
		}
	}
}

// hold is how long the kernel may keep a frame: libpcap's rings are the same as ours.
func (l *pcapLive) hold() int64 { return int64(2*l.cfg.BlockTimeout + 8*time.Millisecond) }

// follow does what is to be done between blocks.
func (l *pcapLive) follow(now int64) {
	if now-l.looked > int64(clockCheck) {
		l.looked = now
		l.clock.check()
		l.account()
	}
	if l.handle != nil {
		if f := l.filter.Load(); f.version != l.version {
			if err := l.attach(f); err != nil {
				l.fail(err, now)
			}
		}
		return
	}
	if l.stopped.Load() != 0 {
		l.end()
		return
	}
	if now >= l.retry && l.open() == nil {
		l.mu.Lock()
		l.status.Reopened++
		l.mu.Unlock()
		l.event(LiveEvent{Kind: InterfaceReopened, Interface: l.name})
		return
	}
	if now >= l.retry {
		l.retry = now + int64(500*time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond)
	l.until = max(l.until, l.stamps.idle(mono()-l.hold()))
}

// fail closes the device; it is opened again when that is possible.
func (l *pcapLive) fail(err error, now int64) {
	l.drop()
	l.retry = now + int64(100*time.Millisecond)
	l.event(LiveEvent{Kind: InterfaceDown, Interface: l.name, Err: err})
}

func (l *pcapLive) drop() {
	if l.handle == nil {
		return
	}
	l.account()
	l.handle.Close()
	l.handle, l.data, l.held = nil, nil, false
	l.mu.Lock()
	l.status.Open, l.status.Up = false, false
	l.mu.Unlock()
}

func (l *pcapLive) end() {
	l.drop()
	l.ended = true
}

// account adds up libpcap's counters, which have 32 bits and begin anew with each opening.
func (l *pcapLive) account() {
	if l.handle == nil {
		return
	}
	s, err := l.handle.Stats()
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drops.Kernel += uint64(uint32(s.PacketsDropped - l.counted.PacketsDropped))
	l.drops.Interface += uint64(uint32(s.PacketsIfDropped - l.counted.PacketsIfDropped))
	l.status.Received += uint64(uint32(s.PacketsReceived - l.counted.PacketsReceived))
	l.status.Dropped = l.drops.Interface
	l.counted = *s
}
