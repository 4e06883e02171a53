//go:build linux

package bpf

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
)

// perFrame is the kernel's own measure of a program: the median of nine runs of a million, ns a frame.
func perFrame(b testing.TB, p *ebpf.Program, frame []byte) float64 {
	b.Helper()
	var all []float64
	for range 9 {
		_, d, err := p.Benchmark(frame, 1_000_000, nil)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, float64(d.Nanoseconds()))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// BenchmarkVerdict measures cases of the table with hot caches: the kernel runs one frame a million times.
func BenchmarkVerdict(b *testing.B) {
	layout := uint32(12345)
	web := []Service{to("198.51.100.1", 6, 80, Rule{Action: ActionLimitNew, Rate: 100, Burst: 100})}
	many := make([]Signature, MaxSignatures)
	for i := range many {
		many[i] = Signature{Proto: 17, DstPort: uint16(i + 1), Rule: just}
	}
	opts := []byte{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}
	for _, c := range []struct {
		name  string
		in    tables
		frame []byte
	}{
		{"empty/v4", tables{}, frame{}.bytes()},
		{"empty/v6", tables{}, frame{src: v6}.bytes()},
		{"empty/vlan2", tables{}, frame{vlans: []uint16{0x88a8, 0x8100}}.bytes()},
		{"empty/v6-ext3", tables{}, frame{src: v6, ext: []byte{0, 43, 60}}.bytes()},
		{"miss/other-24", tables{drops: []Drop{drop("203.0.113.1/32", just), drop("203.0.113.0/28", just)}}, frame{}.bytes()},
		{"miss/same-24", tables{drops: []Drop{drop("192.0.2.9/32", just)}}, frame{}.bytes()},
		{"hit/host", tables{drops: []Drop{drop("192.0.2.1/32", just)}}, frame{}.bytes()},
		{"hit/host-never16", tables{drops: []Drop{drop("192.0.2.1/32", just)}, never: nevers(16)}, frame{}.bytes()},
		{"hit/host-v6", tables{drops: []Drop{drop(v6+"/128", just)}}, frame{src: v6}.bytes()},
		{"hit/prefix", tables{drops: []Drop{drop("192.0.2.0/24", just)}}, frame{}.bytes()},
		{"hit/limit", tables{drops: []Drop{drop("192.0.2.1/32", limited)}}, frame{}.bytes()},
		{"hit/limit-admitted", tables{drops: []Drop{drop("192.0.2.1/32", Rule{Action: ActionLimit, Rate: 1e9, Burst: 2e9})}}, frame{}.bytes()},
		{"service/limited", tables{services: web}, frame{}.bytes()},
		{"service/peer", tables{services: web, peers: []string{"192.0.2.1"}}, frame{flags: ack}.bytes()},
		{"signature/1-of-1", tables{signed: []Signature{{Proto: 6, DstPort: 80, Rule: just}}}, frame{}.bytes()},
		{"signature/0-of-32", tables{signed: many}, frame{}.bytes()},
		{"signature/layout", tables{signed: []Signature{{Proto: 6, Layout: &layout, Rule: just}}}, frame{options: opts}.bytes()},
		{"signature/opening", tables{signed: []Signature{{Proto: 17, Opening: []byte("abcdefgh"), Rule: just}}}, frame{proto: 17, payload: make([]byte, 64)}.bytes()},
	} {
		b.Run(c.name, func(b *testing.B) {
			g := gateOf(b, ModeXDP)
			g.fill(b, c.in)
			b.ResetTimer()
			for range b.N {
				b.ReportMetric(perFrame(b, g.prog, c.frame), "ns/frame")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func nevers(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("10.%d.%d.0/24", i*7, i))
	}
	return list
}
