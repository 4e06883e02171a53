package analyzers

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"weir/analyzers/fingerprint"
	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
)

// Fingerprint finds sources that use a scanning tool (kind tool), by the headers of what they send, and what is odd about the
// prints of services' clients: cluster and rotation (fingerprint_cluster.go), mismatch and new (fingerprint_mismatch.go).
//
// # Evidence of a tool
//
// A print: the raw signature of a source's SYN is one that only a tool writes (analyzers/fingerprint; systems' own stacks are
// no evidence, so a tool that lets the kernel connect is not seen). A mark: a habit that can be there by chance, such as
// ZMap's IP id (conn.Marks).
//
// A source is named from Attempts SYNs with a print on, not counting retransmissions; or from Contacts first contacts with
// marks on, if at least half of its first contacts carry them: a busy client has one mark of 16 bits in 65,536 contacts by
// chance, never half.
//
// # Score
//
// 30, and 5 for each doubling of the distinct targets tried with the print or mark: 16 make it medium. Low below that, because
// one target tried twice is what a diagnosis by hand looks like. Repeated once a second, and when it becomes medium. Capped at 60: a header is evidence of a tool and no proof,
// tools have honest users, and what they do is for the other analyzers to say. Sources are not looked through: the address
// may be spoofed, so the return path is never called proven, even if the address completed a handshake of its own. The
// confidence is the share of packets that the sensor saw within the last minute.
//
// # What it must not do
//
// Take part in a flood. Floods are often written by the same tools and their sources are made up. Where more than Crowd
// sources show one tool within one tick, none of them counts in that tick; of one tool at most Named sources are named at a
// time. So ten million spoofed sources make Named findings at worst, and an attacker who spoofs such a crowd hides the tool
// from this analyzer, not the scan from the other.
//
// # What it misses
//
// Tools that are not in the table, or whose user changed the header (hping3 -w); botnets by Crowd; fragmented SYNs.
type Fingerprint struct {
	cfg      FingerprintConfig
	key      uint64
	keyed    bool
	now      int64 // ns, end of the last tick judged
	view     View
	watching bool // a tool was seen; before, there is nothing to look up
	sets     [][toolWays]toolSource
	crowd    map[toolID]int // sources by tool, of this tick
	named    []namedTool
	site     *Site
	emit     func(*Finding)
	mix      mix
	peers    recentPeers
	pairs    keep[mismatched, *mismatched]
	crowded  []tally.PairKey // prints that were told, and may have news
	protect  []protected
	f        Finding   // reused
	why      []Measure // reused
	Stats    FingerprintStats
}

// FingerprintStats counts what the bounds cost.
type FingerprintStats struct {
	Evicted uint64 // sources that went from the full table
	Crowded uint64 // sources not counted in a tick, because too many showed their tool
	Held    uint64 // times a source was not named, because too many were
}

// FingerprintConfig holds the settings of the fingerprint analyzer.
type FingerprintConfig struct {
	Attempts int           `yaml:"attempts"` // SYNs with a tool's print that name a source
	Contacts int           `yaml:"contacts"` // first contacts with a tool's mark that name a source
	Keep     time.Duration `yaml:"keep"`     // how long an idle source's evidence is kept
	Quiet    time.Duration `yaml:"quiet"`    // an alert closes after it
	Crowd    int           `yaml:"crowd"`    // sources of one tool in one tick, above which none counts
	Named    int           `yaml:"named"`    // sources of one tool named at a time
	Sources  int           `yaml:"sources"`  // sources in the table, 64 bytes each; a power of two times 8

	Cluster    int           `yaml:"cluster"`    // sources of one rare print at one service within window
	Multiplier float64       `yaml:"multiplier"` // of the sources that the print usually has
	Window     time.Duration `yaml:"window"`     // in which they are counted
	Protect    []string      `yaml:"protect"`    // services whose new prints are told: address, prefix, or address:port
	Learn      time.Duration `yaml:"learn"`      // how long the prints of such a service are learned before
	Prints     int           `yaml:"prints"`     // prints at services, 1.1 kB each; a power of two times 8
	Services   int           `yaml:"services"`   // services with prints, 1 kB each; likewise
}

