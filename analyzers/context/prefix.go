package context

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Prefix is a netip.Prefix that may be written as one address.
type Prefix struct{ netip.Prefix }

// UnmarshalText reads "192.0.2.0/24" or "192.0.2.1". Bits beyond the length are an error: they tell of a mistake, and what is
// not to be dropped is no place for one.
func (p *Prefix) UnmarshalText(b []byte) error {
	q, err := ParsePrefix(string(b))
	p.Prefix = q
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (p Prefix) MarshalText() ([]byte, error) { return p.Prefix.MarshalText() }

// ParsePrefix reads a prefix or an address, without zone. IPv4 written as IPv6 becomes IPv4.
func ParsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		switch {
		case err != nil:
			return netip.Prefix{}, fmt.Errorf("%q is no address and no prefix", s)
		case a.Zone() != "":
			return netip.Prefix{}, fmt.Errorf("%q has a zone: write the address without it", s)
		}
		return Single(a), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%q is no prefix", s)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits beyond its length: write %v", s, p.Masked())
	}
	return Native(p), nil
}

// Single is the prefix of one address.
func Single(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen())
}

// mapped is where IPv4 addresses stand among IPv6 ones (RFC 4291, 2.5.5.2): ::ffff:0:0/96.
const mappedBits = 96

// Native is p without bits beyond its length, and as IPv4 if all its addresses are such. The zero value stays.
func Native(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= mappedBits {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mappedBits)
	}
	return p.Masked()
}

// errNoPrefix is a line of a list that begins with nothing.
var errNoPrefix = errors.New("no prefix in this line")
