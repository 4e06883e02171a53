package doctor

import (
	"fmt"
	"strings"
	"testing"
)

// The cards below are those of real machines, as ethtool -i, -l, -g, -a, -k and -x show them with the driver's defaults.

// ixgbe is an Intel X520 (82599) of 16 CPUs.
func ixgbe() Interface {
	return Interface{
		Name: "eth1", Kind: "device", MAC: [6]byte{0xa0, 0x36, 0x9f, 1, 2, 3}, HasMAC: true, Index: 3, MTU: 1500, Up: true, Carrier: true, IPv6Off: true,
		Driver: "ixgbe", Speed: 10000, RXQueues: 63, Channels: &Channels{Combined: 16, MaxCombined: 63}, Ring: &Ring{RX: 512, MaxRX: 4096},
		Pause: &Pause{RX: true, TX: true},
		Features: map[string]Feature{
			"rx-gro": {On: true}, "rx-lro": {}, "rx-gro-hw": {Fixed: true}, "rx-vlan-filter": {On: true}, "rx-vlan-hw-parse": {On: true},
			"rx-gro-list": {}, "rx-udp-gro-forwarding": {},
		},
		RSS: &RSS{Function: "toeplitz", Key: []byte{
			0x91, 0xbd, 0x9c, 0x2c, 0xd3, 0xf0, 0x8e, 0x01, 0x2c, 0x2e, 0x6e, 0x46, 0x9f, 0x59, 0x2a, 0x35, 0xd4, 0x3c, 0x42, 0x1b,
			0xaf, 0x53, 0x24, 0xea, 0x38, 0x75, 0x84, 0x46, 0x21, 0x8e, 0x18, 0x9e, 0xfb, 0xb8, 0x6e, 0x90, 0x07, 0x22, 0x3b, 0x77,
		}, Table: round(128, 16)},
		Hashed: hashFields{"tcp4": hashBalance, "udp4": hashSource | hashDest, "tcp6": hashBalance, "udp6": hashSource | hashDest},
		IRQs:   interrupts("eth1-TxRx-%d", 16, 16), Losses: map[string]uint64{},
	}
}

// i40e is an Intel XL710 of 64 CPUs.
func i40e() Interface {
	i := ixgbe()
	i.Driver, i.Speed, i.RXQueues = "i40e", 40000, 64
	i.Channels, i.Pause = &Channels{Combined: 64, MaxCombined: 64}, &Pause{}
	i.Features = map[string]Feature{"rx-gro": {On: true}, "rx-lro": {Fixed: true}, "rx-gro-hw": {Fixed: true}, "rx-vlan-filter": {On: true}}
	i.RSS = &RSS{Function: "toeplitz", Key: []byte(strings.Repeat("\x52\x8a\x01\x7c", 13)), Table: round(512, 64)}
	i.IRQs = interrupts("i40e-eth1-TxRx-%d", 64, 64)
	return i
}

// mlx5 is a ConnectX-5 of 32 CPUs.
func mlx5() Interface {
	i := ixgbe()
	i.Driver, i.Speed, i.RXQueues = "mlx5_core", 100000, 63
	i.Channels, i.Ring = &Channels{Combined: 32, MaxCombined: 63}, &Ring{RX: 1024, MaxRX: 8192}
	i.Features = map[string]Feature{"rx-gro": {On: true}, "rx-lro": {}, "rx-gro-hw": {}, "rx-vlan-filter": {On: true}}
	i.RSS.Table = round(128, 32)
	i.IRQs = interrupts("mlx5_comp%d@pci:0000:3b:00.0", 32, 32)
	return i
}

// ena is the card of an EC2 instance of 8 CPUs.
func ena() Interface {
	i := ixgbe()
	i.Driver, i.Speed, i.RXQueues, i.MTU = "ena", 0, 8, 9001
	i.Channels, i.Ring, i.Pause = &Channels{Combined: 8, MaxCombined: 8}, &Ring{RX: 1024, MaxRX: 8192}, nil
	i.Features = map[string]Feature{"rx-gro": {On: true}, "rx-lro": {Fixed: true}, "rx-vlan-filter": {Fixed: true}}
	i.RSS.Table = round(128, 8)
	i.IRQs = interrupts("eth1-Tx-Rx-%d", 8, 8)
	i.IPv4, i.IPv6Off = 1, false
	return i
}

