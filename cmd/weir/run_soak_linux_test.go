//go:build soak

package main

func init() { soaking = true }
