package main

import (
	"bufio"
	"strconv"
	"strings"
	"testing"
)

// metric is the sum of a metric's series in a scrape of a running sensor whose labels hold all of those given, as name="value".
func (s *sentry) metric(t *testing.T, name string, labels ...string) (sum float64) {
	t.Helper()
	_, text := s.get(t, "/metrics")
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		rest, found := strings.CutPrefix(lines.Text(), name)
		series, number, _ := strings.Cut(rest, " ")
		if !found || series != "" && series[0] != '{' {
			continue
		}
		for _, l := range labels {
			found = found && strings.Contains(series, l)
		}
		if v, err := strconv.ParseFloat(number, 64); found && err == nil {
			sum += v
		}
	}
	return sum
}