// virtio is the card of a small guest.
func virtio() Interface {
	return Interface{
		Name: "eth1", Kind: "device", HasMAC: true, MAC: [6]byte{0x52, 0x54, 0, 1, 2, 3}, Index: 2, MTU: 1500, Up: true, Carrier: true, IPv4: 1,
		Driver: "virtio_net", Speed: -1, RXQueues: 1, Channels: &Channels{Combined: 1, MaxCombined: 1}, Ring: &Ring{RX: 256, MaxRX: 256},
		Features: map[string]Feature{"rx-gro": {On: true}, "rx-lro": {Fixed: true}, "rx-gro-hw": {On: true, Fixed: true}, "rx-vlan-filter": {Fixed: true}},
		Hashed:   hashFields{"tcp4": 0, "udp4": 0}, IRQs: interrupts("virtio2-input.%d", 1, 1),
	}
}

// veth is one end of a pair.
func veth() Interface {
	return Interface{
		Name: "eth1", Kind: "veth", HasMAC: true, MAC: [6]byte{0x4e, 0, 0, 1, 2, 3}, Index: 7, MTU: 1500, Up: true, Carrier: true, IPv4: 1,
		Driver: "veth", Speed: 10000, RXQueues: 1, Channels: &Channels{Combined: 0, RX: 1, MaxRX: 1},
		Features: map[string]Feature{"rx-gro": {}, "rx-lro": {Fixed: true}, "rx-gro-hw": {Fixed: true}, "rx-vlan-filter": {Fixed: true}},
	}
}

// round is an indirection table that deals queues out in turn, as drivers set it up.
func round(size, queues int) (t []uint32) {
	for i := range size {
		t = append(t, uint32(i%queues))
	}
	return t
}

// interrupts are n interrupts on as many CPUs, one each.
func interrupts(name string, n, cpus int) (all []IRQ) {
	for i := range n {
		counts := make([]uint64, cpus)
		counts[i%cpus] = 100000
		all = append(all, IRQ{Number: 60 + i, Name: fmt.Sprintf(name, i), CPUs: []int{i % cpus}, Counts: counts})
	}
	return all
}

// machine is a server with nothing to mend.
func machine(cpus int) Host {
	return Host{
		Kernel: "6.12.0-1-amd64", CPUs: cpus, Governors: []string{"performance"}, Scaling: "acpi-cpufreq", ClockSource: "tsc", ClockError: 1200,
		MemAvailable: 64 << 30, HugePages: "madvise", BacklogMax: 1000, Budget: 300, Softnet: []Softnet{{Processed: 1e9}}, JIT: 1, BTF: true, BPFFS: true,
		Landlock: 6, Root: true, Caps: map[string]bool{"cap_net_raw": true, "cap_net_admin": true, "cap_bpf": true, "cap_perfmon": true},
	}
}

// fine is a sample of a good mirror port.
func fine() *Sample {
	return &Sample{
		Seconds: 10, Workers: 4, Packets: 100000, Bytes: 60e6, Connections: 900, OneWay: 8, Told: 80000, Doubled: 3, Unicast: 98000, Own: 40,
		IP: 99000, ARP: 800, Other: 200, Largest: 1500,
	}
}

func facts(i Interface) *Facts {
	return &Facts{
		Settings: Settings{MemoryMiB: 512, RingMiB: 64, Fanout: "hash", Workers: 4}, Host: machine(16), Interfaces: []Interface{i}, Sample: fine(),
	}
}

