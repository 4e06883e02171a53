package analyzers

import (
	"math/bits"
	"time"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
)

// scanWays is how many sources share a set of the table.
const scanWays = 8

// scanTable keeps the sources that made a second contact, in sets of eight. When a set is full, the source with the least
// evidence goes (the lowest walk above zero; between equals the fewest contacts); it loses its walk and its window.
type scanTable struct {
	keep    int64 // ns
	up      int64 // what a failure adds to the walk
	key     uint64
	keyed   bool
	sets    []scanSet
	source  []scanSource // set by set
	single  singles
	evicted uint64
	touched uint64 // keeps early loads from being optimised away
}

// scanSet is the part of a set that a look-up needs: one cache line.
type scanSet struct {
	tag    [scanWays]uint32 // of the hash; 0: free
	weight [scanWays]uint32
}

func newScanTable(sources int, keep time.Duration, up int64) *scanTable {
	n := 1
	for n*2*scanWays <= sources {
		n *= 2
	}
	t := &scanTable{sets: make([]scanSet, n), source: make([]scanSource, n*scanWays)}
	t.set(keep, up)
	return t
}

// begin prepares for an epoch. The first one's key is kept: the table's hash only has to be unknown to attackers.
func (t *scanTable) begin(e *tally.Epoch) {
	if !t.keyed {
		t.key, t.keyed = scramble(e.SketchKey, 0x9e3779b97f4a7c15), true
	}
	t.single.begin(e.Start())
}

func (t *scanTable) hash(in *tally.Source) uint64 {
	return scramble(in.Addr.Lo^t.key, in.Addr.Hi^uint64(in.Ver)<<56^0xa0761d6478bd642f)
}

// scanAhead is how many sources are looked up together.
const scanAhead = 16

// load reads what the look-ups of up to scanAhead sources will need, so that their cache misses overlap.
func (t *scanTable) load(sources []tally.Source) {
	var hash [scanAhead]uint64
	for i := range sources {
		hash[i] = t.hash(&sources[i])
	}
	for i := range sources {
		set := int(hash[i]>>32) & (len(t.sets) - 1)
		word, _ := t.single.place(hash[i], singleTried)
		t.touched += uint64(t.sets[set].tag[0]) + t.single.word[word]
	}
	for i := range sources {
		set := int(hash[i]>>32) & (len(t.sets) - 1)
		for j := range t.sets[set].tag {
			if t.sets[set].tag[j] == uint32(hash[i])|1 {
				s := &t.source[set*scanWays+j]
				t.touched += uint64(s.seen) + uint64(s.llr)
			}
		}
	}
}

// at finds a source that has contacts in this tick, or takes it in if this shows its second one. Else nil.
func (t *scanTable) at(in *tally.Source, now int64) *scanSource {
	steps := in.Opened + in.Silent + in.Refused + in.Answered
	if steps == 0 && in.Unknown == 0 && in.Proven == 0 {
		return nil
	}
	h := t.hash(in)
	i := int(h>>32) & (len(t.sets) - 1)
	set, tag := &t.sets[i], uint32(h)|1
	for j := range set.tag { // not over a copy
		if set.tag[j] != tag {
			continue
		}
		if s := &t.source[i*scanWays+j]; s.addr == in.Addr && s.ver == in.Ver {
			if now-s.seen > t.keep {
				*s = scanSource{addr: s.addr, ver: s.ver, place: s.place}
			}
			s.seen = now
			return s
		}
	}
	second, refused, silent := t.single.second(h, in)
	if !second {
		return nil
	}
	j := t.room(i, now)
	set.tag[j], set.weight[j] = tag, 0
	s := &t.source[i*scanWays+j]
	*s = scanSource{addr: in.Addr, ver: in.Ver, place: uint32(i*scanWays + j), seen: now, refused: refused, silent: silent, earlier: refused + silent}
	s.llr = int64(s.earlier) * t.up
	return s
}

// find returns a source that is in the table, else nil.
func (t *scanTable) find(addr decode.Addr, ver uint8) *scanSource {
	h := t.hash(&tally.Source{Addr: addr, Ver: ver})
	i := int(h>>32) & (len(t.sets) - 1)
	for j, tag := range t.sets[i].tag {
		if s := &t.source[i*scanWays+j]; tag == uint32(h)|1 && s.addr == addr && s.ver == ver {
			return s
		}
	}
	return nil
}

// room frees a place in a set: a free one, else one idle for too long, else the one with the least evidence.
func (t *scanTable) room(set int, now int64) int {
	x := &t.sets[set]
	least := 0
	for j, g := range x.tag {
		if g == 0 || now-t.source[set*scanWays+j].seen > t.keep {
			return j
		}
		if x.weight[j] < x.weight[least] {
			least = j
		}
	}
	t.evicted++
	return least
}

