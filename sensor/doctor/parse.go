package doctor

import (
	"slices"
	"strconv"
	"strings"
)

// receiveIRQs picks the interrupts of an interface's receive queues out of /proc/interrupts: those of its device (numbers), or
// that carry its name, less those that are known for something else. CPUs are left empty.
func receiveIRQs(interrupts, name string, numbers map[int]bool) []IRQ {
	var all []IRQ
	cpus := 0
	for row := range strings.Lines(interrupts) {
		words := strings.Fields(row)
		if len(words) > 0 && strings.HasPrefix(words[0], "CPU") {
			cpus = len(words)
			continue
		}
		if cpus == 0 || len(words) < cpus+2 {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSuffix(words[0], ":"))
		if err != nil { // NMI, LOC, …
			continue
		}
		q := IRQ{Number: n, Name: words[len(words)-1]}
		if !numbers[n] && !named(q.Name, name) {
			continue
		}
		for _, w := range words[1 : 1+cpus] {
			c, _ := strconv.ParseUint(w, 10, 64)
			q.Counts = append(q.Counts, c)
		}
		all = append(all, q)
	}
	if rx := slices.DeleteFunc(slices.Clone(all), func(q IRQ) bool { return !receives(q.Name) }); len(rx) > 0 {
		return rx
	}
	return slices.DeleteFunc(all, func(q IRQ) bool { return manages(q.Name) })
}

// named tells whether an interrupt's name has the interface's between separators: eth1-TxRx-0, i40e-eth1-TxRx-0, eth1.
func named(irq, name string) bool {
	at := strings.Index(irq, name)
	if at < 0 {
		return false
	}
	end := at + len(name)
	return (at == 0 || strings.ContainsRune("-_@", rune(irq[at-1]))) && (end == len(irq) || strings.ContainsRune("-_:@", rune(irq[end])))
}

// receives tells whether an interrupt's name says that it is of a receive queue: TxRx (Intel, Broadcom), Tx-Rx (ena), rxtx
// (vmxnet3), rx (e1000e), input (virtio), comp (mlx5).
func receives(name string) bool {
	name = strings.ToLower(name)
	return strings.Contains(name, "rx") || strings.Contains(name, "input") || strings.Contains(name, "_comp")
}

// manages tells whether it says that it is of anything else.
func manages(name string) bool {
	name = strings.ToLower(name)
	for _, other := range []string{"config", "async", "mgmnt", "misc", "fdir", "output", "event", "control", "-tx-", "cmd", "pages"} {
		if strings.Contains(name, other) {
			return true
		}
	}
	return false
}

// cpuList reads the kernel's lists: 0-3,8.
func cpuList(s string) (cpus []int) {
	for part := range strings.SplitSeq(s, ",") {
		from, to, many := strings.Cut(part, "-")
		a, err := strconv.Atoi(from)
		if err != nil {
			return cpus
		}
		b := a
		if many {
			if b, err = strconv.Atoi(to); err != nil {
				return cpus
			}
		}
		for c := a; c <= min(b, a+4096); c++ {
			cpus = append(cpus, c)
		}
	}
	return cpus
}

// softnet reads /proc/net/softnet_stat: a line a CPU, hexadecimal (softnet_seq_show, net/core/net-procfs.c).
func softnet(s string) (all []Softnet) {
	for row := range strings.Lines(s) {
		var v [3]uint64
		words := strings.Fields(row)
		if len(words) < len(v) {
			continue
		}
		for i := range v {
			v[i], _ = strconv.ParseUint(words[i], 16, 64)
		}
		all = append(all, Softnet{v[0], v[1], v[2]})
	}
	return all
}

// available is MemAvailable of /proc/meminfo in bytes, or -1.
func available(meminfo string) int64 {
	for row := range strings.Lines(meminfo) {
		if words := strings.Fields(row); len(words) == 3 && words[0] == "MemAvailable:" {
			if n, err := strconv.ParseInt(words[1], 10, 64); err == nil {
				return n << 10
			}
		}
	}
	return -1
}

// chosen is the word in brackets: always [madvise] never.
func chosen(s string) string {
	_, s, _ = strings.Cut(s, "[")
	s, _, _ = strings.Cut(s, "]")
	return s
}

// lossCounters are names of drivers' own counters (ethtool -S) that count received packets which no socket will see.
var lossCounters = []string{
	"rx_no_dma_resources", "rx_no_buffer_count", // ixgbe, igb
	"port.rx_dropped", "rx_dropped.nic", // i40e, ice
	"rx_out_of_buffer", "rx_discards_phy", "rx_steer_missed_packets", // mlx5
	"bw_in_allowance_exceeded", "pps_allowance_exceeded", "conntrack_allowance_exceeded", // ena: limits of the instance
	"rx_overruns",                         // ena
	"rx_total_ring_discards",              // bnxt
	"drv dropped rx total", "pkts rx OOB", // vmxnet3
}

// losses are those above zero.
func losses(all map[string]uint64) map[string]uint64 {
	found := map[string]uint64{}
	for name, n := range all {
		queue := strings.HasPrefix(name, "rx") && strings.HasSuffix(name, "_drops") && !strings.Contains(name, "xdp") // virtio_net, veth
		if n > 0 && (queue || slices.Contains(lossCounters, strings.TrimSpace(name))) {
			found[strings.TrimSpace(name)] = n
		}
	}
	return found
}
