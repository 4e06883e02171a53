package main

import (
	"fmt"
	"maps"
	"math"
	"math/bits"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/sensor/alert"
)

// Attackers' and everyday tools play against a server that a sensor and tcpdump listen to side by side: what the sensor tells
// live must be what weir tells of tcpdump's file, and must be true.

// site is a server behind a cable, and who comes to it from the other end.
type site struct{ *cable }

const (
	raider  = "198.51.100.23" // the address that tools use unless they are told another
	decoy   = "198.51.100.24"
	raider6 = "2001:db8:51::23"
	target  = "10.20.0.10"
	target6 = "fd00:20::10"
	gate    = "198.51.100.1" // the server's end of the cable
	gate6   = "2001:db8:51::1"
)

// newSite makes a site. 10.20.0.10 to .29 are addresses of the server; packets to the rest
// of the network are lost behind it. Its web server has objects of as many bytes as their name says. Who has which link address
// is known from the start, so that nobody asks by ARP while only one of sensor and tcpdump listens.
func newSite(t *testing.T, id string) *site {
	t.Helper()
	s := &site{newCable(t, id)}
	for i, ns := range []string{s.near, s.far} {
		command(t, fmt.Sprintf("ip -n %s link set eth0 addrgenmode none address 02:00:00:00:00:0%d", ns, i+1))
	}
	s.meet(t, gate, "/24", raider, decoy)
	for i := 10; i < 30; i++ {
		address(t, s.far, "lo", fmt.Sprintf("10.20.0.%d/32", i))
	}
	command(t, "ip -n "+s.near+" route add default via "+gate+" src "+raider)
	command(t, "ip -n "+s.far+" route add default via "+raider)
	s.serve(t)
	return s
}

// meet gives both ends addresses, and tells each the link addresses of the other.
func (s *site) meet(t *testing.T, far, bits string, near ...string) {
	t.Helper()
	address(t, s.far, "eth0", far+bits)
	for _, a := range near {
		address(t, s.near, "eth0", a+bits)
		command(t, fmt.Sprintf("ip -n %s neigh replace %s lladdr 02:00:00:00:00:01 dev eth0 nud permanent", s.far, a))
	}
	command(t, fmt.Sprintf("ip -n %s neigh replace %s lladdr 02:00:00:00:00:02 dev eth0 nud permanent", s.near, far))
}

// sixth gives a site IPv6.
func (s *site) sixth(t *testing.T) {
	t.Helper()
	s.meet(t, gate6, "/64", raider6)
	address(t, s.far, "lo", target6+"/128")
	command(t, "ip -n "+s.near+" -6 route add default via "+gate6)
	time.Sleep(3 * time.Second) // until they have told their multicast groups
}

func (s *site) serve(t *testing.T) {
	t.Helper()
	var l net.Listener
	var err error
	within(t, s.far, func() { l, err = net.Listen("tcp", ":80") })
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &n)
		_, _ = w.Write(make([]byte, n))
	})}
	go web.Serve(l) //nolint:errcheck // until the end of the test
	t.Cleanup(func() { web.Close() })
}

// hush takes the addresses from the cable: nobody sends anything any more.
func (s *site) hush(t *testing.T) {
	t.Helper()
	command(t, "ip -4 -n "+s.near+" addr flush dev eth0")
	command(t, "ip -4 -n "+s.far+" addr flush dev eth0")
}

// mark sends an ARP answer that nobody asked for each way. With the first begins and with the last ends the time of all who
// listen.
func (s *site) mark(t *testing.T) {
	t.Helper()
	frame := []byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x03\x08\x06" +
		"\x00\x01\x08\x00\x06\x04\x00\x02\x02\x00\x00\x00\x00\x03\xc0\x00\x02\x03\x02\x00\x00\x00\x00\x03\xc0\x00\x02\x03")
	for _, ns := range []string{s.near, s.far} {
		fd := packetSocket(t, ns, "eth0", 0)
		if _, err := unix.Write(fd, frame); err != nil {
			t.Error(err)
		}
		unix.Close(fd)
	}
}

// behindTap makes a host that sees the cable as behind a tap: what the server receives on mon0, what it sends on mon1.
func behindTap(t *testing.T, s *site, id string) (ns string, devices []string) {
	t.Helper()
	ns = hostSpace(t, id)
	command(t, "tc -n "+s.far+" qdisc add dev eth0 clsact")
	for i, direction := range []string{"ingress", "egress"} {
		s.monitor(t, ns, i)
		command(t, fmt.Sprintf("tc -n %s filter add dev eth0 %s protocol all u32 match u32 0 0 action mirred egress mirror dev tap%d", s.far, direction, i))
	}
	return ns, []string{"mon0", "mon1"}
}

