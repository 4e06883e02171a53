package conn

import (
	"strings"

	"weir/decode"
)

// flagLetters are tcpdump's of the TCP flags, from the lowest bit on.
const flagLetters = "FSRPAUEWe"

// FlagLetters names a set of TCP flags in tcpdump's letters, the lowest first.
func FlagLetters(flags uint16) string {
	var b [len(flagLetters)]byte
	n := 0
	for i := range len(flagLetters) {
		if flags>>i&1 != 0 {
			b[n] = flagLetters[i]
			n++
		}
	}
	return string(b[:n])
}

// ParseFlags is the set that FlagLetters named; other letters are passed over.
func ParseFlags(letters string) (flags uint16) {
	for i := range len(flagLetters) {
		if strings.IndexByte(letters, flagLetters[i]) >= 0 {
			flags |= 1 << i
		}
	}
	return flags
}

// TunnelNames names a set of tunnels, with commas between.
func TunnelNames(set decode.Tunnels) string {
	var names []string
	for i, name := range tunnelNames {
		if set>>i&1 != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// ParseTunnels is the set that TunnelNames named; other words are passed over.
func ParseTunnels(names string) (set decode.Tunnels) {
	for word := range strings.SplitSeq(names, ",") {
		for i, name := range tunnelNames {
			if word == name {
				set |= 1 << i
			}
		}
	}
	return set
}

// ProtoName is Zeek's name of the record's protocol.
func (r *Record) ProtoName() string { return r.protoName() }
