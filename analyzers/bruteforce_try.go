package analyzers

import (
	"slices"

	"weir/analyzers/baseline"
	"weir/analyzers/tally"
)

// Counters of a source's window at a login service.
const (
	tryAll    = iota // short sessions
	tryAlike         // of these, like the majority
	tryOpened        // handshakes completed
	tryMillis        // that the sessions took together
	tryClosed
)

// loginTries is what one source did at one login service.
type loginTries struct {
	told
	span   span
	like   likeness
	pace   pace
	print  uint64 // of the SYN
	second int64  // number of the second that is being counted, for the baseline
	count  uint32 // tries in it
	since  int64  // ns, when the service met the source first
}

func (t *loginTries) weight() uint64 {
	if t.emitted != 0 {
		return 1 << 40
	}
	return uint64(t.span.sum[tryAll])
}

// session takes in what a source did at a login service in this tick.
func (a *Bruteforce) session(p *tally.Pair, e *tally.Epoch) {
	t := a.tries.at(&p.Key, a.now, a.idle())
	if t == nil {
		return
	}
	if t.span.at == 0 {
		t.since, _, _ = a.site.Baseline.Seen(peerKey(&p.Key, baseline.MeasurePresence), a.now)
	}
	t.span.turn(a.part(e))
	t.rest(t.span.sum[tryAll] == 0, a.now, int64(a.cfg.Quiet))
	t.span.add(tryOpened, p.Opened)
	t.pace.add(p.FirstOpened, p.Opened)
	if p.Print != 0 {
		t.print = p.Print
	}
	if p.Short == 0 {
		return
	}
	size, sized := sizeOf(p)
	if t.first == 0 {
		t.first = p.First
	}
	t.last, t.news = p.Last, true
	t.total += uint64(p.Short)
	t.span.add(tryAll, p.Short)
	t.span.add(tryClosed, p.Closed)
	t.span.add(tryMillis, uint32(min(p.Duration.Sum, 1<<28)))
	if sized {
		alike, changed := t.like.add(size, p.Short)
		if changed {
			t.forgetAlike()
		}
		if alike {
			t.span.add(tryAlike, p.Short)
		}
	}
	a.learnTries(t, p)
	a.atService(t, p, e, size, sized)
	a.judgeTries(&p.Key, t)
}

// forgetAlike begins to count anew what is like the reference.
func (t *loginTries) forgetAlike() {
	for i := range t.span.part {
		t.span.part[i][tryAlike] = 0
	}
	t.span.sum[tryAlike] = 0
}

// sizeOf is the mean payload of the sessions that ended in a tick. It says nothing if others than short ones ended, too, or if they
// were not alike among themselves.
func sizeOf(p *tally.Pair) (size [2]uint32, ok bool) {
	if p.Short != p.Closed {
		return size, false
	}
	for i := range p.Sizes {
		s := &p.Sizes[i]
		if s.N == 0 {
			return size, false
		}
		mean := s.Sum / s.N
		variance := s.Squares/s.N - min(mean*mean, s.Squares/s.N)
		if limit := max(mean/7, 24); variance > limit*limit {
			return size, false
		}
		size[i] = uint32(min(mean, 1<<30))
	}
	return size, true
}

func peerKey(k *tally.PairKey, m baseline.Measure) baseline.Key {
	return baseline.Key{
		Kind: baseline.KindServicePeer, Measure: m, Ver: k.Ver, Proto: k.Proto, Port: k.Port,
		Addr: [2]uint64{k.Server.Hi, k.Server.Lo}, Peer: [2]uint64{k.Client.Hi, k.Client.Lo},
	}
}

// learnTries has the baseline learn the tries of the seconds before, of a source that makes many of them.
func (a *Bruteforce) learnTries(t *loginTries, p *tally.Pair) {
	second := (a.now - 1) / 1e9
	if second == t.second {
		t.count += p.Short
		return
	}
	at, count := t.second*1e9, t.count
	t.second, t.count = second, p.Short
	if count == 0 || int(t.span.sum[tryAll]) < a.cfg.Tries/2 {
		return
	}
	s := a.site.Baseline.Series(peerKey(&p.Key, baseline.MeasureShortSessions), a.now)
	if t.alarmed() {
		s.Freeze(at)
		return
	}
	s.Thaw(at)
	s.Learn(at, float64(count))
}

// usual is how many tries a source makes within the window by the slow memory, and how many hours that has.
func (a *Bruteforce) usual(k *tally.PairKey) (tries float64, hours uint64) {
	s := a.site.Baseline.Find(peerKey(k, baseline.MeasureShortSessions))
	if s == nil {
		return 0, 0
	}
	n := s.Normal(a.now - 1)
	if !n.AnchorWarm {
		return 0, 0
	}
	return max(n.Anchor, n.Hour) * a.cfg.Window.Seconds(), n.AnchorN
}

// judgeTries tells of a source whose tries are enough.
func (a *Bruteforce) judgeTries(k *tally.PairKey, t *loginTries) {
	alike, all := t.span.sum[tryAlike], t.span.sum[tryAll]
	if int(alike) < a.cfg.Tries || uint64(alike)*100 < uint64(all)*loginShare {
		a.nearTries(k, alike)
		return
	}
	score := scoreOf(int(alike), a.cfg.Tries)
	if a.routine(k, t) {
		score = min(score, loginLow)
	}
	if !t.due(score, a.now) {
		return
	}
	usual, hours := a.usual(k)
	if float64(alike) <= a.cfg.Multiplier*usual {
		t.emitted, t.score, t.news = 0, 0, false // what was told of it has become known
		return
	}
	if !a.follows(&a.open, k, &t.told) {
		return
	}
	a.reportTries(k, t, score, usual, hours)
}

// follows puts a key on a list of what was told, and reports whether there was room.
func (a *Bruteforce) follows(open *[]tally.PairKey, k *tally.PairKey, t *told) bool {
	if t.listed {
		return true
	}
	if len(*open) >= loginOpen {
		a.held++
		return false
	}
	*open = append(*open, *k)
	t.listed = true
	return true
}

// routine reports what an inside source may do without being an attacker: work by the clock, or be a program that the sensor has
// not had the time to know.
func (a *Bruteforce) routine(k *tally.PairKey, t *loginTries) bool {
	if !a.site.Inside(k.Client.Netip(k.Ver)) {
		return false
	}
	if t.byClock() {
		return true
	}
	_, program := slices.BinarySearch(programPorts, k.Port)
	return program && a.site.younger(loginYoung, a.now) && a.site.Inside(k.Server.Netip(k.Ver))
}

// byClock reports sessions that begin by the clock and take less than a tenth of the time between.
func (t *loginTries) byClock() bool {
	closed := uint64(t.span.sum[tryClosed])
	return t.pace.clockwork() && closed > 0 && uint64(t.span.sum[tryMillis])*10 <= closed*t.pace.mean()
}

// retell tells what came since the last finding, once it may be told; it reports whether the alert goes on.
func (a *Bruteforce) retell(k *tally.PairKey, now bool) bool {
	t := a.tries.find(k)
	if t == nil || t.over(a.now, int64(a.cfg.Quiet)) {
		return false
	}
	if t.news && (now || a.now-t.emitted >= loginRepeat) {
		usual, hours := a.usual(k)
		a.reportTries(k, t, t.score, usual, hours)
	}
	return true
}
