package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sys/unix"
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

// passed is how many packets and bytes went through an interface, by the kernel's count.
func passed(t *testing.T, ns, device string) (packets, bytes float64) {
	t.Helper()
	var links []struct {
		Stats64 struct {
			RX, TX struct{ Packets, Bytes float64 }
		}
	}
	if err := json.Unmarshal([]byte(runIn(t, ns, "ip", "-j", "-s", "link", "show", "dev", device)), &links); err != nil || len(links) != 1 {
		t.Fatalf("ip link: %v", err)
	}
	s := links[0].Stats64
	return s.RX.Packets + s.TX.Packets, s.RX.Bytes + s.TX.Bytes
}

// raw sends a frame as it is.
func raw(t *testing.T, ns, device, frame string) {
	t.Helper()
	within(t, ns, func() {
		i, err := net.InterfaceByName(device)
		if err != nil {
			t.Error(err)
			return
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		if err := unix.Sendto(fd, []byte(frame), 0, &unix.SockaddrLinklayer{Ifindex: i.Index}); err != nil {
			t.Error(err)
		}
	})
}

// TestSenseMetrics scrapes a sensor that has seen traffic: what it serves is what docs/metrics.md says, and the numbers are those of
// the kernel. The health message says the same on NATS.
func TestSenseMetrics(t *testing.T) {
	t.Parallel()
	o := newOutpost(t, "sensor: post.1\n")
	o.probe(t, 900, 1) // who is who
	packets, bytes := passed(t, o.far, "eth0")
	s := sense(t, o.far, "-i", "eth0", "--config", o.config)
	s.ready(t)
	nc := connect(t, o.far, s.url(t))
	health, err := nc.SubscribeSync("weir.v1.default.post_2E1.health")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	o.probe(t, 1000, 60)
	for range 3 {
		raw(t, o.near, "eth0", "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00\x95"+strings.Repeat("\x00", 45)) // IPv4, version 9
	}
	after, bytesAfter := passed(t, o.far, "eth0")
	packets, bytes = after-packets, bytesAfter-bytes
	await(t, "all packets are counted", func() bool { return s.metric(t, "weir_packets_total") >= packets })

	_, text := s.get(t, "/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	asDocumented(t, all, ofSense)
	for _, c := range []struct {
		name, labels string
		want         float64
	}{
		{"weir_packets_total", "", packets},
		{"weir_packets_total", `protocol="tcp"`, 120}, // SYN, RST
		{"weir_bytes_total", "", bytes},
		{"weir_worker_packets_total", "", packets},
		{"weir_decode_stopped_total", `reason="version"`, 3},
		{"weir_loss_total", `cause="version",stage="decode"`, 3},
		{"weir_loss_total", `stage="kernel"`, 0},
		{"weir_interface_up", `interface="eth0"`, 1},
		{"weir_interface_open", `interface="eth0"`, 1},
		{"weir_alerts_total", `analyzer="scan",kind="vertical"`, float64(strings.Count(s.out.String(), `"kind":"vertical"`))},
		{"weir_alerts_open", "", 1},
		{"weir_detection_latency_seconds_count", "", float64(strings.Count(s.out.String(), "\n"))},
		{"weir_bus_published_total", `kind="alert"`, float64(strings.Count(s.out.String(), "\n"))},
		{"weir_connections_opened_total", "", 60},
		{"weir_build_info", "", 1},
	} {
		if got := s.metric(t, c.name, c.labels); got != c.want {
			t.Errorf("%s{%s} is %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	if s.metric(t, "weir_alerts_total") == 0 {
		t.Error("no alert")
	}
	for path, want := range map[string]int{"/": 200, "/healthz": 200, "/readyz": 200, "/debug/pprof/": 404, "/debug/pprof/heap": 404} {
		if code, body := s.get(t, path); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}

	m, err := health.NextMsg(15 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	said := asHealthDocumented(t, m.Data, "sense")
	loss, _ := json.Marshal(said["loss"])
	if want := `{"causes":[{"cause":"version","since":3,"stage":"decode","total":3}],"ratio":0}`; string(loss) != want {
		t.Errorf("loss is %s, want %s", loss, want)
	}
	if got, _ := said["packets"].(map[string]any); said["schema"] != "weir.health/1" || said["ready"] != true || said["sensor"] != "post.1" || got["total"].(float64) < packets { // ARP may have asked again
		t.Errorf("the health message says\n%s", m.Data)
	}
	s.stop(t)
}

// TestSenseReadiness sets the interface down and takes the NATS server away: the sensor says that it is alive, but not ready, and why.
func TestSenseReadiness(t *testing.T) {
	t.Parallel()
	o := newOutpost(t, elsewhere)
	command(t, "ip -n "+o.far+" link set eth0 down")
	s := sense(t, o.far, "-i", "eth0", "--config", o.config, "--pprof")
	says := func(code int, want ...string) {
		t.Helper()
		var got int
		var body string
		defer func() {
			if t.Failed() {
				t.Logf("/readyz says %d %s", got, body)
			}
		}()
		await(t, fmt.Sprintf("/readyz says %d %q", code, want), func() bool {
			got, body = s.get(t, "/readyz")
			for _, w := range want {
				if !strings.Contains(body, w) {
					return false
				}
			}
			return got == code && strings.Count(body, "\n") == len(want)
		})
		if code, body := s.get(t, "/healthz"); code != 200 || body != "ok\n" {
			t.Errorf("/healthz says %d %s", code, body)
		}
	}
	const down, away = "eth0: down, or without carrier", "nats: not connected to nats://127.0.0.1:4333: "
	says(503, down, away)
	command(t, "ip -n "+o.far+" link set eth0 up")
	says(503, away)
	server := o.natsServer(t)
	says(200, "ok")
	server.end(t, unix.SIGKILL)
	says(503, away)
	o.natsServer(t)
	says(200, "ok")
	command(t, "ip -n "+o.near+" link set eth0 down") // no carrier
	says(503, down)
	command(t, "ip -n "+o.near+" link set eth0 up")
	says(200, "ok")
	if code, _ := s.get(t, "/debug/pprof/cmdline"); code != 200 {
		t.Errorf("/debug/pprof: %d", code)
	}
	s.stop(t)
}

// TestSensePrivileges looks at what a running sensor may still do, and has it do what it must: open an interface that was made anew.
func TestSensePrivileges(t *testing.T) {
	t.Parallel()
	o := newOutpost(t, "")
	s := sense(t, o.far, "-i", "eth0", "--config", o.config)
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.Process.Pid))
	if err != nil || len(threads) < 3 {
		t.Fatalf("%v: %q", err, threads)
	}
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		for _, want := range []string{"CapEff:\t0000000000002000", "CapPrm:\t0000000000002000", "CapInh:\t0000000000000000", "CapBnd:\t0000000000002000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1"} {
			if !strings.Contains(string(text), want+"\n") {
				t.Errorf("%s: no %q", path, want)
			}
		}
	}

	// Landlock: the configuration is read again from its folder, and not from elsewhere.
	other := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(other, []byte(modest), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(o.config); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, o.config); err != nil {
		t.Fatal(err)
	}
	_ = s.Process.Signal(unix.SIGHUP)
	s.reloads(t, "failed", 1)
	if !strings.Contains(s.err.String(), "weir.yaml: permission denied") {
		t.Errorf("files elsewhere can be read:\n%s", s.err.String())
	}

	command(t, "ip -n "+o.far+" link del eth0")
	await(t, "the interface is gone", func() bool { return strings.Contains(s.err.String(), "eth0 is gone") })
	o.plug(t, "eth0")
	address(t, o.far, "eth0", "10.9.0.1/24")
	address(t, o.near, "eth0", "10.9.0.2/24")
	await(t, "capture goes on", func() bool { return s.metric(t, "weir_interface_reopened_total") == 1 })
	o.probe(t, 1000, 60)
	await(t, "a scan is found", func() bool { return strings.Contains(s.out.String(), `"kind":"vertical"`) })
	if promiscuity(t, o.far, "eth0") != 1 {
		t.Error("it does not ask for all packets of the new interface")
	}
	s.stop(t)
	o.quiet(t, s.state)
}

// TestSenseSetups finds the same scan, and all packets, however the work is shared out.
func TestSenseSetups(t *testing.T) {
	for _, c := range []struct {
		name, settings string
		args           []string
	}{
		{"one worker", "", []string{"--workers", "1"}},
		{"three workers", "", []string{"--workers", "3"}},
		{"two interfaces, one worker", "", []string{"-i", "eth1", "--workers", "1"}},
		{"two interfaces, three workers", "", []string{"-i", "eth1", "--workers", "3"}},
		{"fanout off", "capture: {ring_mib: 4, block_kib: 128, fanout: off}\n", nil},
		{"fanout by CPU", "capture: {ring_mib: 4, block_kib: 128, fanout: cpu}\n", nil},
		{"fanout by queue", "capture: {ring_mib: 4, block_kib: 128, fanout: qm}\n", nil},
		{"headers only", "privacy: headers\n", nil},
		{"flows", "nats: {servers: ['nats://127.0.0.1:4333'], flows: on}\n", []string{"--workers", "2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := newOutpost(t, "")
			if strings.HasPrefix(c.settings, "capture") {
				_, rest, _ := strings.Cut(strings.TrimPrefix(modest, "\n"), "\n")
				_, rest, _ = strings.Cut(rest, "\n") // without memory_mib and capture
				if err := os.WriteFile(o.config, []byte("memory_mib: 800\n"+c.settings+rest), 0o600); err != nil {
					t.Fatal(err)
				}
			} else {
				o.configure(t, c.settings)
			}
			devices := []string{"eth0"}
			if slices.Contains(c.args, "eth1") {
				o.plug(t, "eth1")
				address(t, o.far, "eth1", "10.10.0.1/24")
				address(t, o.near, "eth1", "10.10.0.2/24")
				devices = append(devices, "eth1")
			}
			if c.name == "flows" {
				o.natsServer(t)
			}
			o.probe(t, 900, 1) // who is who
			before := 0.0
			for _, d := range devices {
				n, _ := passed(t, o.far, d)
				before -= n
			}
			s := sense(t, o.far, append([]string{"-i", "eth0", "--config", o.config}, c.args...)...)
			s.ready(t)
			o.probe(t, 1000, 60)
			if len(devices) > 1 {
				raw(t, o.near, "eth1", "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x88\xb5"+strings.Repeat("\x00", 46))
			}
			await(t, "the scan is found", func() bool { return strings.Contains(s.out.String(), `"kind":"vertical"`) })
			sent := before
			for _, d := range devices {
				n, _ := passed(t, o.far, d)
				sent += n
			}
			await(t, "all packets are counted", func() bool { return s.metric(t, "weir_packets_total") >= sent })
			if got := s.metric(t, "weir_packets_total"); got != sent {
				t.Errorf("%v packets, of %v", got, sent)
			}
			s.stop(t)
			if c.name == "flows" {
				o.flows(t, 60)
			}
		})
	}
}

// flows holds that so many connection records are in the stream of natsd, each a JSON object.
func (o *outpost) flows(t *testing.T, want int) {
	t.Helper()
	nc := connect(t, o.far, "nats://127.0.0.1:4333")
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	sub, err := js.SubscribeSync("weir.v1.default.*.flow")
	if err != nil {
		t.Fatal(err)
	}
	ports := map[float64]bool{}
	n := 0
	for ; ; n++ {
		m, err := sub.NextMsg(500 * time.Millisecond)
		if err != nil {
			break
		}
		var r map[string]any
		if err := json.Unmarshal(m.Data, &r); err != nil {
			t.Fatalf("%v: %s", err, m.Data)
		}
		port, _ := r["id.resp_p"].(float64)
		ports[port] = true
	}
	if n != want || len(ports) != want {
		t.Errorf("%d records of %d ports, want %d", n, len(ports), want)
	}
}
