package capture

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"weir/decode"
	"weir/decode/filter"
)

// Live capture is tested in network namespaces of this process's own: a pair of virtual interfaces, wcapa here and wcapb
// there, with packets that a raw socket sends on wcapb.

// inNamespace moves the test's goroutine to a new network namespace, where lo is up. Its thread ends with it.
func inNamespace(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		leaveOut(t, "network namespaces need root")
	}
	runtime.LockOSThread() // and never back: the thread is of no use to others
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		leaveOut(t, fmt.Sprintf("no network namespaces here: %v", err))
	}
	ip(t, "link set lo up")
}

// ip runs the ip command in the namespace of the calling thread.
func ip(t testing.TB, args string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
	return string(out)
}

// pair makes two interfaces that are a cable's ends, up, and quiet: no addresses, no IPv6.
func pair(t testing.TB, a, b string) {
	t.Helper()
	ip(t, fmt.Sprintf("link add %s type veth peer name %s", a, b))
	for _, name := range []string{a, b} {
		ip(t, "link set "+name+" addrgenmode none")
		ip(t, "link set "+name+" arp off")
		ip(t, "link set "+name+" up")
	}
}

// sender sends frames on an interface, past the queueing discipline.
type sender struct {
	fd   int
	msgs []mmsg
	iov  []unix.Iovec
}

type mmsg struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

func newSender(t testing.TB, name string) *sender {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index(t, name)}); err != nil {
		t.Fatal(err)
	}
	return &sender{fd: fd}
}

func index(t testing.TB, name string) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscanf(ip(t, "-o link show "+name), "%d:", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// send sends all frames, 64 a system call.
func (s *sender) send(frames ...[]byte) error {
	for len(frames) > 0 {
		n := min(len(frames), 64)
		s.msgs, s.iov = s.msgs[:0], s.iov[:0]
		for _, f := range frames[:n] {
			s.iov = append(s.iov, unix.Iovec{Base: &f[0], Len: uint64(len(f))})
		}
		for i := range s.iov {
			m := mmsg{}
			m.hdr.Iov, m.hdr.Iovlen = &s.iov[i], 1
			s.msgs = append(s.msgs, m)
		}
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.msgs[0])), uintptr(n), 0, 0, 0)
		if errno == unix.ENOBUFS || errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return errno
		}
		frames = frames[sent:]
	}
	return nil
}

// frame is a UDP datagram from a host to a port, with its number in the first four bytes of its payload.
func frame(src, dst uint16, sport, dport uint16, number, payload int) []byte {
	f := make([]byte, 14+20+8+max(payload, 4))
	copy(f, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00")
	h := f[14:]
	h[0], h[8], h[9] = 0x45, 64, 17
	put := func(off int, v int) { h[off], h[off+1] = byte(v>>8), byte(v) }
	put(2, len(h))
	h[12], h[13], h[16], h[17] = 10, 1, 10, 1
	put(14, int(src))
	put(18, int(dst))
	sum := 0
	for i := 0; i < 20; i += 2 {
		sum += int(h[i])<<8 | int(h[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	put(10, ^sum)
	put(20, int(sport))
	put(22, int(dport))
	put(24, len(h)-20)
	h[28], h[29], h[30], h[31] = byte(number>>24), byte(number>>16), byte(number>>8), byte(number)
	return f
}

// number reads what frame wrote; -1: it is another's frame.
func number(data []byte) int {
	if len(data) < 46 || data[12] != 8 || data[23] != 17 {
		return -1
	}
	return int(data[42])<<24 | int(data[43])<<16 | int(data[44])<<8 | int(data[45])
}

// events collects what live capture tells.
type events struct {
	mu   sync.Mutex
	list []LiveEvent
}

func (e *events) add(ev LiveEvent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, ev)
}

func (e *events) count(kind LiveEventKind) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.list {
		if ev.Kind == kind {
			n++
		}
	}
	return n
}

func (e *events) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return fmt.Sprint(e.list)
}

// await waits until a condition holds, for a time that a loaded machine may need.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// reader reads a source in a goroutine of its own until the end.
type reader struct {
	mu     sync.Mutex
	frames []decode.Frame // with bytes of their own
	blocks int
	untils []int64
	slow   time.Duration // longest Next
	drops  Drops
	err    error
	done   chan struct{}
}

func read(src LiveSource) *reader {
	r := &reader{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var b Block
		for {
			began := time.Now()
			err := src.Next(&b)
			took := time.Since(began)
			r.mu.Lock()
			for _, f := range b.Frames {
				f.Data = append([]byte(nil), f.Data...)
				r.frames = append(r.frames, f)
			}
			r.blocks++
			r.slow = max(r.slow, took)
			r.untils = append(r.untils, b.Until)
			r.mu.Unlock()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					r.err = err
				}
				r.drops = src.Drops()
				return
			}
		}
	}()
	return r
}

func (r *reader) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.frames)
}

// capture is a live capture under test, with a reader for each worker.
type capture struct {
	*Live
	events  *events
	readers []*reader
}

// tap opens a capture, and ends it with the test.
func tap(t testing.TB, cfg LiveConfig, workers int, f *filter.Filter, names ...string) *capture {
	t.Helper()
	c := &capture{events: new(events)}
	l, err := OpenLive(cfg, names, workers, f, c.events.add)
	if err != nil {
		t.Fatal(err)
	}
	c.Live = l
	for w := range l.Workers() {
		c.readers = append(c.readers, read(l.Source(w)))
	}
	t.Cleanup(func() { c.end(t) })
	return c
}

// end stops the capture and returns all frames, by worker one after the other.
func (c *capture) end(t testing.TB) (frames []decode.Frame, drops Drops) {
	t.Helper()
	if c.Live == nil {
		return nil, Drops{}
	}
	c.Stop()
	for _, r := range c.readers {
		select {
		case <-r.done:
		case <-time.After(10 * time.Second):
			t.Fatal("a source does not end")
		}
		if r.err != nil {
			t.Error(r.err)
		}
		frames = append(frames, r.frames...)
		drops.Kernel += r.drops.Kernel
		drops.Freezes += r.drops.Freezes
		drops.Interface += r.drops.Interface
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	c.readers, c.Live = nil, nil
	return frames, drops
}

func small() LiveConfig {
	cfg := LiveDefaults()
	cfg.RingMiB, cfg.BlockKiB = 4, 128
	return cfg
}

func TestLive(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	for _, workers := range []int{1, 3} {
		c := tap(t, small(), workers, nil, "wcapa")
		s := newSender(t, "wcapb")
		before := time.Now().UnixNano()
		for i := range 5000 {
			if err := s.send(frame(1, uint16(i), 1000, 53, i, 100)); err != nil {
				t.Fatal(err)
			}
		}
		after := time.Now().UnixNano()
		frames, drops := c.end(t)
		if len(frames) != 5000 || drops.Kernel != 0 {
			t.Fatalf("%d workers: got %d frames, drops %+v, events %v", workers, len(frames), drops, c.events)
		}
		seen := map[int]bool{}
		for _, f := range frames {
			n := number(f.Data)
			if seen[n] || n < 0 || f.WireLen != 142 || len(f.Data) != 142 || f.Time < before || f.Time > after {
				t.Fatalf("frame %d: %+v, sent from %d to %d", n, f, before, after)
			}
			seen[n] = true
		}
	}
}
