package filter

import (
	"golang.org/x/net/bpf"

	"weir/decode"
)

// EtherTypes (IEEE 802 numbers).
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
)

// Sizes of headers.
const (
	ethernetSize = 14
	sllSize      = 16 // https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html
	sll2Size     = 20 // https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html
	ipv4Size     = 20
	ipv6Size     = 40
	arpSize      = 28
	portsSize    = 4
	udpSize      = 8
)

// plainProtos are the IP protocols that carry no further IP header: all others are accepted unseen.
var plainProtos = [...]uint32{protoICMP, protoIGMP, protoTCP, protoUDP, protoESP, protoICMP6, protoSCTP}

// tunnelPorts are the UDP ports behind which the decoder looks for an inner packet: L2TP, GTP-U, Teredo, VXLAN (RFC 7348,
// GPE), AYIYA and GENEVE.
var tunnelPorts = [...]uint32{1701, 2152, 3544, 4789, 4790, 5072, 6081}

// teredoPrefix is 2001::/32: Teredo's peers speak on any port (RFC 4380 section 2.6).
const teredoPrefix = 0x20010000

// Device types of Linux (linux/if_arp.h) from 802.11 to netlink: their protocol field in cooked mode is no EtherType.
const (
	firstOddDevice = 801
	lastOddDevice  = 824
)

// link writes the header reader: it fills the cells and goes to the tests, or accepts what it cannot judge.
func (a *assembler) link(link decode.LinkType) error {
	for cell := range cells {
		a.set(cell, 0)
	}
	a.set(cellSrcPort, noPort)
	a.set(cellDstPort, noPort)
	switch link {
	case decode.LinkEthernet:
		a.etherType(ethernetSize, 12)
	case decode.LinkLinuxSLL:
		a.cooked(sllSize, 2, 14)
	case decode.LinkLinuxSLL2:
		a.cooked(sll2Size, 8, 0)
	case decode.LinkRaw:
		a.version()
	case decode.LinkIPv4:
		a.ipv4(0)
	case decode.LinkIPv6:
		a.ipv6(0)
	default:
		return errLink(link)
	}
	return nil
}

// atLeast goes on only with frames of n bytes.
func (a *assembler) atLeast(n uint32) {
	a.loadLen()
	a.when(bpf.JumpLessThan, n, a.pass)
}

// cooked reads a header of size bytes with the device type at device and the protocol at proto.
func (a *assembler) cooked(size, device, proto uint32) {
	usual := a.label()
	a.atLeast(size)
	a.load(device, 2)
	a.when(bpf.JumpLessThan, firstOddDevice, usual)
	a.when(bpf.JumpLessOrEqual, lastOddDevice, a.pass)
	a.place(usual)
	a.etherType(size, proto)
}

func (a *assembler) etherType(size, off uint32) {
	arp, v6 := a.label(), a.label()
	a.atLeast(size)
	a.load(off, 2)
	a.when(bpf.JumpEqual, etherARP, arp)
	a.when(bpf.JumpEqual, etherIPv6, v6)
	a.when(bpf.JumpNotEqual, etherIPv4, a.pass)
	a.ipv4(size)
	a.place(v6)
	a.ipv6(size)
	a.place(arp)
	a.arp(size)
}

func (a *assembler) version() {
	v6 := a.label()
	a.atLeast(1)
	a.load(0, 1)
	a.mask(0xf0)
	a.when(bpf.JumpEqual, 0x60, v6)
	a.ipv4(0)
	a.place(v6)
	a.ipv6(0)
}

// ipv4 reads the header at off.
func (a *assembler) ipv4(off uint32) {
	a.set(cellFamily, uint32(familyIP))
	a.atLeast(off + ipv4Size)
	a.load(off, 1)
	a.when(bpf.JumpLessThan, 0x45, a.pass)
	a.when(bpf.JumpGreaterThan, 0x4f, a.pass)
	a.proto(off + 9)
	a.address(off+12, cellSrc+3)
	a.address(off+16, cellDst+3)
	a.ipv4Length(off)
	a.load(off+6, 2)
	a.mask(0x1fff) // fragment offset: later fragments have no ports
	a.when(bpf.JumpNotEqual, 0, a.tests)
	a.withPorts()
	a.load(off+2, 2)
	a.ports(off)
}

