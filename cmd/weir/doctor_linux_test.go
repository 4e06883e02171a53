package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// The live tests of the doctor build a switch in network namespaces: a client and a server on a bridge, and a monitor port that
// tc mirrors to, as a SPAN session does.

// ward is that network; its namespaces are named by the test process.
type ward struct{ client, network, server, sensor string }

func newWard(t *testing.T) *ward {
	t.Helper()
	if os.Geteuid() != 0 {
		leaveOut(t, "network namespaces need root")
	}
	for _, tool := range []string{"ip", "tc", "setpriv"} {
		if _, err := exec.LookPath(tool); err != nil {
			leaveOut(t, "no "+tool+" (iproute2, util-linux)")
		}
	}
	id := fmt.Sprintf("wdoc%d", os.Getpid())
	w := &ward{id + "c", id + "n", id + "s", id + "m"}
	for _, ns := range []string{w.client, w.network, w.server, w.sensor} {
		command(t, "ip netns add "+ns)
		t.Cleanup(func() { command(t, "ip netns del "+ns) })
		command(t, "ip -n "+ns+" link set lo up")
	}
	command(t, "ip -n "+w.network+" link add name br0 type bridge mcast_snooping 0")
	command(t, "ip -n "+w.network+" link set br0 up")
	for _, p := range []struct{ ns, port, addr string }{{w.client, "pc", "10.99.0.1/24"}, {w.server, "ps", "10.99.0.2/24"}, {w.sensor, "pm", ""}} {
		command(t, fmt.Sprintf("ip -n %s link add name %s type veth peer name mon0 netns %s", w.network, p.port, p.ns))
		command(t, "ip -n "+w.network+" link set "+p.port+" up")
		command(t, "ip -n "+p.ns+" link set mon0 up")
		if p.addr != "" {
			command(t, "ip -n "+w.network+" link set "+p.port+" master br0")
			command(t, "ip -n "+p.ns+" addr add "+p.addr+" dev mon0")
		}
	}
	return w
}

// mirror begins to mirror a port's traffic of one direction (ingress: what the port receives) to the monitor port.
func (w *ward) mirror(t *testing.T, port, direction string) {
	t.Helper()
	command(t, "tc -n "+w.network+" qdisc replace dev "+port+" clsact")
	command(t, "tc -n "+w.network+" filter add dev "+port+" "+direction+" protocol all u32 match u32 0 0 action mirred egress mirror dev pm")
}

// still ends all mirroring.
func (w *ward) still(t *testing.T) {
	t.Helper()
	for _, port := range []string{"pc", "ps"} {
		_ = exec.Command("tc", "-n", w.network, "qdisc", "del", "dev", port, "clsact").Run()
	}
}

