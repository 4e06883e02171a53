package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/capture"
)

// printSummary tells on standard error what a run saw and what it lost.
func printSummary(w io.Writer, s *sensor.Summary, files capture.Counters, took time.Duration) {
	l := &s.Link
	fmt.Fprintf(w, "%d packets, %s in %s of traffic", l.Packets, bytesText(l.Bytes), time.Duration(s.Last-s.First))
	if s.First != 0 {
		fmt.Fprintf(w, " from %s", time.Unix(0, s.First).UTC().Format("2006-01-02 15:04:05"))
	}
	fmt.Fprintf(w, "\n  protocols    %s\n", counts("tcp", l.TCP, "udp", l.UDP, "icmp", l.ICMP, "arp", l.ARP, "other", l.Other))
	var services []string
	for _, c := range s.TopServices(8) {
		services = append(services, fmt.Sprintf("%s/%d %s", map[uint8]string{6: "tcp", 17: "udp"}[c.Proto], c.Port, bytesText(c.Bytes)))
	}
	if len(services) > 0 {
		fmt.Fprintf(w, "  services     %s\n", strings.Join(services, ", "))
	}
	fmt.Fprintf(w, "  connections  %d, of which %d completed their handshake\n", l.Opened, l.Proven)
	if text := lossText(s, files); text != "" {
		fmt.Fprintf(w, "  loss         %s\n", text)
	}
	opened := s.Alerts[alert.Open]
	fmt.Fprintf(w, "  alerts       %d\n", opened)
	fmt.Fprintf(w, "%.3gs, %.3g packets/s\n", took.Seconds(), float64(l.Packets)/max(took.Seconds(), 1e-9))
}

// lossText names what was not decoded, cut or lost, by cause.
func lossText(s *sensor.Summary, files capture.Counters) string {
	var all []any
	for w := decode.WhyEncrypted; w < decode.WhyCount; w++ {
		all = append(all, "decode "+w.String(), s.Link.Why[w])
	}
	for c := tally.Loss(0); c < tally.LossCount; c++ {
		all = append(all, c.String(), s.Link.Loss[c])
	}
	all = append(all, "time backwards", s.Backward, "time jumps", s.Discontinuities, "flow records", s.RecordsLost)
	all = append(all, "file: bad times", files.BadTime, "bad sub-seconds", files.BadSubsecond, "without time", files.NoTime,
		"wire length raised", files.ShortWire)
	return counts(all...)
}

// counts lists those of pairs of name and uint64 that are not 0.
func counts(pairs ...any) string {
	var out []string
	for i := 0; i < len(pairs); i += 2 {
		if n := pairs[i+1].(uint64); n > 0 {
			out = append(out, fmt.Sprintf("%s %d", pairs[i], n))
		}
	}
	return strings.Join(out, ", ")
}

func bytesText(n uint64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, u := float64(n)/1000, 0
	for v >= 1000 && u < len(units)-1 {
		v, u = v/1000, u+1
	}
	return fmt.Sprintf("%.3g %cB", v, units[u])
}
