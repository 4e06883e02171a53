package capture

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/decode"
)

// Times of looking after an interface.
const (
	lookEvery = time.Second            // at its counters
	lookPause = 20 * time.Millisecond  // between looks, if others' changes are many
	retryMin  = 100 * time.Millisecond // between attempts to open it again
	retryMax  = 2 * time.Second
)

// ownHeader is the most that a frame is longer than the MTU: Ethernet's header and two VLAN tags.
const ownHeader = 14 + 2*4

// link is an interface. The watcher opens its rings all together, the ports take them, and when one of them or the watcher
// finds that they are of no more use, every port closes its own; then the watcher opens them anew. So the order of rings in
// the fanout group is always that of workers.
type link struct {
	live   *afPacket
	name   string
	number uint16 // in the list of interfaces
	ports  []*port

	kind     decode.LinkType // set before rings are handed out
	loopback bool
	longest  atomic.Int64  // bytes of a frame that is no super-packet
	broken   atomic.Bool   // the rings are of no more use
	dropped  atomic.Uint64 // status.Dropped

	looking  sync.Mutex // while the kernel is asked, until the answer is counted; before mu
	mu       sync.Mutex
	status   InterfaceStatus
	ready    []*ring // by worker: opened, and not taken yet
	taken    int     // rings in the hands of ports
	reason   error   // why they are broken
	counters netlink.LinkStatistics64
	gated    uint64 // LiveConfig.Gated at the same look

	// Of the watcher alone.
	promisc int   // the socket that holds the interface in promiscuous mode; -1: none
	claims  []int // sockets of claim
	looked  int64 // monotonic ns
	retry   int64 // monotonic ns: not before
	pause   time.Duration
	known   bool // there is such an interface
	changed bool // since looked
}

func newLink(l *afPacket, number int, name string) *link {
	k := &link{live: l, name: name, number: uint16(number), promisc: -1, ready: make([]*ring, l.workers)}
	k.status.Name = name
	return k
}

// begin opens the interface for the first time, if it is up.
func (k *link) begin() error {
	a, err := k.live.lookup(k.name)
	if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
		return absent(k.name)
	}
	if err != nil {
		return fmt.Errorf("capture: %s: netlink: %w", k.name, err)
	}
	k.known, k.looked = true, mono()
	k.status.Up = true // a first look that finds it down says so
	k.counters = *stats(a)
	k.see(a)
	k.broken.Store(true)
	if a.Flags&net.FlagUp == 0 {
		return k.probe()
	}
	return k.open(a)
}

// probe tells of a link type or a permission that would not do, while the interface is down.
func (k *link) probe() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return k.explain(err)
	}
	return unix.Close(fd)
}

// attend looks after the interface: at changes, when its rings are broken, and else now and then.
func (k *link) attend(changed bool) {
	now := mono()
	k.changed = k.changed || changed
	due := lookEvery
	if k.changed || k.broken.Load() {
		due = lookPause
	}
	if now-k.looked < int64(due) {
		return
	}
	k.looked, k.changed = now, false
	k.looking.Lock()
	defer k.looking.Unlock()
	a, err := k.live.lookup(k.name)
	if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
		k.gone()
	}
	if err != nil {
		return // else the kernel was busy: the next look will tell
	}
	if k.known && a.Index != k.snapshot().Index {
		k.gone()
	}
	if !k.known { // what an interface counted before it had this name is no loss
		k.mu.Lock()
		k.counters = *stats(a)
		k.mu.Unlock()
	}
	k.known = true
	k.see(a)
	if k.broken.Load() && a.Flags&net.FlagUp != 0 && now >= k.retry {
		k.reopen(a, now)
	}
}

// see takes over what the kernel says of the interface.
func (k *link) see(a *netlink.LinkAttrs) {
	k.mu.Lock()
	s := &k.status
	was := s.Up
	s.Index, s.MTU = a.Index, a.MTU
	s.Up = a.Flags&net.FlagUp != 0 && a.RawFlags&unix.IFF_RUNNING != 0
	k.longest.Store(int64(a.MTU + ownHeader))
	k.count(stats(a))
	up := s.Up
	k.mu.Unlock()
	switch {
	case was && !up:
		k.live.event(LiveEvent{Kind: InterfaceDown, Interface: k.name})
	case !was && up:
		k.live.event(LiveEvent{Kind: InterfaceUp, Interface: k.name})
	}
	if a.Flags&net.FlagUp == 0 {
		k.broken.Store(true)
	}
}

// count adds what the interface counted since the last look. The caller holds mu.
func (k *link) count(now *netlink.LinkStatistics64) {
	s, was := &k.status, &k.counters
	s.Received += grown(was.RxPackets, now.RxPackets)
	s.Errors += grown(was.RxErrors, now.RxErrors)
	s.Dropped += grown(was.RxMissedErrors, now.RxMissedErrors) + k.undropped(grown(was.RxDropped, now.RxDropped))
	k.dropped.Store(s.Dropped)
	k.counters = *now
}

// undropped is what an interface dropped less what our gate did, which drivers like virtio_net count as theirs. A driver that
// does not shows it by having dropped less than the gate.
func (k *link) undropped(dropped uint64) uint64 {
	if k.live.cfg.Gated == nil {
		return dropped
	}
	gated := k.live.cfg.Gated(k.name)
	ours := grown(k.gated, gated)
	k.gated = gated
	if dropped < ours-ours/10 { // the two are not read at the same moment
		return dropped
	}
	return dropped - min(dropped, ours)
}

// grown is by how much a counter grew, which may have begun anew.
func grown(was, now uint64) uint64 {
	if now < was {
		return now
	}
	return now - was
}

