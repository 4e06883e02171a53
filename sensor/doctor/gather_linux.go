package doctor

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// Gather asks the kernel for all facts but the sample, in the network namespace of the calling thread. What cannot be read
// is left unknown. It takes milliseconds.
func Gather(settings Settings, interfaces []string) (*Facts, error) {
	f := &Facts{Settings: settings, Host: host()}
	tool, err := ethtool.NewEthtool()
	if err != nil {
		return nil, err
	}
	defer tool.Close()
	for _, name := range interfaces {
		f.Interfaces = append(f.Interfaces, look(tool, name))
	}
	return f, nil
}

func host() Host {
	h := Host{
		ClockSource:  line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
		Scaling:      line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver"),
		HugePages:    chosen(line("/sys/kernel/mm/transparent_hugepage/enabled")),
		BacklogMax:   number("/proc/sys/net/core/netdev_max_backlog"),
		Budget:       number("/proc/sys/net/core/netdev_budget"),
		JIT:          number("/proc/sys/net/core/bpf_jit_enable"),
		Softnet:      softnet(text("/proc/net/softnet_stat")),
		MemAvailable: available(text("/proc/meminfo")),
		Root:         os.Geteuid() == 0,
		Caps:         effective(),
		PacketV3:     packetV3(),
		Landlock:     landlockABI(),
		CPUs:         1,
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	var cpus unix.CPUSet
	if unix.SchedGetaffinity(0, &cpus) == nil {
		h.CPUs = max(cpus.Count(), 1)
	}
	governors, _ := filepath.Glob("/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")
	for _, path := range governors {
		if g := line(path); g != "" && !slices.Contains(h.Governors, g) {
			h.Governors = append(h.Governors, g)
		}
	}
	const timeError = 5 // TIME_ERROR of adjtimex(2)
	var t unix.Timex
	if state, err := unix.Adjtimex(&t); err == nil {
		h.Unsynced = state == timeError || t.Status&unix.STA_UNSYNC != 0
		h.ClockError = int64(t.Maxerror) //nolint:unconvert // 32 bits on some machines
	}
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	h.BTF = err == nil
	var fs unix.Statfs_t
	h.BPFFS = unix.Statfs("/sys/fs/bpf", &fs) == nil && uint32(fs.Type) == unix.BPF_FS_MAGIC
	return h
}

// effective are the capabilities that checks ask for.
func effective() map[string]bool {
	set, have := cap.GetProc(), map[string]bool{}
	for _, c := range []cap.Value{cap.NET_RAW, cap.NET_ADMIN, cap.BPF, cap.PERFMON} {
		on, err := set.GetFlag(cap.Effective, c)
		if err != nil {
			return nil
		}
		have[c.String()] = on
	}
	return have
}

// packetV3 tries a packet socket. It is bound to no protocol: no packet reaches it.
func packetV3() string {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return err.Error()
	}
	return ""
}

func landlockABI() int {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(abi)
}

// look gathers what is known of an interface.
func look(tool *ethtool.Ethtool, name string) Interface {
	i := Interface{Name: name}
	l, err := netlink.LinkByName(name)
	if err != nil {
		i.Missing = missing(name, err)
		return i
	}
	i.fromLink(l)
	i.fromEthtool(tool)
	i.fromFiles()
	return i
}

func missing(name string, err error) string {
	var absent netlink.LinkNotFoundError
	if !errors.As(err, &absent) {
		return name + ": " + err.Error()
	}
	var names []string
	all, _ := net.Interfaces()
	for _, i := range all {
		names = append(names, i.Name)
	}
	return "no interface " + name + "; there are " + strings.Join(names, ", ")
}

func (i *Interface) fromLink(l netlink.Link) {
	a := l.Attrs()
	i.Kind, i.Index, i.MTU, i.Promisc = l.Type(), a.Index, a.MTU, a.Promisc
	i.Up, i.Loopback = a.Flags&net.FlagUp != 0, a.Flags&net.FlagLoopback != 0
	i.Carrier = a.RawFlags&unix.IFF_LOWER_UP != 0
	if len(a.HardwareAddr) == 6 && !i.Loopback {
		i.MAC, i.HasMAC = [6]byte(a.HardwareAddr), true
	}
	i.Stats = stats(a)
	if x := a.Xdp; x != nil && x.Attached {
		modes := map[uint32]string{1: "driver", 2: "generic", 3: "offload", 4: "several"} // XDP_ATTACHED_…, linux/if_link.h
		i.XDP = &XDP{ID: x.ProgId, Mode: modes[x.AttachMode]}
	}
	if a.MasterIndex != 0 {
		if m, err := netlink.LinkByIndex(a.MasterIndex); err == nil {
			i.Master, i.MasterIs = m.Attrs().Name, m.Type()
		}
	}
	all, _ := netlink.LinkList()
	for _, o := range all {
		if o.Attrs().MasterIndex == a.Index {
			i.MasterOf = append(i.MasterOf, o.Attrs().Name)
		}
	}
	addresses, _ := netlink.AddrList(l, netlink.FAMILY_ALL)
	for _, addr := range addresses {
		switch {
		case addr.IP.To4() != nil:
			i.IPv4++
		case !addr.IP.IsLinkLocalUnicast():
			i.IPv6++
		}
	}
}

