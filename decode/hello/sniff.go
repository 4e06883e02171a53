package hello

import (
	"bytes"
	"encoding/binary"
)

// Kind is an application that can be told by its opening.
type Kind uint8

// Kinds.
const (
	KindUnknown Kind = iota
	KindTLS
	KindHTTP
	KindHTTP2 // the clear-text preface of HTTP/2; not read further
	KindSSH
	KindDNS
	KindQUIC

	Kinds
)

var kindNames = [Kinds]string{"", "tls", "http", "http2", "ssh", "dns", "quic"}

// String is the kind as a service's name; "" for KindUnknown.
func (k Kind) String() string {
	if k < Kinds {
		return kindNames[k]
	}
	return "invalid"
}

// Ports that speak DNS: 53, multicast (5353, RFC 6762) and link-local (5355, RFC 4795) names; and one that speaks what looks
// like it and is not, NetBIOS names (RFC 1002).
const (
	portDNS     = 53
	portMDNS    = 5353
	portLLMNR   = 5355
	portNetBIOS = 137
)

// maxOpcode is the highest one in use: DSO (RFC 8490).
const maxOpcode = 6

// Sniff guesses the application from the first bytes that one side sends; toServer says which side, port is the server's. Only
// DNS is judged by port, and by shape on others. A PROXY header is looked behind. KindUnknown where too few bytes are there to
// tell: five of TLS, a method and a blank of HTTP, four of SSH. 4 to 70 ns.
func Sniff(payload []byte, toServer bool, port uint16) Kind {
	if toServer && len(payload) > 0 && (payload[0] == 'P' || payload[0] == '\r') {
		if _, n, st := Proxy(payload); st == Done {
			payload = payload[n:]
		}
	}
	if len(payload) < 4 {
		if len(payload) == 2 && port == portDNS && binary.BigEndian.Uint16(payload) > dnsHeader {
			return KindDNS // the length alone, as some send it
		}
		return KindUnknown
	}
	switch {
	case isTLS(payload, toServer):
		return KindTLS
	case bytes.HasPrefix(payload, []byte("SSH-")):
		return KindSSH
	case isHTTP2(payload, toServer):
		return KindHTTP2
	case isHTTP(payload, toServer):
		return KindHTTP
	case isQUIC(payload):
		return KindQUIC
	case isDNS(payload, toServer, port):
		return KindDNS
	}
	return KindUnknown
}

// isTLS knows a handshake record that begins with a hello.
func isTLS(b []byte, toServer bool) bool {
	if len(b) < recordHeader || b[1] != 3 || b[2] > 4 {
		return false
	}
	size := int(binary.BigEndian.Uint16(b[3:]))
	want := byte(typeServerHello)
	if toServer {
		want = typeClientHello
	}
	return b[0] == recordHandshake && size > 0 && size <= maxRecord && (len(b) == recordHeader || b[5] == want)
}

func isHTTP2(b []byte, toServer bool) bool {
	return toServer && bytes.HasPrefix(b, []byte("PRI * HTTP/2.0\r\n"))
}

// isHTTP knows a method in capitals and the beginning of a target, or a response's version.
func isHTTP(b []byte, toServer bool) bool {
	if !toServer {
		return len(b) >= len("HTTP/1.") && mayBegin(b, "HTTP/1.")
	}
	i := bytes.IndexByte(b[:min(len(b), maxMethod+1)], ' ')
	if i < 3 || i+1 >= len(b) {
		return false
	}
	for _, c := range b[:i] {
		if (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	target := b[i+1:]
	if line, _, ok := cutLine(target); ok {
		j := bytes.LastIndexByte(line, ' ')
		_, ok = version1(line[j+1:])
		return j > 0 && ok
	}
	return target[0] == '/' || mayBegin(target, "http://")
}

// isDNS knows a message by its port and a plausible header, or on other ports by one question that fits, over UDP or TCP.
func isDNS(b []byte, toServer bool, port uint16) bool {
	if port == portNetBIOS {
		return false
	}
	var m DNS
	known := port == portDNS || port == portMDNS || port == portLLMNR
	if plausible(&m, b, toServer, known) {
		return true
	}
	if int(binary.BigEndian.Uint16(b)) == len(b)-2 {
		return plausible(&m, b[2:], toServer, known)
	}
	if port != portDNS {
		return false
	}
	st, _ := m.ParseTCP(b) // messages behind one another, or one that is not whole
	return st != NotThis && m.Questions > 0 && m.Opcode <= maxOpcode
}

// plausible judges a message; strictly if it is not at a port of DNS.
func plausible(m *DNS, b []byte, toServer, known bool) bool {
	if len(b) < dnsHeader || b[2]>>3&15 > maxOpcode || m.Parse(b) != Done {
		return false
	}
	if known {
		return m.Questions > 0 || m.Response && (m.Answers > 0 || m.Rcode != 0)
	}
	quiet := m.Response || m.Answers == 0 && m.Rcode == 0
	return m.Questions == 1 && m.Opcode == 0 && m.Response != toServer && b[3]&0x40 == 0 && quiet && !m.Cut &&
		m.Type != 0 && m.Type < 0x0102 && (m.Class == 1 || m.Class == 255) && m.Authorities < 32 && m.Additionals < 32
}
