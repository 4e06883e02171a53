package filter

import (
	"errors"
	"fmt"

	"golang.org/x/net/bpf"

	"weir/decode"
)

// MaxInstructions is the longest classic BPF program that Linux takes (BPF_MAXINSNS, linux/bpf_common.h).
const MaxInstructions = 4096

// ErrTooLong says that an expression needs more than MaxInstructions.
var ErrTooLong = errors.New("filter: the expression is too long for a kernel filter")

// maxSnaplen is what a program returns to keep whole frames, as libpcap's does.
const maxSnaplen = 262144

// BPF compiles the expression to classic BPF for frames of link type link: a first sieve in the kernel, or for tcpdump. An
// accepted frame is kept up to snaplen bytes (0: whole). It never rejects a whole frame that Match accepts, and on plain
// frames it decides exactly as Match does. It accepts, unseen, what it cannot judge:
//
//   - every frame whose EtherType is not IPv4, IPv6 or ARP: VLAN tags in the frame, MPLS, PPPoE, 802.3 lengths;
//   - every IP protocol but ICMP, IGMP, TCP, UDP, ESP, ICMPv6 and SCTP: tunnels, AH, IPv6 extension headers and fragments;
//   - UDP from or to a tunnel's port (tunnelPorts), and UDP that may carry IPv6 of Teredo's prefix;
//   - headers that are short, cut or contradict themselves, and IPv4 packets of length 0 (super-packets).
//
// The kernel takes VLAN tags off before the filter runs, so that a frame does not show its tag: "vlan" and "not vlan" are
// both taken to hold, and Match decides. Link types: Ethernet, raw IP, Linux SLL and SLL2; others are an error that wraps
// errors.ErrUnsupported. The program judges whole frames: one that a capture file holds cut is rejected where a load
// runs past its bytes and the reader reports the full length.
func (f *Filter) BPF(link decode.LinkType, snaplen int) ([]bpf.RawInstruction, error) {
	if snaplen <= 0 || snaplen > maxSnaplen {
		snaplen = maxSnaplen
	}
	a := newAssembler(uint32(snaplen))
	if f != nil && f.root != nil {
		if err := a.link(link); err != nil {
			return nil, err
		}
		a.body(program(f.root, true))
	}
	return a.finish()
}

// Scratch cells: the header as leaves need it. An IPv4 address stands in the last word of its four.
const (
	cellFamily  = 0
	cellProto   = 1
	cellSrcPort = 2 // noPort, or 16 bits
	cellDstPort = 3
	cellSrc     = 4 // to 7
	cellDst     = 8 // to 11
	cells       = 12
)

const noPort = 0xffffffff

// label is a place to jump to.
type label int

type assembler struct {
	ins    []bpf.Instruction
	jumps  map[int]label // unresolved Jump at this index
	places []int         // of labels
	pass   label         // accept
	drop   label         // reject
	tests  label         // the body's start
	snap   uint32
}

func newAssembler(snaplen uint32) *assembler {
	a := &assembler{jumps: map[int]label{}, snap: snaplen}
	a.pass, a.drop, a.tests = a.label(), a.label(), a.label()
	return a
}

func (a *assembler) label() label {
	a.places = append(a.places, 0)
	return label(len(a.places) - 1)
}

func (a *assembler) place(l label) { a.places[l] = len(a.ins) }

func (a *assembler) emit(ins ...bpf.Instruction) { a.ins = append(a.ins, ins...) }

func (a *assembler) jump(to label) {
	a.jumps[len(a.ins)] = to
	a.emit(bpf.Jump{})
}

// when jumps if the accumulator compares so with val. The far jump is one of its own, because conditional ones reach only
// 255 instructions.
func (a *assembler) when(cond bpf.JumpTest, val uint32, to label) {
	a.emit(bpf.JumpIf{Cond: cond, Val: val, SkipFalse: 1})
	a.jump(to)
}

func (a *assembler) load(off uint32, size int) { a.emit(bpf.LoadAbsolute{Off: off, Size: size}) }

// indirect loads from off bytes behind X.
func (a *assembler) indirect(off uint32, size int) { a.emit(bpf.LoadIndirect{Off: off, Size: size}) }

func (a *assembler) loadLen() { a.emit(bpf.LoadExtension{Num: bpf.ExtLen}) }

func (a *assembler) store(cell int) { a.emit(bpf.StoreScratch{Src: bpf.RegA, N: cell}) }

