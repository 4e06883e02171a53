package enforce

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"weir/bpf"
	"weir/sensor/policy"
)

// gateTable is a Table of the XDP gate, or of its tcx mode.
type gateTable struct {
	gate *bpf.Gate
	mode bpf.Mode
	cfg  Config

	signs signatures
}

func openGate(cfg Config, iface string, mode bpf.Mode, rehearse bool) (Table, []string, error) {
	g, err := bpf.Open(bpf.Config{
		Interface: iface, Mode: mode, Survive: cfg.Survive, Pins: cfg.Pins, Hosts4: cfg.Hosts4, Hosts6: cfg.Hosts6,
		Prefixes: cfg.Prefixes, Services: cfg.Services, Peers: cfg.Peers, PeerAge: cfg.PeerAge, PeerNew: cfg.PeerNew,
		PeerRate: cfg.PeerRate, Sample: cfg.Sample, Rehearse: rehearse,
	})
	if err != nil {
		return nil, nil, err
	}
	t := &gateTable{gate: g, mode: mode, cfg: cfg, signs: signatures{byID: map[uint64]*signature{}}}
	return t, g.Status().Warnings, nil
}

func (t *gateTable) Name() string { return string(t.mode) }

// Put implements Table. Each kind of entries goes by itself, so that a full one holds up no other.
func (t *gateTable) Put(drops []*policy.Drop) map[string]error {
	failed := map[string]error{}
	var kinds [4][]bpf.Drop
	var sources, services []*policy.Drop
	var limits []bpf.Service
	var signed []*policy.Drop
	for _, d := range drops {
		switch d.Scope {
		case policy.ScopeAddress, policy.ScopePrefix:
			p := d.Source()
			if p.Bits() == 0 {
				failed[d.Key()] = bpf.ErrWide // it would refuse the others with it
				continue
			}
			kinds[kindOf(p)] = append(kinds[kindOf(p)], bpf.Drop{Prefix: p, Rule: ruleOf(d)})
			sources = append(sources, d)
		case policy.ScopeService:
			s, err := serviceOf(d)
			if err != nil {
				failed[d.Key()] = err
				continue
			}
			limits, services = append(limits, s), append(services, d)
		case policy.ScopeSignature:
			signed = append(signed, d)
		}
	}
	for _, list := range kinds {
		if len(list) > 0 {
			if n, err := t.gate.Put(list); err != nil || n < len(list) {
				t.outOfForce(sources, kindOf(list[0].Prefix), err, failed)
			}
		}
	}
	if len(limits) > 0 {
		if n, err := t.gate.PutServices(limits); err != nil || n < len(limits) {
			t.outOfForce(services, -1, err, failed)
		}
	}
	t.signs.put(t.gate, signed, failed)
	return failed
}

// kindOf is the table of the gate in which a source is.
func kindOf(p netip.Prefix) int {
	kind := 0
	if p.Addr().Is6() {
		kind = 1
	}
	if !p.IsSingleIP() {
		kind += 2
	}
	return kind
}

// outOfForce tells which drops of a kind (-1: services) are not in force after an error, by what the kernel holds.
func (t *gateTable) outOfForce(drops []*policy.Drop, kind int, cause error, failed map[string]error) {
	if cause == nil {
		cause = errors.New("the kernel took less than it was given")
	}
	in := map[string]Entry{}
	if err := t.Read(func(h Held) { in[h.Key] = h.Entry }); err != nil {
		cause = errors.Join(cause, err)
	}
	now := time.Now().Unix()
	for _, d := range drops {
		if kind >= 0 && kindOf(d.Source()) != kind {
			continue
		}
		want := EntryOf(d)
		if have, ok := in[want.Key]; !ok || !want.is(have, now) {
			failed[want.Key] = cause
		}
	}
}

// Delete implements Table.
func (t *gateTable) Delete(keys []string) error {
	var sources []netip.Prefix
	var services []bpf.Service
	var signed []uint64
	var wrong error
	for _, key := range keys {
		k, err := parseKey(key)
		switch {
		case err != nil:
			wrong = errors.Join(wrong, err)
		case k.scope == policy.ScopeService:
			number, err := protocolNumber(k.protocol)
			if err != nil {
				continue // none of it can be there
			}
			services = append(services, bpf.Service{Addr: k.prefix.Addr(), Proto: number, Port: k.port})
		case k.scope == policy.ScopeSignature:
			signed = append(signed, k.id)
		default:
			sources = append(sources, k.prefix)
		}
	}
	if len(sources) > 0 {
		_, err := t.gate.Delete(sources)
		wrong = errors.Join(wrong, err)
	}
	if len(services) > 0 {
		_, err := t.gate.DeleteServices(services)
		wrong = errors.Join(wrong, err)
	}
	return errors.Join(wrong, t.signs.remove(t.gate, signed))
}

