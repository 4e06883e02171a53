package analyzers

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"weir/decode/conn"
)

// TestBenignLookAlikes: nothing of medium severity, and nothing at all where the table says so.
func TestBenignLookAlikes(t *testing.T) {
	const client = "10.20.0.5"
	lan := func(i int) string { return fmt.Sprintf("10.20.0.%d", i%250+1) }
	second := func(i, n int) time.Duration { return time.Duration(i) * time.Second / time.Duration(n) }
	for _, c := range []struct {
		name  string
		low   int // findings up to this score are right
		build func(w *world, r *rand.Rand)
	}{
		{"browser", 0, func(w *world, r *rand.Rand) { // 400 hosts in bursts, one in 20 dead, QUIC refused by the firewall
			for i := range 400 {
				at := time.Duration(i/20)*10*time.Second + second(i%20, 10)
				w.try(at, client, internet(i), 443, conn.ProbeUDP, refused)
				w.try(at, client, internet(i), 443, syn, pick(r, 20, silent, ok))
			}
		}},
		{"browser behind a firewall that drops", capUsual, func(w *world, r *rand.Rand) {
			for i := range 60 {
				w.try(second(i, 5), client, internet(i), 443, syn, silent)
			}
		}},
		{"resolver", 0, func(w *world, r *rand.Rand) { // one server in ten is dead, some by TCP
			for i := range 5000 {
				w.try(second(i, 50), client, internet(i), 53, conn.ProbeUDP, pick(r, 10, silent, ok))
				if i%20 == 0 {
					w.try(second(i, 50), client, internet(i), 53, syn, pick(r, 5, refused, ok))
				}
			}
		}},
		{"mail server", 0, func(w *world, r *rand.Rand) { // one MX in three is dead
			for i := range 3000 {
				w.try(second(i, 2), client, internet(i), 25, syn, pick(r, 3, silent, ok))
			}
		}},
		{"mail queue of bounces", 0, func(w *world, r *rand.Rand) { // two in three
			for i := range 600 {
				end := silent
				if i%3 == 0 {
					end = ok
				}
				w.try(second(i, 2), client, internet(i), 25, syn, end)
			}
		}},
		{"monitoring host", 0, func(w *world, r *rand.Rand) { // all at once; the neighbours 100 to 124 are down
			for round := range 3 {
				for i := range 200 {
					end := ok
					if i >= 100 && i < 125 {
						end = silent
					}
					at := time.Duration(round)*time.Minute + second(i, 100)
					w.try(at, client, lan(i), 9100, syn, end)
					w.try(at, client, lan(i), 0, conn.ProbeEcho, end)
				}
			}
		}},
		{"monitoring host, steady", 0, func(w *world, r *rand.Rand) { // one service of ten down
			for i := range 2000 {
				w.try(second(i, 5), client, fmt.Sprintf("10.20.%d.%d", i/250, i%250+1), uint16(9100+i%5), syn, pick(r, 10, refused, ok))
			}
		}},
		{"health checks", 0, func(w *world, r *rand.Rand) {
			for i := range 600 {
				for s := range 4 {
					w.try(second(i, 1), client, lan(s), 8080, syn, refused)
				}
			}
		}},
		{"dead server retried", 0, func(w *world, r *rand.Rand) {
			for i := range 1000 {
				w.try(second(i, 2), client, "203.0.113.9", 22, syn, silent)
			}
		}},
		{"NAT of many users", 0, func(w *world, r *rand.Rand) {
			for i := range 20000 {
				w.try(second(i, 200), client, internet(r.IntN(1<<20)), []uint16{443, 443, 443, 80, 993, 5223, 8443}[r.IntN(7)], syn, pick(r, 15, silent, ok))
			}
		}},
		{"busy proxy", 0, func(w *world, r *rand.Rand) { // 3,000 new contacts a second, one in 20 fails
			for i := range 60000 {
				w.try(second(i, 3000), client, internet(i), 443, syn, pick(r, 20, silent, ok))
			}
		}},
		{"BitTorrent", 0, func(w *world, r *rand.Rand) {
			for i := range 2000 {
				port := uint16(1024 + r.IntN(64000))
				if r.IntN(6) == 0 {
					port = 6881
				}
				w.try(second(i, 10), client, internet(i), port, syn, []conn.Stage{silent, refused, ok, ok, ok}[r.IntN(5)])
				w.try(second(i, 10), client, internet(i+5000), port, conn.ProbeUDP, []conn.Stage{silent, ok}[r.IntN(2)])
			}
		}},
		{"BitTorrent, mostly dead", 0, func(w *world, r *rand.Rand) { // a list of old peers: four in five are gone
			for i := range 500 {
				w.try(second(i, 10), client, internet(i), uint16(1024+r.IntN(64000)), syn, pick(r, 5, ok, silent))
			}
		}},
		{"BitTorrent, all dead", capSpread, func(w *world, r *rand.Rand) {
			for i := range 200 {
				w.try(second(i, 10), client, internet(i), uint16(1024+r.IntN(64000)), syn, silent)
			}
		}},
		{"BitTorrent, dead at first", capSpread, func(w *world, r *rand.Rand) {
			for i := range 600 {
				end := silent
				if i > 150 {
					end = pick(r, 3, silent, ok)
				}
				w.try(second(i, 10), client, internet(i), uint16(1024+r.IntN(64000)), syn, end)
			}
		}},
		{"peers in two networks", 0, func(w *world, r *rand.Rand) {
			for i := range 80 {
				w.try(second(i, 4), client, fmt.Sprintf("198.51.100.%d", i+1), uint16(1024+r.IntN(64000)), syn, []conn.Stage{silent, refused, ok, ok, ok}[r.IntN(5)])
			}
		}},
		{"passive FTP", 0, func(w *world, r *rand.Rand) {
			w.try(0, client, "203.0.113.9", 21, syn, ok)
			for i := range 300 {
				w.try(second(i, 5), client, "203.0.113.9", uint16(50000+i), syn, ok)
			}
		}},
		{"domain controller", 0, func(w *world, r *rand.Rand) {
			for i, p := range []uint16{53, 88, 135, 139, 389, 445, 464, 593, 636, 3268, 3269, 9389} {
				w.try(second(i, 1), client, "10.20.0.2", p, syn, ok)
				w.try(second(i, 1), client, "10.20.0.2", p, conn.ProbeUDP, ok)
			}
			for i := range 60 {
				w.try(second(i, 1), client, "10.20.0.2", uint16(49152+i), syn, ok)
			}
		}},
		{"traceroute", 0, func(w *world, r *rand.Rand) {
			for i := range 90 {
				w.try(second(i, 5), client, "203.0.113.9", uint16(33434+i), conn.ProbeUDP, pick(r, 3, refused, silent))
			}
		}},
		{"forgotten connections", 0, func(w *world, r *rand.Rand) { // a server closes what the sensor forgot
			for i := range 500 {
				w.try(second(i, 50), client, "203.0.113.9", uint16(1024+r.IntN(64000)), conn.ProbeMaimon, refused)
				w.try(second(i, 50), client, internet(i), uint16(32768+r.IntN(28000)), conn.ProbeACK, pick(r, 2, silent, refused))
			}
		}},
		{"laptop wakes up", 0, func(w *world, r *rand.Rand) { // its old connections are refused
			for i := range 40 {
				w.try(second(i, 40), client, internet(i), 443, conn.ProbeACK, refused)
			}
		}},
		{"flood victim", 0, func(w *world, r *rand.Rand) { // its acknowledgements to spoofed sources (resets are no contacts)
			for i := range 5000 {
				w.try(second(i, 1000), client, internet(i), uint16(r.IntN(65536)), conn.ProbeACK, silent)
			}
		}},
		{"media and logs", 0, func(w *world, r *rand.Rand) { // UDP that nobody answers
			for i := range 300 {
				w.try(second(i, 10), client, lan(i), uint16(16384+r.IntN(16000)), conn.ProbeUDP, silent)
				w.try(second(i, 10), client, internet(i), 137, conn.ProbeUDP, silent)
				w.try(second(i, 10), client, "239.255.255.250", uint16(1900+i), conn.ProbeUDP, silent)
			}
		}},
		{"lost outcomes", 0, func(w *world, r *rand.Rand) {
			for i := range 500 {
				w.try(second(i, 50), client, lan(i), 443, syn, conn.StageUnknown)
			}
		}},
		{"router on a quiet day", 0, func(w *world, r *rand.Rand) { // asks for two dead neighbours a second
			for i := range 200 {
				w.try(second(i, 2), client, lan(i), 0, conn.ProbeARP, silent)
			}
		}},
		{"router starts", 0, func(w *world, r *rand.Rand) {
			for i := range 200 {
				w.try(second(i, 100), client, lan(i), 0, conn.ProbeARP, pick(r, 5, silent, conn.StageAnswered))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(3) {
				w := newWorld()
				c.build(w, rand.New(rand.NewPCG(seed, 5)))
				for _, f := range w.judge() {
					if s := severityScore(&f); s > c.low || s >= 50 {
						t.Fatalf("seed %d: %s, score %d: %s %v", seed, f.Kind, s, f.Summary, f.Why)
					}
				}
			}
		})
	}
}

// pick returns a once in n, else b.
func pick(r *rand.Rand, n int, a, b conn.Stage) conn.Stage {
	if r.IntN(n) == 0 {
		return a
	}
	return b
}
