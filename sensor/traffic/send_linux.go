package traffic

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of a sender.
const (
	sendBatch   = 64                     // frames a system call
	sendPause   = 200 * time.Microsecond // until more is due
	sendArrears = 50 * time.Millisecond  // what a sender that was held up makes good: no burst for the rest
)

// Sender sends frames on an interface with sendmmsg(2), past the queueing discipline (PACKET_QDISC_BYPASS): about 1 Mpps
// over a pair of virtual interfaces. It is for one goroutine.
type Sender struct {
	fd     int
	memory []byte
	iov    []unix.Iovec
	msgs   []mmsghdr
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// NewSender sends on an interface of the calling thread's network namespace. It needs CAP_NET_RAW.
func NewSender(name string) (*Sender, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	s := &Sender{memory: make([]byte, sendBatch*MaxFrame), iov: make([]unix.Iovec, sendBatch), msgs: make([]mmsghdr, sendBatch)}
	for i := range s.msgs {
		s.msgs[i].hdr.Iov = &s.iov[i]
		s.msgs[i].hdr.SetIovlen(1)
	}
	if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1),
		unix.Bind(s.fd, &unix.SockaddrLinklayer{Ifindex: i.Index}),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("packet socket on %s: %w", name, err), s.Close())
	}
	return s, nil
}

// Close closes the socket.
func (s *Sender) Close() error { return unix.Close(s.fd) }

// Send sends a stream's frames, rate a second, for a time; rate 0: as many as it can. It returns how many the kernel took,
// by what sendmmsg returned. A frame that the interface drops at once is sent again: its tx_dropped counts the first.
func (s *Sender) Send(from *Stream, rate int, d time.Duration) (sent uint64, err error) {
	runtime.LockOSThread() // the pauses are the thread's
	defer runtime.UnlockOSThread()
	begin := time.Now()
	paid := begin // the moment up to which all is sent that is due
	for now := begin; now.Sub(begin) < d; now = time.Now() {
		n := sendBatch
		if rate > 0 {
			paid = maxTime(paid, now.Add(-sendArrears))
			if n = min(n, int(now.Sub(paid)*time.Duration(rate)/time.Second)); n < min(sendBatch, rate/1000) {
				pause := unix.NsecToTimespec(int64(sendPause))
				_ = unix.Nanosleep(&pause, nil)
				continue
			}
			paid = paid.Add(time.Duration(n) * time.Second / time.Duration(rate))
		}
		if err := s.batch(from, n); err != nil {
			return sent, err
		}
		sent += uint64(n)
	}
	return sent, nil
}

func maxTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// batch sends the next n frames.
func (s *Sender) batch(from *Stream, n int) error {
	for i := range n {
		frame, _ := from.Next(s.memory[i*MaxFrame : (i+1)*MaxFrame])
		s.iov[i].Base = &frame[0]
		s.iov[i].SetLen(len(frame))
	}
	for at := 0; at < n; {
		done, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.msgs[at])), uintptr(n-at), 0, 0, 0)
		switch errno {
		case 0:
			at += int(done)
		case unix.ENOBUFS, unix.EINTR, unix.EAGAIN:
		default:
			return fmt.Errorf("sendmmsg: %w", errno)
		}
	}
	return nil
}
