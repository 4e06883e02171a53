package doctor

import (
	"context"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/sensor/capture"
)

// TestListen samples loopback while datagrams go over it, and leaves nothing behind. An end that comes early is obeyed.
func TestListen(t *testing.T) {
	defer goleak.VerifyNone(t)
	f, err := Gather(Settings{MemoryMiB: 512, RingMiB: 64, Fanout: "hash", Workers: 2}, []string{"lo"})
	if err != nil {
		t.Fatal(err)
	}
	if !f.Host.Caps["cap_net_raw"] {
		leaveOut(t, "capture needs root")
	}
	to, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	from, err := net.Dial("udp4", to.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	const sent = 200
	sending, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { // all the time: how long it takes to open the interface is the machine's business
		for sending.Err() == nil {
			for range sent / 10 {
				_, _ = from.Write([]byte("weir"))
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	Listen(t.Context(), f, capture.LiveDefaults(), time.Second)
	stop()
	if s := f.Sample; s.Why != "" || s.Packets < sent || s.IP < sent || s.Doubled > s.Told/10 || s.Seconds < 0.9 || s.Seconds > 10 {
		t.Errorf("%+v", s)
	}
	if i := f.Interfaces[0]; !i.Sampled || i.During.Packets < sent || f.Sample.Packets+f.Sample.Kernel > i.During.Packets+sent/2 {
		t.Errorf("%d packets seen, the interface counted %+v", f.Sample.Packets, i.During)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begin := time.Now()
	Listen(ctx, f, capture.LiveDefaults(), time.Minute)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("a sample that was called off took %v", took)
	}
}

// TestDocs holds that docs/doctor.md explains every check, and no other.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _ := strings.Cut(string(text), "## Interface")
	var told []string
	for row := range strings.Lines(tables) {
		if cell, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " |"); strings.HasPrefix(row, "| `") {
			for name := range strings.SplitSeq(cell, ", ") {
				told = append(told, strings.Trim(name, "`"))
			}
		}
	}
	if want := checkNames(); !slices.Equal(told, want) {
		t.Errorf("docs/doctor.md explains\n%v, and the checks are\n%v", told, want)
	}
}
