package conn

import "weir/decode"

// flipped tells whether a first packet looks like an answer whose question was missed, so that its sender is the
// responder: Zeek's WantConnection of TCP and UDP. Unlike Zeek's it does not believe a server's port in what no server
// sends, TCP without SYN, ACK and RST, or UDP to another service: scanners use such source ports.
func flipped(p *decode.Packet) bool {
	_, src := p.Src()
	_, dst := p.Dst()
	switch p.Key.Proto {
	case protoTCP:
		opening := p.Flags&(flagSYN|flagACK) == flagSYN
		if opening || p.Flags&(flagSYN|flagACK|flagRST) == 0 || !serverTCP(src) {
			return false
		}
		if serverTCP(dst) {
			return p.Flags&flagSYN == 0 && src < dst
		}
		return true
	case protoUDP:
		return serverUDP(src) && !serves(dst)
	}
	return false
}

// serverTCP lists Zeek's likely_server_ports of TCP, as its scripts fill it (the redefinitions listed with
// https://docs.zeek.org/en/master/scripts/base/init-bare.zeek.html#id-likely_server_ports), and POP3 and MySQL.
func serverTCP(port uint16) bool {
	switch port {
	case 21, 2811, // ftp, gridftp
		22, 25, 587, 53, 79, 88, 110, 143, // ssh, smtp, dns, finger, krb, pop3, imap
		80, 81, 631, 1080, 3128, 8000, 8080, 8888, // http
		135, 139, 445, 389, 3268, 502, // dce_rpc, smb, ldap, modbus
		443, 465, 563, 585, 614, 636, 989, 990, 992, 993, 995, 5223, // ssl
		3306, 5432, 6379, 1883, 3389, // mysql, postgresql, redis, mqtt, rdp
		5222, 5269, 6666, 6667, 6668, 6669, 20000: // xmpp, irc, dnp3
		return true
	}
	return false
}

// serverUDP lists the same of UDP.
func serverUDP(port uint16) bool {
	switch port {
	case 53, 137, 5353, 5355, // dns
		67, 88, 123, 161, 162, 389, 3268, 443, 784, 514, // dhcp, krb, ntp, snmp, ldap, quic, syslog
		1812, 2123, 2152, 3389, 3544, 4789, 5060, 5072, 6081, 20000: // radius, gtp, rdp, teredo, vxlan, sip, ayiya, geneve, dnp3
		return true
	}
	return false
}

// answerShaped tells whether a first packet is an answer that nobody is known to have asked for: an echo reply, or UDP
// from a service's port to one where no
// service is expected: servers ask each other, and a reflector answers to any port that its victim's name was used with.
func answerShaped(p *decode.Packet) bool {
	switch p.Key.Proto {
	case protoICMP:
		return p.ICMPType == 0
	case protoICMP6:
		return p.ICMPType == 129
	case protoUDP:
		_, src := p.Src()
		_, dst := p.Dst()
		return answers(src) && !serves(dst)
	}
	return false
}

// answers tells whether a UDP port is a service's: a system port, or one that amplification attacks abuse (US-CERT
// TA14-017A and later reports: 1434 SQL Server, 1900 SSDP, 3283 ARMS, 3478 STUN, 3702 WS-Discovery, 5060 SIP, 5093
// Sentinel, 5353 mDNS, 5683 CoAP, 7547 CWMP, 10001 Ubiquiti, 11211 memcached, 27015 Steam, 37810 DVR).
func answers(port uint16) bool { return port < 1024 && port != 0 || abused(port) }

func abused(port uint16) bool {
	switch port {
	case 1434, 1900, 3283, 3478, 3702, 5060, 5093, 5353, 5683, 7547, 10001, 11211, 27015, 37810:
		return true
	}
	return false
}

// serves tells whether a UDP port is one that services listen on (IANA's registry of system ports, those in use; and the
// ports of flipped and abused).
func serves(port uint16) bool {
	switch port {
	case 7, 9, 13, 17, 19, 37, // echo, discard, daytime, qotd, chargen, time
		69, 111, 138, 177, 427, 464, 500, 520, 521, // tftp, rpcbind, netbios-dgm, xdmcp, slp, kpasswd, ike, rip, ripng
		68, 546, 547, 623, 631, 853, 1194, 1701, 4500, 51820: // dhcp, dhcpv6, ipmi, ipp, dns over quic, openvpn, l2tp, ike, wireguard
		return true
	}
	return serverUDP(port) || abused(port)
}

// dnsPort tells whether Zeek's DNS analyzer looks at a UDP port.
func dnsPort(port uint16) bool { return port == 53 || port == 137 || port == 5353 || port == 5355 }
