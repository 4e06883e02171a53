package doctor

import (
	"fmt"
	"strings"
	"time"

	"weir/decode"
)

// Floors below which a sample tells nothing, and shares from which it does.
const (
	fewConnections = 20
	fewPackets     = 200
	fewUnicast     = 50

	oneWayFail  = 0.9  // the engine's own limit: outcome tests are off from here
	oneWayWarn  = 0.3  // asymmetric routes, or one VLAN of several
	doubledFail = 0.05 // half of all are second copies when everything is doubled
	doubledWarn = 0.002
	lossy       = 0.01 // of packets: detectors that count absences lose their confidence
	busy        = 0.7  // of the link's speed, as an average of seconds: bursts are above it
)

func share(part, whole uint64) float64 { return float64(part) / float64(max(whole, 1)) }

func arrived(f *Facts, s *Sample) Result {
	names := strings.Join(f.names(), ", ")
	if s.Packets == 0 {
		return warn("no packet came over %s in %.1f s", names, s.Seconds).
			do("ip -s link show "+f.names()[0], "# check the mirror session on the switch: its sources, its destination port, and that it is enabled").
			because("weir has nothing to look at; every other check of traffic says nothing")
	}
	seconds := max(s.Seconds, 1e-3)
	return ok("%d packets in %.1f s: %.0f packets/s, %s", s.Packets, s.Seconds, float64(s.Packets)/seconds, rate(8*float64(s.Bytes)/seconds))
}

func mirror(f *Facts, s *Sample) Result {
	switch {
	case s.Unicast < fewUnicast:
		return ok("too little traffic to tell whether this is a mirror port: %d unicast frames, %d needed", s.Unicast, fewUnicast)
	case share(s.mirrored(), s.Packets) > 0.5:
		return ok("%s of the packets come in tunnels that mirrors use (ERSPAN, GRE, VXLAN, GENEVE)", percent(share(s.mirrored(), s.Packets)))
	case share(s.Own, s.Unicast) >= 0.9:
		return note("%s of the unicast frames are to or from this host: no mirror port", percent(share(s.Own, s.Unicast))).
			do("# if a mirror was meant: check the mirror session, and that its destination is the port of " + strings.Join(f.names(), ", ")).
			because("weir judges this host's own traffic only, and cannot see what others exchange")
	}
	return ok("a mirror port: %s of the unicast frames are between others", percent(1-share(s.Own, s.Unicast)))
}

// mirrored is how many packets came in tunnels that mirrors use.
func (s *Sample) mirrored() (n uint64) {
	for i, t := range tunnelNames {
		if t.mirror {
			n += s.Tunnelled[i]
		}
	}
	return min(n, s.Packets)
}

// tunnelNames are in the order of decode's bits.
var tunnelNames = [tunnelKinds]struct {
	name   string
	mirror bool
}{
	{"GRE", true},
	{"ERSPAN", true},
	{"IP in IP", false},
	{"6in4", false},
	{"4in6", false},
	{"Teredo", false},
	{"VXLAN", true},
	{"GENEVE", true},
	{"GTP", false},
	{"L2TP", false},
	{"AYIYA", false},
}

func oneWay(_ *Facts, s *Sample) Result {
	one := share(uint64(s.OneWay), uint64(s.Connections))
	why := "without answers, outcomes cannot be judged: weir turns those tests off, finds less and says so in each alert"
	switch told := fmt.Sprintf("%s of %d TCP connections with payload show one direction only", percent(one), s.Connections); {
	case s.Connections < fewConnections:
		return note("too little traffic to tell whether both directions are seen: %d TCP connections with payload, %d needed",
			s.Connections, fewConnections).do("weir doctor --seconds 60 -i …  # or while there is more traffic")
	case one >= oneWayFail:
		return fail("%s", told).do("# mirror both directions on the switch: `monitor session 1 source interface … both` (Cisco), ingress and egress (others)",
			"# of a tap with a port for each direction, name both: weir sense -i IN -i OUT").because(why)
	case one >= oneWayWarn:
		return warn("%s", told).do("# look for routes or VLANs whose way back does not pass the mirrored ports").because(why)
	default:
		return ok("%s", told)
	}
}

func doubled(_ *Facts, s *Sample) Result {
	part := share(s.Doubled, s.Told)
	told := fmt.Sprintf("%s of %d IPv4 packets came a second time, mostly within %v", percent(part), s.Told, time.Duration(s.distance()).Round(time.Microsecond))
	var do []string
	switch {
	case s.Told < fewPackets:
		return note("too little traffic to tell whether packets come twice: %d IPv4 packets with an identification, %d needed", s.Told, fewPackets)
	case part < doubledWarn:
		return ok("%s of %d IPv4 packets came a second time", percent(part), s.Told)
	case 2*s.Across > s.Doubled:
		told += fmt.Sprintf(", %s of them over the other interface", percent(share(s.Across, s.Doubled)))
		do = []string{"# leave one of the interfaces out, or mirror different ports to each"}
	case 2*s.Routed > s.Doubled:
		told += fmt.Sprintf(", %s of them before and after a router", percent(share(s.Routed, s.Doubled)))
		do = []string{"# mirror one side of the router only, or one VLAN: weir sense --filter 'vlan …'"}
	default:
		do = []string{"# mirror each port's received packets only: `monitor session 1 source interface … rx` (Cisco), ingress (others)"}
	}
	r := warn("%s", told)
	if part >= doubledFail {
		r.Status = Fail
	}
	return r.do(do...).because("every count and rate comes out too high, and copies look like retransmissions")
}