// monitor adds a cable from tapN of the server to monN of another host.
func (s *site) monitor(t *testing.T, ns string, n int) {
	t.Helper()
	command(t, fmt.Sprintf("ip -n %s link add tap%d type veth peer name mon%[2]d netns %s", s.far, n, ns))
	command(t, fmt.Sprintf("ip -n %s link set tap%d up", s.far, n))
	command(t, fmt.Sprintf("ip -n %s link set mon%d up", ns, n))
}

// inVLAN makes a host to which a switch mirrors the cable, in VLAN 5.
func inVLAN(t *testing.T, s *site, id string) (ns string, devices []string) {
	t.Helper()
	ns = hostSpace(t, id)
	s.monitor(t, ns, 0)
	from, to := packetSocket(t, s.far, "eth0", unix.ETH_P_ALL), packetSocket(t, s.far, "tap0", 0)
	if err := unix.SetsockoptTimeval(from, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		t.Fatal(err)
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		frame := make([]byte, 64<<10)
		for {
			n, err := unix.Read(from, frame[4:])
			if err == nil {
				copy(frame, frame[4:16])
				copy(frame[12:], "\x81\x00\x00\x05")
				_, _ = unix.Write(to, frame[:n+4])
			}
			select {
			case <-end:
				return
			default:
			}
		}
	}()
	t.Cleanup(func() { close(end); <-ended; unix.Close(from); unix.Close(to) })
	return ns, []string{"mon0"}
}

// packetSocket opens a socket for the frames of a device: all that the protocol names, both ways; to send only, if it is 0.
func packetSocket(t *testing.T, ns, device string, protocol uint16) (fd int) {
	t.Helper()
	within(t, ns, func() {
		i, err := net.InterfaceByName(device)
		if err == nil {
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		}
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: i.Index, Protocol: bits.ReverseBytes16(protocol)})
		}
		if err != nil {
			t.Error(err)
		}
	})
	return fd
}

// recorder is tcpdump.
type recorder struct {
	*process
	file string
}

// record writes the frames of a device into a file: those that match a filter, if there is one.
func record(t *testing.T, ns, device string, filter ...string) *recorder {
	t.Helper()
	r := &recorder{file: filepath.Join(t.TempDir(), device+".pcap")}
	args := []string{"tcpdump", "-i", device, "-B", "65536", "-n", "-Z", "root", "--time-stamp-precision", "nano", "-w", r.file}
	r.process = spawn(t, ns, append(args, filter...)...)
	await(t, "tcpdump listens", func() bool { return strings.Contains(r.err.String(), "listening on") })
	return r
}

// stop ends tcpdump. It has read its ring, which it looks at once a second, long before.
func (r *recorder) stop(t *testing.T) {
	t.Helper()
	if code := r.end(t, syscall.SIGTERM); code != 0 || !strings.Contains(r.err.String(), "\n0 packets dropped by kernel") {
		t.Fatalf("tcpdump ends with %d: %s", code, r.err.String())
	}
}

// tale is what a run of weir tells in the end.
type tale struct {
	all   []string // alerts of low severity or more
	grave []string // those of medium severity or more
	total string   // packets and bytes
	loss  string
	count map[string]float64 // contacts, hosts and ports of those alerts, by alert and measure
}

var (
	totalLine = regexp.MustCompile(`(?m)^\d+ packets, [^,\n]+`)
	lossLine  = regexp.MustCompile(`(?m)^  loss +(.+)`)
	unseen    = regexp.MustCompile(`\b(kernel|freeze|interface|snaplen)\b`) // what never came to the tables
	evicted   = regexp.MustCompile(`\bhalf_open (\d+)`)                     // whose outcome nobody knows
)

func newTale(t *testing.T, alerts []*alert.Alert, summary string) *tale {
	t.Helper()
	s := &tale{count: map[string]float64{}}
	for _, a := range alerts {
		if a.State == alert.Closed && a.Severity >= alert.Low {
			s.all = append(s.all, says(a))
			s.measure(a)
			if a.Severity >= alert.Medium {
				s.grave = append(s.grave, says(a))
			}
		}
	}
	for _, list := range []*[]string{&s.all, &s.grave} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	loss := lossLine.FindStringSubmatch(summary)
	if s.total = totalLine.FindString(summary); s.total == "" || loss == nil {
		t.Fatalf("no summary:\n%s", summary)
	}
	s.loss = loss[1]
	return s
}