// stats are the counters of an interface.
func stats(a *netlink.LinkAttrs) Stats {
	s := a.Statistics
	if s == nil {
		return Stats{}
	}
	return Stats{
		Packets: s.RxPackets, Bytes: s.RxBytes, Dropped: s.RxDropped, Missed: s.RxMissedErrors, FIFO: s.RxFifoErrors, Over: s.RxOverErrors,
		Length: s.RxLengthErrors, CRC: s.RxCrcErrors, Frame: s.RxFrameErrors, Errors: s.RxErrors,
	}
}

// readStats are the counters of an interface now.
func readStats(name string) (Stats, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return Stats{}, err
	}
	return stats(l.Attrs()), nil
}

func (i *Interface) fromEthtool(tool *ethtool.Ethtool) {
	if d, err := tool.DriverName(i.Name); err == nil {
		i.Driver = d
	}
	if c, err := tool.GetChannels(i.Name); err == nil {
		i.Channels = &Channels{RX: int(c.RxCount), Combined: int(c.CombinedCount), MaxRX: int(c.MaxRx), MaxCombined: int(c.MaxCombined)}
	}
	if r, err := tool.GetRing(i.Name); err == nil {
		i.Ring = &Ring{RX: int(r.RxPending), MaxRX: int(r.RxMaxPending)}
	}
	if p, err := tool.GetPause(i.Name); err == nil {
		i.Pause = &Pause{RX: p.RxPause != 0, TX: p.TxPause != 0}
	}
	if all, err := tool.FeaturesWithState(i.Name); err == nil {
		i.Features = map[string]Feature{}
		for name, s := range all {
			i.Features[name] = Feature{On: s.Active, Fixed: s.NeverChanged || !s.Available}
		}
	}
	if all, err := tool.Stats(i.Name); err == nil {
		i.Losses = losses(all)
	}
	i.RSS, i.Hashed = readRSS(i.Name)
}

func (i *Interface) fromFiles() {
	dir := "/sys/class/net/" + i.Name
	if i.Speed = number(dir + "/speed"); i.Speed > 0 {
		i.Half = line(dir+"/duplex") == "half"
	}
	queues, _ := filepath.Glob(dir + "/queues/rx-*")
	i.RXQueues = len(queues)
	for _, q := range queues {
		i.RPS = i.RPS || strings.Trim(line(q+"/rps_cpus"), "0,") != ""
	}
	off := line("/proc/sys/net/ipv6/conf/" + i.Name + "/disable_ipv6")
	i.IPv6Off = off == "" || off == "1"
	raised := map[int]bool{}
	for _, d := range []string{dir + "/device/msi_irqs/*", dir + "/device/../msi_irqs/*"} { // virtio cards hang below their PCI device
		found, _ := filepath.Glob(d)
		for _, path := range found {
			if n, err := strconv.Atoi(filepath.Base(path)); err == nil {
				raised[n] = true
			}
		}
	}
	i.IRQs = receiveIRQs(text("/proc/interrupts"), i.Name, raised)
	for k := range i.IRQs {
		q := &i.IRQs[k]
		where := "/proc/irq/" + strconv.Itoa(q.Number)
		if q.CPUs = cpuList(line(where + "/effective_affinity_list")); len(q.CPUs) == 0 {
			q.CPUs = cpuList(line(where + "/smp_affinity_list"))
		}
	}
}

// text is a file's content, empty if it cannot be read.
func text(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(b)
}

func line(path string) string { return strings.TrimSpace(text(path)) }

// number is that in a file; -1 without one.
func number(path string) int {
	n, err := strconv.Atoi(line(path))
	if err != nil {
		return -1
	}
	return n
}
