package doctor

import (
	"fmt"
	"slices"
	"strings"
)

func link(_ *Facts, i *Interface) Result {
	switch {
	case i.Missing != "":
		return fail("%s", i.Missing).do("ip -br link")
	case !i.Up:
		return fail("%s is down", i.Name).do("sudo ip link set " + i.Name + " up").because("nothing arrives on an interface that is down")
	case !i.Carrier:
		return fail("%s is up but has no carrier", i.Name).do("# check the cable, the optics and the switch port").
			because("nothing arrives without a link")
	case i.Half:
		return warn("%s runs at half duplex, %d Mbit/s", i.Name, i.Speed).do("# set both ends to negotiate: sudo ethtool -s " + i.Name + " autoneg on").
			because("a half-duplex port loses frames to collisions")
	case i.Loopback:
		return ok("%s is the loopback interface, MTU %d", i.Name, i.MTU)
	case i.Speed > 0:
		return ok("%s is up at %s, MTU %d", i.Name, rate(float64(i.Speed)*1e6), i.MTU)
	}
	return ok("%s is up, MTU %d", i.Name, i.MTU)
}

// rate is bits a second in the unit that fits.
func rate(bits float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e9, "Gbit/s"}, {1e6, "Mbit/s"}, {1e3, "kbit/s"}} {
		if bits >= u.size {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", bits/u.size), ".0") + " " + u.name
		}
	}
	return fmt.Sprintf("%.0f bit/s", bits)
}

// guests are drivers of cards that a hypervisor makes.
var guests = []string{"virtio_net", "vmxnet3", "ena", "gve", "hv_netvsc", "xen_netfront", "netfront", "mana", "iavf", "ixgbevf", "igbvf"}

