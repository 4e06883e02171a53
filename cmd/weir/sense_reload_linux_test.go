package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// high is above what these tests' probes reach, low below it.
const (
	high = "analyzers: {scan: {hosts: 90, ports: 90, benign: 0.55, scanner: 0.45, false_alarm: 0.000000001}}\n"
	low  = "analyzers: {scan: {hosts: 90, ports: 20, benign: 0.55, scanner: 0.45, false_alarm: 0.000000001}}\n"
)

// reloads waits until so many attempts had a result.
func (s *sentry) reloads(t *testing.T, result string, n float64) {
	t.Helper()
	await(t, fmt.Sprintf("%v reloads are %s", n, result), func() bool {
		return s.metric(t, "weir_config_reloads_total", `result="`+result+`"`) == n
	})
}

// TestSenseReload changes the configuration of a running sensor in all ways in which people do, from where it may still read.
func TestSenseReload(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, o *outpost, s *sentry, settings string)
		loads  float64 // that a change makes
	}{
		{"SIGHUP and the write before it", func(t *testing.T, o *outpost, s *sentry, settings string) {
			o.configure(t, settings)
			if err := s.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}, 2},
		{"written in place", func(t *testing.T, o *outpost, _ *sentry, settings string) { o.configure(t, settings) }, 1},
		{"renamed", func(t *testing.T, o *outpost, _ *sentry, settings string) {
			next := o.config + ".new"
			if err := errors.Join(os.WriteFile(next, []byte(modest+settings), 0o600), os.Rename(next, o.config)); err != nil {
				t.Fatal(err)
			}
		}, 1},
		{"link elsewhere", func(t *testing.T, o *outpost, _ *sentry, settings string) {
			real, err := os.Readlink(o.config)
			if err == nil {
				err = os.WriteFile(real, []byte(modest+settings), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := newOutpost(t, high)
			if c.name == "link elsewhere" {
				real := filepath.Join(t.TempDir(), "real.yaml")
				if err := errors.Join(os.Rename(o.config, real), os.Symlink(real, o.config)); err != nil {
					t.Fatal(err)
				}
			}
			s := sense(t, o.far, "-i", "eth0", "--config", o.config)
			if !strings.Contains(s.err.String(), "landlock_abi=") {
				t.Error("no Landlock: this test shows less than it should")
			}
			s.ready(t)
			o.probe(t, 3000, 30)
			time.Sleep(300 * time.Millisecond) // ticks
			if text := s.out.String(); text != "" {
				t.Fatalf("an alert below the threshold: %s", text)
			}
			c.change(t, o, s, low)
			s.reloads(t, "ok", c.loads)
			o.probe(t, 3030, 30)
			await(t, "the scan is found", func() bool { return strings.Contains(s.out.String(), `"kind":"vertical"`) })
			s.stop(t)
		})
	}
}

// TestSenseReloadRelative starts a sensor with a configuration whose path is relative, and goes on as TestSenseReload does: filter,
// level of the log, sizes, and files that are refused.
func TestSenseReloadRelative(t *testing.T) {
	t.Parallel()
	o := newOutpost(t, "")
	state := filepath.Join(t.TempDir(), "state")
	s := &sentry{ns: o.far, state: state}
	s.process = spawn(t, o.far, "sh", "-c", "cd '"+o.dir+"' && exec weir sense --format jsonl -i eth0 --state '"+state+"' --config weir.yaml")
	await(t, "weir sense watches", func() bool { return strings.Contains(s.err.String(), "msg=watching") })
	s.ready(t)
	packets := func() float64 { return s.metric(t, "weir_packets_total", `protocol="tcp"`) }
	o.probe(t, 3000, 5)
	await(t, "packets are counted", func() bool { return packets() == 10 })

	o.configure(t, "filter: not tcp\n")
	s.reloads(t, "ok", 1)
	time.Sleep(200 * time.Millisecond) // readers attach the kernel filter when they look up
	before := packets()
	o.probe(t, 3000, 50)
	time.Sleep(1500 * time.Millisecond) // a status is made each second
	if after := packets(); after != before {
		t.Errorf("%v packets are counted against the filter", after-before)
	}

	o.configure(t, "filter: tcp\ncapture: {ring_mib: 7}\n")
	s.reloads(t, "failed", 1)
	for _, want := range []string{"the configuration was read again and is refused; the one before stays", `weir.yaml:`, "capture"} {
		if !strings.Contains(s.err.String(), want) {
			t.Errorf("no %q in\n%s", want, s.err.String())
		}
	}
	o.configure(t, "analyzers:\n  scan:\n    hosts: 7\n")
	s.reloads(t, "failed", 2)
	if !strings.Contains(s.err.String(), `error="weir.yaml:8:5: scan: hosts and ports must be from 10 to 100"`) {
		t.Errorf("the place of the mistake is not told:\n%s", s.err.String())
	}
	if err := os.Rename(o.config, o.config+".away"); err != nil {
		t.Fatal(err)
	}
	if err := s.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.reloads(t, "failed", 3)
	o.probe(t, 3000, 5)
	time.Sleep(1200 * time.Millisecond)
	if after := packets(); after != before {
		t.Error("a file that is refused changed the filter")
	}

	o.configure(t, "filter: tcp\nlog: {level: warn}\nprivacy: headers\nanalyzers: {scan: {sources: 4096}, flood: {max_victims: 4096}}\nnats: {store_mib: 4096}\nsite: other\n"+
		"store: {rotate: 1m}\nweb: {names: [weir.example]}\n")
	s.reloads(t, "ok", 2)
	time.Sleep(200 * time.Millisecond) // readers attach the kernel filter when they look up
	o.probe(t, 3000, 50)
	await(t, "packets are counted again", func() bool { return packets() > before })
	for _, want := range []string{"site", "privacy", "nats.store_mib", "analyzers.scan.sources", "analyzers.flood.max_victims", "store.rotate", "web.names"} {
		_, names, _ := strings.Cut(s.err.String(), `msg="some settings need a restart to change" settings="`)
		if names, _, _ = strings.Cut(names, `"`); !strings.Contains(", "+names+",", ", "+want+",") {
			t.Errorf("no word of %s: %s", want, names)
		}
	}
	o.configure(t, "filter: tcp\nlog: {level: warn}\nprivacy: headers\nnats: {store_mib: 4096}\nsite: other\nalerts: {max_new: 50}\n")
	s.reloads(t, "ok", 3)
	if n := strings.Count(s.err.String(), `level=INFO msg="the configuration was read again"`); n != 1 {
		t.Errorf("%d lines of level info, of which the second reload should be silent:\n%s", n, s.err.String())
	}
	for _, a := range s.stop(t) {
		if a.Sensor == "" {
			t.Error("an alert without its sensor")
		}
	}
}
