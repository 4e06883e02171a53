//go:build unix && !linux

package slab

func hugePages([]byte) {}
