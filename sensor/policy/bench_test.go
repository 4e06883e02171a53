package policy

import (
	"net/netip"
	"testing"
	"time"

	"weir/analyzers/context"
)

// full is a policy with full tables of default size.
func full(b *testing.B) *Policy {
	b.Helper()
	cfg := Defaults()
	cfg.MaxPerSecond = 10_000
	p := New(cfg, context.New(context.Config{}, nil, nil))
	now := begin
	for i := range cfg.MaxStrikes + cfg.MaxPeers {
		ip := netip.AddrFrom4([4]byte{20, byte(i >> 16), byte(i >> 8), byte(i)})
		if i < cfg.MaxPeers {
			p.Established(ip.Next(), begin)
			continue
		}
		a := offence(ip.String())
		if i%5_000 == 0 {
			now += second
		}
		a.Time = 1 << 62
		p.Judge(a, now)
		if i > cfg.MaxPeers+cfg.MaxDrops {
			p.strikes.add(context.Single(ip), now/second, 86400)
		}
	}
	return p
}

// BenchmarkJudge: one alert of a new source, accepted and removed again, with full tables.
func BenchmarkJudge(b *testing.B) {
	p := full(b)
	p.Remove(p.Drops()[0].ID, "x", "y", p.now)
	p.cfg.MaxPerSecond = 1 << 40
	a := offence("203.0.113.9")
	a.Time = 1 << 62
	b.ReportAllocs()
	for b.Loop() {
		list := p.Judge(a, p.now)
		if len(list) != 1 || list[0].Drop == nil {
			b.Fatal(list)
		}
		p.Remove(list[0].Drop.ID, "x", "y", p.now)
		p.recent = p.recent[:0]
	}
}

// BenchmarkRefuse: one alert of a source that is dropped already.
func BenchmarkRefuse(b *testing.B) {
	p := full(b)
	a := offence(p.Drops()[0].IP.String())
	a.Time = 1 << 62
	for b.Loop() {
		if list := p.Judge(a, p.now); list[0].Refusal == nil {
			b.Fatal(list)
		}
	}
}

// BenchmarkEstablished: a peer that is known.
func BenchmarkEstablished(b *testing.B) {
	p := full(b)
	ip := p.peers.newest.ip
	for b.Loop() {
		p.Established(ip, p.now)
	}
}

// BenchmarkReconfigure: other networks, with as many drops as there may be.
func BenchmarkReconfigure(b *testing.B) {
	p := full(b)
	for b.Loop() {
		p.Reconfigure(p.cfg, p.networks, p.now)
	}
}

// BenchmarkSave: full tables to JSON, and back.
func BenchmarkSave(b *testing.B) {
	p := full(b)
	var out []byte
	var load time.Duration
	for b.Loop() {
		var err error
		if out, err = p.AppendJSON(out[:0]); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if _, _, err = Load(out, p.cfg, p.networks, p.now); err != nil {
			b.Fatal(err)
		}
		load += time.Since(start)
	}
	b.ReportMetric(float64(len(out)), "B/state")
	b.ReportMetric(load.Seconds()*1000/float64(b.N), "ms/load")
}

// BenchmarkSaved: what a judge may have to wait for, with full tables.
func BenchmarkSaved(b *testing.B) {
	p := full(b)
	for b.Loop() {
		p.Saved()
	}
}
