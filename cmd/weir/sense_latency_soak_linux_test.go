//go:build soak

package main

func init() { crossings = 400 }
