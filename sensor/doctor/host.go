package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

func capabilities(f *Facts) Result {
	c := f.Host.Caps
	var lack []string
	for _, name := range []string{"cap_net_raw", "cap_net_admin", "cap_bpf", "cap_perfmon"} {
		if c != nil && !c[name] {
			lack = append(lack, name)
		}
	}
	switch {
	case c == nil:
		return note("the capabilities of this process cannot be read")
	case !c["cap_net_raw"]:
		return fail("this process lacks cap_net_raw, without which nothing can be captured").
			do("sudo weir doctor -i "+strings.Join(f.names(), " -i "), "# or once: sudo setcap cap_net_raw=ep \"$(command -v weir)\"").
			because("the sample was not taken and some facts are missing; the service of `make install` has what it needs")
	case len(lack) > 0:
		return note("this process lacks %s", strings.Join(lack, ", ")).do("sudo weir doctor -i " + strings.Join(f.names(), " -i ")).
			because("weir sense needs none of them; weir block does, and a few facts here may be missing")
	}
	return ok("cap_net_raw, cap_net_admin, cap_bpf and cap_perfmon are at hand")
}

// names are the interfaces asked for.
func (f *Facts) names() (all []string) {
	for i := range f.Interfaces {
		all = append(all, f.Interfaces[i].Name)
	}
	return all
}

func packetSocket(f *Facts) Result {
	if c := f.Host.Caps; c != nil && !c["cap_net_raw"] {
		return note("packet sockets were not tried: that needs root")
	}
	if f.Host.PacketV3 != "" {
		return fail("no packet socket with a TPACKET_V3 ring: %s", f.Host.PacketV3).do("sudo modprobe af_packet", "# in a container: allow AF_PACKET and CAP_NET_RAW").
			because("weir captures with it")
	}
	return ok("packet sockets with TPACKET_V3 rings work")
}

func kernel(f *Facts) Result {
	switch v := f.Host.Kernel; {
	case before(v, 4, 7):
		return fail("Linux %s", v).do("# upgrade to Linux 5.15 or later").
			because("before 4.7 the fanout hash is not symmetric: the directions of a connection go to different workers")
	case before(v, 5, 11):
		return note("Linux %s", v).do("# upgrade to Linux 5.15 or later").because("weir block needs 5.11 (bpf_ktime_get_coarse_ns); weir sense does not")
	default:
		return ok("Linux %s", v)
	}
}

// before tells whether a kernel release is older than a version. One that cannot be read is not.
func before(release string, major, minor int) bool {
	parts := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	if len(parts) < 2 {
		return false
	}
	a, errA := strconv.Atoi(parts[0])
	b, errB := strconv.Atoi(parts[1])
	return errA == nil && errB == nil && (a < major || a == major && b < minor)
}

// kernelBudget and kernelBacklog are what Linux starts with (net/core/hotdata.c).
const (
	kernelBudget  = 300
	kernelBacklog = 1000
)

func backlog(f *Facts) Result {
	var all Softnet
	for _, s := range f.Host.Softnet {
		all.Processed += s.Processed
		all.Dropped += s.Dropped
		all.Squeezed += s.Squeezed
	}
	switch {
	case all.Processed == 0:
		return note("the kernel's receive statistics cannot be read")
	case all.Dropped > 0:
		return warn("the kernel dropped %d of %d packets from full backlogs since boot", all.Dropped, all.Processed+all.Dropped).
			do(fmt.Sprintf("sudo sysctl -w net.core.netdev_max_backlog=%d", max(16*kernelBacklog, 2*f.Host.BacklogMax))).
			because("packets of virtual interfaces, loopback and RPS wait there, before any socket")
	case all.Squeezed > 0 && all.Squeezed > all.Processed/100000: // a squeeze ends a run of up to 300 packets: 0.3 % of runs at most
		return note("receive runs ended for lack of time or budget %d times in %d packets", all.Squeezed, all.Processed).
			do(fmt.Sprintf("sudo sysctl -w net.core.netdev_budget=%d net.core.netdev_budget_usecs=8000", max(2*kernelBudget, 2*f.Host.Budget))).
			because("packets wait in the card meanwhile; in bursts its ring overflows")
	}
	return ok("no packet was lost in the kernel's backlogs since boot")
}

