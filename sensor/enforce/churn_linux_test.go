package enforce

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"weir/sensor/policy"
)

// TestGateChurn is a short run of what the soak does for a minute.
func TestGateChurn(t *testing.T) { churn(t, 2*time.Second) }

// churn adds, extends and removes 10,000 drops at random under traffic. Afterwards the kernel holds what is wanted, and at no time
// did anybody find it otherwise.
func churn(t *testing.T, life time.Duration) {
	w := newWire(t)
	cfg := Defaults()
	cfg.Mode, cfg.Pins, cfg.Every = ModeXDP, bpffsDir(t), 200*time.Millisecond
	a := w.start(t, cfg, func(o *Options) { o.Caps, o.Dir = Caps{20_000, 10_000}, t.TempDir() })
	stop := w.traffic(t)
	all := many(10_000, time.Hour)
	wanted := map[string]bool{}
	a.Begin()
	a.Whole()
	changes := 0
	for end := time.Now().Add(life); time.Now().Before(end); {
		var in []Instruction
		for range 1 + rand.IntN(200) {
			i := rand.IntN(len(all))
			d := changed(all[i], func(d *policy.Drop) {
				d.State = policy.Requested
				if wanted[d.Key()] && rand.IntN(2) == 0 {
					d.State = policy.Removed
				} else {
					d.Until = d.Created + 3000 + rand.Int64N(3000)
				}
			})
			all[i], wanted[d.Key()] = d, d.State == policy.Requested
			in = append(in, instruct(t, d))
		}
		changes += len(in)
		a.Take(in)
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	}
	n := 0
	for _, yes := range wanted {
		if yes {
			n++
		}
	}
	a.enforced(t, n)
	packets := stop()
	s := a.Status()
	if s.DriftTotal.Sum() != 0 || s.Wanted != n || s.Error != "" || packets == 0 {
		t.Errorf("%d packets; %+v", packets, s)
	}
	hosts, err := ebpf.LoadPinnedMap(filepath.Join(pinned(t, cfg.Pins), "hosts4"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer hosts.Close()
	var key [4]byte
	value := make([]byte, hosts.ValueSize())
	held := 0
	for it := hosts.Iterate(); it.Next(&key, &value); held++ {
		if k := "address." + netip.AddrFrom4(key).String(); !wanted[k] {
			t.Errorf("%s is in the kernel, and not wanted", k)
		}
	}
	if held != n {
		t.Errorf("%d in the kernel, %d wanted", held, n)
	}
	t.Logf("%d changes, %d packets; %d drops at the end", changes, packets, n)
}

// traffic sends datagrams until stop, which tells how many.
func (w *wire) traffic(t testing.TB) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	var sending sync.WaitGroup
	sending.Go(func() {
		within(t, w.far, func() {
			c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(10, 8, 0, 1), Port: 9})
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for ctx.Err() == nil {
				_, _ = c.Write([]byte("hello")) // refused: nobody listens
				if n++; n%100 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	})
	return func() int { cancel(); sending.Wait(); return n }
}
