package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ReadFacts reads the facts of the thread's network namespace, without any capability. What could be read is returned with an
// error, too. Cost: a walk over the kernel's routes and over its table of TCP connections.
func ReadFacts() (Facts, error) {
	r := factReader{root: "/", connection: os.Getenv("SSH_CONNECTION")}
	err := errors.Join(r.readKernel(), r.readRest())
	return r.facts(), err
}

// factReader reads facts in two parts, which change at different paces. A part that cannot be read stays as it was.
type factReader struct {
	root       root
	connection string // SSH_CONNECTION of the environment

	addresses, gateways, resolvers, peers addrSet
}

func (r *factReader) facts() Facts {
	return Facts{
		Addresses: r.addresses.sorted(), Gateways: r.gateways.sorted(), Resolvers: r.resolvers.sorted(), SSHPeers: r.peers.sorted(),
		Left: r.addresses.left + r.gateways.left + r.resolvers.left + r.peers.left,
	}
}

// readKernel reads addresses and routes.
func (r *factReader) readKernel() error {
	var own, hops addrSet
	err := errors.Join(
		dump("addresses", unix.NETLINK_ROUTE, unix.RTM_GETADDR, unix.RTM_NEWADDR, make([]byte, unix.SizeofIfAddrmsg), func(b []byte) { addressOf(b, &own, &hops) }),
		dump("routes", unix.NETLINK_ROUTE, unix.RTM_GETROUTE, unix.RTM_NEWROUTE, make([]byte, unix.SizeofRtMsg), func(b []byte) { nextHopsOf(b, &hops) }),
		dump("nexthops", unix.NETLINK_ROUTE, unix.RTM_GETNEXTHOP, unix.RTM_NEWNEXTHOP, make([]byte, sizeofNhmsg), func(b []byte) { nextHopObject(b, &hops) }),
	)
	if err == nil {
		r.addresses, r.gateways = own, hops
	}
	return err
}

// readRest reads resolvers and SSH sessions.
func (r *factReader) readRest() error {
	var resolvers, peers addrSet
	err := r.root.resolvers(&resolvers)
	if err == nil {
		r.resolvers = resolvers
	}
	var failed error
	for _, port := range r.root.sshPorts(r.connection, &peers) {
		for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
			failed = errors.Join(failed, established(family, port, &peers))
		}
	}
	if failed == nil {
		r.peers = peers
	}
	return errors.Join(err, failed)
}

const (
	sizeofNhmsg  = 8 // struct nhmsg of linux/nexthop.h: family, scope, protocol, reserved, u32 flags
	nhaGateway   = 6 // NHA_GATEWAY
	dumpsAtMost  = 3 // of a table that changes meanwhile
	attrTypeMask = 0x3fff
)

// addressOf adds an interface's address, and the far end of a point-to-point link: there IFA_LOCAL is ours and IFA_ADDRESS the
// other's (linux/if_addr.h); elsewhere both are ours, or IFA_ADDRESS stands alone.
func addressOf(b []byte, own, hops *addrSet) {
	var local, other netip.Addr
	for kind, v := range attributes(b, unix.SizeofIfAddrmsg) {
		switch kind {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(v)
		case unix.IFA_ADDRESS:
			other, _ = netip.AddrFromSlice(v)
		}
	}
	if !local.IsValid() {
		local = other
	}
	own.add(local)
	if other != local {
		hops.add(other)
	}
}

// nextHopsOf adds the gateways of a route: one, one of another family, or several.
func nextHopsOf(b []byte, hops *addrSet) {
	for kind, v := range attributes(b, unix.SizeofRtMsg) {
		if kind == unix.RTA_MULTIPATH {
			for len(v) >= unix.SizeofRtNexthop {
				n := int(binary.NativeEndian.Uint16(v)) // rtnh_len
				if n < unix.SizeofRtNexthop || n > len(v) {
					break
				}
				for kind, v := range attributes(v[:n], unix.SizeofRtNexthop) {
					nextHop(kind, v, hops)
				}
				v = v[min(aligned(n), len(v)):]
			}
			continue
		}
		nextHop(kind, v, hops)
	}
}

func nextHop(kind uint16, v []byte, hops *addrSet) {
	switch {
	case kind == unix.RTA_GATEWAY:
		hops.addSlice(v)
	case kind == unix.RTA_VIA && len(v) > 2: // struct rtvia: u16 family, address
		hops.addSlice(v[2:])
	}
}

func nextHopObject(b []byte, hops *addrSet) {
	for kind, v := range attributes(b, sizeofNhmsg) {
		if kind == nhaGateway {
			hops.addSlice(v)
		}
	}
}

// attributes are those that follow a header of n bytes (struct rtattr). It ends at the first that does not fit.
func attributes(b []byte, n int) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for b := b[min(aligned(n), len(b)):]; len(b) >= unix.SizeofRtAttr; {
			n := int(binary.NativeEndian.Uint16(b))
			if n < unix.SizeofRtAttr || n > len(b) || !yield(binary.NativeEndian.Uint16(b[2:])&attrTypeMask, b[unix.SizeofRtAttr:n]) {
				return
			}
			b = b[min(aligned(n), len(b)):]
		}
	}
}

func aligned(n int) int { return (n + 3) &^ 3 }

const (
	sockDiagByFamily = 20 // linux/sock_diag.h
	sizeofDiagReq    = 56 // struct inet_diag_req_v2 of linux/inet_diag.h
	sizeofDiagMsg    = 72 // struct inet_diag_msg
)

// established adds the remote ends of established TCP connections of a local port. The kernel filters by state and port.
func established(family byte, port uint16, into *addrSet) error {
	req := make([]byte, sizeofDiagReq)
	req[0], req[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(req[4:], 1<<unix.BPF_TCP_ESTABLISHED) // idiag_states
	binary.BigEndian.PutUint16(req[8:], port)                           // id.idiag_sport
	return dump("TCP connections", unix.NETLINK_SOCK_DIAG, sockDiagByFamily, sockDiagByFamily, req, func(b []byte) {
		if len(b) < sizeofDiagMsg || binary.BigEndian.Uint16(b[4:]) != port {
			return
		}
		if n := 4; b[0] == unix.AF_INET {
			into.addSlice(b[24 : 24+n]) // id.idiag_dst
		} else {
			into.addSlice(b[24:40])
		}
	})
}

// dump asks the kernel for a whole table. One that changes meanwhile is read again, three times at most; what changed then
// comes as an event.
func dump(what string, protocol int, ask int, answer uint16, header []byte, each func([]byte)) error {
	var err error
	for range dumpsAtMost {
		req := nl.NewNetlinkRequest(ask, unix.NLM_F_DUMP)
		req.AddRawData(header)
		err = req.ExecuteIter(protocol, answer, func(b []byte) bool { each(b); return true })
		if !errors.Is(err, nl.ErrDumpInterrupted) {
			break
		}
	}
	switch {
	case err == nil, errors.Is(err, nl.ErrDumpInterrupted):
		return nil
	case ask == unix.RTM_GETNEXTHOP && errors.Is(err, unix.EOPNOTSUPP): // before Linux 5.3
		return nil
	}
	return fmt.Errorf("reading the kernel's %s: %w", what, err)
}
