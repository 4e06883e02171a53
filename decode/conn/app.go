package conn

import (
	"strings"

	"weir/decode"
)

// App is an application that the openings of connections tell, whatever their port.
type App uint8

// Applications.
const (
	AppNone App = iota // unknown
	AppTLS
	AppHTTP
	AppSSH
	AppDNS
	AppQUIC
	AppCount
)

var appNames = [AppCount]string{"", "ssl", "http", "ssh", "dns", "quic"}

// String is Zeek's name of the application as a service; "" for AppNone.
func (a App) String() string { return appNames[a] }

// Apps is a set of applications.
type Apps uint8

// AllApps has every one.
const AllApps Apps = 1<<AppCount - 1<<(AppNone+1)

// Set is the set of one application; of AppNone the empty one.
func (a App) Set() Apps { return 1 << a & AllApps }

// Has tells whether an application is in the set.
func (s Apps) Has(a App) bool { return s&a.Set() != 0 }

// String are the names in order, with commas between; "" of the empty set.
func (s Apps) String() string {
	var all [AppCount]string
	n := 0
	for a := AppNone + 1; a < AppCount; a++ {
		if s.Has(a) {
			all[n] = a.String()
			n++
		}
	}
	return strings.Join(all[:n], ",")
}

// Opened notes what a packet's connection opened with. The packet is of a shard that the caller owns; its connection may be gone.
func (t *Tables) Opened(p *decode.Packet, app App) {
	s := &t.shards[p.Shard%decode.Shards]
	if c := s.find(p.Hash, &p.Key); c != nil {
		c.app = app
	} else if n := s.findHalf(p.Hash, &p.Key); n >= 0 {
		s.halves[n].app = app
	}
}

// ServiceName is the name of a service in Zeek's words: by what its connections opened with, if that was seen, else by its port;
// empty if that says nothing either.
func ServiceName(proto uint8, port uint16, seen Apps) string {
	switch {
	case seen != 0:
		return seen.String()
	case proto == protoTCP:
		return serviceTCP(port)
	case proto == protoUDP:
		return serviceUDP(port)
	}
	return ""
}