func driver(_ *Facts, i *Interface) Result {
	switch {
	case i.Driver == "" && i.Loopback, i.Driver == "":
		return ok("no driver is told: a %s interface", orDash(i.Kind))
	case slices.Contains(guests, i.Driver):
		return note("%s is a virtual card of the hypervisor (%s)", i.Name, i.Driver).
			do("# mirror to it in the hypervisor or cloud: promiscuous port group, `virsh` port mirroring, VPC traffic mirroring").
			because("the hypervisor decides what reaches it: promiscuous mode here shows only what is let through there")
	}
	return ok("driver %s", i.Driver)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func master(_ *Facts, i *Interface) Result {
	switch {
	case i.Master != "" && (i.MasterIs == "bond" || i.MasterIs == "team"):
		return warn("%s is a leg of the %s %s", i.Name, i.MasterIs, i.Master).do("weir sense -i " + i.Master).
			because("the bond spreads connections over its legs: on one leg weir sees a part of them, and may see one direction only")
	case i.Master != "":
		return note("%s is a port of the %s %s", i.Name, orDash(i.MasterIs), i.Master).
			because("weir sees what passes this port; what other ports of the bridge exchange does not")
	case (i.Kind == "bond" || i.Kind == "team") && len(i.MasterOf) > 0:
		return note("%s joins %s: rings, offloads and queues are those of its legs", i.Name, strings.Join(i.MasterOf, ", ")).
			do("weir doctor --seconds 0 -i " + strings.Join(i.MasterOf, " -i "))
	}
	return ok("%s stands alone: no bond, team or bridge around it", i.Name)
}

// Offloads that join frames of a connection before the packet socket sees them, by their names in the kernel
// (net/ethtool/common.c), and what ethtool -K calls them.
const (
	featureLRO   = "rx-lro"
	featureGRO   = "rx-gro"
	featureGROHW = "rx-gro-hw"
	featureList  = "rx-gro-list"
	featureUDP   = "rx-udp-gro-forwarding"
)

func merging(_ *Facts, i *Interface) Result {
	if i.Features == nil {
		return note("the offloads of %s cannot be read", i.Name)
	}
	var on, off, fixed []string
	for _, f := range []struct{ name, ethtool string }{
		{featureLRO, "lro"}, {featureGROHW, "rx-gro-hw"}, {featureGRO, "gro"}, {featureList, "rx-gro-list"}, {featureUDP, "rx-udp-gro-forwarding"},
	} {
		switch have := i.Features[f.name]; {
		case have.On && have.Fixed:
			fixed = append(fixed, f.ethtool)
		case have.On:
			on = append(on, f.ethtool)
			off = append(off, f.ethtool+" off")
		}
	}
	command := "sudo ethtool -K " + i.Name + " " + strings.Join(off, " ")
	switch {
	case i.Features[featureLRO].On:
		r := fail("%s are on: received packets are joined, by LRO irreversibly", strings.Join(append(on, fixed...), ", ")).
			because("LRO rewrites headers: sequence numbers, acknowledgements, sizes, times and options of the joined packets are gone")
		if len(off) > 0 {
			r = r.do(command)
		}
		return r
	case len(on) > 0:
		return warn("%s on: received packets of a connection are joined into super-packets of up to 64 KiB", isAre(on)).do(command).
			because("the number, sizes and times of the joined packets are lost, so packet rates and size fingerprints come out low")
	case len(fixed) > 0:
		return note("%s on, and the driver does not let it be turned off", isAre(fixed))
	}
	return ok("nothing joins received packets (GRO, LRO are off)")
}

func isAre(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return strings.Join(names, ", ") + " are"
}

func vlanOffload(_ *Facts, i *Interface) Result {
	if f := i.Features["rx-vlan-filter"]; f.On && !f.Fixed {
		return note("%s filters VLANs in the card", i.Name).do("sudo ethtool -K " + i.Name + " rx-vlan-filter off").
			because("some drivers keep filtering in promiscuous mode: frames of VLANs that this host has not joined are then missing")
	}
	return ok("no VLAN is filtered out; tags that the card or the kernel takes off are put back")
}

func queues(f *Facts, i *Interface) Result {
	n, most := i.receiveQueues()
	want := min(most, f.Host.CPUs)
	switch {
	case n == 0:
		return ok("%s tells no queues", i.Name)
	case i.Kind != "device": // a virtual interface's packets come through a backlog, on the CPU of whoever sent them
		return ok("%d receive %s of a %s interface", n, plural(n, "queue"), orDash(i.Kind))
	case n < want:
		which := "combined"
		if i.Channels.MaxCombined == 0 {
			which = "rx"
		}
		return warn("%s has %d of %d possible receive queues in use, for %d CPUs", i.Name, n, most, f.Host.CPUs).
			do(fmt.Sprintf("sudo ethtool -L %s %s %d", i.Name, which, want)).
			because("each queue is emptied by one CPU: with too few, the card drops while other CPUs idle")
	case n == 1 && f.Host.CPUs > 1 && !i.RPS && !i.Loopback:
		return note("%s has a single receive queue for %d CPUs", i.Name, f.Host.CPUs).
			do(fmt.Sprintf("echo %s | sudo tee /sys/class/net/%s/queues/rx-0/rps_cpus", cpuMask(f.Host.CPUs), i.Name)).
			because("one CPU takes every packet off the card; RPS shares the work behind it")
	}
	return ok("%d receive %s for %d CPUs", n, plural(n, "queue"), f.Host.CPUs)
}

// receiveQueues are those in use and the most that can be.
func (i *Interface) receiveQueues() (n, most int) {
	if c := i.Channels; c != nil && c.RX+c.Combined > 0 {
		return c.RX + c.Combined, max(c.MaxRX, c.MaxCombined)
	}
	return i.RXQueues, i.RXQueues
}

// cpuMask is the kernel's bitmap of the first n CPUs: hex, in words of 32 bits.
func cpuMask(n int) string {
	var words []string
	for ; n > 0; n -= 32 {
		words = append(words, fmt.Sprintf("%x", uint64(1)<<min(n, 32)-1))
	}
	slices.Reverse(words)
	return strings.Join(words, ",")
}

func plural(n int, name string) string {
	if n == 1 {
		return name
	}
	return name + "s"
}

// rss looks at how the card spreads packets. PACKET_FANOUT_HASH brings the directions of a connection together again, but
// two queues are emptied by two CPUs, and what they hand over can change places.
func rss(f *Facts, i *Interface) Result {
	n, _ := i.receiveQueues()
	switch {
	case n <= 1:
		return ok("one receive queue: both directions of a connection stay in order")
	case i.RSS == nil || len(i.RSS.Key) == 0 && !i.RSS.symmetric():
		if f.needsRSS() {
			return warn("%s does not tell how it spreads packets over its %d queues", i.Name, n).do("# in the configuration: capture.fanout: pair").
				because("fanout " + f.Settings.Fanout + " needs a card that puts both directions of a connection on one queue")
		}
		return ok("%s does not tell how it spreads packets; fanout %s does not need it", i.Name, f.Settings.Fanout)
	}
	if idle := i.RSS.idle(n); idle > 0 {
		return warn("the receive hash of %s leaves %d of %d queues without traffic", i.Name, idle, n).
			do(fmt.Sprintf("sudo ethtool -X %s equal %d", i.Name, n)).because("the CPUs of the other queues do all the work")
	}
	if i.RSS.symmetric() && i.Hashed.symmetric() {
		return ok("the receive hash of %s is symmetric over %d queues", i.Name, n)
	}
	r := note("the receive hash of %s is not symmetric: the directions of a connection come over different queues", i.Name).
		because("CPUs that empty two queues can hand over an answer before its question: some times come out wrong by microseconds")
	if f.needsRSS() {
		r = fail("the receive hash of %s is not symmetric, and fanout %s needs it", i.Name, f.Settings.Fanout).
			because("the directions of a connection go to different workers: each looks like traffic without answers")
	}
	if key := symmetricKey(len(i.RSS.Key)); key != "" {
		r = r.do("sudo ethtool -X "+i.Name+" hkey "+key, "# or, with Linux 6.8 or later and a driver that can: sudo ethtool -X "+i.Name+" xfrm symmetric-xor")
	}
	if f.needsRSS() {
		r = r.do("# or in the configuration: capture.fanout: pair")
	}
	return r
}

// needsRSS tells whether the fanout keeps the card's spreading.
func (f *Facts) needsRSS() bool {
	return (f.Settings.Fanout == "cpu" || f.Settings.Fanout == "qm") && f.Settings.Workers > 1
}

// symmetric tells whether swapping the ends of a packet leaves its hash alone. A Toeplitz hash XORs windows of the key, one
// for each bit of the input; swapping addresses and ports moves bits by multiples of 16, so a key of period 16 bits hashes
// both directions alike (Woo and Park, "Scalable TCP Session Monitoring with Symmetric Receive-side Scaling", 2012).
func (r *RSS) symmetric() bool {
	if r.Symmetric || r.Function == "xor" {
		return true
	}
	some := byte(0)
	for i, b := range r.Key {
		if i >= 2 && b != r.Key[i-2] {
			return false
		}
		some |= b
	}
	return some != 0
}

// idle is how many of the first n queues the indirection table does not name; 0 if there is no table.
func (r *RSS) idle(n int) int {
	if len(r.Table) == 0 {
		return 0
	}
	used := map[uint32]bool{}
	for _, q := range r.Table {
		used[q] = true
	}
	return max(n-len(used), 0)
}

// Fields of the receive hash, the RXH_ bits of linux/ethtool.h.
const (
	hashSource  = 1 << 4
	hashDest    = 1 << 5
	hashPort0   = 1 << 6 // bytes 0 and 1 of the transport header
	hashPort2   = 1 << 7
	hashBalance = hashSource | hashDest | hashPort0 | hashPort2
)

// hashFields are the fields hashed, by flow type.
type hashFields map[string]uint64

// symmetric tells whether no flow type hashes one end of a packet without the other.
func (h hashFields) symmetric() bool {
	for _, bits := range h {
		if has := func(b uint64) bool { return bits&b != 0 }; has(hashSource) != has(hashDest) || has(hashPort0) != has(hashPort2) {
			return false
		}
	}
	return true
}

// symmetricKey is a key of n bytes of the period 0x6d5a, which spreads best (Woo and Park).
func symmetricKey(n int) string {
	if n < 2 {
		return ""
	}
	return strings.TrimSuffix(strings.Repeat("6d:5a:", (n+1)/2)[:3*n], ":")
}

func ring(_ *Facts, i *Interface) Result {
	switch r := i.Ring; {
	case r == nil || r.MaxRX == 0:
		return ok("%s has no receive ring to size", i.Name)
	case r.RX < r.MaxRX:
		return warn("the receive ring of %s has %d of %d possible entries", i.Name, r.RX, r.MaxRX).
			do(fmt.Sprintf("sudo ethtool -G %s rx %d", i.Name, r.MaxRX)).
			because("a short ring overflows in bursts, before the kernel sees the packets")
	default:
		return ok("the receive ring of %s is at its largest, %d entries", i.Name, r.RX)
	}
}

// crowded is the share of interrupts on one CPU above which queues are not spread.
const crowded = 0.9

func irq(f *Facts, i *Interface) Result {
	if len(i.IRQs) < 2 || f.Host.CPUs < 2 {
		return ok("%d receive %s, %d %s: nothing to spread", len(i.IRQs), plural(len(i.IRQs), "interrupt"), f.Host.CPUs, plural(f.Host.CPUs, "CPU"))
	}
	allowed := map[int]bool{}
	byCPU := map[int]uint64{}
	var total uint64
	for _, q := range i.IRQs {
		for _, c := range q.CPUs {
			allowed[c] = true
		}
		for c, n := range q.Counts {
			byCPU[c] += n
			total += n
		}
	}
	busiest, most := 0, uint64(0)
	for c, n := range byCPU {
		if n > most || n == most && c < busiest {
			busiest, most = c, n
		}
	}
	spread := func(r Result) Result {
		for k, q := range i.IRQs[:min(len(i.IRQs), 64)] {
			r = r.do(fmt.Sprintf("echo %d | sudo tee /proc/irq/%d/smp_affinity_list", k%f.Host.CPUs, q.Number))
		}
		return r.because("one CPU empties all queues: the card drops while others idle. irqbalance undoes this: stop it, or ban these interrupts there")
	}
	const enough = 10000 // interrupts that tell how they are spread
	switch {
	case len(allowed) == 1:
		return spread(warn("all %d receive interrupts of %s go to CPU %d", len(i.IRQs), i.Name, first(allowed)))
	case total >= enough && float64(most) > crowded*float64(total):
		return spread(warn("CPU %d took %s of the %d receive interrupts of %s", busiest, percent(float64(most)/float64(total)), total, i.Name))
	}
	return ok("%d receive interrupts of %s over %d CPUs", len(i.IRQs), i.Name, max(len(allowed), 1))
}

func first(set map[int]bool) int {
	for k := range set {
		return k
	}
	return 0
}

// percent is a share with as many digits as it needs.
func percent(share float64) string {
	switch {
	case share > 0 && share < 0.0001:
		return "under 0.01 %"
	case share > 0 && share < 0.01:
		return fmt.Sprintf("%.2f %%", 100*share)
	case share > 0.99 && share < 1:
		return fmt.Sprintf("%.1f %%", min(100*share, 99.9))
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}

func pause(_ *Facts, i *Interface) Result {
	switch p := i.Pause; {
	case p == nil:
		return ok("%s has no flow control", i.Name)
	case p.TX:
		return warn("%s asks the switch to pause when it is full", i.Name).do("sudo ethtool -A " + i.Name + " autoneg off rx off tx off").
			because("a paused mirror port drops in the switch, where no counter here shows it, or holds up the mirrored ports")
	case p.RX:
		return ok("%s obeys pause frames but sends none", i.Name)
	}
	return ok("flow control of %s is off", i.Name)
}

func mtu(_ *Facts, i *Interface) Result {
	if i.Stats.Length > 0 {
		return warn("%s threw away %d frames of a bad length, with an MTU of %d", i.Name, i.Stats.Length, i.MTU).
			do("sudo ip link set " + i.Name + " mtu 9216").because("frames above the MTU of a mirror port are lost in the card: jumbo frames, and packets with more tags than usual")
	}
	return ok("no frame was too long for the MTU of %d", i.MTU)
}

func wireErrors(_ *Facts, i *Interface) Result {
	if bad := max(i.Stats.CRC+i.Stats.Frame, i.During.CRC); bad > 0 {
		r := note("%s counted %d damaged frames since boot, none during the sample", i.Name, bad)
		if i.During.CRC+i.During.Frame > 0 || !i.Sampled {
			r = warn("%s counted %d damaged frames, %d of them during the sample", i.Name, bad, i.During.CRC+i.During.Frame)
		}
		return r.do("# check the cable, the optics and the switch port").because("damaged frames are thrown away in the card")
	}
	return ok("no damaged frame was counted on %s", i.Name)
}

func interfaceDrops(_ *Facts, i *Interface) Result {
	count := func(s Stats) uint64 { return s.Dropped + s.Missed + max(s.FIFO, s.Over) }
	more := ""
	if n := len(i.Losses); n > 0 {
		var names []string
		for name, v := range i.Losses {
			names = append(names, fmt.Sprintf("%s %d", name, v))
		}
		slices.Sort(names)
		more = "; the driver says " + strings.Join(names, ", ")
	}
	why := "these packets are lost before any socket: ring, queues and interrupts are what helps (see those checks)"
	look := "ip -s -s link show " + i.Name
	switch during, ever := count(i.During), count(i.Stats); {
	case during > 0:
		s := warn("%s dropped %d of %d packets during the sample%s", i.Name, during, i.During.Packets+during, more)
		if float64(during) > lossy*float64(i.During.Packets+during) {
			s.Status = Fail
		}
		return s.do(look, "ethtool -S "+i.Name).because(why)
	case ever > 0 || more != "":
		return note("%s dropped %d packets since it was made%s", i.Name, ever, more).do(look, "ethtool -S "+i.Name).because(why)
	}
	return ok("%s dropped nothing", i.Name)
}

func xdp(_ *Facts, i *Interface) Result {
	if i.XDP != nil {
		return note("the XDP program %d stands before %s (%s mode)", i.XDP.ID, i.Name, i.XDP.Mode).
			do(fmt.Sprintf("sudo bpftool prog show id %d", i.XDP.ID)).
			because("weir does not see what it drops or redirects; if it is not weir's own gate, weir block cannot attach")
	}
	return ok("no XDP program on %s", i.Name)
}

func ownTraffic(_ *Facts, i *Interface) Result {
	if !i.Loopback && i.IPv4+i.IPv6 == 0 && !i.IPv6Off && i.Master == "" {
		return note("%s has no address but speaks IPv6 by itself", i.Name).
			do("sudo sysctl -w net.ipv6.conf." + strings.ReplaceAll(i.Name, ".", "/") + ".disable_ipv6=1").
			because("its router solicitations and multicast reports go into the mirror port and show up as a host of their own")
	}
	return ok("%s has %d IPv4 and %d IPv6 %s of its own", i.Name, i.IPv4, i.IPv6, plural(i.IPv6, "address"))
}
