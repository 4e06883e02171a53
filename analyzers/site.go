package analyzers

import (
	"hash/maphash"
	"math/bits"
	"net/netip"
	"sync/atomic"

	"weir/analyzers/baseline"
	"weir/analyzers/context"
	"weir/analyzers/tally"
)

// Site is what all analyzers share besides the epochs. One goroutine at a time, the judge's; any may call Renew.
type Site struct {
	Networks *context.Networks // never nil; replaced between epochs
	Baseline *baseline.Store   // never nil

	renewed  atomic.Pointer[context.Networks]
	opened   keep[opened, *opened]
	alarmed  map[Party]siteAlarm
	flooding int64 // until when a flood may last anywhere
}

// siteAlarm is until when (ns) a party's findings may last: of any analyzer, of flood, of flood on a service of the
// address, and of scan or fingerprint.
type siteAlarm struct{ any, flood, part, scan int64 }

// maxAlarmed bounds what is remembered of alarms; with more of them, those that lapse first are forgotten.
const maxAlarmed = 1 << 14

// NewSite makes a Site; nil stands for networks of the defaults, or for a baseline that knows nothing yet.
func NewSite(networks *context.Networks, store *baseline.Store) *Site {
	if networks == nil {
		networks = context.New(context.Config{}, nil, nil)
	}
	if store == nil {
		store = baseline.New(baseline.Defaults())
	}
	return &Site{Networks: networks, Baseline: store, opened: newKeep[opened](openedMost), alarmed: map[Party]siteAlarm{}}
}

// Renew replaces the networks from the next epoch on.
func (s *Site) Renew(n *context.Networks) { s.renewed.Store(n) }

// Begin is called before the analyzers judge a tick that ends at now.
func (s *Site) Begin(now int64) {
	if n := s.renewed.Swap(nil); n != nil {
		s.Networks = n
	}
	s.Baseline.Advance(now)
}

// Alarm notes that a finding named its parties: until it may be quiet, nobody learns what they do for normal, but what the victim
// of a slight one gets.
func (s *Site) Alarm(f *Finding) {
	until := f.Time + f.Quiet
	for i, p := range [...]Party{f.Victim, f.Subject} {
		if !p.Prefix.IsValid() {
			continue
		}
		learns := i == 0 && slight(f.Analyzer)
		p.ReturnPath = false
		if _, known := s.alarmed[p]; !known && len(s.alarmed) >= maxAlarmed {
			s.forget(f.Time)
		}
		a := s.alarmed[p]
		if !learns {
			a.any = max(a.any, until)
		}
		switch f.Analyzer {
		case "flood":
			a.flood = max(a.flood, until)
			s.flooding = max(s.flooding, until)
			if host := (Party{Prefix: p.Prefix}); p.Port != 0 {
				b := s.alarmed[host]
				b.part = max(b.part, until)
				s.alarmed[host] = b
			}
		case "scan", "fingerprint":
			a.scan = max(a.scan, until)
		}
		s.alarmed[p] = a
	}
}

// slight tells whether an analyzer's findings say nothing of how much their victim gets. Anybody can cause them all the time with a
// few packets under forged addresses, and shall not thereby keep what is normal of a host from ever being learned.
func slight(analyzer string) bool {
	switch analyzer {
	case "scan", "weird", "fingerprint", "change":
		return true
	}
	return false
}

// forget drops alarms that have lapsed; if there are none, all of them that lapse before the median would cost a sort, so all
// go: learning goes on a little early.
func (s *Site) forget(now int64) {
	for p, a := range s.alarmed {
		if a.any <= now {
			delete(s.alarmed, p)
		}
	}
	if len(s.alarmed) >= maxAlarmed {
		clear(s.alarmed)
	}
}

// Alarmed reports whether an address, or one of its services (port 0: the address alone), is party to a finding that is not
// over.
func (s *Site) Alarmed(addr netip.Addr, port uint16, proto uint8, now int64) bool {
	if len(s.alarmed) == 0 {
		return false
	}
	host := Party{Prefix: netip.PrefixFrom(addr, addr.BitLen())}
	if s.alarmed[host].any > now {
		return true
	}
	host.Port, host.Proto = port, proto
	return port != 0 && s.alarmed[host].any > now
}

