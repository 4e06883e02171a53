package main

import (
	"time"
)

// sayExpired says of each mute rule that has expired so, once: its alerts are alerts again, and the rule is to be renewed or taken out.
func (s *sensing) sayExpired(now time.Time) {
	s.mu.Lock()
	rules := s.settings.Mutes
	s.mu.Unlock()
	still := map[string]bool{}
	for i := range rules {
		r := &rules[i]
		id := r.String() + " " + r.Until.String() + " " + r.Reason
		if !r.Expired(now.UnixNano()) {
			continue
		}
		if still[id] = true; !s.ended[id] {
			s.log.Warn("a rule of mutes has expired: what it muted is told again", "rule", r.String(), "until", r.Until, "reason", r.Reason)
		}
	}
	s.ended = still
}
