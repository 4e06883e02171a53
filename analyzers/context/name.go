package context

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gaissmai/bart"
)

// Bounds of what an operator names.
const (
	maxNames    = 65_536
	maxNameSize = 64 // bytes
)

// named are the names that an operator gave to networks and services.
type named struct {
	networks bart.Table[string]
	services map[servicePoint]string
}

// servicePoint is a port of one host, or of all (not valid).
type servicePoint struct {
	host  netip.Addr
	port  uint16
	proto uint8
}

// IP protocols that have ports.
var portProtocols = map[string]uint8{"tcp": 6, "udp": 17, "sctp": 132}

// newNamed reads the names; the error tells which cannot be.
func newNamed(c *Config) (*named, error) {
	if len(c.Names)+len(c.Services) > maxNames {
		return nil, fmt.Errorf("networks: %d names and services, at most %d", len(c.Names)+len(c.Services), maxNames)
	}
	n := &named{services: map[servicePoint]string{}}
	for text, name := range c.Names {
		p, err := ParsePrefix(text)
		if err == nil {
			err = checkName(name)
		}
		if err != nil {
			return nil, fmt.Errorf("networks: names: %s: %w", text, err)
		}
		n.networks.Insert(p, name)
	}
	for text, name := range c.Services {
		points, err := parseService(text)
		if err == nil {
			err = checkName(name)
		}
		if err != nil {
			return nil, fmt.Errorf("networks: services: %s: %w", text, err)
		}
		for _, p := range points {
			n.services[p] = name
		}
	}
	return n, nil
}

func checkName(name string) error {
	if name == "" || len(name) > maxNameSize || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%q is no name: 1 to %d bytes, without control characters", name, maxNameSize)
	}
	return nil
}

// parseService reads "8443", "5514/udp", "10.20.0.10:9000/tcp" or "[2001:db8::1]:53"; without protocol it is both TCP and UDP.
func parseService(text string) (points []servicePoint, err error) {
	where, proto, _ := strings.Cut(text, "/")
	var p servicePoint
	number := where
	if strings.Contains(where, ":") {
		at, err := netip.ParseAddrPort(where)
		if err != nil {
			return nil, fmt.Errorf("no port, and no address with a port: %w", err)
		}
		p.host, number = at.Addr().Unmap().WithZone(""), strconv.Itoa(int(at.Port()))
	}
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil || port == 0 {
		return nil, fmt.Errorf("%q is no port", number)
	}
	p.port = uint16(port)
	protocols := []string{"tcp", "udp"}
	if proto != "" {
		protocols = []string{proto}
	}
	for _, name := range protocols {
		if p.proto = portProtocols[name]; p.proto == 0 {
			return nil, fmt.Errorf("%q is no protocol with ports: tcp, udp or sctp", name)
		}
		points = append(points, p)
	}
	return points, nil
}

// Name is what the operator calls the smallest named network that holds all of a prefix; "" if none does.
func (n *Networks) Name(p netip.Prefix) string {
	if p = Native(p); !p.IsValid() {
		return ""
	}
	name, _ := n.names.networks.LookupPrefix(p)
	return name
}

// Service is what the operator calls a service, by its host and port or by its port alone; if he does not, what it is known as: by
// what its connections open with, or by its port.
func (n *Networks) Service(host netip.Addr, proto uint8, port uint16, known string) string {
	if port == 0 || len(n.names.services) == 0 {
		return known
	}
	if name, ok := n.names.services[servicePoint{host.Unmap().WithZone(""), port, proto}]; ok {
		return name
	}
	if name, ok := n.names.services[servicePoint{port: port, proto: proto}]; ok {
		return name
	}
	return known
}

// Named reports whether the operator named any network.
func (n *Networks) Named() bool { return n.names.networks.Size() > 0 }

// Names are the named networks in order of their prefixes, as "10.20.0.0/24 office".
func (n *Networks) Names() (list []string) {
	for p, name := range n.names.networks.AllSorted() {
		list = append(list, p.String()+" "+name)
	}
	return slices.Clip(list)
}
