//go:build soak

package enforce

import (
	"testing"
	"time"
)

// TestSoakChurn adds and removes 10,000 drops at random for a minute under traffic.
func TestSoakChurn(t *testing.T) { churn(t, time.Minute) }
