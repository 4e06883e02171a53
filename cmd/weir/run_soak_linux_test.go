//go:build soak

package main

import "time"

func init() {
	soaking, surges = true, 60
	forgeTime, patience = 15*time.Second, 4*time.Second
}
