// Command traffic writes generated captures for benchmarks: traffic KIND PACKETS FILE.
package main

import (
	"fmt"
	"os"
	"strconv"

	"weir/sensor/traffic"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintf(os.Stderr, "usage: traffic KIND PACKETS FILE, with KIND one of %v\n", traffic.Kinds)
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "traffic:", err)
		os.Exit(1)
	}
}

func write(kind, packets, path string) error {
	n, err := strconv.Atoi(packets)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := traffic.Write(f, kind, n); err != nil {
		return err
	}
	return f.Close()
}
