package fingerprint

// Kind says what a label names.
type Kind uint8

// Kinds of label.
const (
	KindNone   Kind = iota
	KindSystem      // an operating system's own stack
	KindTool        // a program that writes its own SYN: a scanner, a flooder, a packet forge
)

var kindNames = [...]string{"none", "system", "tool"}

// String is the kind's name in alerts.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "invalid"
}

// Info describes a label.
type Info struct {
	Name string
	Kind Kind
	Note string // what else has the print, or what of the program makes it
}

// Label describes label id; the zero Info for 0 and for an unknown id.
func Label(id uint16) Info {
	if int(id) < len(labels) {
		return labels[id]
	}
	return Info{}
}

// Labels stand in published Epochs: new ones are added at the end.
const (
	labelNone uint16 = iota
	labelLinux
	labelNmap
	labelNmapOS
	labelMasscan
	labelZMap
	labelHping
	labelNping
	labelScapy
	labelT50
)

var labels = [...]Info{
	labelNone:    {},
	labelLinux:   {"linux", KindSystem, "the kernel's own TCP, of whatever program"},
	labelNmap:    {"nmap", KindTool, "SYN scan and SYN ping; its connect scan is the kernel's print"},
	labelNmapOS:  {"nmap-os", KindTool, "probe of operating system detection"},
	labelMasscan: {"masscan", KindTool, "SYN scan"},
	labelZMap:    {"zmap", KindTool, "SYN scan; sendip writes the same header"},
	labelHping:   {"hping3", KindTool, "SYN probe or flood with hping's default window"},
	labelNping:   {"nping", KindTool, "raw SYN"},
	labelScapy:   {"scapy", KindTool, "a SYN with Scapy's defaults"},
	labelT50:     {"t50", KindTool, "SYN flood"},
}

// print is a pattern of signatures: raw text with "*" for any version, TTL, MSS, window, scale or payload, and "?" behind a
// quirk that may be missing.
type print struct {
	label  uint16
	synack bool
	raw    string
}

