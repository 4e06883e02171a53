package capture

import (
	"fmt"
	"reflect"
	"unsafe"

	"github.com/gopacket/gopacket/afpacket"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"weir/decode"
)

// fanouts are the kernel's numbers of LiveConfig.Fanout.
var fanouts = map[string]afpacket.FanoutType{
	"pair": afpacket.FanoutCBPF, "hash": afpacket.FanoutHash, "cpu": afpacket.FanoutCPU, "qm": afpacket.FanoutQueueMapping,
}

// deal gives the fanout group that a ring has joined the program that deals by address pair. Until then all go to the first.
func (r *ring) deal(program []bpf.RawInstruction) error {
	p := unix.SockFprog{Len: uint16(len(program)), Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0]))}
	if err := unix.SetsockoptSockFprog(r.fd(), unix.SOL_PACKET, unix.PACKET_FANOUT_DATA, &p); err != nil {
		return fmt.Errorf("the kernel does not take the program; set capture.fanout: hash: %w", err)
	}
	return nil
}

// fd is the ring's socket, which afpacket keeps to itself.
func (r *ring) fd() int { return int(reflect.ValueOf(r.TPacket).Elem().FieldByName("fd").Int()) }

// dealing is a classic BPF program under way. Labels stand for instructions to come, as it jumps only forward.
type dealing struct {
	ins   []bpf.Instruction
	jumps map[int]string // of the Jump at this index
	marks map[string]int
}

func (d *dealing) op(ins ...bpf.Instruction) { d.ins = append(d.ins, ins...) }

func (d *dealing) mark(label string) { d.marks[label] = len(d.ins) }

func (d *dealing) jump(to string) {
	d.jumps[len(d.ins)] = to
	d.op(bpf.Jump{})
}

// when jumps if A compares so. A far jump is one of its own, because conditional ones reach only 255 instructions.
func (d *dealing) when(cond bpf.JumpTest, val uint32, to string) {
	d.op(bpf.JumpIf{Cond: cond, Val: val, SkipFalse: 1})
	d.jump(to)
}

// load loads size bytes, off behind X.
func (d *dealing) load(off uint32, size int) { d.op(bpf.LoadIndirect{Off: off, Size: size}) }

// skip moves X on, and leaves A as it was.
func (d *dealing) skip(n uint32) {
	d.op(bpf.StoreScratch{Src: bpf.RegA, N: cellA}, bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: n}, bpf.TAX{},
		bpf.LoadScratch{Dst: bpf.RegA, N: cellA})
}

// nibble loads the version of the IP header off behind X.
func (d *dealing) nibble(off uint32) {
	d.load(off, 1)
	d.op(bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
}

// holds jumps if the packet does not reach n bytes behind X.
func (d *dealing) holds(n uint32, otherwise string) {
	d.op(bpf.LoadExtension{Num: bpf.ExtLen}, bpf.ALUOpX{Op: bpf.ALUOpSub})
	d.when(bpf.JumpLessThan, n, otherwise)
	d.when(bpf.JumpGreaterThan, 1<<31, otherwise) // below 0
}

// finish assembles.
func (d *dealing) finish() []bpf.RawInstruction {
	for at, to := range d.jumps {
		d.ins[at] = bpf.Jump{Skip: uint32(d.marks[to] - at - 1)}
	}
	program, err := bpf.Assemble(d.ins)
	if err != nil {
		panic(err) // it is the same at each run
	}
	return program
}

// Scratch cells of the program.
const (
	cellA    = 0
	cellX    = 1
	cellWord = 2
	cellSum  = 3
)

// maxDealtTags is how many VLAN tags in the frame, or MPLS labels, the program reads past.
const maxDealtTags = 4

// dealByPair is the program of fanout "pair". The kernel takes what it returns modulo the number of workers
// (fanout_demux_bpf, net/packet/af_packet.c). As in the shards of a replay, packets go by their address pair, either way alike,
// ICMP errors by that of the packet that they quote, and fragments stay with their flow; but tunnels go by their outer pair.
// What is not IP goes to the first worker. A secret seed keeps others from aiming at one worker; all interfaces of a tap need
// the same.
//
// The kernel runs it where the link header of what comes in is taken off, and that of what goes out is not. Loads are
// relative to there, and not to the network header (SKF_NET_OFF), which reaches only what is in the packet's linear part.
func dealByPair(link decode.LinkType, seed uint32) []bpf.RawInstruction {
	d := &dealing{jumps: map[int]string{}, marks: map[string]int{}}
	d.op(bpf.LoadConstant{Dst: bpf.RegX, Val: 0})
	if link == decode.LinkEthernet {
		d.ethernet()
	}
	d.mark("ip")
	d.nibble(0)
	d.when(bpf.JumpEqual, 4, "ipv4")
	d.when(bpf.JumpEqual, 6, "ipv6")
	d.mark("other")
	d.op(bpf.RetConstant{Val: 0})
	d.ipv4()
	d.ipv6(seed)
	d.mix(seed)
	return d.finish()
}

// ethernet brings X to the IP header: past VLAN tags, PPPoE and MPLS.
func (d *dealing) ethernet() {
	d.op(bpf.LoadExtension{Num: bpf.ExtType})
	d.when(bpf.JumpEqual, unix.PACKET_OUTGOING, "outgoing")
	d.op(bpf.LoadExtension{Num: bpf.ExtProto})
	d.jump("type")
	d.mark("outgoing")
	d.op(bpf.LoadConstant{Dst: bpf.RegX, Val: 14}, bpf.LoadAbsolute{Off: 12, Size: 2})
	d.mark("type")
	for i := range maxDealtTags {
		tag := fmt.Sprint("tag", i)
		for _, t := range []uint32{0x8100, 0x88a8, 0x9100, 0x9200} {
			d.when(bpf.JumpEqual, t, tag)
		}
		d.jump("untagged")
		d.mark(tag)
		d.load(2, 2)
		d.skip(4)
	}
	d.mark("untagged")
	d.when(bpf.JumpEqual, unix.ETH_P_IP, "ip")
	d.when(bpf.JumpEqual, unix.ETH_P_IPV6, "ip")
	d.when(bpf.JumpEqual, unix.ETH_P_MPLS_UC, "mpls")
	d.when(bpf.JumpEqual, unix.ETH_P_MPLS_MC, "mpls")
	d.when(bpf.JumpNotEqual, unix.ETH_P_PPP_SES, "other")
	d.load(6, 2) // behind the PPPoE header: the PPP protocol
	d.skip(8)
	d.when(bpf.JumpEqual, 0x0021, "ip")
	d.when(bpf.JumpEqual, 0x0057, "ip")
	d.jump("other")
	d.mark("mpls")
	for range maxDealtTags {
		d.load(2, 1)
		d.skip(4)
		d.when(bpf.JumpBitsSet, 1, "ip") // bottom of the stack
	}
	d.jump("other")
}

// ipv4 goes on with the XOR of the addresses.
func (d *dealing) ipv4() {
	d.mark("ipv4")
	d.load(9, 1)
	d.when(bpf.JumpNotEqual, unix.IPPROTO_ICMP, "pair4")
	d.load(6, 2)
	d.when(bpf.JumpBitsSet, 0x1fff, "pair4") // a later fragment
	d.op(bpf.StoreScratch{Src: bpf.RegX, N: cellX})
	d.load(0, 1)
	d.op(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 15}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2},
		bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{})
	d.holds(8+20, "own4")
	d.load(0, 1)
	for _, t := range []uint32{3, 4, 5, 11, 12} { // as decode takes them for errors
		d.when(bpf.JumpEqual, t, "error4")
	}
	d.jump("own4")
	d.mark("error4")
	d.nibble(8)
	d.when(bpf.JumpNotEqual, 4, "own4")
	d.skip(8)
	d.jump("pair4")
	d.mark("own4")
	d.op(bpf.LoadScratch{Dst: bpf.RegX, N: cellX})
	d.mark("pair4")
	d.xor(12, 16)
	d.jump("mix")
}