// Read implements Table.
func (t *gateTable) Read(each func(Held)) error {
	err := t.gate.Drops(func(d bpf.Drop, h bpf.Hits) bool {
		each(heldOf(sourceKey(d.Prefix), &d.Rule, h))
		return true
	})
	if err != nil {
		return err
	}
	err = t.gate.Services(func(s bpf.Service, h bpf.Hits) bool {
		each(heldOf(serviceKey(&s), &s.Rule, h))
		return true
	})
	if err != nil {
		return err
	}
	return t.gate.Signed(func(id uint64, r bpf.Rule, h bpf.Hits) { each(heldOf(t.signs.key(id), &r, h)) })
}

// Recall implements recaller.
func (t *gateTable) Recall(drops []*policy.Drop) { t.signs.recall(t.gate, drops) }

// Never implements Table.
func (t *gateTable) Never(prefixes []netip.Prefix) error { return t.gate.SetNever(prefixes) }

// Clear implements Table.
func (t *gateTable) Clear() error {
	t.signs.forget()
	return t.gate.Clear()
}

// Mend implements Table. Resync makes good what somebody did to bitmaps and flags; the entries themselves are the Enforcer's business.
func (t *gateTable) Mend() (anew bool, err error) {
	if !t.gate.Attached() {
		err = t.gate.Reattach()
	}
	_, drift := t.gate.Resync()
	return !t.gate.NeverInForce(), errors.Join(err, drift)
}

// Repin implements pinner.
func (t *gateTable) Repin() (anew bool, err error) { return t.gate.Repin() }

// Totals implements Table.
func (t *gateTable) Totals() ([]Total, error) {
	totals, err := t.gate.Totals()
	if err != nil {
		return nil, err
	}
	var list []Total
	for v := range totals {
		for r, n := range totals[v] {
			if n != (bpf.Total{}) {
				list = append(list, Total{bpf.Verdict(v).String(), bpf.Reason(r).String(), n.Packets, n.Bytes, n.Lost})
			}
		}
	}
	return list, nil
}

// Counts implements Table.
func (t *gateTable) Counts() []Count {
	c := t.gate.Counts()
	return []Count{
		{"hosts4", c.Hosts4, t.cfg.Hosts4},
		{"hosts6", c.Hosts6, t.cfg.Hosts6},
		{"prefixes4", c.Prefixes4, t.cfg.Prefixes},
		{"prefixes6", c.Prefixes6, t.cfg.Prefixes},
		{"services", c.Services, t.cfg.Services},
		{"signatures", c.Signatures, bpf.MaxSignatures},
	}
}

// AddPeers implements Peers.
func (t *gateTable) AddPeers(peers []netip.Addr) error { return t.gate.AddPeers(peers) }

// Samples implements Sampler.
func (t *gateTable) Samples(ctx context.Context, each func(frame []byte, wireLen int, at time.Time, verdict string)) error {
	s, err := t.gate.Samples()
	if err != nil {
		return err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { s.Close() })()
	var sample bpf.Sample
	for ctx.Err() == nil {
		err := s.Read(&sample)
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("samples of dropped frames: %w", err)
		}
		each(sample.Data, sample.WireLen, sample.Time.Unix(), sample.Verdict.String())
	}
	return nil
}

// Close implements Table.
func (t *gateTable) Close() error { return t.gate.Close() }

// ruleOf is what the gate does for a drop.
func ruleOf(d *policy.Drop) bpf.Rule {
	r := bpf.Rule{Action: actions[d.Effect()], Shadow: d.Action == policy.Shadow, Rate: d.Rate, Expires: timeOf(d.Until)}
	if d.Canary != 0 {
		r.Canary = timeOf(d.Canary)
	}
	return r
}

var actions = map[policy.Action]bpf.Action{
	policy.Limit: bpf.ActionLimit, policy.LimitNew: bpf.ActionLimitNew, policy.DropNew: bpf.ActionDropNew, policy.DropAll: bpf.ActionDrop,
}

// timeOf is never 0, which says that there is no time.
func timeOf(unix int64) bpf.Time { return max(bpf.FromUnix(time.Unix(unix, 0)), 1) }

// unixOf rounds: the two clocks are read one after the other, and the kernel's is some ms coarse.
func unixOf(t bpf.Time) int64 {
	if t == 0 {
		return 0
	}
	return t.Unix().Round(time.Second).Unix()
}

func heldOf(key string, r *bpf.Rule, h bpf.Hits) Held {
	e := Entry{Key: key, Shadow: r.Shadow, Rate: r.Rate, Canary: unixOf(r.Canary), Until: unixOf(r.Expires)}
	for a, b := range actions {
		if b == r.Action {
			e.Action = a
		}
	}
	held := Held{Entry: e, Packets: h.Packets, Bytes: h.Bytes}
	if h.Last != 0 {
		held.Last = h.Last.Unix().UnixNano()
	}
	return held
}

func serviceOf(d *policy.Drop) (bpf.Service, error) {
	number, err := protocolNumber(d.Service.Protocol)
	return bpf.Service{Addr: d.Service.IP, Proto: number, Port: d.Service.Port, Rule: ruleOf(d)}, err
}

func serviceKey(s *bpf.Service) string {
	return (&policy.Drop{
		Scope: policy.ScopeService, Service: &policy.Service{IP: s.Addr, Protocol: protocolName(s.Proto), Port: s.Port},
	}).Key()
}
