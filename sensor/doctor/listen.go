package doctor

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"weir/decode"
	"weir/sensor/capture"
)

// Listen takes a sample of the traffic, as the sensor would capture it, and adds it to the facts. Interfaces that are missing
// or down are left out. What keeps it from listening is told in Sample.Why. It takes d, less if ctx ends before.
func Listen(ctx context.Context, f *Facts, cfg capture.LiveConfig, d time.Duration) {
	f.Sample = &Sample{}
	var names []string
	mtu, own := 0, map[[6]byte]bool{}
	before := make([]Stats, len(f.Interfaces))
	for k := range f.Interfaces {
		i := &f.Interfaces[k]
		if i.Missing != "" || !i.Up {
			continue
		}
		names = append(names, i.Name)
		mtu = max(mtu, i.MTU)
		if i.HasMAC {
			own[i.MAC] = true
		}
		before[k], _ = readStats(i.Name)
	}
	if len(names) == 0 {
		f.Sample.Why = "no interface is up"
		return
	}
	if err := f.Sample.take(ctx, cfg, d, names, f.Settings.Workers, mtu, own); err != nil {
		f.Sample.Why = err.Error()
		return
	}
	for k := range f.Interfaces {
		i := &f.Interfaces[k]
		if now, err := readStats(i.Name); err == nil && i.Missing == "" && i.Up {
			i.During, i.Sampled = now.minus(before[k]), true
		}
	}
}

// take captures for d.
func (s *Sample) take(ctx context.Context, cfg capture.LiveConfig, d time.Duration, names []string, workers, mtu int, own map[[6]byte]bool) error {
	if len(names) > 1 {
		workers = 1 // the copies of a packet that came over two interfaces have to meet
	}
	live, err := capture.OpenLive(cfg, names, workers, nil, func(capture.LiveEvent) {})
	if err != nil {
		return err
	}
	begin := time.Now()
	ctx, end := context.WithTimeout(ctx, d)
	defer end()
	stop := context.AfterFunc(ctx, live.Stop)
	defer stop()
	var all sync.WaitGroup
	s.Workers = live.Workers()
	counters := make([]*Counter, s.Workers)
	errs := make([]error, s.Workers)
	seed := rand.Uint64()
	for w := range counters {
		counters[w] = NewCounter(mtu, own)
		all.Go(func() { errs[w] = counters[w].read(live.Source(w), seed) })
	}
	all.Wait()
	s.Seconds = time.Since(begin).Seconds()
	for _, c := range counters {
		s.Merge(&c.Sample)
	}
	s.Close()
	return errors.Join(append(errs, live.Close())...)
}

// read counts a source to its end.
func (c *Counter) read(src capture.LiveSource, seed uint64) error {
	defer src.Close()
	d := decode.NewDecoder(seed)
	var b capture.Block
	var p decode.Packet
	for {
		err := src.Next(&b)
		for i := range b.Frames {
			d.Decode(&b.Frames[i], &p)
			c.Count(&b.Frames[i], &p)
		}
		if err != nil {
			drops := src.Drops()
			c.Kernel, c.Freezes = drops.Kernel, drops.Freezes
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}