// DefaultFingerprint returns the default settings. Two attempts: no stack of the systems that we know writes such a header
// even once, so the second one is there against a damaged packet. Three contacts with a mark: that three of six carry the same
// 16 bits by chance has a probability of 7e-14. The table takes 256 kB. 20 sources of a rare print: as many as make stuffing; a
// household or a class room has fewer. A day is learned before a print counts as new: most clients come once a day.
func DefaultFingerprint() FingerprintConfig {
	return FingerprintConfig{
		Attempts: 2, Contacts: 3, Keep: time.Hour, Quiet: 5 * time.Minute, Crowd: 8, Named: 8, Sources: 4096,
		Cluster: 20, Multiplier: 5, Window: 5 * time.Minute, Learn: 24 * time.Hour, Prints: 4096, Services: 1024,
	}
}

// Check tells what is wrong with the settings.
func (c *FingerprintConfig) Check() error {
	switch {
	case c.Attempts < 1 || c.Contacts < 1:
		return errors.New("fingerprint: attempts and contacts must be at least 1")
	case c.Quiet < time.Second || c.Keep < c.Quiet:
		return errors.New("fingerprint: quiet must be at least 1s and keep at least quiet")
	case c.Crowd < 1 || c.Named < 1 || c.Named > 100:
		return errors.New("fingerprint: crowd must be at least 1 and named from 1 to 100")
	case c.Sources < toolWays || c.Sources > 1<<20:
		return errors.New("fingerprint: sources must be from 8 to 1048576")
	case c.Cluster < 2 || c.Cluster > 1e6:
		return errors.New("fingerprint: cluster must be from 2 to 1000000")
	case !(c.Multiplier >= 1 && c.Multiplier <= 1e6):
		return errors.New("fingerprint: multiplier must be from 1 to 1000000")
	case c.Window < 10*time.Second || c.Window > 24*time.Hour:
		return errors.New("fingerprint: window must be from 10s to 24h")
	case c.Learn < time.Minute || c.Learn > 365*24*time.Hour:
		return errors.New("fingerprint: learn must be from 1m to 8760h")
	case c.Prints < keepWays || c.Prints > 1<<20 || c.Services < keepWays || c.Services > 1<<20:
		return errors.New("fingerprint: prints and services must be from 8 to 1048576")
	case len(c.Protect) > 1024:
		return errors.New("fingerprint: protect must have at most 1024 entries")
	}
	for _, text := range c.Protect {
		if _, err := parseProtected(text); err != nil {
			return err
		}
	}
	return nil
}

const (
	toolWays       = 8
	toolScore      = 30
	toolDoubling   = 5
	toolLimit      = 60
	toolMedium     = 50 // from here on it is of medium severity, and that is told at once
	toolRepeat     = int64(time.Second)
	toolNamedLimit = 256 // of all tools together
)

// toolID names a tool by its label, or by a mark where there is no print.
type toolID struct {
	label uint16
	marks conn.Marks
}

// markNames are the tools by the bits of conn.Marks, the rarest by chance first.
var markNames = []struct {
	mark conn.Marks
	name string
}{{conn.MarkMirai, "mirai"}, {conn.MarkMasscan, "masscan"}, {conn.MarkZMap, "zmap"}, {conn.MarkNmap, "nmap"}}

// toolOf is the tool that a source shows; false if none.
func toolOf(s *tally.Source) (toolID, bool) {
	if s.ToolHits > 0 && fingerprint.Label(s.Tool).Kind == fingerprint.KindTool {
		return toolID{label: s.Tool}, true
	}
	for _, m := range markNames {
		if s.MarkHits > 0 && s.Marks&m.mark != 0 {
			return toolID{marks: m.mark}, true
		}
	}
	return toolID{}, false
}

func (id toolID) String() string {
	for _, m := range markNames {
		if id.marks == m.mark {
			return m.name
		}
	}
	return fingerprint.Label(id.label).Name
}

// toolSource is the evidence about one source.
type toolSource struct {
	addr        decode.Addr
	first, last int64 // ns; last 0: a free place
	emitted     int64 // ns, last finding; 0: not named
	told        int   // its score
	news        bool  // evidence since
	attempts    uint32
	contacts    uint32 // first contacts with the print
	marked      uint32 // first contacts with a mark
	opened      uint32 // first contacts at all
	tool        toolID
	ver         uint8
}