func (a *assembler) recall(cell int) { a.emit(bpf.LoadScratch{Dst: bpf.RegA, N: cell}) }

func (a *assembler) set(cell int, val uint32) {
	a.emit(bpf.LoadConstant{Dst: bpf.RegA, Val: val})
	a.store(cell)
}

func (a *assembler) mask(val uint32) { a.emit(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: val}) }

// finish places the two ends, resolves the jumps and assembles.
func (a *assembler) finish() ([]bpf.RawInstruction, error) {
	a.place(a.pass)
	a.emit(bpf.RetConstant{Val: a.snap})
	a.place(a.drop)
	a.emit(bpf.RetConstant{Val: 0})
	if len(a.ins) > MaxInstructions {
		return nil, ErrTooLong
	}
	for at, to := range a.jumps {
		a.ins[at] = bpf.Jump{Skip: uint32(a.places[to] - at - 1)}
	}
	return bpf.Assemble(a.ins)
}

// body writes the tests, each under a label of its own.
func (a *assembler) body(prog []test) {
	a.place(a.tests)
	starts := make([]label, len(prog))
	for i := range prog {
		starts[i] = a.label()
	}
	to := func(at int16) label {
		switch at {
		case accept:
			return a.pass
		case reject:
			return a.drop
		}
		return starts[at]
	}
	for i := range prog {
		a.place(starts[i])
		a.leaf(&prog[i].leaf, to(prog[i].onTrue), to(prog[i].onFalse))
	}
}

func (a *assembler) leaf(l *leaf, onTrue, onFalse label) {
	switch l.kind {
	case leafFamily:
		a.family(l.family, onFalse)
	case leafProto:
		a.family(l.family, onFalse)
		a.recall(cellProto)
		a.when(bpf.JumpNotEqual, uint32(l.proto), onFalse)
	case leafNet:
		a.family(l.family, onFalse)
		a.ends(l.dir, cellSrc, cellDst, onTrue, onFalse, func(cell int, no label) { a.covers(l, cell, no) })
		return
	case leafPort:
		if l.proto != 0 {
			a.recall(cellProto)
			a.when(bpf.JumpNotEqual, uint32(l.proto), onFalse)
		}
		a.ends(l.dir, cellSrcPort, cellDstPort, onTrue, onFalse, func(cell int, no label) {
			a.recall(cell)
			a.when(bpf.JumpLessThan, uint32(l.lo), no)
			a.when(bpf.JumpGreaterThan, uint32(l.hi), no)
		})
		return
	}
	a.jump(onTrue)
}

// family goes on only with packets of f.
func (a *assembler) family(f family, onFalse label) {
	a.recall(cellFamily)
	a.mask(uint32(f))
	a.when(bpf.JumpEqual, 0, onFalse)
}

// ends asks about the source, the destination, either or both. ask falls through if its cell fits.
func (a *assembler) ends(d dir, src, dst int, onTrue, onFalse label, ask func(cell int, no label)) {
	switch d {
	case dirSrc:
		ask(src, onFalse)
	case dirDst:
		ask(dst, onFalse)
	case dirBoth:
		ask(src, onFalse)
		ask(dst, onFalse)
	case dirEither:
		other := a.label()
		ask(src, other)
		a.jump(onTrue)
		a.place(other)
		ask(dst, onFalse)
	}
	a.jump(onTrue)
}

// covers compares the words of an address of which the mask leaves something.
func (a *assembler) covers(l *leaf, cell int, no label) {
	for i := range 4 {
		word, mask := word(l.addr, i), word(l.mask, i)
		if mask == 0 || l.family&familyIP6 == 0 && i < 3 {
			continue
		}
		a.recall(cell + i)
		if mask != 0xffffffff {
			a.mask(mask)
		}
		a.when(bpf.JumpNotEqual, word&mask, no)
	}
}

// word is the i-th of the four 32-bit words of an address.
func word(addr decode.Addr, i int) uint32 {
	if i < 2 {
		return uint32(addr.Hi >> (32 - 32*i))
	}
	return uint32(addr.Lo >> (96 - 32*i))
}

// errLink is the error for a link type without a compiler.
func errLink(link decode.LinkType) error {
	return fmt.Errorf("filter: %w: no kernel filter for link type %d (Ethernet, raw IP, Linux SLL and SLL2 have one)", errors.ErrUnsupported, link)
}