// verdicts is the table: what is changed in otherwise good facts, and what the check says then.
var verdicts = []struct {
	check string
	card  func() Interface
	with  func(f *Facts, i *Interface, s *Sample)
	want  Status
	what  string // part of the sentence
	do    string // part of a command; "-": none
}{
	{"link", ixgbe, nil, OK, "eth1 is up at 10 Gbit/s", "-"},
	{"link", veth, func(_ *Facts, i *Interface, _ *Sample) { i.Up = false }, Fail, "is down", "sudo ip link set eth1 up"},
	{"link", mlx5, func(_ *Facts, i *Interface, _ *Sample) { i.Carrier = false }, Fail, "no carrier", "cable"},
	{"link", ixgbe, func(_ *Facts, i *Interface, _ *Sample) { i.Missing = "no interface eth1; there are lo" }, Fail, "no interface eth1", "ip -br link"},
	{"link", ixgbe, func(_ *Facts, i *Interface, _ *Sample) { i.Half, i.Speed = true, 100 }, Warn, "half duplex, 100 Mbit/s", "autoneg"},

	{"driver", ixgbe, nil, OK, "driver ixgbe", "-"},
	{"driver", veth, nil, OK, "driver veth", "-"},
	{"driver", ena, nil, Note, "virtual card of the hypervisor (ena)", "VPC traffic mirroring"},
	{"driver", virtio, nil, Note, "virtio_net", "promiscuous"},

	{"master", ixgbe, nil, OK, "stands alone", "-"},
	{"master", ixgbe, func(_ *Facts, i *Interface, _ *Sample) { i.Master, i.MasterIs = "bond0", "bond" }, Warn, "leg of the bond bond0", "weir sense -i bond0"},
	{"master", veth, func(_ *Facts, i *Interface, _ *Sample) { i.Master, i.MasterIs = "br0", "bridge" }, Note, "port of the bridge br0", "-"},
	{"master", ixgbe, func(_ *Facts, i *Interface, _ *Sample) { i.Kind, i.MasterOf = "bond", []string{"eth2", "eth3"} }, Note, "eth2, eth3", "-i eth2 -i eth3"},

	{"merging", veth, nil, OK, "GRO, LRO are off", "-"},
	{"merging", ixgbe, nil, Warn, "gro is on", "sudo ethtool -K eth1 gro off"},
	{"merging", mlx5, func(_ *Facts, i *Interface, _ *Sample) { i.Features["rx-lro"] = Feature{On: true} }, Fail, "lro", "sudo ethtool -K eth1 lro off gro off"},
	{"merging", virtio, nil, Warn, "gro is on", "sudo ethtool -K eth1 gro off"},
	{"merging", virtio, func(_ *Facts, i *Interface, _ *Sample) { i.Features["rx-gro"] = Feature{} }, Note, "rx-gro-hw is on", "-"},
	{"merging", veth, func(_ *Facts, i *Interface, _ *Sample) { i.Features = nil }, Note, "cannot be read", "-"},

	{"vlan", ena, nil, OK, "no VLAN is filtered out", "-"},
	{"vlan", ixgbe, nil, Note, "filters VLANs", "sudo ethtool -K eth1 rx-vlan-filter off"},

	{"queues", ixgbe, nil, OK, "16 receive queues for 16 CPUs", "-"},
	{"queues", mlx5, func(_ *Facts, i *Interface, _ *Sample) { i.Channels.Combined = 4 }, Warn, "4 of 63", "sudo ethtool -L eth1 combined 16"},
	{"queues", virtio, nil, Note, "single receive queue for 16 CPUs", "echo ffff | sudo tee /sys/class/net/eth1/queues/rx-0/rps_cpus"},
	{"queues", virtio, func(_ *Facts, i *Interface, _ *Sample) { i.RPS = true }, OK, "1 receive queue for 16 CPUs", "-"},
	{"queues", veth, func(_ *Facts, i *Interface, _ *Sample) { i.Channels = &Channels{RX: 1, MaxRX: 8} }, OK, "1 receive queue of a veth interface", "-"},
	{"queues", i40e, func(_ *Facts, i *Interface, _ *Sample) { i.Channels = &Channels{RX: 2, MaxRX: 8} }, Warn, "2 of 8", "sudo ethtool -L eth1 rx 8"},

	{"rss", virtio, nil, OK, "one receive queue", "-"},
	{"rss", ixgbe, nil, Note, "not symmetric", "sudo ethtool -X eth1 hkey 6d:5a:6d:5a"},
	{"rss", ixgbe, func(f *Facts, _ *Interface, _ *Sample) { f.Settings.Fanout = "cpu" }, Fail, "fanout cpu needs it", "capture.fanout: pair"},
	{"rss", ixgbe, func(_ *Facts, i *Interface, _ *Sample) { i.RSS.Key = []byte(strings.Repeat("\x6d\x5a", 20)) }, OK, "symmetric over 16", "-"},
	{"rss", i40e, nil, Note, "not symmetric", "xfrm symmetric-xor"}, // its default key repeats, but not every 16 bits
	{"rss", i40e, func(_ *Facts, i *Interface, _ *Sample) { i.RSS.Symmetric = true }, OK, "symmetric", "-"},
	{"rss", mlx5, func(_ *Facts, i *Interface, _ *Sample) { i.RSS.Function = "xor" }, OK, "symmetric", "-"},
	{"rss", ixgbe, func(_ *Facts, i *Interface, _ *Sample) { i.RSS.Key = make([]byte, 40) }, Note, "not symmetric", "hkey"},
	{"rss", ixgbe, func(_ *Facts, i *Interface, _ *Sample) {
		i.RSS.Key, i.Hashed = []byte(strings.Repeat("\x6d\x5a", 20)), hashFields{"tcp4": hashSource}
	}, Note, "not symmetric", "hkey"},
	{"rss", ixgbe, func(_ *Facts, i *Interface, _ *Sample) { i.RSS.Table = round(128, 4) }, Warn, "12 of 16 queues without traffic", "sudo ethtool -X eth1 equal 16"},
	{"rss", ena, func(_ *Facts, i *Interface, _ *Sample) { i.RSS.Key = nil }, OK, "does not tell how it spreads", "-"},
	{"rss", ena, func(_ *Facts, i *Interface, _ *Sample) { i.RSS = nil }, OK, "does not need it", "-"},
	{"rss", ena, func(f *Facts, i *Interface, _ *Sample) { i.RSS, f.Settings.Fanout = nil, "qm" }, Warn, "does not tell", "fanout: pair"},

	{"ring", virtio, nil, OK, "at its largest, 256", "-"},
	{"ring", veth, nil, OK, "no receive ring", "-"},
	{"ring", ixgbe, nil, Warn, "512 of 4096", "sudo ethtool -G eth1 rx 4096"},
	{"ring", mlx5, nil, Warn, "1024 of 8192", "sudo ethtool -G eth1 rx 8192"},

	{"irq", ixgbe, nil, OK, "16 receive interrupts of eth1 over 16 CPUs", "-"},
	{"irq", virtio, nil, OK, "nothing to spread", "-"},
	{"irq", ena, func(_ *Facts, i *Interface, _ *Sample) {
		for k := range i.IRQs {
			i.IRQs[k].CPUs = []int{0}
		}
	}, Warn, "all 8 receive interrupts of eth1 go to CPU 0", "echo 1 | sudo tee /proc/irq/61/smp_affinity_list"},
	{"irq", mlx5, func(_ *Facts, i *Interface, _ *Sample) {
		for k := range i.IRQs {
			i.IRQs[k].Counts = []uint64{0, 0, 5000}
		}
	}, Warn, "CPU 2 took 100 % of the 160000", "/proc/irq/60/"},

	{"pause", ena, nil, OK, "no flow control", "-"},
	{"pause", i40e, nil, OK, "is off", "-"},
	{"pause", ixgbe, nil, Warn, "asks the switch to pause", "sudo ethtool -A eth1 autoneg off rx off tx off"},

	{"mtu", ixgbe, nil, OK, "1500", "-"},
	{"mtu", ixgbe, func(_ *Facts, i *Interface, _ *Sample) { i.Stats.Length = 77 }, Warn, "77 frames", "sudo ip link set eth1 mtu 9216"},

	{"errors", ixgbe, nil, OK, "no damaged frame", "-"},
	{"errors", ixgbe, func(_ *Facts, i *Interface, _ *Sample) { i.Stats.CRC, i.Sampled = 9, true }, Note, "9 damaged frames", "cable"},
	{"errors", ixgbe, func(_ *Facts, i *Interface, _ *Sample) { i.Stats.CRC, i.During.CRC, i.Sampled = 9, 4, true }, Warn, "4 of them during", "cable"},

	{"drops", ixgbe, nil, OK, "dropped nothing", "-"},
	{"drops", mlx5, func(_ *Facts, i *Interface, _ *Sample) { i.Losses = map[string]uint64{"rx_out_of_buffer": 12} }, Note, "rx_out_of_buffer 12", "ethtool -S eth1"},
	{"drops", ixgbe, func(_ *Facts, i *Interface, _ *Sample) { i.During = Stats{Packets: 9990, Missed: 10} }, Warn, "10 of 10000", "ip -s -s link show eth1"},
	{"drops", ixgbe, func(_ *Facts, i *Interface, _ *Sample) { i.During = Stats{Packets: 900, Missed: 100} }, Fail, "100 of 1000", "ethtool -S eth1"},

	{"xdp", ixgbe, nil, OK, "no XDP", "-"},
	{"xdp", veth, func(_ *Facts, i *Interface, _ *Sample) { i.XDP = &XDP{ID: 42, Mode: "driver"} }, Note, "program 42", "sudo bpftool prog show id 42"},

	{"own_traffic", ena, nil, OK, "1 IPv4", "-"},
	{"own_traffic", ixgbe, func(_ *Facts, i *Interface, _ *Sample) { i.IPv6Off, i.Name = false, "eth1.7" }, Note, "speaks IPv6 by itself", "net.ipv6.conf.eth1/7.disable_ipv6=1"},

	{"capabilities", ixgbe, nil, OK, "cap_net_raw", "-"},
	{"capabilities", ixgbe, func(f *Facts, _ *Interface, _ *Sample) { f.Host.Caps = map[string]bool{} }, Fail, "lacks cap_net_raw", "sudo weir doctor -i eth1"},
	{"capabilities", ixgbe, func(f *Facts, _ *Interface, _ *Sample) { f.Host.Caps["cap_bpf"] = false }, Note, "lacks cap_bpf", "sudo weir doctor"},

	{"packet_socket", ixgbe, nil, OK, "TPACKET_V3", "-"},
	{"packet_socket", ixgbe, func(f *Facts, _ *Interface, _ *Sample) { f.Host.PacketV3 = "address family not supported" }, Fail, "not supported", "modprobe af_packet"},
	{"packet_socket", ixgbe, func(f *Facts, _ *Interface, _ *Sample) {
		f.Host.Caps, f.Host.PacketV3 = map[string]bool{}, "operation not permitted"
	}, Note, "needs root", "-"},

	{"kernel", ixgbe, nil, OK, "6.12.0", "-"},
	{"kernel", ixgbe, func(f *Facts, _ *Interface, _ *Sample) { f.Host.Kernel = "5.10.0-30-amd64" }, Note, "5.10.0", "upgrade"},
	{"kernel", ixgbe, func(f *Facts, _ *Interface, _ *Sample) { f.Host.Kernel = "4.4.0-210-generic" }, Fail, "4.4.0", "upgrade"},

	{"backlog", ixgbe, nil, OK, "no packet was lost", "-"},
	{"backlog", veth, func(f *Facts, _ *Interface, _ *Sample) { f.Host.Softnet[0].Dropped = 5 }, Warn, "dropped 5 of", "net.core.netdev_max_backlog=16000"},
	{"backlog", ixgbe, func(f *Facts, _ *Interface, _ *Sample) { f.Host.Softnet[0].Squeezed = 1e6 }, Note, "1000000 times", "netdev_budget=600"},

	{"memory", ixgbe, nil, OK, "65536 MiB", "-"},
	{"memory", ixgbe, func(f *Facts, _ *Interface, _ *Sample) { f.Host.MemAvailable = 500 << 20 }, Fail, "500 MiB are available, and the configuration takes up to 512", "memory_mib"},
	{"memory", ixgbe, func(f *Facts, _ *Interface, _ *Sample) { f.Host.MemAvailable = 600 << 20 }, Note, "600 MiB", "-"},

	{"huge_pages", ixgbe, nil, OK, "madvise", "-"},
	{"huge_pages", ixgbe, func(f *Facts, _ *Interface, _ *Sample) { f.Host.HugePages = "never" }, Warn, "off", "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"},

	{"clock", ixgbe, nil, OK, "tsc, error below 2 ms", "-"},
	{"clock", ena, func(f *Facts, _ *Interface, _ *Sample) { f.Host.ClockSource = "acpi_pm" }, Warn, "acpi_pm", "clocksource"},
	{"clock", virtio, func(f *Facts, _ *Interface, _ *Sample) { f.Host.Unsynced = true }, Warn, "not synchronised", "sudo timedatectl set-ntp true"},

	{"cpu", ixgbe, nil, OK, "16 CPUs", "-"},
	{"cpu", ixgbe, func(f *Facts, _ *Interface, _ *Sample) { f.Host.Governors = []string{"powersave"} }, Note, "governor powersave", "cpupower frequency-set -g performance"},
	{"cpu", ixgbe, func(f *Facts, _ *Interface, _ *Sample) {
		f.Host.Governors, f.Host.Scaling = []string{"powersave"}, "intel_pstate"
	}, OK, "16 CPUs", "-"},
	{"cpu", virtio, func(f *Facts, _ *Interface, _ *Sample) { f.Host.CPUs = 1 }, Note, "one CPU", "-"},

	{"jit", ixgbe, nil, OK, "compiles", "-"},
	{"jit", ixgbe, func(f *Facts, _ *Interface, _ *Sample) { f.Host.JIT = 0 }, Warn, "interprets", "sudo sysctl -w net.core.bpf_jit_enable=1"},

	{"gate", ixgbe, nil, OK, "BTF and bpffs", "-"},
	{"gate", ixgbe, func(f *Facts, _ *Interface, _ *Sample) { f.Host.BPFFS, f.Host.BTF = false, false }, Note, "no BTF", "sudo mount -t bpf bpf /sys/fs/bpf"},

	{"landlock", ixgbe, nil, OK, "ABI 6", "-"},
	{"landlock", ixgbe, func(f *Facts, _ *Interface, _ *Sample) { f.Host.Landlock = 0 }, Note, "no Landlock", "lsm=landlock"},

	{"traffic", ixgbe, nil, OK, "100000 packets in 10.0 s: 10000 packets/s, 48 Mbit/s", "-"},
	{"traffic", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { *s = Sample{Seconds: 10} }, Warn, "no packet came over eth1 in 10.0 s", "mirror session"},
	{"traffic", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { s.Why = "no permission" }, Note, "was not looked at: no permission", "-"},

	{"mirror", ixgbe, nil, OK, "a mirror port", "-"},
	{"mirror", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { s.Own = 97900 }, Note, "99.9 % of the unicast frames are to or from this host", "mirror session"},
	{"mirror", ena, func(_ *Facts, _ *Interface, s *Sample) { s.Own, s.Tunnelled[6] = 97900, 97000 }, OK, "97 % of the packets come in tunnels", "-"},
	{"mirror", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { s.Unicast = 49 }, OK, "too little traffic", "-"},

	{"one_way", ixgbe, nil, OK, "0.89 % of 900", "-"},
	{"one_way", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { s.OneWay = 810 }, Fail, "90 % of 900", "monitor session 1"},
	{"one_way", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { s.OneWay = 300 }, Warn, "33 % of 900", "routes"},
	{"one_way", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { s.Connections, s.OneWay = 19, 19 }, Note, "too little traffic to tell", "--seconds 60"},

	{"doubled", ixgbe, nil, OK, "under 0.01 % of 80000", "-"},
	{"doubled", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { s.Doubled, s.Distances[14] = 40000, 40000 }, Fail, "50 % of 80000 IPv4 packets came a second time, mostly within 16µs", "rx` (Cisco)"},
	{"doubled", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { s.Doubled, s.Routed, s.Distances[20] = 1600, 1500, 1600 }, Warn, "94 % of them before and after a router", "one side of the router"},
	{"doubled", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { s.Doubled, s.Across, s.Distances[20] = 40000, 40000, 40000 }, Fail, "100 % of them over the other interface", "leave one"},
	{"doubled", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { s.Told, s.Doubled = 199, 100 }, Note, "too little traffic to tell", "-"},

	{"super_packets", ixgbe, nil, OK, "no packet is longer", "-"},
	{"super_packets", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { s.Super, s.Largest = 5000, 65226 }, Note, "5 % of the packets are longer than the MTU, up to 65226 bytes", "tso off"},

	{"snaplen", ixgbe, nil, OK, "cut 0 %", "-"},
	{"snaplen", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { s.CutHeaders = 4 }, Warn, "headers of 4 of 100000", "capture.snaplen"},

	{"encapsulation", ixgbe, nil, OK, "no VLAN tags", "-"},
	{"encapsulation", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { s.Tagged, s.VLANs, s.Tunnelled[0] = 100000, 12, 500 }, OK, "100 % tagged, 12 VLANs, 0.50 % in GRE", "-"},
	{"encapsulation", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { s.Tagged, s.VLANs = 50000, 1 }, Note, "50 % tagged, 1 VLAN", "-"},

	{"unread", ixgbe, nil, OK, "IP 99 %", "-"},
	{"unread", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { s.Unreadable[7] = 2000 }, Warn, "2 % of the packets cannot be read to their transport header (short 2000)", "tcpdump"},

	{"kernel_drops", ixgbe, nil, OK, "dropped no packet", "-"},
	{"kernel_drops", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { s.Kernel, s.Freezes = 500, 2 }, Warn, "500 packets (0.50 %)", "capture.ring_mib: 256"},
	{"kernel_drops", ixgbe, func(_ *Facts, _ *Interface, s *Sample) { s.Kernel = 100000 }, Fail, "50 %", "capture.ring_mib: 256"},

	{"load", ixgbe, nil, OK, "had room", "-"},
	{"load", ixgbe, func(_ *Facts, i *Interface, _ *Sample) { i.Sampled, i.During.Bytes = true, 10e9 }, Warn, "80 % of its 10 Gbit/s", "mirror less"},
}