// Flooded reports whether a flood on an address, on one of its services (port 0: none) or on its /24 or /64 is told by a finding
// that is not over.
func (s *Site) Flooded(addr netip.Addr, port uint16, proto uint8, now int64) bool {
	if s.flooding <= now {
		return false
	}
	net, _ := addr.Prefix(map[bool]int{true: 24, false: 64}[addr.Is4()])
	p := Party{Prefix: netip.PrefixFrom(addr, addr.BitLen())}
	if s.alarmed[p].flood > now || s.alarmed[Party{Prefix: net}].flood > now {
		return true
	}
	p.Port, p.Proto = port, proto
	return port != 0 && s.alarmed[p].flood > now
}

// FloodedHost is Flooded of an address, or of any service of it.
func (s *Site) FloodedHost(addr netip.Addr, now int64) bool {
	return s.Flooded(addr, 0, 0, now) || s.flooding > now && s.alarmed[Party{Prefix: netip.PrefixFrom(addr, addr.BitLen())}].part > now
}

// Scanning reports whether a scan by an address, or its scanning tool, is told by a finding that is not over.
func (s *Site) Scanning(addr netip.Addr, now int64) bool {
	return len(s.alarmed) > 0 && s.alarmed[Party{Prefix: netip.PrefixFrom(addr, addr.BitLen())}].scan > now
}

// Flooding reports whether there is a flood anywhere: what all share is not normal then.
func (s *Site) Flooding(now int64) bool { return s.flooding > now }

// Inside reports whether an address is of the site's own networks.
func (s *Site) Inside(addr netip.Addr) bool { return s.Networks.Is(context.Inside, addr) }

// seconds adds up what ticks tell of keys to whole seconds, and hands a second's keys over during the next one, a tenth a tick:
// no tick does the work of ten. Bounded; what comes when it is full is counted in Lost.
type seconds[K comparable, V any] struct {
	Lost  uint64
	most  int
	now   int64    // number of the second that is being filled
	index []uint64 // open addressing: 32 bits of the hash, and the place in fill + 1; 0 is empty. At most half full
	fill  []secondEntry[K, V]
	done  []secondEntry[K, V] // of the second before
	at    int
	of    int64 // the second of done
}

type secondEntry[K comparable, V any] struct {
	key   K
	value V
}

func newSeconds[K comparable, V any](most int) *seconds[K, V] {
	return &seconds[K, V]{most: most, index: make([]uint64, 1<<bits.Len(uint(2*most-1)))}
}

// secondsSeed hashes the keys of seconds: where they stand in an index does not show.
var secondsSeed = maphash.MakeSeed()

// turn begins a tick: entries of the last second whose turn it is are yielded, in the order in which they were made. Call it
// before the first at of the tick. The pointers are valid during the call.
func (s *seconds[K, V]) turn(e *tally.Epoch, yield func(second int64, k *K, v *V)) {
	if second := e.Tick / 10; second != s.now {
		s.hand(len(s.done), yield)
		s.done, s.fill = s.fill, s.done[:0]
		s.of, s.at, s.now = s.now, 0, second
		clear(s.index)
	}
	s.hand((len(s.done)*int(e.Tick%10+1)+9)/10, yield)
}

func (s *seconds[K, V]) hand(to int, yield func(second int64, k *K, v *V)) {
	for ; s.at < to; s.at++ {
		yield(s.of, &s.done[s.at].key, &s.done[s.at].value)
	}
}

// add is the entry of a key in this second, made if it is new; nil if there is no room. Valid until the next call. Cost: a cache
// line of the index, and one of the entry.
func (s *seconds[K, V]) add(k K) *V {
	hash := maphash.Comparable(secondsSeed, k)
	mask, tag := uint64(len(s.index)-1), hash&^(1<<32-1)
	at := hash & mask
	for ; s.index[at] != 0; at = (at + 1) & mask {
		if i := s.index[at]; i&^(1<<32-1) == tag {
			if e := &s.fill[uint32(i)-1]; e.key == k {
				return &e.value
			}
		}
	}
	if len(s.fill) >= s.most {
		s.Lost++
		return nil
	}
	s.fill = append(s.fill, secondEntry[K, V]{key: k})
	s.index[at] = tag | uint64(len(s.fill))
	return &s.fill[len(s.fill)-1].value
}

// flush hands over all that is left: for Finish.
func (s *seconds[K, V]) flush(yield func(second int64, k *K, v *V)) {
	s.hand(len(s.done), yield)
	s.done, s.fill = s.fill, s.done[:0]
	s.of, s.at = s.now, 0
	clear(s.index)
	s.hand(len(s.done), yield)
}