func stats(a *netlink.LinkAttrs) *netlink.LinkStatistics64 {
	if a.Statistics == nil {
		return &netlink.LinkStatistics64{}
	}
	return (*netlink.LinkStatistics64)(a.Statistics)
}

// gone says that the interface was deleted.
func (k *link) gone() {
	if !k.known {
		return
	}
	k.known = false
	k.unpromisc()
	k.unclaim()
	k.mu.Lock()
	k.status.Up, k.status.Index = false, 0
	k.mu.Unlock()
	k.broken.Store(true)
	k.live.event(LiveEvent{Kind: InterfaceGone, Interface: k.name})
}

// reopen opens the interface again once no port has a ring of it any more.
func (k *link) reopen(a *netlink.LinkAttrs, now int64) {
	k.mu.Lock()
	closeRings(k.ready)
	clear(k.ready)
	taken, reason := k.taken, k.reason
	k.mu.Unlock()
	if taken > 0 || k.live.stopped.Load() != 0 {
		return
	}
	err := k.open(a)
	if err == nil {
		k.pause, k.retry = 0, 0
		k.mu.Lock()
		k.status.Reopened++
		k.mu.Unlock()
		k.live.event(LiveEvent{Kind: InterfaceReopened, Interface: k.name, Err: reason})
		return
	}
	if k.pause == 0 {
		k.live.event(LiveEvent{Kind: InterfaceFailed, Interface: k.name, Err: err})
	}
	k.pause = min(max(2*k.pause, retryMin), retryMax)
	k.retry = now + int64(k.pause)
}

// open opens the rings and lays them out for the ports.
func (k *link) open(a *netlink.LinkAttrs) error {
	kind, ok := linkKinds[a.EncapType]
	if !ok {
		return fmt.Errorf("capture: %s is of type %q, which is not read live: Ethernet, loopback and raw IP (tun, wireguard) are: %w",
			k.name, a.EncapType, errors.ErrUnsupported)
	}
	k.kind, k.loopback = kind, a.Flags&net.FlagLoopback != 0
	if k.live.cfg.Promiscuous && k.promisc < 0 {
		if err := k.setPromisc(a.Index); err != nil {
			return err
		}
	}
	k.claim(a.Index)
	rings, err := k.live.openRings(k, a.Index)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reason = nil
	k.ready = rings
	k.broken.Store(false)
	return nil
}

// setPromisc puts the interface into promiscuous mode for as long as a socket is open: the kernel ends it even if the
// process is killed.
func (k *link) setPromisc(index int) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return k.explain(err)
	}
	mreq := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq); err != nil {
		unix.Close(fd)
		return fmt.Errorf("capture: %s: promiscuous mode: %w", k.name, err)
	}
	k.promisc = fd
	return nil
}

func (k *link) unpromisc() {
	if k.promisc >= 0 {
		unix.Close(k.promisc)
		k.promisc = -1
	}
}

// claimed are EtherTypes (IEEE 802, if_ether.h) that a host takes nothing of, but a mirror port shows in VLANs: LLC, second
// VLAN tags, MPLS, PPPoE, what bridges and switches tell each other, storage, MACsec; IPv6, where the kernel has none.
var claimed = []uint16{
	0x0001, 0x0004, 0x6558, 0x8100, 0x86dd, 0x8809, 0x8847, 0x8848, 0x8863, 0x8864, 0x888e, 0x8892, 0x88a2, 0x88a8, 0x88cc, 0x88e5,
	0x88e7, 0x88f7, 0x8902, 0x8906, 0x894f, 0x9000, 0x9100,
}

// claim makes the interface's counter of drops say what was lost. The kernel counts a frame with a VLAN tag as dropped if no
// protocol takes it afterwards, although the tap had it (__netif_receive_skb_core, net/core/dev.c). So there is a socket for
// each such type, whose filter wants nothing. Without one, the counter says too much, no more.
func (k *link) claim(index int) {
	if k.kind != decode.LinkEthernet || k.loopback || len(k.claims) > 0 {
		return
	}
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	for _, t := range claimed {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return
		}
		k.claims = append(k.claims, fd)
		err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
		if err != nil || unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(t), Ifindex: index}) != nil {
			return
		}
	}
}

func (k *link) unclaim() {
	for _, fd := range k.claims {
		unix.Close(fd)
	}
	k.claims = nil
}

// take hands a ring to the worker's port, if one is ready. It may be broken by now; frames may be in it all the same.
func (k *link) take(worker int) *ring {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.ready[worker]
	if r != nil {
		k.ready[worker] = nil
		k.taken++
	}
	return r
}

// gaveUp says that a port has closed its ring.
func (k *link) gaveUp() {
	k.mu.Lock()
	k.taken--
	k.mu.Unlock()
	k.live.nudge()
}

// fail says that a ring is of no more use. Any goroutine.
func (k *link) fail(err error) {
	k.mu.Lock()
	if k.reason == nil {
		k.reason = err
	}
	k.mu.Unlock()
	if !k.broken.Swap(true) {
		k.live.nudge()
	}
}

// refresh reads the interface's counters, for the last account of a source. Any goroutine.
func (k *link) refresh() {
	k.looking.Lock()
	defer k.looking.Unlock()
	a, err := k.live.lookup(k.name)
	if err != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if a.Index == k.status.Index {
		k.count(stats(a))
	}
}

func (k *link) snapshot() InterfaceStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.status
	s.Open = !k.broken.Load()
	for _, p := range k.ports {
		s.SuperPackets += p.super.Load()
	}
	return s
}

// close frees what no port has.
func (k *link) close() {
	k.unpromisc()
	k.unclaim()
	k.mu.Lock()
	defer k.mu.Unlock()
	closeRings(k.ready)
	clear(k.ready)
}
