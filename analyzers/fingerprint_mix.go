package analyzers

import (
	"weir/analyzers/baseline"
	"weir/analyzers/tally"
	"weir/decode"
)

// mix is what clients speak to each service by their prints: how many sources each print has within a window, and how many it
// usually has. It finds crowds: a print that was rare at a service and suddenly has many sources.
//
// Window: ten parts; each print's and each service's sources are counted in a sketch a part. Usual is the mean over parts,
// which forgets with a time constant of mixMemory parts and does not learn while the print is a crowd. First seen is of the
// baseline's memory, which outlives the process.
type mix struct {
	quiet    int64 // after which a print's alert is over
	services keep[mixService, *mixService]
	prints   keep[mixPrint, *mixPrint]
}

// mixMemory is how many parts the usual number of sources goes back: 30 min of 30 s. It is kept in 1/1024.
const (
	mixMemory = 60
	mixUnit   = 1024
)

// Counters of a mix's windows.
const (
	mixCount = iota // openings or requests
)

// crowdTest are the limits of a crowd.
type crowdTest struct {
	sources    int     // of the print within the window
	multiplier float64 // of what is usual
	warm       int64   // ns that a service must have been watched
}

const (
	mixRare  = 50 // a print that at most one of so many sources of its service usually has is rare
	mixShare = 20 // one of so many sources of the service must have it now
	mixOther = 10 // sources of other prints that the service must have had
	mixNew   = int64(3600e9)
)

type mixSources struct {
	span    span
	sources [spanParts]tally.HLL
	usual   uint32 // sources a part, in 1/mixUnit
	since   int64  // ns, first seen
}

type mixService struct {
	mixSources
	crowd mixCrowd
}

// mixCrowd is the print at a service that is told of, and until when it counts.
type mixCrowd struct {
	print decode.Addr
	until int64
}

func (s *mixService) weight() uint64 {
	return uint64(s.usual) + uint64(s.span.sum[mixCount])*mixUnit/spanParts
}

type mixPrint struct {
	mixSources
	told
	pace    pace
	second  int64
	rotates bool
	text    [64]byte
}

func (p *mixPrint) weight() uint64 {
	if p.emitted != 0 {
		return 1 << 40
	}
	return uint64(p.usual) + uint64(p.span.sum[mixCount])*mixUnit/spanParts
}

func newMix(services, prints int) mix {
	return mix{services: newKeep[mixService](services), prints: newKeep[mixPrint](prints)}
}

func (m *mix) begin(e *tally.Epoch, quiet int64) {
	m.quiet = quiet
	m.services.begin(e)
	m.prints.begin(e)
}

// turn goes on to a part: what is out of the window is forgotten, and unless frozen what was in the parts that ended is learned.
func (s *mixSources) turn(part int64, frozen bool) {
	if s.span.at == 0 {
		s.span.at = part
	}
	gone := min(part-s.span.at, mixMemory*8)
	for i := range gone {
		n := uint32(0)
		if i == 0 {
			n = uint32(s.sources[s.span.at%spanParts].Count()) * mixUnit
		}
		if !frozen {
			s.usual += n/mixMemory - (s.usual+mixMemory-1)/mixMemory // rounded up, or the last of it would stay for ever
		}
	}
	for i := max(s.span.at+1, part-spanParts+1); i <= part; i++ {
		s.sources[i%spanParts] = tally.HLL{}
	}
	s.span.turn(part)
}

// distinct is the number of sources in the window, and the sum of those of its parts.
func (s *mixSources) distinct() (all, sum int) {
	var union tally.HLL
	for i := range s.sources {
		if s.sources[i] == (tally.HLL{}) {
			continue
		}
		union.Merge(&s.sources[i])
		sum += int(s.sources[i].Count())
	}
	return int(union.Count()), sum
}

// mixSeen is what a tick tells of a print at a service.
type mixSeen struct {
	service     tally.PairKey // of kind's own services: Client is zero
	kind        tally.OpeningKind
	hash        uint64
	count       uint32
	sources     *tally.HLL // nil: one, by its hash
	source      uint64
	first, last int64
}

