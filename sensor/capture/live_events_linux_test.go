package capture

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/afpacket"
	"go.uber.org/goleak"
)

// What happens to live capture while it runs.

// Stop while traffic flows, many times: no crash, no leak, and an end that comes soon.
func TestLiveStopUnderLoad(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	pair(t, "wcapc", "wcapd")
	stop := hammer(t, "wcapb")
	stopOther := hammer(t, "wcapd")
	fds := openFiles(t)
	rounds := 24 // each of 1 to 3 workers and one or two interfaces, four times
	if testing.Short() {
		rounds = 12
	}
	busy := 0
	for i := range rounds {
		names := []string{"wcapa", "wcapc"}[:1+i%2]
		l, err := OpenLive(small(), names, 1+i%3, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan int)
		for w := range l.Workers() {
			go func() {
				var b Block
				n, src := 0, l.Source(w)
				for src.Next(&b) == nil {
					n += len(b.Frames)
				}
				ended <- n
			}()
		}
		time.Sleep(2 * time.Duration(i) * time.Millisecond)
		began, total := time.Now(), 0
		l.Stop()
		for range l.Workers() {
			total += <-ended
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the end took %v", took)
		}
		if total > 0 {
			busy++
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if busy < rounds/2 { // a sender may be kept off the processor for a round
		t.Errorf("traffic flowed in %d rounds of %d", busy, rounds)
	}
	// Left before the end, and never read.
	l, err := OpenLive(small(), []string{"wcapa", "wcapc"}, 2, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b Block
	src := l.Source(1)
	if err := errors.Join(src.Next(&b), src.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if n := openFiles(t); n > fds {
		t.Errorf("%d files are open, %d were", n, fds)
	}
	stop()
	stopOther()
}

func openFiles(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// The link goes down and up, by the interface and by the cable's other end; the others go on, and the lost packets stay counted.
func TestLiveDownAndUp(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	for _, workers := range []int{1, 2} {
		c := tap(t, small(), workers, nil, "wcapa")
		s := newSender(t, "wcapb")
		total := func() (n int) {
			for _, r := range c.readers {
				n += r.count()
			}
			return n
		}
		sent := 0
		burst := func() {
			t.Helper()
			for range 100 {
				if err := s.send(frame(1, uint16(sent), 1, 2, sent, 10)); err != nil {
					t.Fatal(err)
				}
				sent++
			}
		}
		for round := 1; round <= 3; round++ {
			burst()
			ip(t, "link set wcapa down") // what is in the ring now is still read
			await(t, "it is seen to be down", func() bool { st := c.Interfaces()[0]; return !st.Up && !st.Open })
			ip(t, "link set wcapa up")
			await(t, "it is captured from again", func() bool { st := c.Interfaces()[0]; return st.Up && st.Open && int(st.Reopened) == round })
			burst()
			await(t, "all frames came", func() bool { return total() == sent })
		}
		ip(t, "link set wcapb down")
		await(t, "the lost carrier is seen", func() bool { return !c.Interfaces()[0].Up })
		ip(t, "link set wcapb up")
		await(t, "the carrier is seen", func() bool { return c.Interfaces()[0].Up })
		burst()
		await(t, "all frames came", func() bool { return total() == sent })
		ev := c.events
		frames, drops := c.end(t)
		if len(frames) != sent || drops.Kernel != 0 {
			t.Errorf("%d of %d frames, drops %+v", len(frames), sent, drops)
		}
		if ev.count(InterfaceDown) != 4 || ev.count(InterfaceUp) != 4 || ev.count(InterfaceReopened) != 3 {
			t.Errorf("events: %v", ev)
		}
	}
}

// An interface is deleted and made again, under load; another goes on meanwhile, with its ticks.
func TestLiveDeleted(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	pair(t, "wcapc", "wcapd")
	c := tap(t, small(), 2, nil, "wcapa", "wcapc")
	total := func() (n int) {
		for _, r := range c.readers {
			n += r.count()
		}
		return n
	}
	for round := 1; round <= 3; round++ {
		stop := hammer(t, "wcapb")
		time.Sleep(30 * time.Millisecond)
		ip(t, "link del wcapa")
		stop()
		await(t, "it is seen to be gone", func() bool { st := c.Interfaces()[0]; return !st.Open && st.Index == 0 })
		was := total()
		s := newSender(t, "wcapd")
		for i := range 100 {
			if err := s.send(frame(3, uint16(i), 1, 2, i, 10)); err != nil {
				t.Fatal(err)
			}
		}
		await(t, "the other's frames came", func() bool { return total() >= was+100 })
		r := c.readers[0]
		await(t, "it is known what there was until now", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return time.Since(time.Unix(0, r.untils[len(r.untils)-1])) < time.Second
		})
		pair(t, "wcapa", "wcapb")
		await(t, "it is captured from again", func() bool { st := c.Interfaces()[0]; return st.Open && int(st.Reopened) == round })
		if promiscuity(t, "wcapa") != 1 {
			t.Error("the new interface is not promiscuous")
		}
		was = total()
		s = newSender(t, "wcapb")
		for i := range 100 {
			if err := s.send(frame(4, uint16(i), 1, 2, i, 10)); err != nil {
				t.Fatal(err)
			}
		}
		await(t, "the new one's frames came", func() bool { return total() == was+100 })
	}
	if n := c.events.count(InterfaceGone); n != 3 {
		t.Errorf("events: %v", c.events)
	}
}

// An interface that is down when capture begins.
func TestLiveOpenedDown(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	ip(t, "link set wcapa down")
	c := tap(t, small(), 2, nil, "wcapa")
	if c.events.count(InterfaceDown) != 1 {
		t.Errorf("events: %v", c.events)
	}
	ip(t, "link set wcapa up")
	await(t, "it is captured from", func() bool { return c.Interfaces()[0].Open })
	if err := newSender(t, "wcapb").send(frame(1, 2, 3, 4, 5, 6)); err != nil {
		t.Fatal(err)
	}
	await(t, "the frame came", func() bool { return c.readers[0].count()+c.readers[1].count() == 1 })
}

// Promiscuous mode lasts as long as the capture, and not longer than the process if that is killed.
func TestLivePromiscuous(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	for promiscuous, want := range map[bool]int{true: 1, false: 0} {
		cfg := small()
		cfg.Promiscuous = promiscuous
		before := promiscuity(t, "wcapa")
		c := tap(t, cfg, 2, nil, "wcapa")
		during := promiscuity(t, "wcapa")
		c.end(t)
		if after := promiscuity(t, "wcapa"); before != 0 || during != want || after != 0 {
			t.Errorf("promiscuous %v: the kernel counts %d before, %d during, %d after", promiscuous, before, during, after)
		}
	}
	held := exec.Command(os.Args[0], "-test.run=^TestLiveHold$", "-test.v")
	held.Env = append(os.Environ(), "WCAP_HOLD=wcapa")
	if err := held.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "another process holds it", func() bool { return promiscuity(t, "wcapa") == 1 })
	if err := held.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = held.Wait()
	await(t, "the kernel gives it back", func() bool { return promiscuity(t, "wcapa") == 0 })
}

// TestLiveHold is what the processes of other tests do: it opens an interface and stays.
func TestLiveHold(t *testing.T) {
	name := os.Getenv("WCAP_HOLD")
	if name == "" {
		t.Skip("it is part of other tests")
	}
	if _, err := OpenLive(small(), []string{name}, 2, nil, nil); err != nil {
		fmt.Printf("refused: %v\n", err)
		return
	}
	time.Sleep(20 * time.Second)
}

func promiscuity(t testing.TB, name string) (n int) {
	t.Helper()
	m := regexp.MustCompile(`promiscuity (\d+)`).FindStringSubmatch(ip(t, "-d link show "+name))
	if m == nil {
		t.Fatal("ip does not say it")
	}
	_, _ = fmt.Sscan(m[1], &n)
	return n
}

// What cannot be captured from, and what is said then.
func TestLiveRefused(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	fds := openFiles(t)
	odd := small()
	odd.Fanout = "random"
	for _, c := range []struct {
		cfg   LiveConfig
		names []string
		want  string
	}{
		{small(), []string{"wcapz"}, "capture: no interface wcapz; there are lo, wcap"},
		{small(), []string{"wcapa", "wcapa"}, "wcapa is named twice"},
		{small(), nil, "no interface named"},
		{odd, []string{"wcapa"}, `fanout is "random"`},
	} {
		l, err := OpenLive(c.cfg, c.names, 2, nil, nil)
		if err == nil {
			l.Close()
			t.Errorf("%v is taken", c.names)
		} else if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: got %q, want %q", c.names, err, c.want)
		}
	}
	if _, err := afpacket.NewTPacket(afpacket.OptInterface("wcapa"), afpacket.OptFrameSize(16)); err == nil {
		t.Error("the kernel takes a ring of 16-byte frames")
	} else if err = (&link{name: "wcapa"}).explain(err); !strings.Contains(err.Error(), "the kernel refuses ring memory; set capture.ring_mib lower") {
		t.Errorf("ring memory: %v", err)
	}
	if n := openFiles(t); n > fds {
		t.Errorf("%d files are open, %d were", n, fds)
	}
	if out, err := exec.Command("ip", strings.Fields("link add wcapg type gre local 10.0.0.1 remote 10.0.0.2")...).CombinedOutput(); err != nil {
		t.Logf("left out: an interface of another type, which this kernel has not: %s", out)
	} else if _, err := OpenLive(small(), []string{"wcapg"}, 1, nil, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("GRE: %v", err)
	}

	dir, err := os.MkdirTemp("", "wcap") // where another user comes to the program
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	program := dir + "/capture.test"
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestLiveHold$", "-test.v")
	cmd.Dir, cmd.Env = "/", append(os.Environ(), "WCAP_HOLD=wcapa")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "refused: capture: wcapa: no permission to capture; run it with sudo, or give it the right: sudo setcap cap_net_raw+ep") {
		t.Errorf("without permission: %v: %s", err, out)
	}
}

// Every packet is accounted for: read, or dropped by the ring, which is tiny here and read late.
func TestLiveAccounting(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	pair(t, "wcapc", "wcapd")
	cfg := small()
	cfg.RingMiB, cfg.BlockKiB = 1, 128
	for _, names := range [][]string{{"wcapa"}, {"wcapa", "wcapc"}} {
		for workers := 1; workers <= 2; workers++ {
			l, err := OpenLive(cfg, names, workers, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			type result struct {
				read  int
				drops Drops
			}
			ended := make(chan result)
			for w := range workers {
				go func() {
					var b Block
					var r result
					src := l.Source(w)
					for n := 0; src.Next(&b) == nil; n++ {
						r.read += len(b.Frames)
						if n%8 == 7 {
							time.Sleep(5 * time.Millisecond)
						}
					}
					r.drops = src.Drops()
					ended <- r
				}()
			}
			s := newSender(t, "wcapb")
			var batch [][]byte
			for i := range 512 {
				batch = append(batch, frame(1, uint16(i), 5, 6, i, 100))
			}
			sent := 0
			for sent < 200_000 {
				if err := s.send(batch...); err != nil {
					t.Fatal(err)
				}
				sent += len(batch)
			}
			time.Sleep(100 * time.Millisecond)
			l.Stop()
			var sum result
			for range workers {
				r := <-ended
				sum.read += r.read
				sum.drops.Kernel += r.drops.Kernel
				sum.drops.Freezes += r.drops.Freezes
				sum.drops.Interface += r.drops.Interface
			}
			st := l.Interfaces()[0]
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			t.Logf("%v, %d workers: sent %d = read %d + %+v; interface %+v", names, workers, sent, sum.read, sum.drops, st)
			if sum.drops.Kernel == 0 || sum.drops.Freezes == 0 {
				t.Error("the ring was not too small: the test shows nothing")
			}
			if uint64(sent) != uint64(sum.read)+sum.drops.Kernel+sum.drops.Interface {
				t.Errorf("%d are not accounted for", int64(sent)-int64(sum.read)-int64(sum.drops.Kernel)-int64(sum.drops.Interface))
			}
			if st.Received != uint64(sent) {
				t.Errorf("the interface received %d", st.Received)
			}
		}
	}
}
