// Package bpf is the gate: a program in the kernel that judges each frame that comes in at one interface by its headers, and
// the handle to its tables. It knows no policy: what is put into the tables is in force until it expires.
//
// The program (gate.bpf.c) runs in XDP, before the kernel and its packet sockets see the frame, or with ModeTCX just after
// packet sockets saw it. It reads Ethernet, up to two VLAN tags, IPv4 and IPv6 with up to eight extension headers; tunnels
// are judged by their outer header. All else passes and is counted. A frame is looked for in this order:
//
//	source address          hosts     exact
//	source prefix           prefixes  longest match
//	destination service     services  address, protocol, port (or all ports); known peers pass
//	header signature        ≤ 32      in their order
//
// The first entry that drops settles it; entries that let pass, or only count, do not. Before any verdict but "pass" the
// never-list is asked about the source. Later fragments have no ports and no flags: their source, its prefixes and services
// of all ports concern them. An entry expires by the kernel's clock, with or without this process.
package bpf
