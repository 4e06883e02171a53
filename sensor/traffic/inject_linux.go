package traffic

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Injector makes the kernel itself receive frames on an interface: BPF_PROG_RUN with live frames (linux/bpf.h, since 5.18) runs
// an XDP program that makes each frame and passes it to the stack. That is several times cheaper than sending, and the
// interface's own counters do not see it. The methods are for a locked thread in the network namespace
// of the interface.
type Injector struct {
	prog     int
	context  xdpMD
	template []byte
}

// xdpMD is struct xdp_md of linux/bpf.h.
type xdpMD struct{ data, dataEnd, dataMeta, ingress, queue, egress uint32 }

const (
	injectPeriod = 100 * time.Millisecond // a call costs about 25 ms on top of its frames
	injectLong   = 1454                   // bytes; the longest frame
	liveFrames   = 1 << 1                 // BPF_F_TEST_XDP_LIVE_FRAMES
)

// NewInjector makes one of two kinds of traffic: synflood (SYNs of random sources to one service) or mix (65,536 flows in both
// directions, a quarter UDP; 11 of 16 frames have 60 bytes, 3 have 578 and 2 have 1454; a 32nd of the TCP packets are SYNs).
// It needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
func NewInjector(kind, name string) (*Injector, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	j, code := &Injector{template: make([]byte, 60)}, injectSYN
	switch kind {
	case "synflood":
	case "mix":
		j.template, code = make([]byte, injectLong), injectMix
	default:
		return nil, fmt.Errorf("kind of traffic %q: cannot be injected", kind)
	}
	copy(j.template, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00"+
		"\x45\x00\x00\x28\x00\x00\x40\x00\x39\x06\x00\x00\xc6\x12\x00\x00\x0a\x14\x00\x00"+
		"\x80\x00\x00\x50\x00\x00\x00\x01\x00\x00\x00\x00\x50\x02\x72\x10\x00\x00\x00\x00")
	j.context = xdpMD{dataEnd: uint32(len(j.template)), ingress: uint32(i.Index)}
	license := []byte("GPL\x00")
	attr := struct {
		kind, count    uint32
		code, license  uint64
		level, logSize uint32
		log            uint64
		version, flags uint32
		name           [16]byte
		ifindex, place uint32
	}{
		kind: unix.BPF_PROG_TYPE_XDP, count: uint32(len(code)), place: unix.BPF_XDP,
		code: uint64(uintptr(unsafe.Pointer(&code[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0]))),
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(code)
	runtime.KeepAlive(license)
	if errno != 0 {
		return nil, fmt.Errorf("load the program: %w", errno)
	}
	j.prog = int(fd)
	return j, nil
}

// Close frees the program.
func (j *Injector) Close() error { return unix.Close(j.prog) }

// Send has rate frames a second received, in bursts, for a time, and returns how many they were.
func (j *Injector) Send(rate int, d time.Duration) (sent uint64, err error) {
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i] // a signal, such as Go's own, would cut a burst short
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)) }()
	burst := max(1, uint64(rate)*uint64(injectPeriod)/uint64(time.Second))
	for begin := time.Now(); time.Since(begin) < d; {
		if err := j.run(uint32(burst)); err != nil {
			return sent, err
		}
		sent += burst
		time.Sleep(time.Until(begin.Add(time.Duration(sent) * time.Second / time.Duration(rate))))
	}
	return sent, nil
}

func (j *Injector) run(n uint32) error {
	attr := struct {
		prog, retval, sizeIn, sizeOut uint32
		in, out                       uint64
		repeat, duration              uint32
		contextIn, contextOut         uint32
		context, contextTo            uint64
		flags, cpu, batch, pad        uint32
	}{
		prog: uint32(j.prog), sizeIn: uint32(len(j.template)), in: uint64(uintptr(unsafe.Pointer(&j.template[0]))), repeat: n,
		contextIn: uint32(unsafe.Sizeof(j.context)), context: uint64(uintptr(unsafe.Pointer(&j.context))), flags: liveFrames,
	}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_TEST_RUN, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(j)
	if errno != 0 {
		return os.NewSyscallError("bpf: run the program", errno)
	}
	return nil
}

// insn is an instruction of eBPF (RFC 9669): opcode, registers, offset, immediate.
type insn struct {
	op, regs uint8
	off      int16
	imm      int32
}

// Opcodes, and the two helpers that are called (bpf-helpers(7)).
const (
	opMov, opMovImm, opAddImm, opAndImm, opOrImm       = 0xbf, 0xb7, 0x07, 0x57, 0x47
	opLshImm, opRshImm, opSub, opOr, opBE              = 0x67, 0x77, 0x1f, 0x4f, 0xdc
	opLoad32, opStore8, opStore16, opStore32           = 0x61, 0x72, 0x6b, 0x63
	opJump, opJumpGT, opJumpGEImm, opJumpNEImm         = 0x05, 0x2d, 0x35, 0x55
	opCall, opExit                                     = 0x85, 0x95
	callRandom, callAdjustTail                   int32 = 7, 65
)