// weigh notes the evidence of a source that at returned, with which it defends its place.
func (t *scanTable) weigh(s *scanSource) {
	w := uint32(max(s.llr, 0)/1000) + min(s.tries.n, 1000) // a failure is 1386
	if s.kind != scanNone {
		w = 1 << 31
	}
	t.sets[s.place/scanWays].weight[s.place%scanWays] = w
}

// scanSource is what is known of one source: 688 bytes, no pointer.
type scanSource struct {
	addr       decode.Addr
	seen       int64 // ns, end of the last tick with contacts
	seenBefore int64 // of the one before
	ver        uint8
	place      uint32 // in the table

	// The scan that it was named for, if kind is not scanNone.
	kind            scanKind
	shape           scanKind
	test            scanTest
	cap             uint8 // of the score, in the last finding
	lasted, emitted int64 // ns: last evidence, last finding
	held            int64 // not judged again before
	convinced       int64 // ns: last time that the walk was above zero
	news            bool  // evidence that no finding has told
	decided         uint32
	victim          scanVictim
	port            uint32 // of a horizontal scan: port<<8 | protocol

	// Evidence since first: the walk, and where failures went.
	llr, peak                          int64 // of the walk, millionths of a nat; peak: within the last tick
	first, last                        int64 // ns
	opened, unknown, proven            uint32
	refused, silent, answered          uint32 // outcomes that count
	answeredBefore                     uint32 // in the window before
	earlier                            uint32 // failures known from the filter of single contacts alone
	fails                              aim
	failedHosts, failedPorts, failures bits128  // distinct ones; failures: (host, port)
	goodPorts                          frequent // of answered contacts

	// Window of fan-out since window: what was tried.
	window             int64
	windowOpened       uint32
	settledAt          int64  // ns; for settled
	settled, settling  uint32 // of windowOpened: tried a second ago or earlier; and when settledAt was
	toolHits, markHits uint32
	tool               uint16
	marks              conn.Marks
	hosts, ports       tally.HLL
	tries              aim
	system             uint64 // distinct system ports tried, one bit by hash
}

func (s *scanSource) failed() uint32 { return s.refused + s.silent }

// age ends what is over before a tick is taken in: the scan, the evidence, the window.
func (s *scanSource) age(now, window int64) {
	if now-s.settledAt >= int64(time.Second) {
		s.settledAt, s.settled, s.settling = now, s.settling, s.windowOpened
		if now-s.seenBefore >= int64(time.Second) {
			s.settled = s.windowOpened
		}
	}
	s.seenBefore = now
	if s.kind != scanNone {
		if s.llr > 0 || s.test != testWalk {
			s.convinced = now
		}
		if now-s.lasted > s.quiet() || now-s.convinced > scanDoubt || s.changed() {
			s.restart(now)
		}
		return
	}
	if now-s.window > window {
		if s.llr <= 0 {
			before := s.answered
			s.restart(now)
			s.answeredBefore = before
		}
		s.newWindow(now)
	}
	if s.fails.n >= 128 { // full: the sets of failures get inexact, so where the next ones go is looked at anew
		s.forgetFailures()
	}
}

// scanDoubt is how long the walk must have been at or below zero until a scan is over. One tick in which the open ports
// among many answer does not end it.
const scanDoubt = int64(10 * time.Second)

// restart drops scan and evidence; credit stays, and when the last finding was.
func (s *scanSource) restart(now int64) {
	s.kind, s.shape, s.test, s.held, s.decided, s.victim = scanNone, 0, 0, 0, 0, scanVictim{}
	s.lasted, s.news = 0, false
	s.llr, s.peak, s.first, s.last = min(s.llr, 0), 0, 0, 0
	s.opened, s.unknown, s.proven = 0, 0, 0
	s.refused, s.silent, s.answered, s.answeredBefore, s.earlier = 0, 0, 0, 0, 0
	s.goodPorts = frequent{}
	s.forgetFailures()
	s.newWindow(now)
}

func (s *scanSource) forgetFailures() {
	s.fails, s.failedHosts, s.failedPorts, s.failures = aim{}, bits128{}, bits128{}, bits128{}
}

func (s *scanSource) newWindow(now int64) {
	s.window, s.windowOpened, s.toolHits, s.markHits = now, 0, 0, 0
	s.settledAt, s.settled, s.settling = now, 0, 0
	s.tool, s.marks, s.system = 0, 0, 0
	s.hosts, s.ports, s.tries = tally.HLL{}, tally.HLL{}, aim{}
}

// quiet is how long a scan may pause: four times its mean gap, a minute at least and an hour at most.
func (s *scanSource) quiet() int64 {
	gap := (s.last - s.first) / int64(max(s.opened, s.failed(), 1))
	return min(max(4*gap, int64(time.Minute)), int64(time.Hour))
}

