//go:build linux

package bpf

// The object is the same in every folder and on every machine with the same clang (Debian 12: 14.0.6); a test regenerates it.
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -target bpfel -cc clang -no-strip=false -cflags "-O2 -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu" -type sample -type signature -type signatures gate gate.bpf.c