func regs(dst, src uint8) uint8 { return src<<4 | dst }

// injectSYN gives the frame a random source address in 198.18.0.0/16, and port.
var injectSYN = []insn{
	{opMov, regs(6, 1), 0, 0},
	{opCall, 0, 0, callRandom},
	{opLoad32, regs(7, 6), 0, 0}, // data
	{opLoad32, regs(3, 6), 4, 0}, // data_end
	{opMov, regs(4, 7), 0, 0},
	{opAddImm, 4, 0, 54},
	{opJumpGT, regs(4, 3), 3, 0},
	{opStore16, regs(7, 0), 28, 0},
	{opRshImm, 0, 0, 16},
	{opStore16, regs(7, 0), 34, 0},
	{opMovImm, 0, 0, 2}, // XDP_PASS
	{opExit, 0, 0, 0},
}

// injectMix makes a frame of a random flow.
var injectMix = []insn{
	{opMov, regs(6, 1), 0, 0},
	{opCall, 0, 0, callRandom},
	{opMov, regs(8, 0), 0, 0},
	// the length, by the upper four bits
	{opMov, regs(9, 8), 0, 0},
	{opRshImm, 9, 0, 28},
	{opMovImm, 2, 0, 0},
	{opJumpGEImm, 9, 3, 14},
	{opMovImm, 2, 0, 578 - injectLong},
	{opJumpGEImm, 9, 1, 11},
	{opMovImm, 2, 0, 60 - injectLong},
	{opMov, regs(1, 6), 0, 0},
	{opCall, 0, 0, callAdjustTail},
	{opLoad32, regs(7, 6), 0, 0},
	{opLoad32, regs(3, 6), 4, 0},
	{opMov, regs(4, 7), 0, 0},
	{opAddImm, 4, 0, 54},
	{opJumpGT, regs(4, 3), 46, 0},
	{opMov, regs(4, 3), 0, 0},
	{opSub, regs(4, 7), 0, 0},
	{opAddImm, 4, 0, -14},
	{opMov, regs(5, 4), 0, 0},
	{opBE, 4, 0, 16},
	{opStore16, regs(7, 4), 16, 0}, // IPv4's total length
	// client and server, by the lower sixteen bits
	{opMov, regs(1, 8), 0, 0},
	{opAndImm, 1, 0, 0x3fff},
	{opLshImm, 1, 0, 16},
	{opOrImm, 1, 0, 0x12c6}, // 198.18.x.x
	{opMov, regs(2, 8), 0, 0},
	{opAndImm, 2, 0, 0xffff},
	{opRshImm, 2, 0, 6},
	{opLshImm, 2, 0, 22},
	{opOrImm, 2, 0, 0x140a}, // 10.20.x.x
	// TCP, a SYN now and then, or UDP, by two bits more
	{opStore8, 7, 23, 6},
	{opStore8, 7, 47, 0x18}, // PSH, ACK
	{opMov, regs(4, 8), 0, 0},
	{opAndImm, 4, 0, 3},
	{opJumpNEImm, 4, 5, 0},
	{opStore8, 7, 23, 17},
	{opAddImm, 5, 0, -20},
	{opBE, 5, 0, 16},
	{opStore16, regs(7, 5), 38, 0}, // UDP's length
	{opJump, 0, 5, 0},
	{opMov, regs(4, 8), 0, 0},
	{opRshImm, 4, 0, 16},
	{opAndImm, 4, 0, 31}, // the first of these is the direction
	{opJumpNEImm, 4, 1, 0},
	{opStore8, 7, 47, 2}, // SYN
	// the direction, by one bit more
	{opMovImm, 3, 0, 0x5000},  // port 80
	{opMov, regs(4, 8), 0, 0}, // the client's port
	{opOrImm, 4, 0, 0x80},     // 32768 or more
	{opMov, regs(5, 8), 0, 0},
	{opRshImm, 5, 0, 16},
	{opAndImm, 5, 0, 1},
	{opJumpNEImm, 5, 5, 0},
	{opStore32, regs(7, 1), 26, 0},
	{opStore32, regs(7, 2), 30, 0},
	{opStore16, regs(7, 4), 34, 0},
	{opStore16, regs(7, 3), 36, 0},
	{opJump, 0, 4, 0},
	{opStore32, regs(7, 2), 26, 0},
	{opStore32, regs(7, 1), 30, 0},
	{opStore16, regs(7, 3), 34, 0},
	{opStore16, regs(7, 4), 36, 0},
	{opMovImm, 0, 0, 2},
	{opExit, 0, 0, 0},
}
