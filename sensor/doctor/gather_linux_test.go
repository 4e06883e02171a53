package doctor

import (
	"encoding/json"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestGather compares what is gathered of every interface of this machine with what ethtool, ip and sysctl say.
func TestGather(t *testing.T) {
	for _, tool := range []string{"ethtool", "ip", "sysctl"} {
		if _, err := exec.LookPath(tool); err != nil {
			leaveOut(t, "no "+tool+" (ethtool, iproute2, procps)")
		}
	}
	faces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range faces {
		names = append(names, f.Name)
	}
	facts, err := Gather(Settings{MemoryMiB: 512, RingMiB: 64, Fanout: "hash", Workers: 2}, append(names, "wdocnone"))
	if err != nil {
		t.Fatal(err)
	}
	for k := range names {
		i := &facts.Interfaces[k]
		t.Run(i.Name, func(t *testing.T) { asIP(t, i); asEthtool(t, i) })
	}
	last := facts.Interfaces[len(names)]
	if !strings.HasPrefix(last.Missing, "no interface wdocnone; there are ") || !strings.Contains(last.Missing, "lo") {
		t.Errorf("missing: %q", last.Missing)
	}
	for key, got := range map[string]int{"net.core.netdev_max_backlog": facts.Host.BacklogMax, "net.core.netdev_budget": facts.Host.Budget} {
		if want := strings.TrimSpace(run("sysctl", "-n", key)); want != strconv.Itoa(got) {
			t.Errorf("%s is %s, not %d", key, want, got)
		}
	}
	if want := strings.TrimSpace(run("uname", "-r")); facts.Host.Kernel != want {
		t.Errorf("kernel %s, not %s", facts.Host.Kernel, want)
	}
	if want := strings.TrimSpace(run("nproc")); strconv.Itoa(facts.Host.CPUs) != want {
		t.Errorf("%d CPUs, not %s", facts.Host.CPUs, want)
	}
	if got, want := facts.Host.Caps["cap_net_raw"], facts.Host.PacketV3 == ""; got != want {
		t.Errorf("cap_net_raw %v, packet socket: %q", got, facts.Host.PacketV3)
	}
}

func run(name string, args ...string) string {
	out, _ := exec.Command(name, args...).Output()
	return string(out)
}

func asIP(t *testing.T, i *Interface) {
	t.Helper()
	var all []struct {
		Index int `json:"ifindex"`
		MTU   int
		Flags []string
		Stats struct {
			RX struct{ Packets, Dropped uint64 }
		} `json:"stats64"`
	}
	if err := json.Unmarshal([]byte(run("ip", "-j", "-s", "link", "show", i.Name)), &all); err != nil || len(all) != 1 {
		t.Fatalf("ip: %v", err)
	}
	l := all[0]
	up, carrier := slices.Contains(l.Flags, "UP"), slices.Contains(l.Flags, "LOWER_UP")
	if i.Index != l.Index || i.MTU != l.MTU || i.Up != up || i.Carrier != carrier {
		t.Errorf("%+v, not %+v", i, l)
	}
	if i.Stats.Packets > l.Stats.RX.Packets || i.Stats.Packets < l.Stats.RX.Packets/2 || i.Stats.Dropped > l.Stats.RX.Dropped {
		t.Errorf("%+v, not %+v", i.Stats, l.Stats)
	}
}

func asEthtool(t *testing.T, i *Interface) {
	t.Helper()
	find := func(text, pattern string) string {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(text); m != nil {
			return m[1]
		}
		return ""
	}
	if want := find(run("ethtool", "-i", i.Name), `driver: (\S+)`); i.Driver != want {
		t.Errorf("driver %q, not %q", i.Driver, want)
	}
	offloads := run("ethtool", "-k", i.Name)
	for name, feature := range map[string]string{
		"generic-receive-offload": featureGRO, "large-receive-offload": featureLRO, "rx-gro-hw": featureGROHW, "rx-vlan-filter": "rx-vlan-filter",
		"rx-gro-list": featureList,
	} {
		state := regexp.MustCompile(`(?m)^` + name + `: (on|off)( \[fixed\])?`).FindStringSubmatch(offloads)
		if state == nil {
			t.Errorf("ethtool does not tell %s", name)
			continue
		}
		if got, want := i.Features[feature], (Feature{state[1] == "on", state[2] != ""}); got != want {
			t.Errorf("%s: %+v, not %+v", name, got, want)
		}
	}
	ring := run("ethtool", "-g", i.Name)
	most, now := find(ring, `(?s)maximums:.*?RX:\s+(\d+)`), find(ring, `(?s)Current.*?RX:\s+(\d+)`)
	if i.Ring == nil && now != "" || i.Ring != nil && (strconv.Itoa(i.Ring.RX) != now || strconv.Itoa(i.Ring.MaxRX) != most) {
		t.Errorf("ring %+v, not %s of %s", i.Ring, now, most)
	}
	channels := find(run("ethtool", "-l", i.Name), `(?s)Current.*?Combined:\s+(\d+)`)
	if i.Channels == nil && channels != "" || i.Channels != nil && channels != "" && strconv.Itoa(i.Channels.Combined) != channels {
		t.Errorf("channels %+v, not %s", i.Channels, channels)
	}
}
