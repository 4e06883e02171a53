package main

import (
	"fmt"
	"time"

	"weir/sensor"
)

type checkCmd struct {
	File string `arg:"" optional:"" default:"/etc/weir/weir.yaml" help:"Configuration (YAML); default: ${default}."`
}

// Help is the long form of --help.
func (*checkCmd) Help() string {
	return `Reads a configuration as the other commands do and starts nothing. It prints 'FILE: ok' and the memory that the settings take
and the mute rules, expired ones marked (exit code 0), or one line FILE:LINE:COLUMN: MISTAKE for each mistake (exit code 2).

Examples:
  weir check
  weir check new.yaml && sudo install -m 0644 new.yaml /etc/weir/weir.yaml

A running sensor reads its file again when it changes, and on SIGHUP; a file with a mistake is not taken, and the log says why.
Thresholds, windows, ports and filters change while it runs; sizes of tables and rings need a restart.`
}

// Run checks the file.
func (c *checkCmd) Run(std *streams) error {
	settings, err := readLiveConfig(c.File, 1, cores())
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "%s: ok\n", printable(c.File))
	for _, s := range settings.shares() {
		fmt.Fprintf(std.out, "  %-12s %s\n", s.name, s.size)
	}
	for i := range settings.Mutes {
		r, state := &settings.Mutes[i], "until"
		if r.Expired(time.Now().UnixNano()) {
			state = "EXPIRED at"
		}
		fmt.Fprintf(std.out, "  %-12s %s, %s %s: %s\n", "mutes", printable(r.String()), state, r.Until, printable(r.Reason))
	}
	return nil
}

// share is a part of the memory that the settings take.
type share struct{ name, size string }

// shares are the parts of memory_mib, and what they leave.
func (c *config) shares() []share {
	found, tables := c.Analyzers.Bytes(), c.liveTables(1, cores())
	left := c.MemoryMiB<<20 - tables - found - c.Baseline.Bytes() - c.Policy.Bytes() - goHeap
	return []share{
		{"connections", mebibytes(c.Connections.Bytes())},
		{"tally", mebibytes(c.Tally.Bytes(sensor.Sets(true)))},
		{"rings", fmt.Sprintf("%d MiB an interface", c.Capture.RingMiB)},
		{"analyzers", mebibytes(found)},
		{"baseline", mebibytes(c.Baseline.Bytes())},
		{"policy", mebibytes(c.Policy.Bytes())},
		{"engine", mebibytes(goHeap) + " at least"},
		{"memory_mib", fmt.Sprintf("%d MiB, of which %s are free with one interface", c.MemoryMiB, mebibytes(left))},
	}
}

func mebibytes(n int) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
