package doctor

// Facts are what the checks judge. A pointer that is nil, a map that is nil or a number below zero means that it could not
// be read: the driver does not offer it, or it needs rights that the process has not.
type Facts struct {
	Settings   Settings
	Host       Host
	Interfaces []Interface
	Sample     *Sample // nil: none was asked for
}

// Settings are those of the sensor that is to run here.
type Settings struct {
	MemoryMiB int    // what its tables, rings and heap may take
	RingMiB   int    // of one interface
	Fanout    string // hash, cpu, qm, off
	Workers   int
}

// Host is the machine.
type Host struct {
	Kernel       string   // release, as uname gives it
	CPUs         int      // that this process may run on
	Governors    []string // of the CPUs' frequency, without repeats
	Scaling      string   // driver of the CPUs' frequency
	ClockSource  string
	Unsynced     bool  // no NTP or PTP discipline (adjtimex: STA_UNSYNC)
	ClockError   int64 // µs, the kernel's own bound on its error
	MemAvailable int64 // bytes; -1
	HugePages    string
	BacklogMax   int       // net.core.netdev_max_backlog; -1
	Budget       int       // net.core.netdev_budget; -1
	Softnet      []Softnet // by CPU
	JIT          int       // net.core.bpf_jit_enable; -1: not visible (network namespaces hide it)
	BTF          bool      // /sys/kernel/btf/vmlinux
	BPFFS        bool      // at /sys/fs/bpf
	Landlock     int       // ABI; 0: none
	Root         bool
	Caps         map[string]bool // effective: cap_net_raw, …; nil: unknown
	PacketV3     string          // why a packet socket with TPACKET_V3 cannot be had; "": it can
}

// Softnet is a line of /proc/net/softnet_stat: what a CPU took off the network since boot.
type Softnet struct {
	Processed, Dropped, Squeezed uint64
}

// Interface is one capture interface.
type Interface struct {
	Name     string
	Missing  string // why it could not be looked at: then nothing else is known
	Kind     string // of netlink: device, veth, bond, bridge, …
	MAC      [6]byte
	HasMAC   bool
	Index    int
	MTU      int
	Up       bool // administratively
	Carrier  bool
	Loopback bool
	Promisc  int      // how many asked for promiscuous mode
	Master   string   // the bond, team or bridge it belongs to
	MasterOf []string // interfaces that belong to it
	MasterIs string   // the master's kind
	IPv4     int      // addresses
	IPv6     int      // addresses, link-local ones left out
	IPv6Off  bool
	Stats    Stats // when Gather ran
	During   Stats // grown during the sample
	Sampled  bool

	Driver   string
	Speed    int // Mbit/s; 0 or less: unknown
	Half     bool
	Channels *Channels
	Ring     *Ring
	Pause    *Pause
	Features map[string]Feature
	RSS      *RSS
	Hashed   hashFields // fields of the receive hash by flow type (tcp4, …): RXH_ bits of linux/ethtool.h
	RXQueues int        // in sysfs
	RPS      bool       // any queue spreads its packets in software
	IRQs     []IRQ
	Losses   map[string]uint64 // the driver's own counters that mean loss, those above zero
	XDP      *XDP
}

// Stats are interface counters of the kernel (linux/if_link.h, rtnl_link_stats64).
type Stats struct {
	Packets, Bytes, Dropped, Missed, FIFO, Over, Length, CRC, Frame, Errors uint64
}

// minus is what grew since an earlier reading; a counter that went back counts as zero.
func (s Stats) minus(o Stats) Stats {
	sub := func(a, b uint64) uint64 { return max(a, b) - b }
	return Stats{
		sub(s.Packets, o.Packets), sub(s.Bytes, o.Bytes), sub(s.Dropped, o.Dropped), sub(s.Missed, o.Missed), sub(s.FIFO, o.FIFO),
		sub(s.Over, o.Over), sub(s.Length, o.Length), sub(s.CRC, o.CRC), sub(s.Frame, o.Frame), sub(s.Errors, o.Errors),
	}
}

// Channels are the queue counts of `ethtool -l`.
type Channels struct {
	RX, Combined, MaxRX, MaxCombined int
}

// Ring is the receive ring of `ethtool -g`, in descriptors.
type Ring struct {
	RX, MaxRX int
}

// Pause is flow control as `ethtool -a` shows it.
type Pause struct {
	RX, TX bool
}

// Feature is an offload of `ethtool -k`.
type Feature struct {
	On, Fixed bool
}

// RSS is how the card spreads packets over its queues (`ethtool -x`).
type RSS struct {
	Key       []byte
	Table     []uint32 // queue by hash
	Function  string   // toeplitz, xor, crc32; "": not told
	Symmetric bool     // input_xfrm: both directions hash alike, whatever the key
}

// IRQ is one interrupt that the interface's receive queues raise.
type IRQ struct {
	Number int
	Name   string
	CPUs   []int    // where it may go
	Counts []uint64 // by CPU, since boot
}

// XDP is a program in front of the packet socket.
type XDP struct {
	ID   uint32
	Mode string // driver, generic, offload, several
}
