package sensor

import (
	"cmp"
	"slices"

	"weir/analyzers"
	"weir/analyzers/tally"
	"weir/sensor/alert"
)

// Summary is what an engine saw in all. Plain counters with one writer.
type Summary struct {
	First, Last     int64 // ns: the earliest and the latest frame time; 0 without any frame
	Epochs          uint64
	Link            tally.Link // sums over all epochs
	Backward        uint64     // frames whose time was before the frame's before
	Discontinuities uint64     // jumps of event time of more than an hour
	Alerts          [alert.StateCount]uint64
	Records         uint64
	RecordsLost     uint64
	Limits          []analyzers.Cost // what the bounds of analyzers and alerts cost
	ports           [2][65536]portCount
}

type portCount struct{ packets, bytes uint64 }

// ServiceCount is the traffic of one service by port, both directions, over all its hosts.
type ServiceCount struct {
	Proto          uint8
	Port           uint16
	Packets, Bytes uint64
}

const (
	protoTCP = 6
	protoUDP = 17
)

// add sums an epoch up.
func (s *Summary) add(e *tally.Epoch) {
	s.Epochs++
	s.Link.Add(&e.Link)
	for i := range e.Services {
		v := &e.Services[i]
		if v.Key.Role != tally.RoleServer || v.Key.Proto != protoTCP && v.Key.Proto != protoUDP {
			continue
		}
		at := 0
		if v.Key.Proto == protoUDP {
			at = 1
		}
		c := &s.ports[at][v.Key.Port]
		c.packets += v.Packets + v.BackPackets
		c.bytes += v.Bytes + v.BackBytes
	}
}

// TopServices returns the n services with the most bytes, ties by port.
func (s *Summary) TopServices(n int) []ServiceCount {
	var all []ServiceCount
	for at, proto := range []uint8{protoTCP, protoUDP} {
		for port := range s.ports[at] {
			if c := s.ports[at][port]; c.packets > 0 {
				all = append(all, ServiceCount{proto, uint16(port), c.packets, c.bytes})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b ServiceCount) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return all[:min(n, len(all))]
}