// targets are how many distinct targets the evidence has, attempts at one of them being at least one.
func (s *toolSource) targets() uint32 { return max(s.contacts, s.marked, 1) }

func (s *toolSource) score() int {
	return min(toolScore+int(toolDoubling*math.Log2(float64(s.targets()))), 100)
}

// weight is the evidence with which a source defends its place.
func (s *toolSource) weight() uint64 {
	if s.emitted != 0 {
		return math.MaxUint64
	}
	return uint64(s.attempts) + uint64(s.contacts) + uint64(s.marked)
}

// namedTool is a source that was named and is not quiet yet.
type namedTool struct {
	addr decode.Addr
	last int64
	tool toolID
	ver  uint8
}

// NewFingerprint returns an analyzer with settings that Check accepts.
func NewFingerprint(cfg FingerprintConfig, site *Site) *Fingerprint {
	n := 1
	for n*2*toolWays <= cfg.Sources {
		n *= 2
	}
	a := &Fingerprint{
		site: site, sets: make([][toolWays]toolSource, n), crowd: map[toolID]int{},
		mix: newMix(cfg.Services, cfg.Prints), pairs: newKeep[mismatched](cfg.Services), peers: newRecentPeers(),
	}
	a.change(&cfg)
	return a
}

// change takes in the settings that can change. What was counted within a window of another length is forgotten.
func (a *Fingerprint) change(cfg *FingerprintConfig) {
	a.cfg, a.protect = *cfg, nil
	for _, text := range cfg.Protect {
		if p, err := parseProtected(text); err == nil { // Check has seen it
			a.protect = append(a.protect, p)
		}
	}
}

// Name implements Analyzer.
func (a *Fingerprint) Name() string { return "fingerprint" }

// Judge implements Analyzer.
func (a *Fingerprint) Judge(e *tally.Epoch, emit func(*Finding)) {
	if !a.keyed { // the first epoch's key stays: it only has to be unknown to attackers
		a.key, a.keyed = scramble(e.SketchKey, 0x9e3779b97f4a7c15), true
	}
	a.now, a.emit = e.End(), emit
	a.view.Observe(e)
	a.tools(e, emit)
	a.crowds(e)
}

// tools judges the epoch's sources.
func (a *Fingerprint) tools(e *tally.Epoch, emit func(*Finding)) {
	clear(a.crowd)
	for i := range e.Sources {
		if id, ok := toolOf(&e.Sources[i]); ok {
			a.crowd[id]++
		}
	}
	if len(a.crowd) == 0 && !a.watching {
		return
	}
	a.watching = true // contacts without a mark count, too
	for i := range e.Sources {
		a.source(&e.Sources[i], e, emit)
	}
	for _, n := range a.named { // what came within a second of the last finding
		if s := a.find(n.addr, n.ver); s != nil && s.news && e.End()-s.emitted >= toolRepeat {
			a.report(s, e.End(), emit)
		}
	}
}

// Finish implements Analyzer.
func (a *Fingerprint) Finish(emit func(*Finding)) {
	a.emit = emit
	for _, n := range a.named {
		if s := a.find(n.addr, n.ver); s != nil && s.news {
			a.report(s, a.now, emit)
		}
	}
	for i := range a.crowded {
		a.retellCrowd(&a.crowded[i], true)
	}
}

// source takes in what a source did in this tick.
func (a *Fingerprint) source(in *tally.Source, e *tally.Epoch, emit func(*Finding)) {
	id, ok := toolOf(in)
	if ok && a.crowd[id] > a.cfg.Crowd {
		a.Stats.Crowded++
		return
	}
	s := a.at(in, ok, e.End())
	if s == nil {
		return
	}
	s.opened += in.Opened
	if !ok {
		return
	}
	s.last = in.Last
	if s.tool == (toolID{}) || id.label > s.tool.label {
		s.tool = id // a print says more than a mark, and the first mark more than a later one, which may be chance
	}
	s.attempts += in.ToolHits
	s.contacts += min(in.ToolHits, in.Opened)
	s.marked += in.MarkHits
	s.news = true
	rises := s.told < toolMedium && s.score() >= toolMedium
	if a.shown(s) && (rises || e.End()-s.emitted >= toolRepeat) && a.allowed(s, e.End()) {
		a.report(s, e.End(), emit)
	}
}

