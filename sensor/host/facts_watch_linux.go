package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	factSettle = 50 * time.Millisecond // after a first change, for those that come with it
	factPoll   = time.Second           // of what makes no event: sessions, files
	factAgain  = 30 * time.Second      // a net under events of addresses and routes
	factRest   = 10                    // times the length of a reading, before the next: a router's full table may change all the time
)

// WatchFacts hands in the facts of the thread's network namespace, at once and whenever they differ, until ctx ends. Changes
// of addresses and routes are seen after 50 ms, those of sessions and resolvers within about a second. What cannot be read is
// said in the log, at most once a minute, and stays as it was. each is called by this goroutine and must not block for long.
func WatchFacts(ctx context.Context, log *slog.Logger, each func(Facts)) {
	w := factWatch{
		log:    Limited(log, time.Minute),
		reader: factReader{root: "/", connection: os.Getenv("SSH_CONNECTION")},
	}
	w.run(ctx, each)
}

type factWatch struct {
	log    *slog.Logger
	reader factReader
	last   *Facts
	events *routeEvents // nil: none to be had, for the moment
	began  time.Time    // of the last reading of addresses and routes
	took   time.Duration
}

func (w *factWatch) run(ctx context.Context, each func(Facts)) {
	poll := time.NewTicker(factPoll)
	defer poll.Stop()
	settled := time.NewTimer(0)
	settled.Stop()
	defer settled.Stop()
	w.subscribe()
	defer func() { w.events.close() }()
	w.readKernel()
	w.readRest()
	waits := false
	for {
		w.tell(each)
		select {
		case <-ctx.Done():
			return
		case _, ok := <-w.events.changed():
			if !ok {
				w.log.Warn("no events about addresses and routes", "error", w.events.err)
				w.events.close()
				w.events = nil
			}
			if !waits {
				waits = true
				settled.Reset(max(factSettle, time.Until(w.began.Add(factRest*w.took))))
			}
		case <-settled.C:
			waits = false
			w.readKernel()
		case <-poll.C:
			if w.events == nil {
				w.subscribe()
				w.readKernel() // what was missed
			} else if time.Since(w.began) >= factAgain {
				w.readKernel()
			}
			w.readRest()
		}
	}
}

func (w *factWatch) readKernel() {
	w.began = time.Now()
	if err := w.reader.readKernel(); err != nil {
		w.log.Warn("addresses and gateways that must not be dropped are not up to date", "error", err)
	}
	w.took = time.Since(w.began)
}

func (w *factWatch) readRest() {
	if err := w.reader.readRest(); err != nil {
		w.log.Warn("resolvers or SSH sessions that must not be dropped are not up to date", "error", err)
	}
}

func (w *factWatch) tell(each func(Facts)) {
	now := w.reader.facts()
	if w.last != nil && now.Equal(*w.last) {
		return
	}
	if now.Left > 0 {
		w.log.Warn("too many addresses that must not be dropped: some are not known", "left", now.Left, "limit", maxFacts)
	}
	w.last = &now
	each(now)
}

func (w *factWatch) subscribe() {
	events, err := subscribe()
	if err != nil {
		w.log.Warn("no events about addresses and routes", "error", err)
		return
	}
	w.events = events
}

// routeEvents tells that something about links, addresses or routes changed, not what.
type routeEvents struct {
	socket *os.File
	some   chan struct{} // closed when there will be none any more, and err says why
	err    error
}

// groups are all whose messages may change the facts. An address or route that goes with its link may have no message of its
// own. RTNLGRP_NEXTHOP is the last that fits into the mask.
var groups = []int{
	unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_NEXTHOP,
}

func subscribe() (*routeEvents, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	address := unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	for _, g := range groups {
		address.Groups |= 1 << (g - 1)
	}
	if err := unix.Bind(fd, &address); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("asking for events of links, addresses and routes: %w", err)
	}
	e := &routeEvents{socket: os.NewFile(uintptr(fd), "netlink"), some: make(chan struct{}, 1)}
	go e.read()
	return e, nil
}

func (e *routeEvents) read() {
	defer close(e.some)
	b := make([]byte, 4096) // the rest of a message is dropped by the kernel
	for {
		// ENOBUFS: more came than we took, and something was lost. All is read again anyway.
		if _, err := e.socket.Read(b); err != nil && !errors.Is(err, unix.ENOBUFS) {
			e.err = err
			return
		}
		select {
		case e.some <- struct{}{}:
		default: // one is waiting already
		}
	}
}

func (e *routeEvents) changed() <-chan struct{} {
	if e == nil {
		return nil
	}
	return e.some
}

// close ends the events, and returns when nothing runs any more.
func (e *routeEvents) close() {
	if e == nil {
		return
	}
	e.socket.Close()
	for range e.some { // until it is closed
	}
}
