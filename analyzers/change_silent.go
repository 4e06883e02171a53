package analyzers

import (
	"fmt"
	"math/bits"
	"net/netip"

	"weir/analyzers/baseline"
	"weir/analyzers/tally"
)

// changeService is an inside service that is watched for silence.
type changeService struct {
	key      tally.ServiceKey
	answered uint64 // slots of ten seconds in which it did; bit 0 is that of last
	last     int64  // slot
	steady   bool   // it was, when it answered last
	asked    uint64 // since it is silent: packets to it
	together bool   // it fell silent with half of all
}

const (
	steadySlots = 60 // ten minutes
	steadyNeed  = 54
	slotNS      = int64(10e9)
)

// serve takes in what a service did in a tick.
func (a *Change) serve(v *tally.Service) {
	if v.BackPackets > 0 {
		a.heard = a.now
	}
	if v.Key.Role != tally.RoleServer || v.Key.Port == 0 {
		return
	}
	at, known := a.steady[v.Key]
	if !known {
		if v.BackPackets == 0 || v.Key.Port >= clientPorts || !a.site.Inside(v.Key.Addr.Netip(v.Key.Ver)) {
			return
		}
		if len(a.list) >= a.cfg.Services {
			a.lost++
			return
		}
		at = len(a.list)
		a.steady[v.Key] = at
		a.list = append(a.list, changeService{key: v.Key, last: a.slot - 1})
	}
	s := &a.list[at]
	if v.BackPackets == 0 || v.Proven == 0 && v.Refused > 0 { // a refusal is no answer
		s.asked += v.Packets
		return
	}
	if gap := a.slot - s.last; gap > 0 {
		s.answered = s.answered<<uint(min(gap, 64)) | 1
		s.last = a.slot
		s.steady = bits.OnesCount64(s.answered&(1<<steadySlots-1)) >= steadyNeed
		s.asked, s.together = 0, false
	}
}

// turn goes on to a slot: services that are silent for long enough are told, and those that never were steady forgotten. When event
// time jumps nobody is silent: nothing was looked at.
func (a *Change) turn(slot int64) {
	ended := a.slot
	a.slot = slot
	if slot-ended > 6 {
		for i := range a.list {
			a.list[i].last += slot - ended // as if the time between were not
		}
		return
	}
	if a.alive(ended) {
		for i := range a.list {
			if s := &a.list[i]; a.silent(s, ended) && !s.together && (ended-s.last-a.limit())%3 == 0 && !a.usual(s) {
				a.tellSilent(s, ended)
			}
		}
	}
	kept := a.list[:0]
	for i := range a.list {
		s := a.list[i]
		if idle := ended - s.last; !s.steady && idle > steadySlots || s.steady && idle*slotNS > int64(a.cfg.Learn) {
			delete(a.steady, s.key)
			continue
		}
		a.steady[s.key] = len(kept)
		kept = append(kept, s)
	}
	clear(a.list[len(kept):])
	a.list = kept
}

// limit is how many slots a service must be silent.
func (a *Change) limit() int64 { return int64(a.cfg.Silent) / slotNS }

func (a *Change) silent(s *changeService, slot int64) bool {
	return s.steady && slot-s.last >= a.limit()
}

// alive reports whether silence says something: somebody answers. Where half of the steady services, of several hosts, fell silent
// within the same minute, the link did.
func (a *Change) alive(slot int64) bool {
	var first *changeService
	silent, steady, several := 0, 0, false
	fell := func(s *changeService) bool { return a.silent(s, slot) && slot-s.last < a.limit()+6 }
	for i := range a.list {
		s := &a.list[i]
		if s.steady {
			steady++
		}
		if fell(s) {
			silent++
			if first == nil {
				first = s
			}
			several = several || s.key.Addr != first.key.Addr
		}
	}
	for i := range a.list {
		if s := &a.list[i]; several && silent*2 >= steady && fell(s) {
			s.together = true
		}
	}
	return a.now-a.heard <= 2*slotNS
}

// usual reports whether this hour of the week is as quiet always.
func (a *Change) usual(s *changeService) bool {
	k := serviceKey(s.key.Addr, s.key.Ver, s.key.Proto, s.key.Port)
	k.Measure = baseline.MeasurePackets
	series := a.site.Baseline.Find(k)
	if series == nil {
		return false
	}
	n := series.Normal(a.now)
	return n.HourWarm && n.Hour*a.site.Baseline.Config().Multiplier < n.Mean
}

// siblings are the steady services of the same host: how many are silent, whether all are, and whether s is the first of them.
func (a *Change) siblings(s *changeService, slot int64) (silent int, all, first bool) {
	all, first = true, true
	for i := range a.list {
		o := &a.list[i]
		switch {
		case !o.steady || o.key.Addr != s.key.Addr || o.key.Ver != s.key.Ver:
		case a.silent(o, slot):
			silent++
			first = first && (silent > 1 || o == s)
		default:
			all = false
		}
	}
	return silent, all, first
}

// tellSilent tells of a service that fell silent, or of its host if all of that did.
func (a *Change) tellSilent(s *changeService, slot int64) {
	siblings, all, first := a.siblings(s, slot)
	whole := siblings > 1 && all
	if whole && !first {
		return
	}
	idle := slot - s.last
	f := a.finding("silent_service", (s.last+1)*slotNS, 30)
	f.Quiet = max(f.Quiet, 4*slotNS)
	addr := s.key.Addr.Netip(s.key.Ver)
	f.Victim = Party{Prefix: netip.PrefixFrom(addr, addr.BitLen()), Port: s.key.Port, Proto: s.key.Proto}
	if whole {
		f.Victim.Port, f.Victim.Proto = 0, 0
		f.Notes = append(f.Notes, fmt.Sprintf("%d services of the host are silent", siblings))
	}
	f.Why = []Measure{
		{Name: "silent", Value: float64(idle * 10), Unit: "s", Threshold: a.cfg.Silent.Seconds()},
		{
			Name: "answered_slots", Value: float64(bits.OnesCount64(s.answered & (1<<steadySlots - 1))), Unit: "10 s",
			Threshold: steadyNeed, Window: steadySlots * slotNS,
		},
	}
	asking := "nobody asks"
	if s.asked > 0 {
		f.Score = 45
		asking = fmt.Sprintf("%d packets asked it since", s.asked)
		f.Why = append(f.Why, Measure{Name: "asked", Value: float64(s.asked), Unit: "packets"})
	}
	f.Summary = fmt.Sprintf("%s answers nobody any more, for %s; %s.", victimText(&f.Victim), spanText(idle*slotNS), asking)
	a.emit(f)
}
