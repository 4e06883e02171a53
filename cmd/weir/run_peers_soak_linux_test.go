//go:build soak

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRunPeers prints beside each other how long the same floods get through with weir run (until its first dropped packet, as in
// TestRunLatency) and how long they last until FastNetMon of Debian calls its ban script: its default settings and averaging, AF_PACKET
// on the same cable, and nothing else running. What the script does, and how long a router takes to act upon it, comes on top.
func TestRunPeers(t *testing.T) {
	need(t, "ip", "nsenter", "fastnetmon")
	rates := []int{10_000, 25_000, 50_000, 100_000}
	const rounds = 3
	e := &edge{site: newSite(t, "wpeer")}
	address(t, e.near, "eth0", router+"/24")
	command(t, "ip -n "+e.far+" route replace default via "+router)
	theirs := make([][]time.Duration, len(rates))
	slowest := make([]int, len(rates)) // packets a second that were really sent
	f := startFastNetMon(t, e.far)
	for n := range rates {
		for round := range rounds {
			took, sent, ok := f.ban(t, e.cable, n*rounds+round, rates[n])
			if slowest[n] == 0 || sent < slowest[n] {
				slowest[n] = sent
			}
			if ok {
				theirs[n] = append(theirs[n], took)
			}
		}
	}
	f.end(t, syscall.SIGTERM)
	e.guard(t, "")
	for n := range rates {
		var ours []time.Duration
		s := surge{proto: unix.IPPROTO_UDP, port: 27015, many: true, rate: rates[n]}
		for round := range rounds {
			time.Sleep(time.Second)
			missing, took := s.run(t, e.cable, 100+n*rounds+round).missing()
			if missing > 0 {
				ours = append(ours, took)
			}
		}
		t.Logf("UDP flood of many sources, %6d/s: weir %s; FastNetMon %s, of at least %d/s", rates[n], tell(ours, rounds), tell(theirs[n], rounds), slowest[n])
	}
	if code := e.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("weir run ends with %d", code)
	}
}

func tell(all []time.Duration, of int) string {
	if len(all) == 0 {
		return "never"
	}
	return fmt.Sprintf("%v to %v (%d of %d)", quantile(all, 0).Round(time.Millisecond), quantile(all, 100).Round(time.Millisecond), len(all), of)
}

type fastNetMon struct {
	*process
	bans string // file: address and time of each call of its script
}

func startFastNetMon(t *testing.T, ns string) *fastNetMon {
	t.Helper()
	dir := t.TempDir()
	settings, err := os.ReadFile("/etc/fastnetmon.conf")
	if err != nil {
		t.Fatal(err)
	}
	f := &fastNetMon{bans: filepath.Join(dir, "bans")}
	own := map[string]string{
		"disable_usage_report": "on", "mirror_afpacket": "on", "interfaces": "eth0", "networks_list_path": filepath.Join(dir, "networks"),
		"notify_script_path": filepath.Join(dir, "notify"), "pid_path": filepath.Join(dir, "pid"), "cli_stats_file_path": filepath.Join(dir, "stats"),
		"cli_stats_ipv6_file_path": filepath.Join(dir, "stats6"), "enable_api": "off", "prometheus": "off",
	}
	var lines []string
	for line := range strings.Lines(string(settings)) {
		if name, _, ok := strings.Cut(line, "="); !ok || own[strings.TrimSpace(name)] == "" {
			lines = append(lines, line)
		}
	}
	for name, value := range own {
		lines = append(lines, name+" = "+value+"\n")
	}
	for name, text := range map[string]string{
		"conf": strings.Join(lines, ""), "networks": "10.0.0.0/8\n", "notify": "#!/bin/sh\necho \"$1 $(date +%s.%N)\" >>" + f.bans + "\ncat >/dev/null\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f.process = spawn(t, ns, "fastnetmon", "--configuration_file", filepath.Join(dir, "conf"), "--log_to_console", "--disable_pid_logic")
	time.Sleep(3 * time.Second) // its averages need a past
	select {
	case <-f.ended:
		t.Fatalf("fastnetmon ends: %s%s", f.out.String(), f.err.String())
	default:
	}
	return f
}

// ban floods until the victim is banned, for 15 s at most. It tells how long that took, and how many packets a second were sent.
func (f *fastNetMon) ban(t *testing.T, c *cable, n, rate int) (took time.Duration, sent int, ok bool) {
	t.Helper()
	fd := packetSocket(t, c.near, "eth0", 0)
	defer unix.Close(fd)
	w := &wire{t: t, near: fd}
	s := surge{proto: unix.IPPROTO_UDP, port: 27015, many: true, rate: rate}
	begin := time.Now()
	i := 0
	for ; time.Since(begin) < 15*time.Second; i++ {
		if i%(rate/1000) == 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		}
		if i%(rate/10) == 0 {
			var at time.Time
			if at, ok = f.banned(flooded(n).String()); ok {
				took = at.Sub(begin)
				break
			}
		}
		w.send(fd, s.frame(n, i))
	}
	sent = int(float64(i) / time.Since(begin).Seconds())
	time.Sleep(8 * time.Second) // until its averages are down
	return took, sent, ok
}

func (f *fastNetMon) banned(victim string) (time.Time, bool) {
	text, _ := os.ReadFile(f.bans)
	for line := range strings.Lines(string(text)) {
		who, at, _ := strings.Cut(strings.TrimSpace(line), " ")
		if seconds, err := strconv.ParseFloat(at, 64); err == nil && who == victim {
			return time.Unix(0, int64(seconds*1e9)), true
		}
	}
	return time.Time{}, false
}
