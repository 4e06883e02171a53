//go:build soak

package sensor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"weir/sensor/alert"
	"weir/sensor/capture"
	"weir/sensor/traffic"
)

// soakPackets is ten million: sources that are spoofed, or ports that are scanned.
const soakPackets = 10_000_000

// TestSoak replays what an attacker would send to fill memory: the alert still comes, alerts stay few, and the process
// stays below its memory limit. It has a process of its own, because it asks for the peak of resident memory.
func TestSoak(t *testing.T) {
	for _, c := range []struct{ kind, analyzer, want string }{
		{"sources", "flood", "syn"},
		{"ports", "scan", ""},
	} {
		t.Run(c.kind, func(t *testing.T) {
			out := soak(t, c.kind)
			named, opened := false, 0
			for _, a := range out {
				if a.State == alert.Open {
					opened++
					t.Logf("%s %s %s: %s", a.Severity, a.Analyzer, a.Kind, a.Summary)
				}
				named = named || a.Analyzer == c.analyzer && (c.want == "" || a.Kind == c.want) && a.Severity >= alert.Medium
			}
			if !named {
				t.Errorf("no %s alert of medium severity", c.analyzer)
			}
			if opened > 5 {
				t.Errorf("%d alerts: more than a handful", opened)
			}
			if peak := peakMiB(t); peak > 512 {
				t.Errorf("peak of resident memory: %d MiB, above the limit of 512", peak)
			} else {
				t.Logf("peak of resident memory: %d MiB", peak)
			}
		})
	}
}

// soak pipes generated traffic through an engine, so that no file has to hold it.
func soak(t *testing.T, kind string) (alerts []*alert.Alert) {
	cfg := config(0)
	e, err := New(cfg, Sinks{Alert: func(a *alert.Alert) { one := *a; alerts = append(alerts, &one) }})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		if err := errors.Join(traffic.Write(w, kind, soakPackets), w.Close()); err != nil {
			t.Error(err)
		}
	}()
	src := capture.Files([]string{fmt.Sprintf("/dev/fd/%d", r.Fd())}, false)
	defer src.Close()
	sum, err := e.Replay(context.Background(), src)
	if err != nil || sum.Link.Packets != soakPackets {
		t.Fatalf("%d packets, %v", sum.Link.Packets, err)
	}
	return alerts
}

// peakMiB is VmHWM of proc_pid_status(5).
func peakMiB(t *testing.T) int {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc: peak memory is not known here")
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib >> 10
}
