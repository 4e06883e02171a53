package tally

import (
	"fmt"
	"time"
	"unsafe"

	"weir/analyzers/fingerprint"
	"weir/decode"
	"weir/decode/conn"
	"weir/decode/slab"
)

// Shards is how many shards the tallies have: fewer than the connections, of which the state shards s, s+16, s+32 … share
// one. Packets to one service come from everywhere, so that each shard has an entry for it: fewer shards, fewer entries.
const Shards = 16

// Config bounds the tallies. Numbers are per shard and tick unless said otherwise. By default 16 shards take 81 MB (of which a second set repeats 72), the
// scratch of the merge 9 MB and an Epoch at most 30 MB; pages that no traffic ever used are not resident.
type Config struct {
	Services int           `yaml:"services"` // destination services: 264 bytes each; 16 × 4096 × 264 = 17.3 MB
	Hosts    int           `yaml:"hosts"`    // hosts that services are folded into when there are more: 264 bytes each; 2.2 MB
	Sources  int           `yaml:"sources"`  // sources: 120 bytes each; 16 × 8192 × 120 = 15.7 MB
	Details  int           `yaml:"details"`  // sources with more than one contact in a shard: 688 bytes each; 16 × 512 × 688 = 5.6 MB
	Prints   int           `yaml:"prints"`   // fingerprints: 176 bytes each; 16 × 512 × 176 = 1.4 MB
	Contacts int           `yaml:"contacts"` // contacts remembered beyond the tick: 8 bytes each, rounded up to a power of two; 16 × 65536 × 8 = 8.4 MB
	Remember time.Duration `yaml:"remember"` // for how long; at most 15 days
	Suspects int           `yaml:"suspects"` // sampled headers of each of 5 classes of unanswered packets: 80 bytes each; 16 × 5 × 128 × 80 = 0.8 MB
	Normals  int           `yaml:"normals"`  // sampled headers of each of 2 classes of normal packets: 80 bytes each; 0.1 MB
	Pairs    int           `yaml:"pairs"`    // clients at services: 240 bytes each; 16 × 2048 × 240 = 7.9 MB
	Echoes   int           `yaml:"echoes"`   // who pings whom: 224 bytes each; 0.9 MB
	Odds     int           `yaml:"odds"`     // peculiarities by source and destination: 72 bytes each; 0.3 MB
	Openings int           `yaml:"openings"` // prints of openings at services: 424 bytes each; 16 × 512 × 424 = 3.5 MB
	Names    int           `yaml:"names"`    // clients and the domains they ask for: 280 bytes each; 16 × 1024 × 280 = 4.6 MB
	Webs     int           `yaml:"webs"`     // clients and the web services they ask: 416 bytes each; 16 × 1024 × 416 = 6.8 MB
}

// Defaults returns the default bounds.
func Defaults() Config {
	return Config{
		Services: 4096,
		Hosts:    512,
		Sources:  8192,
		Details:  512,
		Prints:   512,
		Contacts: 1 << 16,
		Remember: 6 * time.Hour,
		Suspects: 128,
		Normals:  32,
		Pairs:    2048,
		Echoes:   256,
		Odds:     256,
		Openings: 512,
		Names:    1024,
		Webs:     1024,
	}
}

// maxEntries is how many entries a table of a shard can number.
const maxEntries = 1<<16 - 1

// Check reports the first setting that is out of range.
func (c *Config) Check() error {
	for _, f := range []struct {
		name string
		n    int
		most int
	}{
		{"services", c.Services, maxEntries},
		{"hosts", c.Hosts, maxEntries},
		{"sources", c.Sources, maxEntries},
		{"details", c.Details, maxEntries},
		{"prints", c.Prints, maxEntries},
		{"contacts", c.Contacts, 1 << 28},
		{"suspects", c.Suspects, 1 << 12},
		{"normals", c.Normals, 1 << 12},
		{"pairs", c.Pairs, maxEntries},
		{"echoes", c.Echoes, maxEntries},
		{"odds", c.Odds, maxEntries},
		{"openings", c.Openings, maxEntries},
		{"names", c.Names, maxEntries},
		{"webs", c.Webs, maxEntries},
	} {
		if f.n < 1 || f.n > f.most {
			return fmt.Errorf("tally: %s is %d, must be 1 to %d", f.name, f.n, f.most)
		}
	}
	if c.Remember < time.Minute || c.Remember > 15*24*time.Hour {
		return fmt.Errorf("tally: remember is %v, must be 1m to 360h", c.Remember)
	}
	return nil
}

