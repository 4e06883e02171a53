package hello

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"unsafe"
)

// The PROXY protocol of HAProxy (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt).
const (
	proxyText   = "PROXY "
	proxyBinary = "\r\n\r\n\x00\r\nQUIT\n"
	maxProxyV1  = 107 // bytes, its longest line
	proxyV2     = 16  // bytes before the addresses
)

// Proxy reads a PROXY header, version 1 or 2, at the start of a stream: the client's address and how many bytes the header
// has. Without one it is NotThis and 0 bytes. The address is invalid where the header names none (UNKNOWN, LOCAL, a UNIX
// socket). With NeedMore, n is how many bytes are wanted.
func Proxy(b []byte) (client netip.AddrPort, n int, st Status) {
	switch {
	case len(b) == 0:
		return client, 0, NotThis
	case mayBegin(b, proxyText):
		return proxy1(b)
	case mayBegin(b, proxyBinary):
		return proxy2(b)
	}
	return client, 0, NotThis
}

// proxy1 reads "PROXY TCP4 source destination sport dport".
func proxy1(b []byte) (client netip.AddrPort, n int, st Status) {
	line, rest, ok := cutLine(b[:min(len(b), maxProxyV1)])
	if !ok {
		if len(b) >= maxProxyV1 {
			return client, 0, NotThis
		}
		return client, len(b) + 1, NeedMore
	}
	if len(line) < len(proxyText) {
		return client, 0, NotThis
	}
	n = min(len(b), maxProxyV1) - len(rest)
	family, line, _ := bytes.Cut(line[len(proxyText):], []byte{' '})
	source, line, _ := bytes.Cut(line, []byte{' '})
	_, line, _ = bytes.Cut(line, []byte{' '})
	port, _, _ := bytes.Cut(line, []byte{' '})
	switch string(family) {
	case "UNKNOWN":
		return client, n, Done
	case "TCP4", "TCP6":
		addr, ok := parseAddr(source)
		p := number(port)
		if ok && p >= 0 && p <= 0xffff {
			return netip.AddrPortFrom(addr, uint16(p)), n, Done
		}
	}
	return client, 0, NotThis
}

// proxy2 reads the binary form.
func proxy2(b []byte) (client netip.AddrPort, n int, st Status) {
	if len(b) < proxyV2 {
		return client, proxyV2, NeedMore
	}
	command, family, size := b[12], b[13], int(binary.BigEndian.Uint16(b[14:]))
	if command>>4 != 2 || command&15 > 1 {
		return client, 0, NotThis
	}
	n = proxyV2 + size
	if n >= MaxOpening {
		return client, 0, NotThis
	}
	if len(b) < n {
		return client, n, NeedMore
	}
	local, body := command&15 == 0, b[proxyV2:n]
	switch family >> 4 {
	case 1: // IPv4: addresses, ports
		if !local && size >= 12 {
			client = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:]))
		}
	case 2: // IPv6
		if !local && size >= 36 {
			client = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)).Unmap(), binary.BigEndian.Uint16(body[32:]))
		}
	}
	return client, n, Done
}

// parseAddr reads an address. It allocates for a malformed one alone: the error, in netip.
func parseAddr(b []byte) (netip.Addr, bool) {
	const longest = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")
	if len(b) == 0 || len(b) > longest || bytes.IndexByte(b, '%') >= 0 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(unsafe.String(&b[0], len(b))) // keeps nothing of it without a zone
	return a.Unmap(), err == nil
}
