//go:build unix && !linux

package conn

func hugePages([]byte) {}
