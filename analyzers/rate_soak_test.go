//go:build soak

package analyzers

import "testing"

// TestRatePoisonWeek: once a week is known, an attacker that doubles its rate every hour is found at five times what is normal.
func TestRatePoisonWeek(t *testing.T) { poisoned(t, 8, 5) }