// measure takes the numbers of an alert that must be the same live, whatever the number of workers: what a source tried, and
// what came of it. Left out are numbers that follow a sample of each tick's contacts, as live ticks take other ones together
// (answered_contacts, system_ports), estimates with a key of the run (hosts and ports of a block, sources of a flood), and rates.
func (s *tale) measure(a *alert.Alert) {
	for _, m := range a.Why {
		switch {
		case m.Name == "answered_contacts", m.Name == "system_ports", a.Kind == "block" && m.Unit != "contacts":
		case m.Unit == "contacts", m.Unit == "hosts", m.Unit == "ports":
			s.count[says(a)+": "+m.Name] += m.Value
		}
	}
}

// differs lists the counts that another run tells otherwise. One more or less for each half-open entry that either lost is
// no difference: which go depends on secret keys.
func (s *tale) differs(other *tale) (list []string) {
	slack := 0.0
	for _, loss := range []string{s.loss, other.loss} {
		if lost := evicted.FindStringSubmatch(loss); lost != nil {
			n, _ := strconv.ParseFloat(lost[1], 64)
			slack += n
		}
	}
	both := maps.Clone(s.count)
	maps.Copy(both, other.count)
	for _, what := range slices.Sorted(maps.Keys(both)) {
		if math.Abs(s.count[what]-other.count[what]) > slack {
			list = append(list, fmt.Sprintf("%s is %v and %v", what, s.count[what], other.count[what]))
		}
	}
	return list
}

func (s *tale) String() string { return fmt.Sprintf("%s, loss %s: %q", s.total, s.loss, s.all) }

// says is who did what to whom.
func says(a *alert.Alert) string {
	s := a.Analyzer + " " + a.Kind
	if a.Subject != nil {
		s += " by " + a.Subject.String() + " (" + a.Subject.ReturnPath + ")"
	}
	if a.Victim != nil {
		s += " on " + a.Victim.String()
	}
	return s
}

