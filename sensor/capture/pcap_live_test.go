//go:build libpcap && linux

package capture

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"weir/decode"
)

// libpcap reads the same frames of a virtual cable, filters in the kernel, cuts at snaplen, counts what it drops, and comes
// back when the link does.
func TestPcap(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	cfg := small()
	cfg.Snaplen = 96
	ev := new(events)
	l, err := OpenPcap(cfg, "wcapa", parse(t, "udp dst port 53"), ev.add)
	if err != nil {
		t.Fatal(err)
	}
	s, src := newSender(t, "wcapb"), l.Source(0)
	var frames []decode.Frame
	var b Block
	next := func() error {
		err := src.Next(&b)
		for _, f := range b.Frames {
			f.Data = bytes.Clone(f.Data)
			frames = append(frames, f)
		}
		return err
	}
	until := func(what string, ok func() bool) { // this goroutine's thread is the one that is in the namespace
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !ok(); {
			if err := next(); err != nil || time.Now().After(end) {
				t.Fatalf("waited in vain until %s: %v; %v", what, err, ev)
			}
		}
	}
	burst := func(n, port int) {
		t.Helper()
		for i := range n {
			if err := s.send(frame(1, uint16(i), 1, uint16(port), i, 200)); err != nil {
				t.Fatal(err)
			}
		}
	}
	burst(1000, 53)
	burst(1000, 80)
	until("the frames came", func() bool { return len(frames) >= 1000 })
	if err := l.SetFilter(nil); err != nil {
		t.Fatal(err)
	}
	until("the filter is attached", func() bool { return l.backend.(*pcapLive).version == 1 })
	burst(10, 80)
	until("all frames came", func() bool { return len(frames) >= 1010 })
	ip(t, "link set wcapa down")
	ip(t, "link set wcapa up") // libpcap waits for that by itself
	burst(10, 80)
	until("all frames came", func() bool { return len(frames) >= 1020 })
	ip(t, "link del wcapa")
	until("it is seen to be gone", func() bool { return ev.count(InterfaceDown) == 1 && !l.Interfaces()[0].Open })
	pair(t, "wcapa", "wcapb")
	s = newSender(t, "wcapb")
	until("it is back", func() bool { return ev.count(InterfaceReopened) == 1 && l.Interfaces()[0].Open })
	burst(10, 53)
	until("all frames came", func() bool { return len(frames) >= 1030 })
	silent := b.Until
	until("time goes on", func() bool { return len(b.Frames) == 0 && b.Until > silent })
	l.Stop()
	for err = next(); err == nil; err = next() {
	}
	if !errors.Is(err, io.EOF) || len(frames) != 1030 || src.Drops() != (Drops{}) {
		t.Errorf("%d frames, %v, %+v", len(frames), err, src.Drops())
	}
	for i, f := range frames {
		if len(f.Data) != 96 || f.WireLen != 242 || f.Link != decode.LinkEthernet || i < 1000 && number(f.Data) != i {
			t.Fatalf("frame %d: %+v", i, f)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := OpenPcap(cfg, "wcapz", nil, nil); err == nil || !strings.Contains(err.Error(), "no interface wcapz; there are lo, wcap") {
		t.Errorf("a missing interface: %v", err)
	}
}
