package conn

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math/bits"
	"net/netip"

	"weir/decode"
)

// CommunityID appends the connection's Community ID, version 1 with the given seed
// (https://github.com/corelight/community-id-spec): a name that other tools give the same connection. ICMP uses the ports
// of decode.Key, which are the specification's.
func (r *Record) CommunityID(b []byte, seed uint16) []byte {
	src, dst, sport, dport := r.Orig, r.Resp, r.OrigPort, r.RespPort
	if !r.oneWay() && (dst.Less(src) || dst == src && dport < sport) {
		src, dst, sport, dport = dst, src, dport, sport
	}
	var buf [40]byte
	m := binary.BigEndian.AppendUint16(buf[:0], seed)
	m = appendRaw(m, src, r.Ver)
	m = appendRaw(m, dst, r.Ver)
	m = append(m, r.Proto, 0)
	if r.hasPorts() {
		m = binary.BigEndian.AppendUint16(m, sport)
		m = binary.BigEndian.AppendUint16(m, dport)
	}
	sum := sha1.Sum(m)
	return base64.StdEncoding.AppendEncode(append(b, "1:"...), sum[:])
}

// hasPorts tells whether the protocol's connections have ports, or ICMP's types in their place.
func (r *Record) hasPorts() bool {
	switch r.Proto {
	case protoICMP, protoTCP, protoUDP, protoICMP6, protoSCTP:
		return true
	}
	return false
}

// oneWay tells whether the connection is of an ICMP type without an answering type: the specification does not order its
// ends.
func (r *Record) oneWay() bool {
	switch r.Proto {
	case protoICMP:
		switch r.OrigPort {
		case 0, 8, 9, 10, 13, 14, 15, 16, 17, 18:
			return false
		}
		return true
	case protoICMP6:
		switch r.OrigPort {
		case 128, 129, 130, 131, 133, 134, 135, 136, 139, 140, 144, 145:
			return false
		}
		return true
	}
	return false
}

func appendRaw(b []byte, a decode.Addr, ver uint8) []byte {
	if ver == 6 {
		b = binary.BigEndian.AppendUint64(b, a.Hi)
		return binary.BigEndian.AppendUint64(b, a.Lo)
	}
	return binary.BigEndian.AppendUint32(b, uint32(a.Lo))
}

func appendAddr(b []byte, a decode.Addr, ver uint8) []byte {
	var ip netip.Addr = a.Netip(ver)
	return ip.AppendTo(b)
}

// UID appends a name for the record in the form of Zeek's uid: C and base 62 digits. It follows from the record's ends
// and start alone.
func (r *Record) UID(b []byte) []byte {
	var buf [64]byte
	m := appendRaw(buf[:0], r.Orig, 6)
	m = appendRaw(m, r.Resp, 6)
	m = binary.BigEndian.AppendUint64(m, uint64(r.First))
	m = binary.BigEndian.AppendUint32(m, uint32(r.OrigPort)<<16|uint32(r.RespPort))
	m = binary.BigEndian.AppendUint32(m, r.Disc)
	m = append(m, r.Proto, r.Ver)
	sum := sha256.Sum256(m)
	hi, lo := uint64(binary.BigEndian.Uint32(sum[:])), binary.BigEndian.Uint64(sum[4:])
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	b = append(b, 'C')
	for range 17 { // 96 bits need 17 digits at most
		var rem uint64
		hi, rem = hi/62, hi%62
		lo, rem = bits.Div64(rem, lo, 62)
		b = append(b, digits[rem])
	}
	return b
}

// Service is the name of the service as Zeek names protocols: by the connection's opening, else by the responder's port; empty if
// neither says anything. Zeek names what it parsed, all of several protocols and nothing by port alone: where it has
// "postgresql,ssl", this has "ssl"; and this has a name where the connection carried nothing, or what is not told by its opening.
func (r *Record) Service() string { return ServiceName(r.Proto, r.RespPort, r.App.Set()) }

func serviceTCP(port uint16) string {
	switch port {
	case 20:
		return "ftp-data"
	case 21:
		return "ftp"
	case 22:
		return "ssh"
	case 23:
		return "telnet"
	case 25, 587:
		return "smtp"
	case 53:
		return "dns"
	case 80, 8000, 8080:
		return "http"
	case 88:
		return "krb_tcp"
	case 110:
		return "pop3"
	case 135:
		return "dce_rpc"
	case 143:
		return "imap"
	case 389:
		return "ldap"
	case 139, 445:
		return "smb"
	case 443, 465, 636, 853, 990, 993, 995, 8443:
		return "ssl"
	case 1433:
		return "mssql"
	case 1883:
		return "mqtt"
	case 3306:
		return "mysql"
	case 3389:
		return "rdp"
	case 5432:
		return "postgresql"
	case 5900:
		return "rfb"
	case 5985:
		return "winrm"
	case 6379:
		return "redis"
	}
	return ""
}

func serviceUDP(port uint16) string {
	switch port {
	case 53:
		return "dns"
	case 67, 68:
		return "dhcp"
	case 69:
		return "tftp"
	case 123:
		return "ntp"
	case 137:
		return "netbios-ns"
	case 161, 162:
		return "snmp"
	case 389:
		return "ldap"
	case 443:
		return "quic"
	case 500, 4500:
		return "ipsec"
	case 514:
		return "syslog"
	case 1812:
		return "radius"
	case 1900:
		return "ssdp"
	case 2152:
		return "gtpv1"
	case 3544:
		return "teredo"
	case 4789:
		return "vxlan"
	case 5060:
		return "sip"
	case 5353:
		return "mdns"
	case 6081:
		return "geneve"
	case 11211:
		return "memcached"
	}
	return ""
}
