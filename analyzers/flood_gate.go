package analyzers

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"weir/analyzers/tally"
	"weir/decode"
)

// shieldTicks is how long a report of a gate holds good: 5 s, longer than any gate takes until the next one.
const shieldTicks = 50

// shield is a victim for whom a gate dropped packets in this tick.
type shield struct {
	victim netip.Prefix
	port   uint16
	proto  uint8
	kinds  uint16 // of floods whose alerts the drops answer
	wide   bool   // not by their source: what is left of the victim's traffic is not what it was
}

func (s shield) compare(o shield) int {
	return cmp.Or(s.victim.Compare(o.victim), cmp.Compare(s.proto, o.proto), cmp.Compare(s.port, o.port))
}

// hold keeps what is known of victims for whom a gate drops packets. Their floods go on out of sight: alarms that ran run on
// and keep their beginning. Under a drop by service or signature the victim's own clients are cut, too, or only old ones
// pass: then neither the normal headers nor the mean of its SYN-ACKs learn from what is left.
//
// Nothing is counted: floors are for packets that were seen. So an alarm that the gate keeps down raises no finding; its
// alert is kept open by the drops' own hits (sensor/alert).
func (f *Flood) hold(g *tally.Gate) {
	for _, s := range f.shields(g) {
		lo := tally.ServiceKey{Addr: decode.AddrFrom(s.victim.Addr()), Ver: 4}
		width := 32 - s.victim.Bits()
		if s.victim.Addr().Is6() {
			lo.Ver, width = 6, 128-s.victim.Bits()
		}
		hi, prefix := lo, lo
		prefix.Addr = prefixOf(&lo)
		hi.Addr.Lo |= 1<<width - 1 // of no prefix wider than 64 bits
		hi.Proto, hi.Port, hi.Role = 0xff, 0xffff, 0xff
		keep := func(v *floodVictim) { f.keep(v, s) }
		f.prefixes.among(&prefix, &prefix, keep)
		f.hosts.among(&lo, &hi, keep)
		if s.port != 0 {
			lo.Proto, lo.Port = s.proto, s.port
			hi = lo
		}
		f.services.among(&lo, &hi, keep)
	}
}

// shields lists the victims once each. Those wider than the widest victim of a flood are left out.
func (f *Flood) shields(g *tally.Gate) []shield {
	f.shielded = f.shielded[:0]
	for i := range g.Drops {
		d := &g.Drops[i]
		least := 24
		if d.Victim.Addr().Is6() {
			least = 64
		}
		if !d.Shadow && d.Packets > 0 && d.Victim.IsValid() && d.Victim.Bits() >= least {
			f.shielded = append(f.shielded, shield{d.Victim, d.Port, d.Proto, kindsNamed(d.Kind), !d.Source.IsValid()})
		}
	}
	slices.SortFunc(f.shielded, shield.compare)
	kept := f.shielded[:0]
	for _, s := range f.shielded {
		if n := len(kept); n > 0 && kept[n-1].compare(s) == 0 {
			kept[n-1].kinds |= s.kinds
			kept[n-1].wide = kept[n-1].wide || s.wide
		} else {
			kept = append(kept, s)
		}
	}
	return kept
}

// kindsNamed is the kind of a flood's alert as a set of one; none of another alert.
func kindsNamed(name string) uint16 {
	name, _ = strings.CutPrefix(name, "flood.")
	for kind := range floodRules {
		if name == floodRules[kind].name {
			return floodKind(kind).mask()
		}
	}
	return 0
}

// keep holds one victim.
func (f *Flood) keep(v *floodVictim, s shield) {
	tick := f.epoch.Tick
	v.advance(tick)
	for kind, ran := range v.ran {
		if s.kinds&floodKind(kind).mask() != 0 && tick-ran <= f.quietTicks() {
			v.ran[kind] = tick
		}
	}
	if s.wide {
		v.shielded = tick
		v.alarmed = tick
	}
}