func superPackets(_ *Facts, s *Sample) Result {
	if s.Super > 0 {
		return note("%s of the packets are longer than the MTU, up to %d bytes", percent(share(s.Super, s.Packets)), s.Largest).
			do("# see the check named merging; on the machines that send, if they are virtual: ethtool -K IF tso off gso off").
			because("each stands for several packets of the wire, whose sizes and times are lost")
	}
	return ok("no packet is longer than the MTU")
}

func snaplen(_ *Facts, s *Sample) Result {
	if s.CutHeaders > 0 {
		return warn("snaplen took headers of %d of %d packets", s.CutHeaders, s.Packets).do("# in the configuration: capture.snaplen: 2048").
			because("a connection is not counted where its ports are cut off")
	}
	return ok("snaplen cut %s of the packets, and no headers", percent(share(s.Cut, s.Packets)))
}

func encapsulation(_ *Facts, s *Sample) Result {
	var parts []string
	if s.Tagged > 0 {
		parts = append(parts, fmt.Sprintf("%s tagged, %d %s", percent(share(s.Tagged, s.Packets)), s.VLANs, plural(s.VLANs, "VLAN")))
		if s.Stacked > 0 {
			parts = append(parts, percent(share(s.Stacked, s.Packets))+" with two tags or more")
		}
	}
	for i, t := range tunnelNames {
		if n := s.Tunnelled[i]; n > 0 {
			parts = append(parts, percent(share(n, s.Packets))+" in "+t.name)
		}
	}
	if len(parts) == 0 {
		return ok("no VLAN tags and no tunnels")
	}
	r := ok("%s", strings.Join(parts, ", "))
	if mixed := share(s.Tagged, s.Packets); mixed > 0.01 && mixed < 0.99 {
		r.Status = Note
		r.Why = "tags on a part only: on some switches a mirror tags one direction, and connections then fall apart by VLAN"
	}
	return r
}

func unread(_ *Facts, s *Sample) Result {
	var all uint64
	var parts []string
	for w, n := range s.Unreadable {
		if n > 0 {
			all += n
			parts = append(parts, fmt.Sprintf("%s %d", decode.Why(w), n))
		}
	}
	reasons := strings.Join(parts, ", ")
	switch part := share(all, s.Packets); {
	case part >= lossy:
		return warn("%s of the packets cannot be read to their transport header (%s)", percent(part), reasons).
			do("tcpdump -c 20 -e -nn -i …  # look at a few of them").because("what cannot be read is not judged")
	case all > 0:
		return ok("%s of the packets cannot be read to their transport header (%s)", percent(part), reasons)
	}
	return ok("every packet could be read: IP %s, ARP %s, other %s",
		percent(share(s.IP, s.Packets)), percent(share(s.ARP, s.Packets)), percent(share(s.Other, s.Packets)))
}

func kernelDrops(f *Facts, s *Sample) Result {
	if s.Kernel == 0 {
		return ok("the kernel dropped no packet for want of ring memory, with %d %s", s.Workers, plural(s.Workers, "worker"))
	}
	part := share(s.Kernel, s.Packets+s.Kernel)
	r := warn("the kernel dropped %d packets (%s) from full rings, which stood still %d times, with %d %s",
		s.Kernel, percent(part), s.Freezes, s.Workers, plural(s.Workers, "worker"))
	if part >= lossy {
		r.Status = Fail
	}
	return r.do(fmt.Sprintf("# in the configuration: capture.ring_mib: %d", 4*f.Settings.RingMiB), "# more CPUs, or weir sense --filter to leave bulk traffic out").
		because("what is dropped looks like silence: handshakes without answers, gaps in connections")
}

func load(f *Facts, s *Sample) Result {
	for i := range f.Interfaces {
		face := &f.Interfaces[i]
		if face.Speed <= 0 || s.Seconds == 0 || !face.Sampled {
			continue
		}
		used := 8 * float64(face.During.Bytes) / s.Seconds / (float64(face.Speed) * 1e6)
		if used >= busy {
			return warn("%s ran at %s of its %s", face.Name, percent(used), rate(float64(face.Speed)*1e6)).
				do("# mirror less, or to a faster port: both directions of a full port are twice its speed").
				because("a full mirror port drops in the switch, where no counter here shows it")
		}
	}
	return ok("the links had room")
}
