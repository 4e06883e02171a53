package hunt

import (
	"cmp"
	"slices"

	"weir/decode"
)

// Hosts is an Input of hosts by hour of event time (UTC): what each address did, and what was done to it, in connections that began then.
type Hosts struct {
	all []host
}

type host struct {
	addr                         decode.Addr
	ver                          uint8
	hour                         int64
	out, failed, rare, icmp, udp float64 // connections as originator
	sent, received, largest      float64 // payload bytes as originator; the most that one connection sent
	in, inFailed, served, taken  float64 // connections as responder; payload bytes it sent and received in them
	targets, services, clients   float32 // distinct responders, services of these, and originators
	short                        float64 // connections as originator with payload of both sides and at most 10 kB each
	sumDuration, midstream       float64
}

// rareService is in at most how many connections a service is that few use.
const rareService = 20

// ByHost makes hosts by hour of connections, whose Finish was called. Both ends of a connection are hosts.
func ByHost(c *Connections) *Hosts {
	index := map[pair]int{}
	h := &Hosts{}
	at := func(a decode.Addr, ver uint8, hour int64) *host {
		key := pair{hash(a.Hi, a.Lo, uint64(ver)), uint64(hour)}
		i, is := index[key]
		if !is {
			i = len(h.all)
			index[key] = i
			h.all = append(h.all, host{addr: a, ver: ver, hour: hour})
		}
		return &h.all[i]
	}
	n := len(c.all)
	targets, services, clients := make([]pair, n), make([]pair, n), make([]pair, n)
	for i := range c.all {
		one := &c.all[i]
		hour := one.First / 3600e9
		orig, resp := hash(one.Orig.Hi, one.Orig.Lo, uint64(hour)), hash(one.Resp.Hi, one.Resp.Lo, uint64(hour))
		targets[i], services[i] = pair{orig, hash(one.Resp.Hi, one.Resp.Lo)}, pair{orig, uint64(one.service())}
		clients[i] = pair{resp, hash(one.Orig.Hi, one.Orig.Lo)}
		at(one.Orig, one.Ver, hour).did(one, c.derived[i].service)
		at(one.Resp, one.Ver, hour).suffered(one)
	}
	distinctTargets, distinctServices, distinctClients := distinct(targets), distinct(services), distinct(clients)
	for i := range h.all {
		one := &h.all[i]
		key := hash(one.addr.Hi, one.addr.Lo, uint64(one.hour))
		one.targets, one.services, one.clients = distinctTargets[key], distinctServices[key], distinctClients[key]
	}
	slices.SortFunc(h.all, func(a, b host) int {
		return cmp.Or(cmp.Compare(a.hour, b.hour), cmp.Compare(a.ver, b.ver), cmp.Compare(a.addr.Hi, b.addr.Hi), cmp.Compare(a.addr.Lo, b.addr.Lo))
	})
	return h
}

func (h *host) did(c *Connection, serviceUse float32) {
	h.out++
	h.failed += float64(is(c.failed()))
	h.rare += float64(is(serviceUse <= rareService))
	h.udp += float64(is(c.Proto == udp))
	h.icmp += float64(is(c.Proto != udp && c.Proto != tcp))
	h.midstream += float64(is(c.Midstream))
	sent, received := float64(c.O.Payload), float64(c.R.Payload)
	h.sent, h.received, h.largest = h.sent+sent, h.received+received, max(h.largest, sent)
	h.short += float64(is(sent > 0 && received > 0 && sent <= 10_000 && received <= 10_000))
	h.sumDuration += max(float64(c.Last-c.First)/1e6, 0)
}

func (h *host) suffered(c *Connection) {
	h.in++
	h.inFailed += float64(is(c.failed()))
	h.served += float64(c.R.Payload)
	h.taken += float64(c.O.Payload)
}

// Of implements Input.
func (h *Hosts) Of() string { return "hosts by hour" }

// Len implements Input.
func (h *Hosts) Len() int { return len(h.all) }

// Features implements Input.
func (h *Hosts) Features() []Feature {
	return []Feature{
		{"connections", Amount, Count, "began connections:", "begins", "", ""},
		{"targets", Amount, Count, "spoke to different hosts:", "speaks to", "", ""},
		{"services", Amount, Count, "spoke to different ports:", "speaks to", "", ""},
		{"failed", Share, Percent, "failed with", "fails with", "", "failed"},
		{"failures", Amount, Count, "connections that failed:", "has", "", "failed"},
		{"rare", Amount, Count, "connections to ports that few use:", "has", "", ""},
		{"sent", Amount, Bytes, "sent", "sends", "", "sent"},
		{"received", Amount, Bytes, "received", "receives", "", "received"},
		{"sent_to_received", Ratio, Times, "bytes sent for each received:", "has", "", "sent"},
		{"largest", Amount, Bytes, "sent in one connection", "sends", "", "sent"},
		{"short", Amount, Count, "short exchanges:", "has", "", ""},
		{"duration", Amount, Millis, "its connections lasted", "lasts", "", ""},
		{"udp", Share, Percent, "was UDP with", "is UDP with", "", ""},
		{"icmp", Amount, Count, "neither TCP nor UDP:", "has", "", ""},
		{"midstream", Amount, Count, "connections without their opening:", "has", "", ""},
		{"accepted", Amount, Count, "was spoken to in connections:", "has", "", "in"},
		{"clients", Amount, Count, "was spoken to by different hosts:", "has", "", "in"},
		{"accepted_failed", Amount, Count, "did not answer or refused:", "has", "", ""},
		{"served", Amount, Bytes, "answered with", "answers with", "", "served"},
		{"taken", Amount, Bytes, "was sent", "is sent", "", ""},
	}
}

// Vector implements Input.
func (h *Hosts) Vector(i int, v []float32) {
	one := &h.all[i]
	n := max(one.out, 1)
	v[0], v[1], v[2] = ln1p(one.out), ln1p(float64(one.targets)), ln1p(float64(one.services))
	v[3], v[4], v[5] = float32(one.failed/n), ln1p(one.failed), ln1p(one.rare)
	v[6], v[7] = ln1p(one.sent), ln1p(one.received)
	v[8] = v[6] - v[7]
	v[9], v[10], v[11] = ln1p(one.largest), ln1p(one.short), ln1p(one.sumDuration/n)
	v[12], v[13], v[14] = float32(one.udp/n), ln1p(one.icmp), ln1p(one.midstream)
	v[15], v[16], v[17] = ln1p(one.in), ln1p(float64(one.clients)), ln1p(one.inFailed)
	v[18], v[19] = ln1p(one.served), ln1p(one.taken)
}

// Row implements Input.
func (h *Hosts) Row(i int) Row {
	one := &h.all[i]
	role := "both"
	if one.in == 0 {
		role = "asks only"
	} else if one.out == 0 {
		role = "answers only"
	}
	return Row{Time: one.hour * 3600e9, Subject: text(one.addr, one.ver), What: grouped(int64(one.out)) + " connections out, " + grouped(int64(one.in)) + " in", Tags: []string{role}}
}