// prints are from our own recordings, November 2026: each program was run between two network namespaces (Debian 12, Linux
// 6.18) and its packets were written down as tcpdump saw them on the sender's veth.
//
// Not in the list, though recorded, because it is not a scanner's: tcptraceroute 1.5beta7 (window 0), traceroute -T and mtr -T
// (the kernel's print with another TTL). Connect scans (nmap -sT, nping --tcp-connect) are the kernel's print, and must be.
var prints = []print{
	// nmap 7.93 -sS, -sV, -O, -PS, -D, --badsum (1024), with --data-length and --scanflags SYNURG; IPv6 likewise, with hop limit
	// 255. The TTL is random from 37 to 59: a few hops on, its estimate is 32. The other windows are of versions before 7.
	{labelNmap, false, "*:*:0:1460:1024,0:mss:id-?,urgf+?:*"},
	{labelNmap, false, "*:*:0:1460:2048,0:mss:id-?,urgf+?:*"},
	{labelNmap, false, "*:*:0:1460:3072,0:mss:id-?,urgf+?:*"},
	{labelNmap, false, "*:*:0:1460:4096,0:mss:id-?,urgf+?:*"},

	// nmap 7.93 -O: six sequence probes, the ECN probe, and T5 (https://nmap.org/book/osdetect-methods.html); -6 -O likewise.
	{labelNmapOS, false, "*:*:0:1460:1,10:ws,nop,mss,ts,sok:id-?,flow?,ack+:0"},
	{labelNmapOS, false, "*:*:0:1400:63,0:mss,ws,sok,ts,eol+0:id-?,flow?,ack+:0"},
	{labelNmapOS, false, "*:*:0:640:4,5:ts,nop,nop,ws,nop,mss:id-?,flow?,ack+:0"},
	{labelNmapOS, false, "*:*:0:0:4,10:sok,ts,ws,eol+0:id-?,flow?,ack+:0"},
	{labelNmapOS, false, "*:*:0:536:16,10:mss,sok,ts,ws,eol+0:id-?,flow?,ack+:0"},
	{labelNmapOS, false, "*:*:0:265:512,0:mss,sok,ts:id-?,flow?,ack+:0"},
	{labelNmapOS, false, "*:*:0:1460:3,10:ws,nop,mss,sok,nop,nop:id-?,ecn,flow?,uptr+:0"},
	{labelNmapOS, false, "*:*:0:265:31337,10:ws,nop,mss,ts,sok:id-?,flow?,ack+:0"},

	// masscan 1.3.2, with and without --banners. IPv4 only: it found no way to send IPv6 over the veth.
	{labelMasscan, false, "4:255:0:0:1024,0::id-?:0"},

	// zmap 2.1.1 -M tcp_synscan. sendip 2.6 -p ipv4 -p tcp.
	{labelZMap, false, "4:255:0:0:65535,0::id-?:0"},

	// hping3 3.0.0-alpha-2 -S, with --flood, --rand-source, -d, -y, -M 0, -L 0, --tcp-mss, --tcp-timestamp.
	{labelHping, false, "4:64:0:0:512,0::df?,id+?,id-?,seq-?,ack+?:*"},
	{labelHping, false, "4:64:0:*:512,0:mss:df?,id+?,id-?,seq-?,ack+:*"},
	{labelHping, false, "4:64:0:0:512,0:nop,nop,ts:df?,id+?,id-?,seq-?,ack+:*"},

	// nping 0.7.93 --tcp, IPv4 and IPv6.
	{labelNping, false, "4:64:0:0:1480,0::id-?:0"},
	{labelNping, false, "6:64:0:0:1480,0::flow?:0"},

	// Scapy 2.5.0 IP()/TCP(flags="S") and IPv6()/TCP(): its sequence number is 0 unless one is chosen.
	{labelScapy, false, "*:64:0:0:8192,0::seq-?:0"},

	// t50 5.8.7 --protocol TCP -S: a random window, DF, ECN bits and payload.
	{labelT50, false, "4:255:0:0:*,0::df,id+,ecn:+"},

	// Linux 6.18 with curl, nc and Python; MTU 1280 to 9000 and SO_RCVBUF 2 KB to 4 MB (which move window and scale), TCP_MAXSEG,
	// tcp_ecn=1, then each without timestamps, SACK, window scaling; TCP Fast Open and Multipath TCP.
	{labelLinux, false, "4:64:0:*:*,*:mss,sok,ts,nop,ws:df,id+,ecn?:0"},
	{labelLinux, false, "4:64:0:*:*,*:mss,nop,nop,sok,nop,ws:df,id+,ecn?:0"},
	{labelLinux, false, "4:64:0:*:*,*:mss,nop,nop,ts,nop,ws:df,id+,ecn?:0"},
	{labelLinux, false, "4:64:0:*:*,0:mss,sok,ts:df,id+,ecn?:0"},
	{labelLinux, false, "4:64:0:*:*,0:mss,nop,nop,sok:df,id+,ecn?:0"},
	{labelLinux, false, "4:64:0:*:*,*:mss,sok,ts,nop,ws,?34,nop,nop:df,id+,ecn?:*"},
	{labelLinux, false, "4:64:0:*:*,*:mss,sok,ts,nop,ws,?254:df,id+,ecn?:*"},
	{labelLinux, false, "4:64:0:*:*,*:mss,nop,nop,sok,nop,ws,?34,nop,nop:df,id+,ecn?:*"},
	{labelLinux, false, "4:64:0:*:*,*:mss,sok,ts,nop,ws,?30:df,id+,ecn?:0"},
	{labelLinux, false, "6:64:0:*:*,*:mss,sok,ts,nop,ws:ecn?,flow?:0"},
	{labelLinux, false, "6:64:0:*:*,*:mss,nop,nop,sok,nop,ws:ecn?,flow?:0"},
	{labelLinux, false, "6:64:0:*:*,*:mss,nop,nop,ts,nop,ws:ecn?,flow?:0"},
	{labelLinux, false, "6:64:0:*:*,0:mss,sok,ts:ecn?,flow?:0"},

	// Linux 6.18 answering the above: its layout follows what was asked. DF with IP id 0 is Linux's own.
	{labelLinux, true, "4:64:0:*:*,*:mss,sok,ts,nop,ws:df,ecn?:0"},
	{labelLinux, true, "4:64:0:*:*,*:mss,nop,nop,sok,nop,ws:df,ecn?:0"},
	{labelLinux, true, "4:64:0:*:*,*:mss,nop,nop,ts,nop,ws:df,ecn?:0"},
	{labelLinux, true, "4:64:0:*:*,0:mss,sok,ts:df,ecn?:0"},
	{labelLinux, true, "4:64:0:*:*,0:mss,nop,nop,ts:df,ecn?:0"},
	{labelLinux, true, "4:64:0:*:*,0:mss,nop,nop,sok:df,ecn?:0"},
	{labelLinux, true, "6:64:0:*:*,*:mss,sok,ts,nop,ws:ecn?,flow?:0"},
	{labelLinux, true, "6:64:0:*:*,*:mss,nop,nop,sok,nop,ws:ecn?,flow?:0"},
	{labelLinux, true, "6:64:0:*:*,*:mss,nop,nop,ts,nop,ws:ecn?,flow?:0"},
	{labelLinux, true, "6:64:0:*:*,0:mss,sok,ts:ecn?,flow?:0"},
}
