//go:build soak

package main

func init() { soaking, surges = true, 60 }
