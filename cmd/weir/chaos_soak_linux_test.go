//go:build soak

package main

import (
	"testing"
	"time"
)

// TestChaosSoak adds and removes 10,000 drops at random for a minute under 50,000 packets a second.
func TestChaosSoak(t *testing.T) { churn(t, time.Minute, 50_000) }