// Shard accumulates the counters of one state shard during a tick. Not safe for concurrent use; different shards are
// independent. Its memory is fixed when it is made. No method allocates.
type Shard struct {
	link     Link
	services *services
	sources  *sources
	prints   *prints
	peers    *peers
	pairs    *table[PairKey, Pair, *Pair]
	echoes   *table[echoKey, Echo, *Echo]
	odds     *table[oddKey, Odd, *Odd]
	openings *table[OpeningKey, Opening, *Opening]
	names    *table[nameKey, Name, *Name]
	webs     *table[PairKey, Web, *Web]
	samples  [ClassCount]sample
	memory   memory
	keys     keys
	key      uint64
	touched  uint64 // keeps early loads from being optimised away
	used     bool   // anything was counted in this tick
}

// NewSets returns sets of n empty shards each, whose sketches are keyed by key: fixed in replays, one secret of the site
// live. Shards of the same number share what they remember of contacts: while one set is merged its owner counts on in
// another, but never in two at a time. All tables are in one block of memory, which the caller unmaps when it no longer uses
// any of them.
func NewSets(sets, n int, cfg Config, key uint64) ([][]*Shard, *slab.Slab, error) {
	if err := cfg.Check(); err != nil {
		return nil, nil, err
	}
	m, err := slab.Map(n * cfg.bytes(sets))
	if err != nil {
		return nil, nil, fmt.Errorf("tally: %w", err)
	}
	all := make([][]*Shard, sets)
	for range n {
		memory := cfg.memory(m)
		for i := range all {
			all[i] = append(all[i], newShard(m, cfg, key, memory))
		}
	}
	return all, m, nil
}

// NewShard returns a shard alone, whose memory is on the heap. It panics if cfg.Check fails.
func NewShard(cfg Config, key uint64) *Shard {
	if err := cfg.Check(); err != nil {
		panic(err)
	}
	m := slab.Heap(cfg.bytes(1))
	return newShard(m, cfg, key, cfg.memory(m))
}

// Bytes is the memory of the tables of that many sets of shards and of a Merger.
func (c Config) Bytes(sets int) int {
	return Shards*c.bytes(sets) + 2*c.merged()*int(unsafe.Sizeof(ref{}))
}

// bytes is the memory of the tables of a shard in that many sets.
func (c Config) bytes(sets int) int {
	var m slab.Slab
	memory := c.memory(&m)
	for range sets {
		newShard(&m, c, 0, memory)
	}
	return m.Size()
}

func (c Config) memory(m *slab.Slab) memory {
	return newMemory(m, c.Contacts, int16(c.Remember/time.Minute))
}

func newShard(m *slab.Slab, cfg Config, key uint64, contacts memory) *Shard {
	k := newKeys(key)
	s := &Shard{
		services: newServices(m, cfg.Services, cfg.Hosts, k),
		sources:  newSources(m, cfg.Sources, cfg.Details, k),
		prints:   newPrints(m, cfg.Prints, k),
		peers:    newPeers(m, k),
		pairs:    newTable[PairKey, Pair](m, cfg.Pairs, MaxPairs),
		echoes:   newTable[echoKey, Echo](m, cfg.Echoes, MaxEchoes),
		odds:     newTable[oddKey, Odd](m, cfg.Odds, MaxOdds),
		openings: newTable[OpeningKey, Opening](m, cfg.Openings, MaxOpenings),
		names:    newTable[nameKey, Name](m, cfg.Names, MaxNames),
		webs:     newTable[PairKey, Web](m, cfg.Webs, MaxWebs),
		memory:   contacts,
		keys:     k,
		key:      key,
	}
	for c := range s.samples {
		n := cfg.Suspects
		if Class(c) >= ClassNormalSYN {
			n = cfg.Normals
		}
		s.samples[c] = newSample(m, n)
	}
	return s
}

