package capture

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"weir/decode"
	"weir/decode/filter"
)

// retireSlack is what the kernel's timer may take longer than twice the block timeout to hand a block over: it looks at a
// block every block timeout, and hands over one that did not change since (prb_retire_rx_blk_timer_expired, af_packet.c).
const retireSlack = 8 * time.Millisecond

// afPacket captures with AF_PACKET rings.
type afPacket struct {
	cfg     LiveConfig
	workers int
	snaplen int
	arena   int    // bytes of a block
	seed    uint32 // of fanout "pair"
	hold    int64  // ns after which an empty ring says that there was no frame
	event   func(LiveEvent)
	clock   *clock
	links   []*link
	sources []liveShare
	filter  atomic.Pointer[kernelFilter]
	stopped atomic.Int64 // monotonic ns of Stop; 0: none
	netlink *netlink.Handle
	wake    int // eventfd: the watcher has something to do
	once    sync.Once
	quit    chan struct{} // closed by Close
	watched chan struct{} // closed when the watcher is at its end
}

// liveShare is a source whose goroutines, if it has any, can be waited for.
type liveShare interface {
	LiveSource
	wait()
}

// OpenLive begins to capture from interfaces with AF_PACKET, in the network namespace of the calling thread. Each interface
// has a ring for each of the workers, and the kernel spreads its packets over them by cfg.Fanout. f becomes a kernel filter
// as far as it can: readers still have to match it. event may be called by any goroutine and must not block.
//
// An interface that is down is captured from when it is up. Errors: no such interface, no permission (CAP_NET_RAW), a link
// type that cannot be read, ring memory that the kernel refuses.
func OpenLive(cfg LiveConfig, interfaces []string, workers int, f *filter.Filter, event func(LiveEvent)) (*Live, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if len(interfaces) == 0 {
		return nil, errors.New("capture: no interface named")
	}
	if cfg.Fanout == "off" || workers < 1 {
		workers = 1
	}
	if event == nil {
		event = func(LiveEvent) {}
	}
	l := &afPacket{cfg: cfg, workers: workers, snaplen: cfg.Snaplen, seed: rand.Uint32(), event: event, quit: make(chan struct{}), watched: make(chan struct{})}
	if l.snaplen == 0 {
		l.snaplen = liveSnaplen
	}
	l.arena = liveArena(l.snaplen)
	l.hold = int64(2*cfg.BlockTimeout + retireSlack)
	l.clock = newClock(readClocks, event)
	l.filter.Store(&kernelFilter{f: f, snaplen: l.snaplen})
	for i, name := range interfaces {
		if slices.Contains(interfaces[:i], name) {
			return nil, fmt.Errorf("capture: interface %s is named twice", name)
		}
		l.links = append(l.links, newLink(l, i, name))
	}
	for w := range workers {
		l.sources = append(l.sources, l.share(w))
	}
	if err := l.start(); err != nil {
		return nil, err
	}
	return &Live{l}, nil
}

// share is a worker's source.
func (l *afPacket) share(worker int) liveShare {
	ports := make([]*port, len(l.links))
	for i, k := range l.links {
		ports[i] = &port{link: k, worker: worker, stamps: newStamps(l.clock)}
		k.ports = append(k.ports, ports[i])
	}
	if len(ports) == 1 {
		ports[0].patience = idleTimeout
		return ports[0]
	}
	return newMerge(ports, l.quit)
}

func (l *afPacket) Workers() int                 { return l.workers }
func (l *afPacket) Source(worker int) LiveSource { return l.sources[worker] }

func (l *afPacket) SetFilter(f *filter.Filter) error {
	l.filter.Store(&kernelFilter{f: f, snaplen: l.snaplen, version: l.filter.Load().version + 1})
	return nil
}

func (l *afPacket) Interfaces() []InterfaceStatus {
	all := make([]InterfaceStatus, len(l.links))
	for i, k := range l.links {
		all[i] = k.snapshot()
	}
	return all
}

func (l *afPacket) Clock() time.Duration { return time.Duration(l.clock.last.Load().ahead(mono())) }

func (l *afPacket) Stop() { l.stopped.CompareAndSwap(0, mono()) }

func (l *afPacket) Close() error {
	l.once.Do(l.close)
	return nil
}

func (l *afPacket) close() {
	l.Stop()
	close(l.quit)
	l.nudge()
	<-l.watched
	for _, s := range l.sources {
		s.wait()
	}
	l.free()
}

// free closes what the watcher left, because readers use it to their end.
func (l *afPacket) free() {
	unix.Close(l.wake)
	if l.netlink != nil {
		l.netlink.Close()
	}
}