func TestChecks(t *testing.T) {
	good, bad := map[string]bool{}, map[string]bool{}
	for _, v := range verdicts {
		f := facts(v.card())
		if v.with != nil {
			v.with(f, &f.Interfaces[0], f.Sample)
		}
		found := 0
		for _, r := range Examine(f) {
			if r.Check != v.check {
				continue
			}
			found++
			do := strings.Join(r.Do, "\n")
			if r.Status != v.want || !strings.Contains(r.What, v.what) || v.do == "-" && do != "" || v.do != "-" && !strings.Contains(do, v.do) {
				t.Errorf("%s: %s %q, do %q; want %s %q, do %q", v.check, r.Status, r.What, r.Do, v.want, v.what, v.do)
			}
			if r.Status >= Warn && r.Why == "" && v.check != "link" {
				t.Errorf("%s: %q without a reason", v.check, r.What)
			}
			if r.Status >= Warn && len(r.Do) == 0 {
				t.Errorf("%s: %q without a way to mend it", v.check, r.What)
			}
		}
		if found != 1 {
			t.Errorf("%s: %d results", v.check, found)
		}
		good[v.check] = good[v.check] || v.want == OK
		bad[v.check] = bad[v.check] || v.want != OK
	}
	for _, name := range checkNames() {
		if !good[name] || !bad[name] {
			t.Errorf("the check %s wants a case that is ok (%v) and one that is not (%v)", name, good[name], bad[name])
		}
	}
}

