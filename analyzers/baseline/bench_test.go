package baseline

import (
	"fmt"
	"testing"
)

// BenchmarkSecond judges and learns one second of a key, of so many.
func BenchmarkSecond(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("%dk", n/1000), func(b *testing.B) {
			s := New(Defaults())
			now := start
			over := 0
			b.ReportAllocs()
			for i := range b.N {
				if i%n == 0 {
					now += second
					s.Advance(now)
				}
				r := s.Series(service(uint32(i%n)), now)
				v := float64(i % 17)
				if r.Normal(now).Exceeds(v, 5, 5) {
					over++
				}
				r.Learn(now, v)
			}
		})
	}
}

// BenchmarkNewKey is a flood of keys that come once.
func BenchmarkNewKey(b *testing.B) {
	s := New(Defaults())
	b.ReportAllocs()
	for i := range b.N {
		now := start + int64(i)*1000
		s.Series(service(uint32(i)), now).Learn(now, 1)
	}
}

func BenchmarkSeen(b *testing.B) {
	s := New(Defaults())
	for i := range b.N {
		s.Seen(service(uint32(i)&0xfffff), start)
	}
}

// BenchmarkSave saves and loads 100,000 series, a tenth with their hours.
func BenchmarkSave(b *testing.B) {
	s := New(Defaults())
	for h := range int64(3) {
		for m := range int64(60) {
			now := start + (h*3600+m*60)*second
			for i := range uint32(100_000) {
				s.Series(service(i), now).Learn(now, float64(i%1000))
			}
		}
	}
	saved, _ := s.AppendBinary(nil)
	b.Run("save", func(b *testing.B) {
		for range b.N {
			saved, _ = s.AppendBinary(saved[:0])
		}
		b.ReportMetric(float64(len(saved))/1e5, "B/key")
	})
	b.Run("load", func(b *testing.B) {
		for range b.N {
			if _, err := Load(saved, s.cfg); err != nil {
				b.Fatal(err)
			}
		}
	})
}
