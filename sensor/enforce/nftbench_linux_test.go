package enforce

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"weir/sensor/policy"
)

// BenchmarkNftLoad times what an Enforcer does with 100,000 drops; it logs each step.
func BenchmarkNftLoad(b *testing.B) {
	for b.Loop() {
		nftFill(b, newNftLab(b).open(nftTestConfig(), false), 100_000)
	}
}

// BenchmarkNftPacket times a SYN from a packet socket over a cable into the stack, where it ends for want of a route: what a table
// costs is the difference to none.
func BenchmarkNftPacket(b *testing.B) {
	miss, hit := nftTCP("198.51.100.7", nftSYN), nftTCP("100.0.5.5", nftSYN)
	sources := func(action policy.Action, n int) (list []*policy.Drop) {
		for i := range n {
			list = append(list, nftSource(action, fmt.Sprintf("100.%d.%d.%d", i>>16, i>>8&255, i&255)))
		}
		return list
	}
	var prefixes []*policy.Drop
	for bits := 24; bits < 32; bits++ {
		prefixes = append(prefixes, nftSource(policy.DropAll, fmt.Sprintf("101.%d.0.0/%d", bits, bits)))
	}
	for _, c := range []struct {
		name  string
		table bool
		drops []*policy.Drop
		p     nftPacket
	}{
		{"none", false, nil, miss},
		{"empty", true, nil, miss},
		{"drops=1/miss", true, sources(policy.DropAll, 1), miss},
		{"drops=100000/miss", true, sources(policy.DropAll, 100_000), miss},
		{"drops=100000/hit", true, sources(policy.DropAll, 100_000), hit},
		{"limit_new=1/hit", true, []*policy.Drop{nftSource(policy.LimitNew, "100.0.5.5")}, hit},
		{"prefix lengths=8/miss", true, prefixes, miss},
		{"service=1/miss", true, []*policy.Drop{nftServiceDrop("192.0.2.1", "udp", 53, 5)}, miss},
		{"signature=1/miss", true, []*policy.Drop{nftSign("192.0.2.1", "protocol", "udp", "src_port", "53")}, miss},
	} {
		b.Run(c.name, func(b *testing.B) {
			l := newNftLab(b)
			l.nft("flush", "ruleset")
			if c.table {
				nftPut(b, l.open(nftTestConfig(), false), c.drops...)
			}
			f, to := c.p.frame(), &unix.SockaddrLinklayer{Ifindex: l.index, Halen: 6}
			for b.Loop() {
				if err := unix.Sendto(l.raw, f, 0, to); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
