package analyzers

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weir/analyzers/baseline"
	"weir/analyzers/context"
	"weir/analyzers/tally"
)

// atlas is an origin database: the autonomous system is the address's second byte, the country by its first.
type atlas struct{}

func (atlas) Of(ip netip.Addr) (asn uint32, country string) {
	b := ip.As4()
	return uint32(b[1]), map[byte]string{198: "NL", 203: "DE"}[b[0]]
}

// office is a host's life: each quarter of an hour 200 kB go to a server of its own.
func office(host string, days int) (out []tally.Pair) {
	k := pairOf(host, "203.0.113.80", 6, 443)
	for i := range days * 96 {
		out = append(out, called(k, covertStart+int64(i)*900e9, 200_000, 2_000_000, true))
	}
	return out
}

// upload sends bytes in steps of 10 s at a rate, as connections tell.
func upload(k tally.PairKey, at int64, bytes, perStep, down uint64) (out []tally.Pair) {
	for ; bytes > 0; at += 10e9 {
		n := min(bytes, perStep)
		p := called(k, at, n, down, len(out) == 0)
		out = append(out, p)
		bytes -= n
	}
	return out
}

func exfilSite(origins context.Origin) *Site {
	cfg := context.Config{KnownDestinations: []context.Prefix{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}}}
	return NewSite(context.New(cfg, nil, origins), baseline.New(baseline.Defaults()))
}

func exfiltrate(site *Site, pairs []tally.Pair) (got []Finding) {
	a := NewExfil(DefaultExfil(), site)
	play(a, collect(&got), slices.Clone(pairs))
	a.Finish(collect(&got))
	return got
}

const exfilDays = 3

var exfilThen = covertStart + exfilDays*exfilDay + 10*exfilHour

func TestExfilVolume(t *testing.T) {
	const host, thief = "10.0.0.5", "198.51.100.9"
	to := func(server string) tally.PairKey { return pairOf(host, server, 6, 22) }
	var nightly, shared, swarm []tally.Pair
	for day := range int64(exfilDays) {
		nightly = append(nightly, upload(to("198.51.100.77"), covertStart+day*exfilDay+2*exfilHour, 300e6, 30e6, 1e4)...)
	}
	nightly = append(nightly, upload(to("198.51.100.77"), exfilThen+16*exfilHour, 330e6, 30e6, 1e4)...)
	for i := range 3 {
		shared = append(shared, upload(pairOf(fmt.Sprintf("10.0.0.%d", 6+i), thief, 6, 443), exfilThen-exfilHour, 3e6, 1e6, 1e4)...)
	}
	for i := range 40 {
		swarm = append(swarm, upload(to(fmt.Sprintf("198.51.100.%d", 10+i)), exfilThen-exfilHour+int64(i)*60e9, 20e6, 2e6, 1e4)...)
	}
	slices.Reverse(swarm)
	for _, c := range []struct {
		name  string
		pairs []tally.Pair
		score int // 0: none of medium or more
	}{
		{"a theft", upload(to(thief), exfilThen, 40e6, 5e6, 5e4), 79},
		{"at the floor", upload(to(thief), exfilThen, 9.9e6, 1e6, 5e4), 0},
		{"above the floor, for a host that sends 0.8 MB an hour", upload(to(thief), exfilThen, 10.5e6, 1e6, 5e4), 75},
		{"a theft while a third as much is fetched", upload(to(thief), exfilThen, 40e6, 5e6, 2e6), 79},
		{"a call", upload(to(thief), exfilThen, 40e6, 1e6, 1e6), 55},
		{"a known destination", upload(to("192.0.2.7"), exfilThen, 400e6, 5e6, 5e4), 0},
		{"inside", upload(to("10.9.9.9"), exfilThen, 400e6, 5e6, 5e4), 0},
		{"to who is asked by the outside", upload(pairOf(thief, host, 6, 443), exfilThen, 400e6, 5e6, 5e4), 0},
		{"nightly backup", nightly, 0},
		{"what three hosts use", append(slices.Clone(shared), upload(to(thief), exfilThen, 40e6, 5e6, 5e4)...), 0},
		{"spread over hours", upload(to(thief), exfilThen, 30e6, 15e3, 500), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := exfiltrate(exfilSite(nil), append(office(host, exfilDays+1), c.pairs...))
			s := severest(got)
			if s < 50 {
				s = 0
			}
			if c.score == 0 != (s == 0) || s < c.score {
				t.Fatalf("score %d, want %d: %+v", s, c.score, got)
			}
			for _, f := range got {
				if min(f.Score, f.MaxScore) >= 50 && (f.Kind != "volume" || f.Subject.Prefix.String() != host+"/32" || f.Victim.Prefix.String() != thief+"/32" ||
					f.Why[0].Baseline == nil || !f.Subject.ReturnPath || f.MaxScore > 89) {
					t.Errorf("%+v", f)
				}
			}
		})
	}
	t.Run("peer-to-peer", func(t *testing.T) {
		got := exfiltrate(exfilSite(nil), append(office(host, exfilDays+1), swarm...))
		last := map[string]int{}
		for _, f := range got {
			last[f.Victim.Prefix.String()] = min(f.Score, f.MaxScore)
		}
		low := 0
		for _, s := range last {
			if s < 50 {
				low++
			}
		}
		if low < 20 {
			t.Errorf("of %d destinations %d are low", len(last), low)
		}
	})
}