// print counts the fingerprint of a SYN or SYN-ACK. An attempt with a tool's print counts for its source.
func (s *Shard) print(p *decode.Packet, ev conn.Event) {
	sig, ok := fingerprint.FromPacket(p)
	if !ok {
		return
	}
	e := s.prints.at(&sig)
	e.add(p, &s.keys)
	if e.tool && ev&conn.EvAttempt != 0 {
		addr, _ := p.Src()
		src := s.sources.at(addr, p.Key.Ver, p.Time, s.keys.addrWith(addr, uint64(p.Key.Ver)))
		src.tool = max(src.tool, e.label)
		src.toolHits++
	}
}

// Slow counts a connection that a census found slow.
func (s *Shard) Slow(c *conn.Slow) {
	s.used = true
	k := ServiceKey{Addr: c.Resp, Port: c.RespPort, Proto: protoTCP, Ver: c.Ver}
	s.services.at(k.Addr, k.word()).Slow++
}

// Lose adds n to a cause of loss. What this package counts itself are LossCut and the losses of its tables.
func (s *Shard) Lose(cause Loss, n uint64) {
	if n != 0 {
		s.used = true
		s.link.Loss[cause] += n
	}
}

// reset forgets the tick, but not the contacts. It costs what was used.
func (s *Shard) reset() {
	s.link = Link{}
	s.services.reset()
	s.sources.reset()
	s.prints.reset()
	s.peers.reset()
	s.pairs.reset()
	s.echoes.reset()
	s.odds.reset()
	s.openings.reset()
	s.names.reset()
	s.webs.reset()
	for i := range s.samples {
		s.samples[i].reset()
	}
	s.used = false
}

// count counts a packet on the link.
func (l *Link) count(p *decode.Packet, ev conn.Event) {
	l.Packets++
	l.Bytes += uint64(p.WireLen)
	l.Why[p.Why]++
	switch {
	case p.Kind == decode.KindARP:
		l.ARP++
	case p.Kind == decode.KindNone:
		l.Other++
	case p.Key.Proto == protoTCP:
		l.TCP++
		if p.PayloadLen != 0 {
			l.Payload++
			l.Retrans += uint64(bit(ev, conn.EvRetrans))
		}
	case p.Key.Proto == protoUDP:
		l.UDP++
	case p.Key.Proto == protoICMP || p.Key.Proto == protoICMPv6:
		l.ICMP++
	default:
		l.Other++
	}
	const rare = conn.EvNew | conn.EvClosed | conn.EvProven | conn.EvFragment | conn.EvVisible
	if ev&rare == 0 && p.Why != decode.WhyCut {
		return
	}
	l.Opened += uint64(bit(ev, conn.EvNew))
	l.Closed += uint64(bit(ev, conn.EvClosed))
	l.Proven += uint64(bit(ev, conn.EvProven))
	l.Fragments += uint64(bit(ev, conn.EvFragment))
	if ev&conn.EvVisible != 0 {
		two := uint64(bit(ev, conn.EvAnswered))
		l.VisibleTwoWay += two
		l.VisibleOneWay += 1 - two
	}
	if p.Why == decode.WhyCut {
		l.Loss[LossCut]++
	}
}

// Add adds the counts of o.
func (l *Link) Add(o *Link) {
	l.Packets += o.Packets
	l.Bytes += o.Bytes
	l.TCP += o.TCP
	l.UDP += o.UDP
	l.ICMP += o.ICMP
	l.ARP += o.ARP
	l.Other += o.Other
	l.Fragments += o.Fragments
	l.Opened += o.Opened
	l.Closed += o.Closed
	l.Proven += o.Proven
	l.PeersLost += o.PeersLost
	l.Payload += o.Payload
	l.Retrans += o.Retrans
	l.VisibleTwoWay += o.VisibleTwoWay
	l.VisibleOneWay += o.VisibleOneWay
	l.ContactsUnknown += o.ContactsUnknown
	l.ContactsKnown += o.ContactsKnown
	l.Backward += o.Backward
	for i, n := range o.Why {
		l.Why[i] += n
	}
	for i, n := range o.Loss {
		l.Loss[i] += n
	}
}
