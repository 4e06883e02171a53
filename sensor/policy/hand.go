package policy

import (
	"cmp"
	"fmt"
	"net/netip"

	"weir/analyzers/context"
)

// Add takes a drop that a human, or a program on his behalf, asks for: By, Reason, Until, Scope with its target, and Action
// (default: drop, for a service limit; shadow: Would is only counted). The other fields are the policy's and are overwritten.
// It passes the same guards; only what an alert's evidence must show is taken from the human's word.
func (p *Policy) Add(d Drop, now int64) []Decision {
	out := p.Advance(now)
	d.By = clip(d.By, maxName)
	if d.By == "" || d.By == ByPolicy {
		d.By = "unknown"
	}
	d.Reason = clip(d.Reason, maxReason)
	d.Created, d.Canary, d.Alert, d.ReturnPath, d.Approved = p.unix(), 0, clip(d.Alert, maxName), "", ""
	shadow := d.Action == Shadow
	if shadow {
		d.Action = d.Would
	}
	d.Siblings, d.Strikes, d.Extended, d.Would = 0, 0, 0, NoAction
	p.plain(&d)
	c := &candidate{drop: &d, since: p.now}
	if p.act(c, d.Action, d.Rate); shadow && d.Action != Shadow {
		d.Action, d.Would = Shadow, d.Action
	}
	decided, _, _ := p.decide(c)
	return append(out, decided)
}

// plain puts what a human wrote into the plain form.
func (p *Policy) plain(d *Drop) {
	if d.Action == NoAction || d.Action == Shadow {
		if d.Action = DropAll; d.Scope == ScopeService {
			d.Action = Limit
		}
	}
	switch d.Action {
	case Limit:
		d.Rate = cmp.Or(d.Rate, p.cfg.ServiceRate)
	case LimitNew:
		d.Rate = cmp.Or(d.Rate, p.cfg.UnprovenRate)
	}
	d.IP = d.IP.Unmap().WithZone("")
	if d.Prefix = context.Native(d.Prefix); d.Scope == ScopePrefix && d.Prefix.IsSingleIP() {
		d.Scope, d.IP, d.Prefix = ScopeAddress, d.Prefix.Addr(), netip.Prefix{}
	}
	if d.Service != nil {
		s := *d.Service
		s.IP, s.Prefix = s.IP.Unmap().WithZone(""), context.Native(s.Prefix)
		d.Service = &s
	}
}

// Remove ends a drop by hand. The decision is its tombstone; none if there is no such drop. A strike that it gave is
// forgiven.
func (p *Policy) Remove(id, by, reason string, now int64) []Decision {
	out := p.Advance(now)
	e := p.ids[id]
	if e == nil {
		return out
	}
	if e.drop.Strikes > 0 {
		p.strikes.forgive(e.drop.Source())
	}
	return append(out, p.remove(e, Removed, "", name(by), cmp.Or(clip(reason, maxReason), "no reason given")))
}

// Approve requests a pending drop, if the guards still let it pass. None if it is not pending.
func (p *Policy) Approve(id, by string, now int64) []Decision {
	out := p.Advance(now)
	e := p.ids[id]
	if e == nil || e.drop.State != Pending {
		return out
	}
	d := *e.drop
	d.Approved = name(by)
	c := &candidate{drop: &d, since: e.since, approves: e.drop}
	decided, _, _ := p.decide(c)
	return append(out, decided)
}

// Panic ends every drop, and nothing new is enforced until Resume. Alerts are judged on and refused. Removing works. Strikes
// of the drops that were in force are forgiven.
func (p *Policy) Panic(by string, now int64) []Decision {
	out := p.Advance(now)
	if p.held == nil {
		p.held = &Hold{By: name(by), Since: p.unix()}
	}
	for _, d := range p.Drops() {
		if d.Strikes > 0 {
			p.strikes.forgive(d.Source())
		}
		out = append(out, p.remove(p.drops[d.Key()], Removed, "panic", name(by), "panic"))
	}
	return out
}

// Resume ends a panic.
func (p *Policy) Resume(now int64) []Decision {
	out := p.Advance(now)
	p.held = nil
	return out
}

// Held is the panic that was not resumed, or nil.
func (p *Policy) Held() *Hold { return p.held }

// Protected says in words what the policy never drops: what a start prints. Lists are named with their sizes.
func (p *Policy) Protected() []string {
	var list []string
	for _, r := range []context.Role{
		context.Never, context.Own, context.Gateway, context.Resolver, context.NATSServer, context.SSHPeer, context.TrustedProxy,
	} {
		for _, m := range p.networks.Members(r) {
			list = append(list, fmt.Sprintf("%v %s", m, r))
		}
	}
	for _, l := range p.networks.Lists() {
		if l.Never() {
			list = append(list, fmt.Sprintf("list %s (%d prefixes) never", l.Name(), l.Len()))
		}
	}
	return list
}

func name(by string) string { return cmp.Or(clip(by, maxName), "unknown") }
