package enforce

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"weir/sensor/policy"
)

// key is a policy.Drop.Key taken apart.
type key struct {
	scope    policy.Scope
	prefix   netip.Prefix // source, or destination of a service
	protocol string       // of a service
	port     uint16
	id       uint64 // of a signature
}

// unknownSignature begins the key of a signature of which only the id is known: whose fields this process never saw.
const unknownSignature = "signature.unknown."

// parseKey reverses policy.Drop.Key.
func parseKey(s string) (key, error) {
	scope, rest, _ := strings.Cut(s, ".")
	switch scope {
	case "address", "prefix":
		p, err := parsePrefix(rest)
		return key{scope: map[string]policy.Scope{"address": policy.ScopeAddress, "prefix": policy.ScopePrefix}[scope], prefix: p}, err
	case "service":
		at, port, ok := cutLast(rest)
		host, protocol, ok2 := cutLast(at)
		n, err := strconv.ParseUint(port, 10, 16)
		p, err2 := parsePrefix(host)
		if !ok || !ok2 || err != nil || err2 != nil || !p.IsSingleIP() {
			return key{}, fmt.Errorf("%q is no key of a service", s)
		}
		return key{scope: policy.ScopeService, prefix: p, protocol: protocol, port: uint16(n)}, nil
	case "signature":
		if id, unknown := strings.CutPrefix(s, unknownSignature); unknown {
			n, err := strconv.ParseUint(id, 16, 64)
			return key{scope: policy.ScopeSignature, id: n}, err
		}
		return key{scope: policy.ScopeSignature, id: signatureID(s)}, nil
	}
	return key{}, fmt.Errorf("%q is no key of a drop", s)
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// parsePrefix reads 192.0.2.0_24, 192.0.2.9, and IPv6 in 32 hex digits.
func parsePrefix(s string) (netip.Prefix, error) {
	host, bits, cut := strings.Cut(s, "_")
	var a netip.Addr
	var err error
	if len(host) == 32 && !strings.Contains(host, ".") {
		var b []byte
		if b, err = hex.DecodeString(host); err == nil {
			a = netip.AddrFrom16([16]byte(b))
		}
	} else {
		a, err = netip.ParseAddr(host)
	}
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no address of a key", s)
	}
	n := a.BitLen()
	if cut {
		if n, err = strconv.Atoi(bits); err != nil {
			return netip.Prefix{}, fmt.Errorf("%q is no prefix of a key", s)
		}
	}
	p := netip.PrefixFrom(a, n)
	if !p.IsValid() {
		return p, fmt.Errorf("%q is no prefix of a key", s)
	}
	return p, nil
}

// sourceKey is the key of a drop by source.
func sourceKey(p netip.Prefix) string {
	if p.IsSingleIP() {
		return (&policy.Drop{Scope: policy.ScopeAddress, IP: p.Addr()}).Key()
	}
	return (&policy.Drop{Scope: policy.ScopePrefix, Prefix: p}).Key()
}

// signatureID names a signature in the kernel, by its key.
func signatureID(key string) uint64 {
	sum := sha256.Sum256([]byte(key))
	return binary.BigEndian.Uint64(sum[:8])
}

// protocols are the names that alerts and drops use, with their IANA numbers.
var protocols = map[string]uint8{
	"icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "udp": 17, "dccp": 33, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51, "icmpv6": 58, "ospf": 89,
	"sctp": 132, "udplite": 136,
}

var protocolNames = func() map[uint8]string {
	names := map[uint8]string{}
	for name, n := range protocols {
		names[n] = name
	}
	return names
}()

// protocolNumber reads a name, or the number of a protocol without one: each has one spelling, so that each entry has one key.
func protocolNumber(s string) (uint8, error) {
	if n, ok := protocols[s]; ok {
		return n, nil
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if name, named := protocolNames[uint8(n)]; err == nil && named {
		return 0, fmt.Errorf("protocol %q is written %q", s, name)
	}
	if err != nil || n == 0 || s != strconv.FormatUint(n, 10) {
		return 0, fmt.Errorf("protocol %q is unknown to the gate", s)
	}
	return uint8(n), nil
}

func protocolName(n uint8) string {
	if name, ok := protocolNames[n]; ok {
		return name
	}
	return strconv.Itoa(int(n))
}