// replayed is what a replay tells.
func replayed(t *testing.T, args ...string) *tale {
	t.Helper()
	cmd := exec.Command("weir", append([]string{"replay", "--format", "jsonl"}, args...)...)
	var out, summary strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &summary
	if err := cmd.Run(); err != nil {
		t.Fatalf("weir replay: %v\n%s", err, summary.String())
	}
	all, err := alert.Read(strings.NewReader(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	return newTale(t, all, summary.String())
}

// play is something that happens on the cable.
type play struct {
	name    string
	do      func(*testing.T, *site)
	six     bool
	settles time.Duration                                                        // after which what got no answer counts as silent
	at      func(t *testing.T, s *site, id string) (ns string, devices []string) // where the sensor is; nil: on the server
	want    []string                                                             // the alerts of medium severity or more
}

// silent is a little more than what a first contact has for its answer (tcp_attempt).
const silent = 6 * time.Second

var plays = []play{
	{name: "nmap -sS", do: tools("nmap -n -Pn -sS -T4 -p 1-400 10.20.0.10"), want: []string{
		"fingerprint tool by 198.51.100.23 (unproven)", "scan vertical by 198.51.100.23 (unproven) on 10.20.0.10",
	}},
	{name: "nmap -sT", do: tools("nmap -n -Pn -sT -T4 -p 1-400 10.20.0.10"), want: []string{
		"scan vertical by 198.51.100.23 (proven) on 10.20.0.10",
	}},
	{name: "nmap -sU", settles: silent, do: tools("nmap -n -Pn -sU -T4 --top-ports 60 --max-retries 1 --host-timeout 20s 10.20.0.10"), want: []string{
		"scan udp by 198.51.100.23 (unproven) on 10.20.0.10",
	}},
	{name: "nmap -sU refused", do: func(t *testing.T, s *site) {
		within(t, s.far, func() {
			if err := os.WriteFile("/proc/sys/net/ipv4/icmp_ratelimit", []byte("0"), 0); err != nil { // the kernel says of each closed port that it is closed
				t.Error(err)
			}
		})
		tools("nmap -n -Pn -sU -T4 -p 1-200 --max-retries 1 --host-timeout 20s 10.20.0.10")(t, s)
	}, want: []string{"scan udp by 198.51.100.23 (unproven) on 10.20.0.10"}},
	{name: "nmap -sF", do: tools("nmap -n -Pn -sF -T4 -p 1-200 10.20.0.10"), want: []string{
		"scan fin by 198.51.100.23 (unproven) on 10.20.0.10",
	}},
	{name: "nmap -sX", do: tools("nmap -n -Pn -sX -T4 -p 1-200 10.20.0.10"), want: []string{
		"scan xmas by 198.51.100.23 (unproven) on 10.20.0.10",
	}},
	{name: "nmap -sn", settles: silent, do: tools("nmap -n -sn -PE -T4 --max-retries 0 10.20.0.0/24"), want: []string{
		"scan icmp_sweep by 198.51.100.23 (unproven) on 10.20.0.0/24",
	}},
	{name: "nmap -f", do: tools("nmap -n -Pn -sS -f -T4 --top-ports 100 10.20.0.10"), want: []string{
		"scan vertical by 198.51.100.23 (unproven) on 10.20.0.10",
	}},
	{name: "nmap -6", six: true, do: tools("nmap -6 -n -Pn -sS -T4 -p 1-400 fd00:20::10"), want: []string{
		"fingerprint tool by 2001:db8:51::23 (unproven)", "scan vertical by 2001:db8:51::23 (unproven) on fd00:20::10",
	}},
	{name: "nmap in a VLAN", at: inVLAN, do: tools("nmap -n -Pn -sS -T4 -p 1-400 10.20.0.10"), want: []string{
		"fingerprint tool by 198.51.100.23 (unproven)", "scan vertical by 198.51.100.23 (unproven) on 10.20.0.10",
	}},
	{name: "nmap past a tap", at: behindTap, do: tools("nmap -n -Pn -sS -T4 -p 1-400 10.20.0.10"), want: []string{
		"fingerprint tool by 198.51.100.23 (unproven)", "scan vertical by 198.51.100.23 (unproven) on 10.20.0.10",
	}},
	{name: "masscan", settles: silent, do: masscan("--rate 400 -p 443 10.20.0.0/24"), want: []string{
		"fingerprint tool by 198.51.100.23 (unproven)", "scan horizontal by 198.51.100.23 (unproven) on 10.20.0.0/24:443/tcp",
	}},
	{name: "masscan of ports", settles: silent, do: masscan("--rate 2000 -p 1-100 10.20.0.24-10.20.0.35"), want: []string{
		"fingerprint tool by 198.51.100.23 (unproven)", "scan block by 198.51.100.23 (unproven) on 10.20.0.0/24",
	}},
	{name: "hping3 SYN", do: hping3("-S -p 80 -i u400 -c 6000 10.20.0.10"), want: []string{
		"flood syn by 198.51.100.23 (unproven) on 10.20.0.10:80/tcp",
	}},
	{name: "hping3 SYN of random sources", do: hping3("-S -p 80 --rand-source -i u400 -c 6000 10.20.0.10"), want: []string{
		"flood syn on 10.20.0.10:80/tcp",
	}},
	{name: "hping3 UDP", do: hping3("--udp -p 27015 -k -s 40000 -d 64 -i u40 -c 40000 10.20.0.10"), want: []string{
		"flood udp by 198.51.100.23 (unproven) on 10.20.0.10:27015/udp",
	}},
	{name: "hping3 ICMP", do: hping3("--icmp -d 400 -i u40 -c 40000 10.20.0.10"), want: []string{
		"flood icmp by 198.51.100.23 (unproven) on 10.20.0.10",
	}},
	{name: "iperf3", do: iperf3},
	{name: "curl", do: browse},
	{name: "curl and nmap", do: func(t *testing.T, s *site) {
		scan := spawn(t, s.near, strings.Fields("nmap -n -Pn -sS -T4 -p 1-400 -S 198.51.100.24 -e eth0 10.20.0.11")...)
		browse(t, s)
		scan.wait(t)
	}, want: []string{
		"fingerprint tool by 198.51.100.24 (unproven)", "scan vertical by 198.51.100.24 (unproven) on 10.20.0.11",
	}},
}

// tools runs commands on the near host, one after the other.
func tools(lines ...string) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		for _, words := range lines {
			runIn(t, s.near, strings.Fields(words)...)
		}
	}
}

// hping3 floods. Its exit code tells whether there were answers.
func hping3(words string) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		spawn(t, s.near, strings.Fields("hping3 -q -n -I eth0 "+words)...).wait(t)
	}
}

// masscan runs it. It does not end by itself where nothing else comes over the cable: it reads with no timeout.
func masscan(words string) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		p := spawn(t, s.near, strings.Fields("masscan -e eth0 --wait 1 --seed 7 "+words)...)
		await(t, "masscan has sent all", func() bool { return strings.Contains(p.err.String(), "waiting 0-secs") })
		p.end(t, syscall.SIGKILL)
	}
}

// iperf3 moves data each way, over TCP and over UDP.
func iperf3(t *testing.T, s *site) {
	for _, how := range []string{"-b 400M -t 1", "-b 400M -t 1 -R", "-u -b 20M -t 1", "-u -b 20M -t 1 -R"} {
		server := spawn(t, s.far, "iperf3", "-s", "-1", "-B", target, "--forceflush")
		await(t, "iperf3 listens", func() bool { return strings.Contains(server.out.String(), "listening") })
		tools("iperf3 -c "+target+" "+how)(t, s)
		server.wait(t)
	}
}

