// Command traffic makes generated traffic for benchmarks: a capture file (traffic KIND PACKETS FILE), or frames on an interface
// of a test network (traffic send KIND RATE TIME INTERFACE; rate 0: as many as it can).
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"weir/sensor/traffic"
)

func main() {
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 3:
		err = write(args[0], args[1], args[2])
	case len(args) == 5 && args[0] == "send":
		err = send(args[1], args[2], args[3], args[4])
	default:
		fmt.Fprintf(os.Stderr, "usage: traffic KIND PACKETS FILE\n       traffic send KIND RATE TIME INTERFACE\nwith KIND one of %v\n", traffic.Kinds)
		os.Exit(2)
	}
	if err != nil {
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

// send says on standard output how many frames it sent.
func send(kind, rate, duration, name string) error {
	perSecond, err := strconv.Atoi(rate)
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(duration)
	if err != nil {
		return err
	}
	stream, err := traffic.NewStream(kind)
	if err != nil {
		return err
	}
	s, err := traffic.NewSender(name)
	if err != nil {
		return err
	}
	defer s.Close()
	sent, err := s.Send(stream, perSecond, d)
	fmt.Println(sent)
	return err
}