func memory(f *Facts) Result {
	need := int64(f.Settings.MemoryMiB)
	have := f.Host.MemAvailable >> 20
	switch {
	case f.Host.MemAvailable < 0:
		return note("the memory of this machine cannot be read")
	case have < need:
		return fail("%d MiB are available, and the configuration takes up to %d MiB", have, need).
			do("# lower memory_mib and the tables or capture.ring_mib in the configuration, or add memory").
			because("the kernel would end weir, or others, when it runs out")
	case have < 2*need:
		return note("%d MiB are available; the configuration takes up to %d MiB", have, need)
	}
	return ok("%d MiB are available; the configuration takes up to %d MiB", have, need)
}

func hugePages(f *Facts) Result {
	switch f.Host.HugePages {
	case "always", "madvise":
		return ok("transparent huge pages are to be had (%s)", f.Host.HugePages)
	case "never":
		return warn("transparent huge pages are off").do("echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled").
			because("weir's tables ask for them; without, each look-up misses the address cache as well")
	}
	return note("transparent huge pages: this kernel does not tell")
}

// slowClocks cost a microsecond or more to read, for every packet.
var slowClocks = []string{"hpet", "acpi_pm", "pit", "jiffies", "refined-jiffies"}

func clock(f *Facts) Result {
	switch h := &f.Host; {
	case slices.Contains(slowClocks, h.ClockSource):
		return warn("the kernel's clock source is %s", h.ClockSource).do("cat /sys/devices/system/clocksource/clocksource0/available_clocksource", "# boot with clocksource=tsc if it is among them").
			because("each packet's time stamp takes a microsecond or more")
	case h.Unsynced:
		return warn("the clock is not synchronised").do("sudo timedatectl set-ntp true", "# or install chrony").
			because("alerts of several sensors, and their times, do not fit together; steps of the clock break rates")
	}
	return ok("the clock is synchronised, source %s, error below %s", orDash(f.Host.ClockSource), micros(f.Host.ClockError))
}

func micros(us int64) string {
	if us >= 1000 {
		return fmt.Sprintf("%d ms", (us+999)/1000)
	}
	return fmt.Sprintf("%d µs", us)
}

func processors(f *Facts) Result {
	slow := slices.ContainsFunc(f.Host.Governors, func(g string) bool { return g != "performance" && g != "schedutil" })
	if f.Host.Scaling == "intel_pstate" || f.Host.Scaling == "amd-pstate-epp" { // theirs of that name follow the load, too
		slow = false
	}
	switch {
	case f.Host.CPUs == 1:
		return note("one CPU for the network card, the kernel and weir").because("bursts are lost while weir computes")
	case slow:
		return note("%d CPUs, frequency governor %s", f.Host.CPUs, strings.Join(f.Host.Governors, ", ")).do("sudo cpupower frequency-set -g performance").
			because("a CPU that sleeps or is slow when a burst comes lets the ring overflow")
	}
	return ok("%d CPUs", f.Host.CPUs)
}

func jit(f *Facts) Result {
	switch f.Host.JIT {
	case 0:
		return warn("the kernel interprets BPF").do("sudo sysctl -w net.core.bpf_jit_enable=1").because("capture filters and the gate cost several times as much for each packet")
	case -1:
		return ok("the BPF compiler's state is not visible here")
	}
	return ok("the kernel compiles BPF")
}

func gate(f *Facts) Result {
	var lack, do []string
	if !f.Host.BPFFS {
		lack, do = append(lack, "no bpffs at /sys/fs/bpf"), append(do, "sudo mount -t bpf bpf /sys/fs/bpf")
	}
	if !f.Host.BTF {
		lack, do = append(lack, "no BTF (/sys/kernel/btf/vmlinux)"), append(do, "# a kernel built with CONFIG_DEBUG_INFO_BTF=y")
	}
	if len(lack) > 0 {
		return note("%s", strings.Join(lack, ", ")).do(do...).because("weir sense needs neither; weir block pins its gate in bpffs, to outlive a restart")
	}
	return ok("BTF and bpffs are there for weir block")
}

func landlock(f *Facts) Result {
	switch abi := f.Host.Landlock; {
	case abi == 0:
		return note("this kernel has no Landlock, or it is off").do("# boot with lsm=landlock,… (Linux 5.13 or later, CONFIG_SECURITY_LANDLOCK=y)").
			because("weir shuts itself out of files that it does not need where the kernel has it")
	case abi < 4:
		return ok("Landlock ABI %d: files; ports need ABI 4 (Linux 6.7)", abi)
	default:
		return ok("Landlock ABI %d: files and ports", abi)
	}
}
