package analyzers

import (
	"weir/analyzers/baseline"
	"weir/analyzers/context"
	"weir/analyzers/tally"
	"weir/decode"
)

// rateLoad is what a key had in a second, by what loadRules tell.
type rateLoad [loadMeasures]uint64

const (
	loadConnections = iota
	loadPackets
	loadBytes
	loadMeasures
)

// rateRule is how a measure is shown, and the score at most where only such exceed.
type rateRule struct {
	measure    baseline.Measure
	name, unit string
	scale      float64 // of what is shown
	cap        int
}

var loadRules = [loadMeasures]rateRule{
	{baseline.MeasureConnections, "connections", "connections/s", 1, spikeCap},
	{baseline.MeasurePackets, "packets", "packets/s", 1, volumeCap},
	{baseline.MeasureBytes, "bits", "bit/s", 8, volumeCap},
}

func (l *rateLoad) add(o *rateLoad) {
	for m := range l {
		l[m] += o[m]
	}
}

// loadFloors are the floors of a kind of key, in what is counted.
func (r *Rate) loadFloors(kind baseline.Kind) [loadMeasures]float64 {
	f := [loadMeasures]float64{float64(r.cfg.ConnectionsPerSecond), float64(r.cfg.PacketsPerSecond), float64(r.cfg.BitsPerSecond) / 8}
	if isWhole(kind) {
		for m := range f {
			f[m] *= wholeFactor
		}
	}
	return f
}

// isWhole reports whether many parts make the load of a kind of key.
func isWhole(kind baseline.Kind) bool {
	return kind == baseline.KindLink || kind == baseline.KindPrefix || kind == baseline.KindCountry
}

// count adds to a key's second.
func (r *Rate) count(k baseline.Key, l *rateLoad) {
	if to := r.loads.add(k); to != nil {
		to.add(l)
	}
}

// gatherLoads adds an epoch's services up, by host, prefix and link. Epoch.Services stand in order of addresses.
func (r *Rate) gatherLoads(e *tally.Epoch) {
	all := rateLoad{loadPackets: e.Link.Packets, loadBytes: e.Link.Bytes}
	if e.Link.Packets > 0 {
		r.count(baseline.Key{Kind: baseline.KindLink}, &rateLoad{}) // first, so that it has room
	}
	for rest := e.Services; len(rest) > 0; {
		n := 1
		for n < len(rest) && samePrefix(&rest[0].Key, &rest[n].Key) {
			n++
		}
		all[loadConnections] += r.gatherPrefix(rest[:n])
		rest = rest[n:]
	}
	if e.Link.Packets > 0 {
		r.count(baseline.Key{Kind: baseline.KindLink}, &all)
	}
}

// gatherPrefix adds up the services of one prefix and returns how many connections all of them had.
func (r *Rate) gatherPrefix(services []tally.Service) (connections uint64) {
	var sum rateLoad
	first, answered := services[0].Key, false
	for rest := services; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[0].Key.Addr == rest[n].Key.Addr {
			n++
		}
		host, own := r.gatherHost(rest[:n])
		connections += host[loadConnections]
		if own {
			sum.add(&host)
			answered = true
		}
		rest = rest[n:]
	}
	if answered {
		k := prefixKey(first.Addr, first.Ver)
		r.count(k, &sum)
	}
	return connections
}

// gatherHost adds up the services of one host. Own: it is of the site, and answered something.
func (r *Rate) gatherHost(services []tally.Service) (sum rateLoad, own bool) {
	k := &services[0].Key
	inside := !multicast(k) && r.site.Inside(k.Addr.Netip(k.Ver))
	for i := range services {
		v := &services[i]
		l := r.loadOf(v)
		sum.add(&l)
		if inside && v.Key.Role == tally.RoleServer && v.BackPackets > 0 {
			own = true
			r.count(serviceKey(v.Key.Addr, v.Key.Ver, v.Key.Proto, v.Key.Port), &l)
		}
	}
	if own {
		r.count(baseline.Key{Kind: baseline.KindHost, Ver: k.Ver, Addr: [2]uint64{k.Addr.Hi, k.Addr.Lo}}, &sum)
	}
	return sum, own
}

// loadOf is the load of a service. A connection counts once it is completed, or answered; in a one-way view when it begins.
func (r *Rate) loadOf(v *tally.Service) rateLoad {
	l := rateLoad{loadPackets: v.Packets + v.BackPackets, loadBytes: v.Bytes + v.BackBytes}
	switch {
	case v.Key.Proto == protoTCP && r.view.OneWay():
		l[loadConnections] = uint64(v.SYN)
	case v.Key.Proto == protoTCP:
		l[loadConnections] = uint64(v.Proven)
	case v.BackPackets > 0:
		l[loadConnections] = uint64(v.Opened)
	}
	return l
}