// tried adds a tick's attempts.
func (s *scanSource) tried(in *tally.Source) {
	if s.first == 0 {
		s.first = in.First
	}
	s.last = max(s.last, in.Last)
	s.opened += in.Opened
	s.unknown += in.Unknown
	s.proven += in.Proven
	if in.Opened == 0 {
		return
	}
	s.windowOpened += in.Opened
	if in.MarkHits > 0 { // those of every tick: one header in 65,536 bears another tool's mark by chance
		if s.markHits == 0 {
			s.marks = in.Marks
		}
		s.marks &= in.Marks
	}
	s.toolHits += in.ToolHits
	s.markHits += in.MarkHits
	if in.Tool != 0 {
		s.tool = in.Tool
	}
	s.hosts.Merge(&in.Hosts)
	s.ports.Merge(&in.Ports)
}

// sight adds one sampled contact and what it came to.
func (s *scanSource) sight(c *tally.SampledContact, o outcome) {
	port := uint32(c.Port)<<8 | uint32(c.Proto)
	switch o {
	case outcomeFailed:
		s.fails.add(c, port, s.ver)
		s.failedHosts.add(scramble(c.Dst.Lo, c.Dst.Hi^1))
		s.failedPorts.add(scramble(uint64(c.Port), 2))
		s.failures.add(scramble(c.Rank, 3))
	case outcomeAnswered:
		s.goodPorts.add(port)
	}
	if c.Stage == conn.StageSilent || c.Stage == conn.StageUnknown || c.Probe == conn.ProbeARP || groupAddr(c.Dst) {
		return // its attempt was counted when it was made, or does not count
	}
	s.tries.add(c, port, s.ver)
	if c.Port != 0 && c.Port < 1024 {
		s.system |= 1 << (scramble(uint64(port), 4) & 63)
	}
}

// singles remembers sources of one contact, for hours and in one megabyte: two Bloom filters that take turns, four bits a
// key in one word (1 wrong answer in 300 at most). It is turned before its time when full: under a flood of spoofed
// sources it remembers seconds. It knows three keys of a source: tried, silent, refused.
type singles struct {
	word      []uint64 // of both filters by turns, so that a look-up is one cache line
	turn      int
	added     int
	since     int64
	period    int64
	forgotten uint64
}

const (
	singleWords = 1 << 16
	singleKeys  = singleWords * 64 / 16
)

func (f *singles) begin(now int64) {
	if f.word == nil {
		f.word, f.since = make([]uint64, 2*singleWords), now
	}
	full := f.added >= singleKeys
	if !full && now-f.since < f.period {
		return
	}
	if full {
		f.forgotten++
	}
	f.turn ^= 1
	for i := f.turn; i < len(f.word); i += 2 {
		f.word[i] = 0
	}
	f.added, f.since = 0, now
}

// Keys of what the filter knows of a source.
const (
	singleTried uint64 = 1 + iota
	singleSilent
	singleRefused
)

// second reports whether a source of this tick has made a second contact, and how its first one failed if it did.
func (f *singles) second(h uint64, in *tally.Source) (second bool, refused, silent uint32) {
	second = in.Opened > 1 || in.Silent+in.Refused+in.Answered > 1
	if second || in.Opened == 1 {
		refused, silent = one(f.has(h, singleRefused)), one(f.has(h, singleSilent))
	}
	if second {
		return
	}
	if in.Opened == 1 {
		second = f.add(h, singleTried)
	}
	if in.Silent+in.Refused == 1 && in.NContacts > 0 && outcomeOf(&in.Contacts[0]) == outcomeFailed {
		key := singleSilent + uint64(in.Refused)
		refused, silent = one(f.has(h, singleRefused)), one(f.has(h, singleSilent))
		f.add(h, key)
		second = second || refused+silent > 0
	}
	return
}

func (f *singles) place(h, key uint64) (word int, mask uint64) {
	h = scramble(h, key)
	return int(h>>40&(singleWords-1)) * 2, 1<<(h&63) | 1<<(h>>6&63) | 1<<(h>>12&63) | 1<<(h>>18&63)
}

func (f *singles) has(h, key uint64) bool {
	i, m := f.place(h, key)
	return f.word[i]&m == m || f.word[i+1]&m == m
}

// add adds a key and reports whether it was there.
func (f *singles) add(h, key uint64) bool {
	i, m := f.place(h, key)
	had := f.word[i]&m == m || f.word[i+1]&m == m
	if w := &f.word[i+f.turn]; *w&m != m {
		*w |= m
		f.added++
	}
	return had
}

// scramble mixes two words to a hash: a multiplication folded, twice.
func scramble(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0xe7037ed1a0b428db, b^0x8ebc6af09c88c6e3)
	hi, lo = bits.Mul64(hi^lo^0x589965cc75374cc3, a^b<<32^b>>32^0x1d8e4e27c47d124f)
	return hi ^ lo
}
