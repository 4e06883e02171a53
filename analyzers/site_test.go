package analyzers

import (
	"net/netip"
	"testing"
)

// TestSiteAlarm: who is party to a finding does not teach, but anybody can scan anybody all the time, which must not keep the
// victim from being known.
func TestSiteAlarm(t *testing.T) {
	who, victim := netip.MustParsePrefix("198.51.100.7/32"), netip.MustParsePrefix("10.0.0.1/32")
	for _, c := range []struct {
		analyzer string
		victim   bool
	}{{"scan", false}, {"weird", false}, {"fingerprint", false}, {"change", false}, {"flood", true}, {"rate", true}, {"bruteforce", true}} {
		s := NewSite(nil, nil)
		s.Alarm(&Finding{Analyzer: c.analyzer, Time: 10e9, Quiet: 60e9, Subject: Party{Prefix: who}, Victim: Party{Prefix: victim}})
		if got := s.Alarmed(victim.Addr(), 443, protoTCP, 69e9); got != c.victim {
			t.Errorf("%s: its victim is alarmed: %v, want %v", c.analyzer, got, c.victim)
		}
		if !s.Alarmed(who.Addr(), 0, 0, 69e9) || s.Alarmed(who.Addr(), 0, 0, 70e9) {
			t.Errorf("%s: its subject is not alarmed until the finding is quiet", c.analyzer)
		}
	}
}
