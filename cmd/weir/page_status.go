package main

import (
	"context"
	"encoding/json"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"weir/analyzers"
	network "weir/analyzers/context"
	"weir/decode/conn"
	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/bus"
	"weir/sensor/policy"
	"weir/sensor/web"
)

// status is how the process stands.
func (p *page) status() *web.Status {
	now := time.Now()
	m := p.metrics
	s := m.sample()
	out := &web.Status{
		Version: version, Site: p.id.Site, Sensor: p.id.Sensor, Mode: p.mode, DryRun: p.rehearses(), Started: m.Started.UTC(), Now: now.UTC(),
		Interfaces: []web.Interface{}, Loss: web.Loss{Causes: map[string]uint64{}}, Drops: dropCounts(s), NotReady: m.reasons(s, now),
	}
	if out.NotReady == nil {
		out.NotReady = []string{}
	}
	for _, l := range s.losses() {
		if l.n > 0 {
			out.Loss.Causes[l.stage+"."+l.cause] = l.n
		}
	}
	if st := s.status; st != nil {
		at, open := time.Unix(0, st.Time).UTC(), st.Alerts.Opened-st.Alerts.Closed
		out.EventTime, out.AlertsOpen, out.OneWay, out.Loss.Ratio = &at, &open, st.OneWay, st.Loss
	}
	for i := range s.interfaces {
		c := &s.interfaces[i]
		out.Interfaces = append(out.Interfaces, web.Interface{Name: c.Name, Up: c.Up && c.Open, Packets: c.Received, Dropped: c.Dropped})
	}
	if s.interfaces == nil {
		for i := range s.gates {
			out.Interfaces = append(out.Interfaces, gateInterface(s, i))
		}
	}
	out.Panic = p.panic(s)
	p.counts.Store(&out.Drops)
	return out
}

// gateInterface is an interface as its gate sees it.
func gateInterface(s *sample, i int) web.Interface {
	g := &s.gates[i]
	out := web.Interface{Name: g.Interface, Up: g.Attached}
	for _, t := range g.Totals {
		out.Packets += t.Packets
	}
	return out
}

// dropCounts are those of this process. With several gates those that lag count.
func dropCounts(s *sample) (out web.Counts) {
	if d := s.decided; d != nil {
		wanted, pending := d.Drops-d.Pending, d.Pending
		out.Wanted, out.Pending = &wanted, &pending
	}
	for i := range s.gates {
		g := &s.gates[i]
		if out.Wanted == nil || g.Wanted > *out.Wanted {
			out.Wanted = &g.Wanted
		}
		if out.Enforced == nil || g.Enforced < *out.Enforced {
			out.Enforced, out.Shadow = &g.Enforced, &g.Shadow
		}
		if s.decided == nil && (out.Pending == nil || g.Pending > *out.Pending) {
			out.Pending = &g.Pending
		}
	}
	return out
}

// panic is the one that holds, as the policy or a gate here knows it.
func (p *page) panic(s *sample) *web.Panic {
	if p.decider != nil {
		if by, reason, since, held := p.decider.held(); held {
			return &web.Panic{By: by, Reason: reason, Since: since}
		}
	}
	for i := range s.gates {
		if h := s.gates[i].Held; h != nil {
			return &web.Panic{By: h.By, Reason: h.Reason, Since: time.UnixMicro(int64(h.Generation)).UTC()}
		}
	}
	return nil
}

// pageEvery is how often is looked whether the engine shows a new second; and silence, when the page is told how all stands without.
const (
	pageEvery   = 100 * time.Millisecond
	pageSilence = 1500 * time.Millisecond
)

// seconds tells the page of each second, until ctx ends.
func (p *page) seconds(ctx context.Context) {
	tick := time.NewTicker(pageEvery)
	defer tick.Stop()
	var last *sensor.View
	var told time.Time
	var before []byte
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			next, isNew := (*sensor.View)(nil), false
			if e := p.engine(); e != nil {
				next = e.View()
				isNew = next != nil && next != last
			}
			if !isNew && now.Sub(told) < pageSilence {
				continue
			}
			second := web.Second{}
			if isNew {
				second, last = p.view.second(next, p.engine().Status()), next
			}
			p.server.Second(second)
			told = now
			if counts, _ := json.Marshal(p.counts.Load()); string(counts) != string(before) { // also while NATS tells nothing
				before = counts
				p.drops.forget()
				p.server.DropsChanged()
			}
		}
	}
}

// Of the alerts from before the start, or of other processes.
const (
	pagePast  = 24 * time.Hour
	pageRetry = 5 * time.Second
)

// past shows the alerts of the last day that NATS has; without an engine here also those that come.
func (p *page) past(ctx context.Context) {
	opt := bus.FollowOptions{Since: time.Now().Add(-pagePast), Follow: p.run == nil}
	for ctx.Err() == nil {
		err := bus.Follow(ctx, p.settings.NATS, p.id.Site, p.state, opt, func(_ string, payload []byte) error {
			if a, err := parseAlert(payload); err == nil {
				p.server.Past(ctx, a, payload)
			}
			return nil
		})
		if err == nil && !opt.Follow {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pageRetry):
		}
	}
}

// pageWindow is over how many seconds the engine's view finds the busiest.
const pageWindow = 10