// start runs the watcher in the network namespace of the calling thread, and waits until it has opened all interfaces.
func (l *afPacket) start() (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("capture: eventfd: %w", err)
	}
	ns, _ := os.Open(ownNamespace) // without /proc nobody can have changed it either
	opened := make(chan error)
	go l.watch(ns, opened)
	if err = <-opened; err != nil {
		<-l.watched
		l.free()
	}
	return err
}

const ownNamespace = "/proc/thread-self/ns/net"

// enter moves the calling goroutine's thread to a network namespace, unless it is there. A thread that was moved ends with
// its goroutine.
func enter(ns *os.File) error {
	if ns == nil {
		return nil
	}
	defer ns.Close()
	want, err := ns.Stat()
	if err != nil {
		return err
	}
	if have, err := os.Stat(ownNamespace); err != nil || os.SameFile(want, have) {
		return err
	}
	runtime.LockOSThread()
	return unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
}

// watch opens the interfaces, and opens them again when that is needed. It also compares the clocks.
func (l *afPacket) watch(ns *os.File, opened chan<- error) {
	defer close(l.watched)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	changes, err := l.begin(ns)
	opened <- err
	if err == nil {
		for waiting := true; waiting; {
			waiting = l.attend(changes)
		}
		unix.Close(changes)
	}
	for _, k := range l.links {
		k.close()
	}
}

// begin opens the interfaces. It returns a socket that says when any interface changed.
func (l *afPacket) begin(ns *os.File) (changes int, err error) {
	if err := enter(ns); err != nil {
		return 0, fmt.Errorf("capture: network namespace: %w", err)
	}
	if l.netlink, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return 0, fmt.Errorf("capture: netlink: %w", err)
	}
	changes, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return 0, fmt.Errorf("capture: netlink: %w", err)
	}
	if err = unix.Bind(changes, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		err = fmt.Errorf("capture: netlink: %w", err)
	}
	for i := 0; err == nil && i < len(l.links); i++ {
		err = l.links[i].begin()
	}
	if err != nil {
		unix.Close(changes)
	}
	return changes, err
}

// attend waits for something to do, no longer than clockCheck, and does it. It returns false at the end.
func (l *afPacket) attend(changes int) bool {
	poll := []unix.PollFd{{Fd: int32(changes), Events: unix.POLLIN}, {Fd: int32(l.wake), Events: unix.POLLIN}}
	n, _ := unix.Poll(poll, int(clockCheck/time.Millisecond))
	select {
	case <-l.quit:
		return false
	default:
	}
	if n > 0 { // what it says does not matter: the interfaces are looked at, so that a lost message is no harm
		buf := make([]byte, 16<<10)
		for _, p := range poll {
			for more := p.Revents != 0; more; {
				_, err := unix.Read(int(p.Fd), buf)
				more = err == nil || errors.Is(err, unix.ENOBUFS)
			}
		}
	}
	l.clock.check()
	for _, k := range l.links {
		k.attend(n > 0)
	}
	return true
}

// nudge wakes the watcher.
func (l *afPacket) nudge() { _, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// kernelFilter makes the program that the kernel runs on each frame.
type kernelFilter struct {
	f       *filter.Filter
	snaplen int
	version int64
}

// outgoing drops what loopback shows on its way out: it comes in as well.
var outgoing = []bpf.Instruction{
	bpf.LoadExtension{Num: bpf.ExtType},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 1},
	bpf.RetConstant{Val: 0},
}

// program filters, and cuts frames at snaplen, which saves ring memory. An expression that is too long only cuts.
func (f *kernelFilter) program(k *link) []bpf.RawInstruction {
	prefix := f.prefix(k)
	body, err := f.f.BPF(k.kind, f.snaplen)
	if err != nil || len(prefix)+len(body) > filter.MaxInstructions {
		return f.cut(k)
	}
	return append(prefix, body...)
}

// cut is the program of a filter that lets everything pass.
func (f *kernelFilter) cut(k *link) []bpf.RawInstruction {
	body, _ := (*filter.Filter)(nil).BPF(k.kind, f.snaplen)
	return append(f.prefix(k), body...)
}

func (f *kernelFilter) prefix(k *link) (prefix []bpf.RawInstruction) {
	if k.loopback {
		prefix, _ = bpf.Assemble(outgoing)
	}
	return prefix
}

// linkKinds are the link types by the kernel's hardware types (ARPHRD_…, linux/if_arp.h) as netlink.Link names them.
var linkKinds = map[string]decode.LinkType{"ether": decode.LinkEthernet, "loopback": decode.LinkEthernet, "none": decode.LinkRaw, "rawip": decode.LinkRaw}

// lookup asks the kernel for an interface. The error is netlink.LinkNotFoundError if there is none.
func (l *afPacket) lookup(name string) (*netlink.LinkAttrs, error) {
	k, err := l.netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	return k.Attrs(), nil
}