// ipv6 goes on with a sum over the words of the XOR of the addresses, each times another odd number.
func (d *dealing) ipv6(seed uint32) {
	d.mark("ipv6")
	d.load(6, 1)
	d.when(bpf.JumpNotEqual, unix.IPPROTO_ICMPV6, "pair6")
	d.holds(40+8+40, "pair6")
	d.load(40, 1)
	d.when(bpf.JumpEqual, 0, "pair6")
	d.when(bpf.JumpGreaterThan, 4, "pair6") // 1 to 4 are errors
	d.nibble(48)
	d.when(bpf.JumpNotEqual, 6, "pair6")
	d.skip(48)
	d.mark("pair6")
	d.op(bpf.StoreScratch{Src: bpf.RegX, N: cellX}, bpf.LoadConstant{Dst: bpf.RegA, Val: 0},
		bpf.StoreScratch{Src: bpf.RegA, N: cellSum})
	factor := seed
	for i := range uint32(4) {
		factor = factor*0x9e3779b1 + 0x85ebca77
		d.op(bpf.LoadScratch{Dst: bpf.RegX, N: cellX})
		d.xor(8+4*i, 24+4*i)
		d.op(bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: factor | 1}, bpf.LoadScratch{Dst: bpf.RegX, N: cellSum},
			bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.StoreScratch{Src: bpf.RegA, N: cellSum})
	}
}

// xor loads the XOR of two words behind X, which is lost.
func (d *dealing) xor(a, b uint32) {
	d.load(a, 4)
	d.op(bpf.StoreScratch{Src: bpf.RegA, N: cellWord})
	d.load(b, 4)
	d.op(bpf.LoadScratch{Dst: bpf.RegX, N: cellWord}, bpf.ALUOpX{Op: bpf.ALUOpXor})
}

// mix returns A with each of its bits spread over all, as MurmurHash3 does in the end (fmix32, Appleby 2011).
func (d *dealing) mix(seed uint32) {
	d.mark("mix")
	d.op(bpf.ALUOpConstant{Op: bpf.ALUOpXor, Val: seed})
	for _, step := range []struct{ shift, factor uint32 }{{16, 0x85ebca6b}, {13, 0xc2b2ae35}} {
		d.fold(step.shift)
		d.op(bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: step.factor})
	}
	d.fold(16)
	d.op(bpf.RetA{})
}

func (d *dealing) fold(shift uint32) {
	d.op(bpf.TAX{}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: shift}, bpf.ALUOpX{Op: bpf.ALUOpXor})
}
