package alert

import (
	"net/netip"
	"strconv"
	"strings"
)

// Block tells that the gate dropped packets for an alert, the last one at that time. An open alert stays so for as long as if
// a finding of it had come then. Others are ignored: those that are closed, and those of other sensors.
func (m *Manager) Block(id string, packets, bytes uint64, last int64) {
	e := m.byID[id]
	if e == nil || packets == 0 {
		return
	}
	e.blocked.Packets = addCount(e.blocked.Packets, packets)
	e.blocked.Bytes = addCount(e.blocked.Bytes, bytes)
	e.alert.Last = max(e.alert.Last, Time(last))
	if at := last + e.calm; at > e.closeAt {
		e.closeAt = at
		m.quiet.fix(e)
	}
}

// About tells the kind ("flood.syn") and the victim of an alert that is open; no prefix where it names no victim, and no kind
// where there is no such alert.
func (m *Manager) About(id string) (kind string, victim netip.Prefix, port uint16, proto uint8) {
	e := m.byID[id]
	if e == nil {
		return "", netip.Prefix{}, 0, 0
	}
	v := &e.key.victim
	return e.name, v.prefix, v.port, v.proto
}

// tell is the summary with what was blocked.
func (b *Blocked) tell(summary string) string {
	if b == nil {
		return summary
	}
	return strings.TrimSuffix(summary, ".") + "; the gate dropped " + thousands(b.Packets) + " packets of it."
}

// thousands is a number with its digits in groups: 1,203,112.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}