func serviceKey(a decode.Addr, ver, proto uint8, port uint16) baseline.Key {
	return baseline.Key{Kind: baseline.KindService, Ver: ver, Proto: proto, Port: port, Addr: [2]uint64{a.Hi, a.Lo}}
}

func prefixKey(a decode.Addr, ver uint8) baseline.Key {
	first := prefixOf(&tally.ServiceKey{Addr: a, Ver: ver})
	return baseline.Key{Kind: baseline.KindPrefix, Ver: ver, Bits: prefixBits(ver), Addr: [2]uint64{first.Hi, first.Lo}}
}

func prefixBits(ver uint8) uint8 {
	if ver == 6 {
		return 64
	}
	return 24
}

// gatherPairs adds up what sources did at inside services, and from where they came. Epoch.Pairs and Epoch.Webs stand in the
// order of their keys, and are walked together.
func (r *Rate) gatherPairs(e *tally.Epoch) {
	r.origins.begin(r.site.Networks)
	var client clientView
	pairs, webs := e.Pairs, e.Webs
	for len(pairs) > 0 || len(webs) > 0 {
		var p *tally.Pair
		var v *tally.Web
		if len(webs) == 0 || len(pairs) > 0 && !webs[0].Key.Less(&pairs[0].Key) {
			p, pairs = &pairs[0], pairs[1:]
		}
		if len(webs) > 0 && (p == nil || webs[0].Key == p.Key) {
			v, webs = &webs[0], webs[1:]
		}
		r.gatherPair(p, v, &client)
	}
}

// gatherPair adds what connections (p) and requests (v) tell of one pair; either may be nil.
func (r *Rate) gatherPair(p *tally.Pair, v *tally.Web, client *clientView) {
	var k *tally.PairKey
	if p != nil {
		k = &p.Key
	} else {
		k = &v.Key
	}
	if !r.site.Inside(k.Server.Netip(k.Ver)) {
		return
	}
	client.look(r, k)
	if p != nil && p.Opened > 0 && !client.inside {
		r.countOrigin(k, uint64(p.Opened))
	}
	if client.proxy {
		return
	}
	t := r.talks.add(*k)
	if t == nil {
		return
	}
	if p != nil {
		t.addPair(p)
	}
	if v != nil {
		t.addWeb(v)
	}
}

// clientView is what is known of the client that was looked up last.
type clientView struct {
	addr          decode.Addr
	ver           uint8
	inside, proxy bool
}

func (c *clientView) look(r *Rate, k *tally.PairKey) {
	if c.ver == k.Ver && c.addr == k.Client {
		return
	}
	ip := k.Client.Netip(k.Ver)
	*c = clientView{k.Client, k.Ver, r.site.Inside(ip), r.site.Networks.Is(context.TrustedProxy, ip)}
}

// countOrigin counts connections by where their client belongs.
func (r *Rate) countOrigin(k *tally.PairKey, n uint64) {
	l := rateLoad{loadConnections: n}
	asn, country := r.origins.of(k.Client, k.Ver)
	if asn != 0 {
		r.count(baseline.Key{Kind: baseline.KindASN, Num: asn}, &l)
	}
	if country != 0 {
		r.count(baseline.Key{Kind: baseline.KindCountry, Num: country}, &l)
	}
}

// originCache remembers where addresses belong: a look-up in a database costs a microsecond. It is direct-mapped.
type originCache struct {
	networks *context.Networks
	entry    [originEntries]originEntry
	misses   int
	lost     uint64 // addresses that were not looked up
}

type originEntry struct {
	addr    decode.Addr
	asn     uint32
	country uint32
	ver     uint8 // 0: free
}

const (
	originEntries = 1 << 13
	originMisses  = 1000 // a tick: 1 ms
)

func (c *originCache) begin(n *context.Networks) {
	c.misses = 0
	if c.networks != n {
		c.networks, c.entry = n, [originEntries]originEntry{}
	}
}

func (c *originCache) of(a decode.Addr, ver uint8) (asn, country uint32) {
	e := &c.entry[scramble(a.Lo, a.Hi)%originEntries]
	if e.ver == ver && e.addr == a {
		return e.asn, e.country
	}
	if c.misses++; c.misses > originMisses {
		c.lost++
		return 0, 0
	}
	asn, code := c.networks.Origin(a.Netip(ver))
	*e = originEntry{addr: a, ver: ver, asn: asn, country: baseline.Letters(code)}
	return e.asn, e.country
}
