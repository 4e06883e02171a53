package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/capture"
)

// outcome is all that a closing summary tells.
type outcome struct {
	*sensor.Summary
	files  capture.Counters
	alerts [alert.SeverityCount]uint64
	muted  uint64
	gate   string // what it dropped, "" without one
	took   time.Duration
}

// printSummary tells on standard error what a run saw, what it found and what it lost.
func printSummary(w io.Writer, o *outcome) {
	l := &o.Link
	fmt.Fprintf(w, "%d packets, %s", l.Packets, scaled(l.Bytes, "B"))
	if l.Packets > 0 {
		fmt.Fprintf(w, ", %s of traffic from %s UTC", span(time.Duration(o.Last-o.First)), time.Unix(0, o.First).UTC().Format("2006-01-02 15:04:05"))
	}
	fmt.Fprintln(w)
	line := func(name, text string) {
		if text == "" {
			text = "none"
		}
		fmt.Fprintf(w, "  %-12s %s\n", name, text)
	}
	line("protocols", counts("tcp", l.TCP, "udp", l.UDP, "icmp", l.ICMP, "arp", l.ARP, "other", l.Other))
	line("services", o.services())
	line("connections", fmt.Sprintf("%d, of which %d completed their handshake", l.Opened, l.Proven))
	line("loss", o.loss())
	line("oddities", o.oddities())
	line("alerts", o.found())
	if o.gate != "" {
		line("gate", o.gate)
	}
	rate := uint64(float64(l.Packets) / max(o.took.Seconds(), 1e-9))
	line("took", fmt.Sprintf("%v, %s/s", o.took.Round(time.Millisecond), scaled(rate, " packets")))
}

// span is a length of time, in days where hours say nothing.
func span(d time.Duration) string {
	if d > 72*time.Hour {
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	}
	return d.String()
}

// services lists the ports with the most bytes, those of a hundredth of all bytes at least.
func (o *outcome) services() string {
	const most, share = 8, 100
	var out []string
	for _, c := range o.TopServices(most) {
		if c.Bytes*share < o.Link.Bytes {
			break
		}
		record := conn.Record{Proto: c.Proto, RespPort: c.Port}
		name := fmt.Sprintf("%s/%d", map[uint8]string{6: "tcp", 17: "udp"}[c.Proto], c.Port)
		if s := record.Service(); s != "" {
			name += " (" + s + ")"
		}
		out = append(out, name+" "+scaled(c.Bytes, "B"))
	}
	return strings.Join(out, ", ")
}

// loss lists what was not seen, or not counted in full, by cause.
func (o *outcome) loss() string {
	var all []any
	for c := tally.Loss(0); c < tally.LossCount; c++ {
		all = append(all, c.String(), o.Link.Loss[c])
	}
	all = append(all, "flow records", o.RecordsLost)
	for _, c := range o.Limits {
		all = append(all, c.Limit, c.N)
	}
	return counts(all...)
}

// oddities lists what the decoder could not read to its end, and what was strange about time and files.
func (o *outcome) oddities() string {
	var all []any
	for w := decode.WhyEncrypted; w < decode.WhyCount; w++ {
		all = append(all, w.String(), o.Link.Why[w])
	}
	return counts(append(all, "time backwards", o.Backward, "time jumps", o.Discontinuities, "bad times", o.files.BadTime,
		"bad sub-seconds", o.files.BadSubsecond, "without time", o.files.NoTime, "wire length raised", o.files.ShortWire)...)
}

// found counts the alerts, the gravest first.
func (o *outcome) found() string {
	var all []any
	total := uint64(0)
	for s := alert.SeverityCount; s > 0; s-- {
		all = append(all, (s - 1).String(), o.alerts[s-1])
		total += o.alerts[s-1]
	}
	text := ""
	if total > 0 {
		text = fmt.Sprintf("%d: %s", total, counts(all...))
	}
	if o.muted > 0 {
		text = strings.TrimPrefix(fmt.Sprintf("%s; %d muted", text, o.muted), "; ")
	}
	return text
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

// scaled writes a number with three digits and a decimal prefix.
func scaled(n uint64, unit string) string {
	const prefixes = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d %s", n, strings.TrimSpace(unit))
	}
	v, p := float64(n)/1000, 0
	for v >= 999.5 && p < len(prefixes)-1 {
		v, p = v/1000, p+1
	}
	return fmt.Sprintf("%.3g %c%s", v, prefixes[p], unit)
}