func checkNames() (all []string) {
	for _, c := range interfaceChecks {
		all = append(all, c.name)
	}
	for _, c := range hostChecks {
		all = append(all, c.name)
	}
	for _, c := range trafficChecks {
		all = append(all, c.name)
	}
	return all
}

// TestUnknown holds that facts of which nothing could be read break no check.
func TestUnknown(t *testing.T) {
	f := &Facts{Interfaces: []Interface{{Name: "x"}}, Sample: &Sample{Packets: 1}}
	seen := map[string]bool{}
	for _, r := range Examine(f) {
		seen[r.Check] = true
		if r.What == "" || strings.Contains(r.What, "%!") {
			t.Errorf("%s: %q", r.Check, r.What)
		}
	}
	for _, name := range checkNames() {
		if !seen[name] {
			t.Errorf("%s said nothing", name)
		}
	}
}

func TestOrder(t *testing.T) {
	f := facts(ixgbe())
	f.Sample.OneWay = f.Sample.Connections
	all := Examine(f)
	for i := 1; i < len(all); i++ {
		if all[i].Status > all[i-1].Status {
			t.Errorf("%s (%s) after %s (%s)", all[i].Check, all[i].Status, all[i-1].Check, all[i-1].Status)
		}
	}
	if all[0].Check != "one_way" || Verdict(all) != Fail {
		t.Errorf("first %s, verdict %s", all[0].Check, Verdict(all))
	}
}