// browse fetches 200 objects of up to 80 kB, 16 at a time.
func browse(t *testing.T, s *site) {
	args := []string{"curl", "-s", "--parallel", "--parallel-max", "16"}
	for i := range 200 {
		args = append(args, "-o", os.DevNull, fmt.Sprintf("http://%s/%d", target, 200+i*400))
	}
	runIn(t, s.near, args...)
}

// TestSenseTools holds a sensor of the default settings against a replay of what tcpdump recorded beside it.
func TestSenseTools(t *testing.T) {
	need(t, "ip", "tc", "nmap", "masscan", "hping3", "iperf3", "curl", "tcpdump")
	for i := range plays {
		p := &plays[i]
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			for try := range 3 {
				if p.hold(t, fmt.Sprintf("wliv%d%c", i, 'a'+try)) {
					return
				}
				t.Log("somebody set the clock: once more")
			}
			t.Error("somebody sets the clock all the time")
		})
	}
}

// hold plays it and compares. It returns false if the wall clock was set meanwhile: tcpdump's file is of no use then.
func (p *play) hold(t *testing.T, id string) bool {
	s := newSite(t, id)
	where, devices := s.far, []string{"eth0"}
	if p.at != nil {
		where, devices = p.at(t, s, id+"m")
	}
	if p.six {
		s.sixth(t)
	}
	var dumps []*recorder
	var listen, files []string
	for _, device := range devices {
		d := record(t, where, device)
		dumps, listen, files = append(dumps, d), append(listen, "-i", device), append(files, d.file)
	}
	w := sense(t, where, listen...)
	s.mark(t)
	p.do(t, s)
	time.Sleep(max(p.settles, 200*time.Millisecond))
	s.hush(t)
	s.mark(t)
	last := time.Now()
	live := newTale(t, w.stop(t), w.err.String())
	time.Sleep(time.Until(last.Add(1200 * time.Millisecond)))
	for _, d := range dumps {
		d.stop(t)
	}
	if strings.Contains(w.err.String(), "the wall clock was set") {
		return false
	}
	if len(files) > 1 {
		files = append(files, "--merge")
	}
	replay := replayed(t, files...)
	t.Log(live)
	if live.total != replay.total || !slices.Equal(live.all, replay.all) || unseen.MatchString(live.loss) {
		t.Errorf("live   %v\nreplay %v\n%s", live, replay, w.err.String())
	}
	if list := live.differs(replay); len(list) > 0 {
		t.Errorf("live and replayed %q", list)
	}
	if !slices.Equal(live.grave, p.want) {
		t.Errorf("live  %q\nwant  %q", live.grave, p.want)
	}
	return true
}

// TestSenseSynscan plays a scan that tries most ports twice, each time from another source port, to sensors of several
// workers. The port counts once (ndpi__synscan of the corpus: nmap -sS of 1000 ports; nDPI, tests/pcap/synscan.pcap).
func TestSenseSynscan(t *testing.T) {
	need(t, "ip", "tcpreplay")
	dir := os.Getenv("WEIR_CORPUS")
	if dir == "" {
		leaveOut(t, "WEIR_CORPUS is not set")
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*", "ndpi__synscan.pcap"))
	if len(files) == 0 {
		leaveOut(t, "no ndpi__synscan.pcap in WEIR_CORPUS")
	}
	want := replayed(t, files[0])
	for _, workers := range []string{"2", "4"} {
		t.Run(workers, func(t *testing.T) {
			t.Setenv("GOMAXPROCS", workers)
			c := newCable(t, "fosyn"+workers)
			w := sense(t, c.far, "-i", "eth0")
			if !strings.Contains(w.err.String(), "workers="+workers) {
				t.Fatalf("not %s workers:\n%s", workers, w.err.String())
			}
			runIn(t, c.near, "tcpreplay", "-q", "-i", "eth0", "--pps", "2000", files[0])
			time.Sleep(silent)
			live := newTale(t, w.stop(t), w.err.String())
			t.Log(live)
			const ports = "scan vertical by 172.16.0.8 (unproven) on 64.13.134.52: distinct_ports"
			if want.count[ports] != 1000 || live.count[ports] != 1000 || !slices.Equal(live.all, want.all) {
				t.Errorf("live     %v\n%v\nreplayed %v\n%v", live, live.count, want, want.count)
			}
		})
	}
}
