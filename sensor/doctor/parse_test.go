package doctor

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// intel is /proc/interrupts of a machine with an ixgbe card, shortened to two CPUs and two queues.
const intel = `            CPU0       CPU1       
   0:         42          0  IR-IO-APIC    2-edge      timer
   8:          0          1  IR-IO-APIC    8-edge      rtc0
  64:       1027          3  IR-PCI-MSI-0000:03:00.0   0-edge      eth1-TxRx-0
  65:          9       7211  IR-PCI-MSI-0000:03:00.0   1-edge      eth1-TxRx-1
  66:          0          5  IR-PCI-MSI-0000:03:00.0   2-edge      eth1
  67:         11          0  IR-PCI-MSI-0000:03:00.1   0-edge      eth10-TxRx-0
  68:          7          8  IR-PCI-MSI-0000:04:00.0   0-edge      i40e-eth2-TxRx-0
  69:          1          2  IR-PCI-MSI-0000:04:00.0   1-edge      i40e-0000:04:00.0:misc
 NMI:          1          2   Non-maskable interrupts
 LOC:   12345678   87654321   Local timer interrupts
 ERR:          0
`

// guest is that of a virtio guest: names do not tell the interface, the device's msi_irqs do.
const guest = `           CPU0       CPU1       
 35:          0          1 PCI-MSIX-0000:00:02.0   0-edge      virtio1-config
 36:          0      56113 PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0
 37:          0          0 PCI-MSIX-0000:00:03.0   0-edge      virtio2-config
 38:          0       4327 PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0
 39:       4350          0 PCI-MSIX-0000:00:03.0   2-edge      virtio2-output.0
`

// mellanox names its interrupts by PCI address.
const mellanox = `      CPU0       CPU1       CPU2
 120:    1          0          0   IR-PCI-MSI 30932992-edge      mlx5_async0@pci:0000:3b:00.0
 121:    7          0          0   IR-PCI-MSI 30932993-edge      mlx5_comp0@pci:0000:3b:00.0
 122:    0          8          0   IR-PCI-MSI 30932994-edge      mlx5_comp1@pci:0000:3b:00.0
`

// realtek has one interrupt for everything.
const realtek = `      CPU0       CPU1
 130:    1         99   IR-PCI-MSI-0000:02:00.0    0-edge      enp2s0
`

func TestReceiveIRQs(t *testing.T) {
	for _, c := range []struct {
		text, name string
		numbers    map[int]bool
		want       []IRQ
	}{
		{intel, "eth1", nil, []IRQ{{Number: 64, Name: "eth1-TxRx-0", Counts: []uint64{1027, 3}}, {Number: 65, Name: "eth1-TxRx-1", Counts: []uint64{9, 7211}}}},
		{intel, "eth2", map[int]bool{68: true, 69: true}, []IRQ{{Number: 68, Name: "i40e-eth2-TxRx-0", Counts: []uint64{7, 8}}}},
		{intel, "eth3", nil, nil},
		{guest, "eth0", map[int]bool{37: true, 38: true, 39: true}, []IRQ{{Number: 38, Name: "virtio2-input.0", Counts: []uint64{0, 4327}}}},
		{mellanox, "ens1f0", map[int]bool{120: true, 121: true, 122: true}, []IRQ{
			{Number: 121, Name: "mlx5_comp0@pci:0000:3b:00.0", Counts: []uint64{7, 0, 0}}, {Number: 122, Name: "mlx5_comp1@pci:0000:3b:00.0", Counts: []uint64{0, 8, 0}},
		}},
		{realtek, "enp2s0", map[int]bool{130: true}, []IRQ{{Number: 130, Name: "enp2s0", Counts: []uint64{1, 99}}}},
		{"", "eth0", nil, nil},
	} {
		if diff := cmp.Diff(c.want, receiveIRQs(c.text, c.name, c.numbers)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestParse(t *testing.T) {
	if diff := cmp.Diff([]int{0, 1, 2, 3, 8, 10, 11}, cpuList("0-3,8,10-11")); diff != "" {
		t.Error(diff)
	}
	if got := cpuList(""); got != nil {
		t.Errorf("no CPUs: %v", got)
	}
	stat := "0000000c 00000002 00000000 00000000\n00001bbe 00000000 0000000f 00000000\n"
	if diff := cmp.Diff([]Softnet{{12, 2, 0}, {7102, 0, 15}}, softnet(stat)); diff != "" {
		t.Error(diff)
	}
	if got := available("MemTotal:       24000000 kB\nMemAvailable:   23913496 kB\n"); got != 23913496<<10 {
		t.Errorf("%d bytes available", got)
	}
	if got := available("MemTotal: 1 kB\n"); got != -1 {
		t.Errorf("%d bytes available", got)
	}
	if got := chosen("always [madvise] never"); got != "madvise" {
		t.Errorf("%q is chosen", got)
	}
	if got := losses(map[string]uint64{"rx_out_of_buffer": 3, "rx0_drops": 1, "rx_queue_0_xdp_drops": 9, "tx_dropped": 4, "rx_discards_phy": 0}); len(got) != 2 || got["rx0_drops"] != 1 {
		t.Errorf("losses %v", got)
	}
	for cpus, want := range map[int]string{1: "1", 2: "3", 16: "ffff", 32: "ffffffff", 36: "f,ffffffff", 64: "ffffffff,ffffffff"} {
		if got := cpuMask(cpus); got != want {
			t.Errorf("mask of %d CPUs: %s", cpus, got)
		}
	}
	if got := symmetricKey(5); got != "6d:5a:6d:5a:6d" {
		t.Errorf("key %s", got)
	}
	for release, want := range map[string]bool{"4.6.9": true, "4.7.0-rc1": false, "6.18.44-fc-v669": false, "3.10.0-1160.el7": true, "odd": false} {
		if before(release, 4, 7) != want {
			t.Errorf("%s before 4.7: %v", release, !want)
		}
	}
}
