package filter

import (
	"errors"
	"net"
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Linux's own checker takes every program: in bounds, no cell read before it was written.
func TestKernelTakesPrograms(t *testing.T) {
	for _, expr := range append(tagged, expressions...) {
		f, err := Parse(expr)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range compiled {
			ins, err := f.BPF(link, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := attach(t, ins); err != nil {
				t.Errorf("%q for link type %d: %v", expr, link, err)
			}
		}
	}
	wild := []bpf.RawInstruction{{Op: 0x60, K: 3}, {Op: 0x16}} // reads a cell that nobody wrote
	if err := attach(t, wild); !errors.Is(err, unix.EINVAL) {
		t.Errorf("the checker takes anything: %v", err)
	}
}

// attach gives a program to a UDP socket, for which no privilege is needed.
func attach(t *testing.T, ins []bpf.RawInstruction) error {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	prog := unix.SockFprog{Len: uint16(len(ins)), Filter: (*unix.SockFilter)(unsafe.Pointer(&ins[0]))}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog)
	}); err != nil {
		t.Fatal(err)
	}
	return failed
}