// converse has a client ask a server for 1000 bytes, again and again, each time over a new connection, until the end.
func converse(t *testing.T, client, server string, addr netip.Addr) (end func()) {
	t.Helper()
	var listener net.Listener
	within(t, server, func() { listener, _ = net.Listen("tcp", netip.AddrPortFrom(addr, 0).String()) })
	if listener == nil {
		t.Fatal("no listener")
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadFull(c, make([]byte, 100))
			_, _ = c.Write(make([]byte, 1000))
			c.Close()
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			within(t, client, func() {
				c, err := net.Dial("tcp", listener.Addr().String())
				if err != nil {
					return
				}
				_, _ = c.Write(make([]byte, 100))
				_, _ = io.ReadAll(c)
				c.Close()
			})
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return func() { cancel(); <-done; listener.Close() }
}

// diagnosis is what weir doctor said.
type diagnosis struct {
	Schema  string
	Status  string
	Results []finding
	exit    int
}

type finding struct {
	Check, Interface, Status, What, Why string
	Do                                  []string
}

// examine runs weir doctor in a namespace, wrapped in other commands.
func examine(t *testing.T, ns, wrap string, args ...string) *diagnosis {
	t.Helper()
	words := append(strings.Fields("ip netns exec "+ns+" "+wrap), "weir", "doctor", "--format", "json")
	cmd := exec.Command(words[0], append(words[1:], args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	d := &diagnosis{exit: cmd.ProcessState.ExitCode()}
	if err := json.Unmarshal(out, d); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, &stderr)
	}
	if d.Schema != "weir.doctor/1" {
		t.Errorf("schema %q", d.Schema)
	}
	if (d.Status == "fail") != (d.exit == 1) || d.exit > 1 {
		t.Errorf("exit code %d with status %s", d.exit, d.Status)
	}
	return d
}

// expect holds what one check said.
func (d *diagnosis) expect(t *testing.T, check, status, what string) {
	t.Helper()
	for _, r := range d.Results {
		if r.Check == check {
			if r.Status != status || !strings.Contains(r.What, what) {
				t.Errorf("%s: %s %q; want %s %q", check, r.Status, r.What, status, what)
			} else {
				t.Logf("%s: %s %s", check, r.Status, r.What)
			}
			return
		}
	}
	t.Errorf("%s said nothing", check)
}

func TestDoctorLive(t *testing.T) {
	w := newWard(t)
	both := []string{"ingress", "egress"}
	for _, c := range []struct {
		name           string
		client, server []string // directions of the ports that are mirrored
		oneWay, double string
	}{
		{"one port, both directions", both, nil, "ok", "ok"},
		{"both ports, received only", []string{"ingress"}, []string{"ingress"}, "ok", "ok"},
		{"one port, received only", []string{"ingress"}, nil, "fail", "ok"},
		{"both ports, both directions", both, both, "ok", "fail"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, direction := range c.client {
				w.mirror(t, "pc", direction)
			}
			for _, direction := range c.server {
				w.mirror(t, "ps", direction)
			}
			defer w.still(t)
			defer converse(t, w.client, w.server, netip.MustParseAddr("10.99.0.2"))()
			d := examine(t, w.sensor, "", "-i", "mon0", "--seconds", "1")
			d.expect(t, "traffic", "ok", "packets/s")
			d.expect(t, "one_way", c.oneWay, "TCP connections with payload show one direction only")
			d.expect(t, "doubled", c.double, "came a second time")
			d.expect(t, "mirror", "ok", "100 % of the unicast frames are between others")
			d.expect(t, "link", "ok", "mon0 is up")
			d.expect(t, "driver", "ok", "veth")
			d.expect(t, "kernel_drops", "ok", "dropped no packet")
		})
	}

	t.Run("own traffic", func(t *testing.T) {
		defer converse(t, w.client, w.server, netip.MustParseAddr("10.99.0.2"))()
		d := examine(t, w.client, "", "-i", "mon0", "--seconds", "1")
		d.expect(t, "mirror", "note", "100 % of the unicast frames are to or from this host")
		d.expect(t, "one_way", "ok", "0 %")
		d.expect(t, "doubled", "ok", " % of") // a loaded machine may send one again
	})
	t.Run("loopback", func(t *testing.T) {
		defer converse(t, w.client, w.client, netip.MustParseAddr("127.0.0.1"))()
		d := examine(t, w.client, "", "-i", "lo", "--seconds", "1")
		d.expect(t, "one_way", "ok", "0 %")
		d.expect(t, "doubled", "ok", " % of")
	})
	t.Run("two interfaces with the same traffic", func(t *testing.T) {
		w.mirror(t, "pc", "ingress")
		w.mirror(t, "pc", "egress")
		defer w.still(t)
		defer converse(t, w.client, w.server, netip.MustParseAddr("10.99.0.2"))()
		d := examine(t, w.network, "", "-i", "pc", "-i", "pm", "--seconds", "1")
		d.expect(t, "doubled", "fail", "over the other interface")
		d.expect(t, "master", "note", "pc is a port of the bridge br0")
	})
	t.Run("silence", func(t *testing.T) {
		command(t, "ip netns exec "+w.sensor+" sysctl -qw net.ipv6.conf.mon0.disable_ipv6=1")
		command(t, "ip netns exec "+w.network+" sysctl -qw net.ipv6.conf.pm.disable_ipv6=1")
		time.Sleep(100 * time.Millisecond) // for the last MLD report
		d := examine(t, w.sensor, "", "-i", "mon0", "--seconds", "1")
		d.expect(t, "traffic", "warn", "no packet came over mon0")
		if slices.ContainsFunc(d.Results, func(f finding) bool { return f.Check == "one_way" }) {
			t.Error("one_way judged no traffic")
		}
	})
	t.Run("merging", func(t *testing.T) {
		command(t, "ip netns exec "+w.sensor+" ethtool -K mon0 gro on")
		defer command(t, "ip netns exec "+w.sensor+" ethtool -K mon0 gro off")
		d := examine(t, w.sensor, "", "-i", "mon0", "--seconds", "0")
		d.expect(t, "merging", "warn", "gro is on")
	})
	t.Run("down", func(t *testing.T) {
		command(t, "ip -n "+w.sensor+" link set mon0 down")
		defer command(t, "ip -n "+w.sensor+" link set mon0 up")
		d := examine(t, w.sensor, "", "-i", "mon0", "--seconds", "1")
		d.expect(t, "link", "fail", "mon0 is down")
		d.expect(t, "traffic", "note", "was not looked at: no interface is up")
	})
	t.Run("no carrier", func(t *testing.T) {
		command(t, "ip -n "+w.network+" link set pm down")
		defer command(t, "ip -n "+w.network+" link set pm up")
		examine(t, w.sensor, "", "-i", "mon0", "--seconds", "0").expect(t, "link", "fail", "no carrier")
	})
	t.Run("no interface", func(t *testing.T) {
		d := examine(t, w.sensor, "", "-i", "wdocnone", "--seconds", "1")
		d.expect(t, "link", "fail", "no interface wdocnone; there are lo, mon0")
		d.expect(t, "kernel", "ok", "Linux")
	})
	t.Run("no permission", func(t *testing.T) {
		d := examine(t, w.sensor, "setpriv --bounding-set=-all --inh-caps=-all", "-i", "mon0", "--seconds", "1")
		d.expect(t, "capabilities", "fail", "lacks cap_net_raw")
		d.expect(t, "packet_socket", "note", "that needs root")
		d.expect(t, "traffic", "note", "was not looked at")
		d.expect(t, "driver", "ok", "veth")
		d.expect(t, "merging", "ok", "GRO, LRO are off")
	})
}