// pageView makes of what the engine shows what the page does: with names.
type pageView struct {
	known atomic.Pointer[pageKnown]
}

// pageKnown is what the site knows of its addresses, and may drop.
type pageKnown struct {
	networks *network.Networks
	cfg      policy.Config
	guards   *policy.Guards
}

// follow keeps what is known.
func (v *pageView) follow(p *protected) {
	p.follow(func(cfg policy.Config, n *network.Networks) {
		v.known.Store(&pageKnown{n, cfg, policy.NewGuards(cfg, n)})
	})
}

// second is what is new.
func (v *pageView) second(now *sensor.View, st *sensor.Status) web.Second {
	known := v.known.Load()
	at := time.Unix(0, now.Time).UTC()
	p := &web.Point{Time: now.Time / 1e9, Packets: now.Packets, Bits: now.Bits}
	if st != nil {
		p.Loss = st.Loss
	}
	if b := now.PacketsBand; b.N > 0 {
		p.PacketsBand = &web.PacketsBand{Mean: b.Mean, Stddev: b.Stddev, Alarm: b.Alarm}
	}
	if b := now.BitsBand; b.N > 0 {
		p.BitsBand = &web.BitsBand{Mean: b.Mean, Stddev: b.Stddev, Alarm: b.Alarm}
	}
	top := &web.Top{Time: at, Window: pageWindow, Sources: []web.TopSource{}, Services: []web.TopService{}}
	for _, t := range now.Sources {
		top.Sources = append(top.Sources, web.TopSource{
			IP: t.Addr.String(), Name: known.name(t.Addr), Packets: t.Packets, Bytes: t.Bytes, Connections: t.Connections,
		})
	}
	for _, t := range now.Services {
		top.Services = append(top.Services, web.TopService{
			IP: t.Addr.String(), Port: t.Port, Protocol: protocolName(t.Proto), Service: known.service(t.Addr, t.Proto, t.Port), Name: known.name(t.Addr),
			Packets: t.Packets, Bytes: t.Bytes, Connections: t.Connections,
		})
	}
	near := &web.Near{Time: at, Near: []web.NearMark{}}
	for i := range now.Near {
		near.Near = append(near.Near, known.near(&now.Near[i], now.Time))
	}
	return web.Second{Point: p, Top: top, Near: near}
}

func (k *pageKnown) name(a netip.Addr) string { return k.networks.Name(network.Single(a)) }

func (k *pageKnown) service(a netip.Addr, proto uint8, port uint16) string {
	return k.networks.Service(a, proto, port, conn.ServiceName(proto, port, 0))
}

// near is a mark with the names of its parties, and what would be done.
func (k *pageKnown) near(n *analyzers.Near, now int64) web.NearMark {
	out := web.NearMark{
		Analyzer: n.Analyzer, Kind: n.Kind, Subject: k.party(&n.Subject), Victim: k.party(&n.Victim), Measure: n.Measure, Value: n.Value,
		Threshold: n.Threshold, Unit: n.Unit, Share: n.Share(), Would: "alert",
	}
	if k.drops(n, now) {
		out.Would = "drop"
	}
	return out
}

// drops tells whether the policy would answer by a drop, as far as can be told before there is an alert: rules of its kind do not
// forbid it, and no guard stands before its subject.
func (k *pageKnown) drops(n *analyzers.Near, now int64) bool {
	for _, r := range k.cfg.Rules {
		if (r.Kind == "" || r.Kind == n.Analyzer || r.Kind == n.Analyzer+"."+n.Kind) && r.List == "" && len(r.ASN)+len(r.Country) == 0 {
			if r.Severity.Never {
				return false
			}
			break
		}
	}
	if !n.Subject.Prefix.IsValid() {
		return n.Subject.ASN == 0 && n.Subject.Country == "" // a signature, or a limit of the service
	}
	d := policy.Drop{
		Schema: policy.Schema, ID: "0000000000000000", State: policy.Requested, Scope: policy.ScopeAddress, IP: n.Subject.Prefix.Addr(), Action: policy.DropAll,
		Created: now / 1e9, Until: now/1e9 + 60, By: policy.ByPolicy, ReturnPath: "proven", Reason: "near", Summary: "near", Generation: 1,
	}
	return k.guards.Check(&d, now) == nil
}

// party is the public form of one; nil if it is nobody.
func (k *pageKnown) party(p *analyzers.Party) *alert.Party {
	out := &alert.Party{Port: p.Port, ASN: p.ASN, Country: p.Country}
	switch {
	case !p.Prefix.IsValid() && p.ASN == 0 && p.Country == "":
		return nil
	case p.Prefix.IsSingleIP():
		out.IP = p.Prefix.Addr()
	default:
		out.Prefix = p.Prefix
	}
	if p.Proto != 0 {
		out.Protocol = protocolName(p.Proto)
	}
	if p.Prefix.IsValid() {
		out.Name, out.Service = k.networks.Name(p.Prefix), k.service(p.Prefix.Addr(), p.Proto, p.Port)
	}
	return out
}

// protocolName is protocolNumber's inverse; the number itself for those without a name here.
func protocolName(number uint8) string {
	for _, name := range []string{"tcp", "udp", "icmp", "icmpv6", "sctp"} {
		if protocolNumber(name) == number {
			return name
		}
	}
	return strconv.Itoa(int(number))
}