// shown reports whether a source's evidence suffices.
func (a *Fingerprint) shown(s *toolSource) bool {
	return s.attempts >= uint32(a.cfg.Attempts) || s.marked >= uint32(a.cfg.Contacts) && 2*uint64(s.marked) >= uint64(s.opened)
}

// set is where a source's evidence may stand.
func (a *Fingerprint) set(addr decode.Addr, ver uint8) *[toolWays]toolSource {
	h := scramble(addr.Lo^a.key, addr.Hi^uint64(ver)<<56)
	return &a.sets[h>>32&uint64(len(a.sets)-1)]
}

// find returns a source's evidence, nil without any.
func (a *Fingerprint) find(addr decode.Addr, ver uint8) *toolSource {
	set := a.set(addr, ver)
	for i := range set {
		if s := &set[i]; s.last != 0 && s.addr == addr && s.ver == ver {
			return s
		}
	}
	return nil
}

// at finds a source's evidence. If create is set it is made, in a free place or that of the source with the least.
func (a *Fingerprint) at(in *tally.Source, create bool, now int64) *toolSource {
	set := a.set(in.Addr, in.Ver)
	least := &set[0]
	for i := range set {
		s := &set[i]
		if now-s.last > int64(a.cfg.Keep) {
			*s = toolSource{}
		}
		switch {
		case s.last == 0:
			least = s
		case s.addr == in.Addr && s.ver == in.Ver:
			return s
		case least.last != 0 && s.weight() < least.weight():
			least = s
		}
	}
	if !create {
		return nil
	}
	if least.last != 0 {
		a.Stats.Evicted++
	}
	*least = toolSource{addr: in.Addr, ver: in.Ver, first: in.First}
	return least
}

// allowed reports whether a source may be named: it is already, or there is room.
func (a *Fingerprint) allowed(s *toolSource, now int64) bool {
	same, kept := 0, a.named[:0]
	for _, n := range a.named {
		if now-n.last > int64(a.cfg.Quiet) {
			continue
		}
		if n.addr == s.addr && n.ver == s.ver {
			continue // added anew below
		}
		if n.tool == s.tool {
			same++
		}
		kept = append(kept, n)
	}
	a.named = kept
	if same >= a.cfg.Named || len(a.named) >= toolNamedLimit {
		a.Stats.Held++
		return false
	}
	a.named = append(a.named, namedTool{s.addr, s.last, s.tool, s.ver})
	return true
}

// report emits the finding of a source.
func (a *Fingerprint) report(s *toolSource, now int64, emit func(*Finding)) {
	s.emitted, s.told, s.news = now, s.score(), false
	addr := s.addr.Netip(s.ver)
	f := &a.f
	*f = Finding{
		Analyzer: a.Name(), Kind: "tool", Time: now,
		Subject: Party{Prefix: netip.PrefixFrom(addr, addr.BitLen())},
		Score:   s.told, MaxScore: toolLimit, Confidence: int(max(100-100*a.view.Loss(), 10)),
		Count: uint64(max(s.attempts, s.marked)), Total: true,
		First: s.first, Last: s.last, Quiet: int64(a.cfg.Quiet),
		Why: a.why[:0], Attack: []string{"T1046"},
		Notes: []string{"a header shows a tool, it does not prove who sent it: the address may be spoofed"},
	}
	add := func(name string, value uint32, unit string, threshold int) {
		f.Why = append(f.Why, Measure{Name: name, Value: float64(value), Unit: unit, Threshold: float64(threshold)})
	}
	if s.tool.label != 0 {
		f.Print = s.tool.String()
		add("print_attempts", s.attempts, "SYNs", a.cfg.Attempts)
		add("print_contacts", s.contacts, "contacts", 0)
		f.Summary = fmt.Sprintf("%s sent %d SYNs as %s writes them (%s); first contacts: %d", addr, s.attempts, s.tool,
			fingerprint.Label(s.tool.label).Note, s.contacts)
	} else {
		f.Summary = fmt.Sprintf("%s made %d first contacts, %d of them with the mark of %s", addr, s.opened, s.marked, s.tool)
	}
	if s.marked > 0 {
		add("marked_contacts", s.marked, "contacts", a.cfg.Contacts)
		add("contacts", s.opened, "contacts", 0)
	}
	a.why = f.Why
	emit(f)
}