// TestExfilOwnBaseline: who sends 8 MB each hour may send 60 to another place, and not 120.
func TestExfilOwnBaseline(t *testing.T) {
	host := pairOf("10.0.0.5", "203.0.113.80", 6, 443)
	for bytes, want := range map[uint64]bool{60e6: false, 120e6: true} {
		var life []tally.Pair
		for i := range (exfilDays + 1) * 24 * 6 {
			life = append(life, called(host, covertStart+int64(i)*600e9, 8_000_000/6, 1e6, true))
		}
		got := exfiltrate(exfilSite(nil), append(life, upload(pairOf("10.0.0.5", "198.51.100.9", 6, 443), exfilThen, bytes, 5e6, 1e4)...))
		if found := severest(got) >= 50; found != want {
			t.Errorf("%d bytes: %+v", bytes, got)
		}
	}
}

// TestExfilWarmup: on the first day little is said, and that it is little.
func TestExfilWarmup(t *testing.T) {
	k := pairOf("10.0.0.5", "198.51.100.9", 6, 443)
	if got := exfiltrate(exfilSite(nil), append(office("10.0.0.5", 1)[:8], upload(k, covertStart+exfilHour, 90e6, 5e6, 1e4)...)); len(got) != 0 {
		t.Errorf("90 MB: %+v", got)
	}
	got := exfiltrate(exfilSite(nil), append(office("10.0.0.5", 1)[:8], upload(k, covertStart+exfilHour, 150e6, 5e6, 1e4)...))
	if len(got) == 0 || severest(got) != 45 || !strings.HasPrefix(got[0].Notes[len(got[0].Notes)-1], "warm-up") || got[0].Why[0].Baseline != nil {
		t.Errorf("150 MB: %+v", got)
	}
}

func TestExfilSlow(t *testing.T) {
	k := pairOf("10.0.0.5", "198.51.100.9", 6, 443)
	for _, c := range []struct {
		bytes uint64
		found bool
	}{{100e6, true}, {45e6, false}} { // in 20 hours; the host sends 19 MB a day
		got := exfiltrate(exfilSite(nil), append(office("10.0.0.5", exfilDays+2), upload(k, exfilThen, c.bytes, c.bytes/7200, 500)...))
		if found := severest(got) >= 50; found != c.found {
			t.Errorf("%d bytes: %+v", c.bytes, got)
		}
		for _, f := range got {
			if f.Kind != "slow" || f.Why[0].Window != exfilDay {
				t.Errorf("%+v", f)
			}
		}
	}
}

// TestExfilOrigin: eight addresses of a system that nobody knows get 3 MB each.
func TestExfilOrigin(t *testing.T) {
	spread := func(format string) (out []tally.Pair) {
		for i := range 8 {
			out = append(out, upload(pairOf("10.0.0.5", fmt.Sprintf(format, 10+i), 6, 443), exfilThen+int64(i)*60e9, 3e6, 1e6, 1e4)...)
		}
		return out
	}
	kinds := func(got []Finding) (out []string) {
		for _, f := range got {
			if s := fmt.Sprint(f.Kind, " ", f.Victim.ASN, f.Victim.Country); min(f.Score, f.MaxScore) >= 50 && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
		return out
	}
	life := office("10.0.0.5", exfilDays+1)
	life[0].Payload = 1_100_000 // in bulk: the system and country of 203.0.113.80 are known
	if got := kinds(exfiltrate(exfilSite(atlas{}), append(slices.Clone(life), spread("198.51.100.%d")...))); !slices.Equal(got, []string{"origin 51"}) {
		t.Errorf("a new system of a new country is one story: %v", got)
	}
	if got := kinds(exfiltrate(exfilSite(atlas{}), append(slices.Clone(life), spread("198.%d.100.9")...))); !slices.Equal(got, []string{"origin 0NL"}) {
		t.Errorf("eight systems of a new country: %v", got)
	}
	if got := kinds(exfiltrate(exfilSite(atlas{}), append(slices.Clone(life), spread("203.7.100.%d")...))); !slices.Equal(got, []string{"origin 7"}) {
		t.Errorf("a new system in a known country: %v", got)
	}
	if got := kinds(exfiltrate(exfilSite(atlas{}), append(slices.Clone(life), spread("203.0.100.%d")...))); len(got) != 0 {
		t.Errorf("a known system: %v", got)
	}
	one := upload(pairOf("10.0.0.5", "198.51.100.9", 6, 443), exfilThen, 60e6, 5e6, 1e4)
	if got := kinds(exfiltrate(exfilSite(atlas{}), append(slices.Clone(life), one...))); !slices.Equal(got, []string{"volume 0"}) {
		t.Errorf("one address: %v", got)
	}
}

func BenchmarkExfil(b *testing.B) { benchPairs(b, NewExfil(DefaultExfil(), exfilSite(atlas{}))) }