func (in *mixSeen) keys() (service, print tally.PairKey) {
	service, print = in.service, in.service
	service.Client = decode.Addr{Lo: uint64(in.kind) + 1}
	print.Client = decode.Addr{Hi: in.hash, Lo: uint64(in.kind) + 1}
	return service, print
}

// mark puts the sources into a sketch.
func (in *mixSeen) mark(h *tally.HLL) {
	if in.sources == nil {
		h.Add(in.source)
		return
	}
	h.Merge(in.sources)
}

// firstSeen is when the memory saw a print at a service, or the service with prints of this kind, first.
func firstSeen(site *Site, k *tally.PairKey, now int64) int64 {
	first, _, _ := site.Baseline.Seen(baseline.Key{
		Kind: baseline.KindPrint, Measure: baseline.MeasurePresence, Ver: k.Ver, Proto: k.Proto, Port: k.Port, Num: uint32(k.Client.Lo),
		Addr: [2]uint64{k.Client.Hi, 0}, Peer: [2]uint64{k.Server.Hi, k.Server.Lo},
	}, now)
	return first
}

// add takes in what a tick tells. What it returns is valid until the next call; p is nil where there is no room.
func (m *mix) add(site *Site, in *mixSeen, part, now, idle int64) (s *mixService, p *mixPrint, isNew bool) {
	sk, pk := in.keys()
	if s = m.services.at(&sk, now, idle); s == nil {
		return nil, nil, false
	}
	if s.since == 0 {
		s.since = firstSeen(site, &sk, now)
	}
	s.turn(part, s.crowd.until > now)
	in.mark(&s.sources[part%spanParts])
	s.span.add(mixCount, in.count)

	if p = m.prints.at(&pk, now, idle); p == nil {
		return nil, nil, false
	}
	if p.since == 0 {
		p.since = firstSeen(site, &pk, now)
		isNew = true
	}
	p.turn(part, p.emitted != 0)
	told := p.emitted != 0
	if p.rest(p.span.sum[mixCount] == 0, now, m.quiet); told && p.emitted == 0 { // this opening begins another story
		p.first, p.total = 0, 0
	}
	in.mark(&p.sources[part%spanParts])
	p.span.add(mixCount, in.count)
	p.pace.add(in.first, in.count)
	if p.first == 0 {
		p.first = in.first
	}
	p.last, p.news = in.last, true
	p.total += uint64(in.count)
	return s, p, isNew
}

// mixVerdict is what is judged of a print.
type mixVerdict struct {
	sources, sum, service int
	expected              float64 // sources within the window
	usualShare            float64 // percent of the service's sources
}

// crowded reports whether a print is a crowd.
func (c *crowdTest) crowded(s *mixService, p *mixPrint, now int64) (v mixVerdict, yes bool) {
	if int(p.span.sum[mixCount]) < c.sources || now-s.since < c.warm {
		return v, false
	}
	v.sources, v.sum = p.distinct()
	v.expected = float64(p.usual) * spanParts / mixUnit
	if v.sources < c.sources || float64(v.sources) <= c.multiplier*v.expected {
		return v, false
	}
	v.service, _ = s.distinct()
	others := (int(s.usual) - int(p.usual)) * mixMemory / mixUnit // source parts within the memory
	if v.service > 0 {
		v.usualShare = 100 * float64(p.usual) / float64(max(s.usual, 1))
	}
	rare := p.usual*mixRare <= s.usual || p.since-s.since >= c.warm && now-p.since < mixNew
	return v, rare && others >= mixOther && v.sources*mixShare >= v.service
}

// steady reports gaps that deviate little for their length: a program that waits between requests. Independent arrivals deviate as
// much as their mean.
func (p *pace) steady() bool {
	const enough = 16
	m := p.mean()
	if p.n < enough || m < 100 {
		return false
	}
	variance := p.squares/uint64(p.n) - min(m*m, p.squares/uint64(p.n))
	return variance*100 <= m*m*36
}
