package bus

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestStateReadWhileWritten reads the whole bucket while its keys are written again at random: each is among what is read.
// By the server's count of what is still to come, every third reading was some keys short.
func TestStateReadWhileWritten(t *testing.T) {
	const n = 500
	b := open(t, embedded(), t.TempDir())
	defer closeBus(t, b)
	s := b.State(keys(t))
	ctx, cancel := context.WithCancel(t.Context())
	put := func(i, round int) error {
		return s.Put(ctx, fmt.Sprintf("k.%d", i), fmt.Appendf(nil, `{"round":%d}`, round))
	}
	for i := range n {
		if err := put(i, 0); err != nil {
			t.Fatal(err)
		}
	}
	var writing sync.WaitGroup
	for part := range 8 {
		writing.Go(func() {
			for round := 1; ctx.Err() == nil; round++ {
				if err := put((round*7919+part*(n/8))%n, round); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range fewer(40) {
		reading, end := context.WithTimeout(ctx, time.Minute)
		seen := map[string]bool{}
		err := s.Read(reading, func(e Signed) { seen[e.Key] = true })
		end()
		if err != nil {
			t.Fatal(err)
		}
		if len(seen) != n {
			t.Errorf("%d of %d keys were read", len(seen), n)
		}
	}
	cancel()
	writing.Wait()
}