// ipv4Length leaves the header's length in X and goes on only if the header lies within the packet's length and the frame.
func (a *assembler) ipv4Length(off uint32) {
	fits := func() {
		a.emit(bpf.JumpIfX{Cond: bpf.JumpGreaterOrEqual, SkipTrue: 1})
		a.jump(a.pass)
	}
	a.emit(bpf.LoadMemShift{Off: off})
	a.load(off+2, 2)
	fits()
	a.emit(bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: off}, bpf.TAX{})
	a.loadLen()
	fits()
	a.emit(bpf.LoadMemShift{Off: off})
}

// ipv6 reads the header at off.
func (a *assembler) ipv6(off uint32) {
	a.set(cellFamily, uint32(familyIP6))
	a.atLeast(off + ipv6Size)
	a.load(off, 1)
	a.mask(0xf0)
	a.when(bpf.JumpNotEqual, 0x60, a.pass)
	a.proto(off + 6)
	for i := range 4 {
		a.address(off+8+4*uint32(i), cellSrc+i)
		a.address(off+24+4*uint32(i), cellDst+i)
	}
	a.withPorts()
	a.emit(bpf.LoadConstant{Dst: bpf.RegX, Val: ipv6Size})
	a.load(off+4, 2)
	a.emit(bpf.ALUOpX{Op: bpf.ALUOpAdd})
	a.ports(off)
}

// ports reads the ports behind the header at off, whose length is in X, if the packet's length in A leaves room.
func (a *assembler) ports(off uint32) {
	a.emit(bpf.ALUOpX{Op: bpf.ALUOpSub})
	a.when(bpf.JumpLessThan, portsSize, a.pass)
	a.loadLen()
	a.emit(bpf.ALUOpX{Op: bpf.ALUOpSub})
	a.when(bpf.JumpLessThan, off+portsSize, a.pass)
	a.indirect(off, 2)
	a.store(cellSrcPort)
	a.indirect(off+2, 2)
	a.store(cellDstPort)
	a.tunnel(off)
}

// arp reads ARP for IPv4 over hardware addresses of 6 bytes.
func (a *assembler) arp(off uint32) {
	a.set(cellFamily, uint32(familyARP))
	a.atLeast(off + arpSize)
	a.load(off+2, 4)
	a.when(bpf.JumpNotEqual, etherIPv4<<16|6<<8|4, a.pass)
	a.address(off+14, cellSrc+3)
	a.address(off+24, cellDst+3)
	a.jump(a.tests)
}

func (a *assembler) address(off uint32, cell int) {
	a.load(off, 4)
	a.store(cell)
}

// proto keeps the IP protocol and accepts those that may carry another packet.
func (a *assembler) proto(off uint32) {
	plain := a.label()
	a.load(off, 1)
	a.store(cellProto)
	for _, proto := range plainProtos {
		a.when(bpf.JumpEqual, proto, plain)
	}
	a.jump(a.pass)
	a.place(plain)
}

// withPorts goes on only with protocols that have ports.
func (a *assembler) withPorts() {
	ports := a.label()
	a.recall(cellProto)
	a.when(bpf.JumpEqual, protoTCP, ports)
	a.when(bpf.JumpEqual, protoUDP, ports)
	a.when(bpf.JumpNotEqual, protoSCTP, a.tests)
	a.place(ports)
}

// tunnel accepts UDP of a tunnel's port and what may be Teredo between peers, and sends the rest to the tests. X is the
// length of the header at off.
func (a *assembler) tunnel(off uint32) {
	a.recall(cellProto)
	a.when(bpf.JumpNotEqual, protoUDP, a.tests)
	for _, cell := range [...]int{cellSrcPort, cellDstPort} {
		a.recall(cell)
		for _, port := range tunnelPorts {
			a.when(bpf.JumpEqual, port, a.pass)
		}
	}
	inner := off + udpSize
	a.loadLen()
	a.emit(bpf.ALUOpX{Op: bpf.ALUOpSub})
	a.when(bpf.JumpLessThan, inner+ipv6Size, a.tests)
	a.indirect(inner+8, 4)
	a.when(bpf.JumpEqual, teredoPrefix, a.pass)
	a.indirect(inner+24, 4)
	a.when(bpf.JumpEqual, teredoPrefix, a.pass)
	a.jump(a.tests)
}
