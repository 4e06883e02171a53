package enforce

import (
	"net/netip"
	"testing"

	"weir/sensor/alert"
	"weir/sensor/policy"
)

func TestKeys(t *testing.T) {
	at := netip.MustParseAddr
	for _, c := range []struct {
		drop *policy.Drop
		want key
	}{
		{&policy.Drop{Scope: policy.ScopeAddress, IP: at("192.0.2.9")}, key{scope: policy.ScopeAddress, prefix: netip.MustParsePrefix("192.0.2.9/32")}},
		{&policy.Drop{Scope: policy.ScopeAddress, IP: at("2001:db8::1")}, key{scope: policy.ScopeAddress, prefix: netip.MustParsePrefix("2001:db8::1/128")}},
		{
			&policy.Drop{Scope: policy.ScopePrefix, Prefix: netip.MustParsePrefix("192.0.2.0/24")},
			key{scope: policy.ScopePrefix, prefix: netip.MustParsePrefix("192.0.2.0/24")},
		},
		{
			&policy.Drop{Scope: policy.ScopePrefix, Prefix: netip.MustParsePrefix("2001:db8::/32")},
			key{scope: policy.ScopePrefix, prefix: netip.MustParsePrefix("2001:db8::/32")},
		},
		{
			&policy.Drop{Scope: policy.ScopeService, Service: &policy.Service{IP: at("192.0.2.1"), Port: 443, Protocol: "tcp"}},
			key{scope: policy.ScopeService, prefix: netip.MustParsePrefix("192.0.2.1/32"), protocol: "tcp", port: 443},
		},
		{
			&policy.Drop{Scope: policy.ScopeService, Service: &policy.Service{IP: at("2001:db8::1"), Protocol: "icmpv6"}},
			key{scope: policy.ScopeService, prefix: netip.MustParsePrefix("2001:db8::1/128"), protocol: "icmpv6"},
		},
	} {
		if got, err := parseKey(c.drop.Key()); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.drop.Key(), got, err, c.want)
		}
	}
	signed := &policy.Drop{Scope: policy.ScopeSignature, Service: &policy.Service{IP: at("192.0.2.1")}, Signature: &alert.Signature{Fields: []alert.Field{{Name: "length", Value: "40"}}}}
	if k, err := parseKey(signed.Key()); err != nil || k.scope != policy.ScopeSignature || k.id != signatureID(signed.Key()) || k.id == 0 {
		t.Errorf("%+v, %v", k, err)
	}
	if k, err := parseKey(unknownSignature + "00000000000000ff"); err != nil || k.id != 255 {
		t.Errorf("%+v, %v", k, err)
	}
	for _, s := range []string{"", "address.", "address.x", "prefix.192.0.2.0_33", "prefix.192.0.2.0_x", "service.192.0.2.1.tcp", "service.192.0.2.1.tcp.70000", "other.1", "panic", "address.zz0102030405060708090a0b0c0d0e0f"} {
		if k, err := parseKey(s); err == nil {
			t.Errorf("%q is read as %+v", s, k)
		}
	}
}

func TestProtocols(t *testing.T) {
	// Numbers of IANA's registry of protocols.
	for name, want := range map[string]uint8{"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58, "sctp": 132, "gre": 47, "esp": 50, "254": 254} {
		if n, err := protocolNumber(name); err != nil || n != want || protocolName(n) != name {
			t.Errorf("%s: %d (%s), %v", name, n, protocolName(n), err)
		}
	}
	for _, s := range []string{"", "6", "0", "256", "07", "any", "tcp "} {
		if n, err := protocolNumber(s); err == nil {
			t.Errorf("%q is %d", s, n)
		}
	}
}
