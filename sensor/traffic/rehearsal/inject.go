package rehearsal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weir/pcaps"
	"weir/sensor/alert"
	"weir/sensor/traffic/truth"
)

// Networks of the lab that the captures were recorded in (pcaps/lab.sh).
var (
	labInside  = netip.MustParsePrefix("10.20.0.0/24")
	labGateway = netip.MustParseAddr("10.20.0.1") // the site's has the same number
	labInside6 = netip.MustParsePrefix("fd00:20::/64")
	labOutside = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("192.0.2.0/24")}
	labSix     = []netip.Prefix{netip.MustParsePrefix("2001:db8:51::/48"), netip.MustParsePrefix("2001:db8:66::/48")}
)

// attack is one that is placed: a recipe with its addresses and its time.
type attack struct {
	recipe  *recipe
	begin   int64
	stretch float64
	names   *mapping
	truth   truth.Attack
	marks   netip.Addr // whose packets are the attack: the subject's, else the victim's
}

// attacks places the attacks: in even parts of the time from a seventh of it on (in a week, after the first day), one in each part
// at a random time. Each kind comes once before any comes again, as far as it fits: what does not fit yet waits. They are queued;
// what is true of them is whole when the run is over.
func (g *generator) attacks() ([]*attack, error) {
	r := rand.New(rand.NewPCG(g.cfg.Seed, 3))
	from := g.start + (g.end-g.start)/7
	part := (g.end - from) / int64(max(1, g.cfg.Attacks))
	var list []*attack
	waiting := deck(r)
	for i := range g.cfg.Attacks {
		a, rest, err := g.next(r, waiting, from+int64(i)*part, part)
		if a == nil && err == nil { // each that fits was there
			a, rest, err = g.next(r, append(waiting, deck(r)...), from+int64(i)*part, part)
		}
		if err != nil {
			return nil, err
		}
		if a == nil {
			return nil, fmt.Errorf("no attack is as short as %s: ask for a longer site", time.Duration(g.end-from))
		}
		waiting = rest
		a.truth.ID = fmt.Sprintf("a%03d", i+1)
		list = append(list, a)
	}
	return list, nil
}

// next places the first of the kinds that fits, and returns those that wait on.
func (g *generator) next(r *rand.Rand, kinds [][]int, from, part int64) (*attack, [][]int, error) {
	for j, k := range kinds {
		a, err := g.place(r, &recipes[k[r.IntN(len(k))]], from, part)
		if err != nil || a != nil {
			return a, slices.Delete(kinds, j, j+1), err
		}
	}
	return nil, kinds, nil
}

// deck is an order of the kinds, each the recipes that have it: one kind of each analyzer, then a second of those that have one,
// and so on.
func deck(r *rand.Rand) (list [][]int) {
	var analyzers []string
	kinds := map[string][][]int{} // by analyzer
	for i, k := range recipes {
		of := kinds[k.analyzer]
		if of == nil {
			analyzers = append(analyzers, k.analyzer)
		}
		j := slices.IndexFunc(of, func(same []int) bool { return recipes[same[0]].kind == k.kind })
		if j < 0 {
			kinds[k.analyzer] = append(of, []int{i})
			continue
		}
		of[j] = append(of[j], i)
	}
	for _, a := range analyzers {
		of := kinds[a]
		r.Shuffle(len(of), func(i, j int) { of[i], of[j] = of[j], of[i] })
	}
	for round := 0; ; round++ {
		n := len(list)
		for _, i := range r.Perm(len(analyzers)) {
			if of := kinds[analyzers[i]]; round < len(of) {
				list = append(list, of[round])
			}
		}
		if len(list) == n {
			return list
		}
	}
}

// learning is how long a site that begins at midnight is watched until there is a day of everybody: people come at nine.
const learning = 33 * time.Hour

// place gives a recipe a time within a part that begins at from, and addresses. It is nil where the capture would not end before
// the site does, and for what needs a day, or a crowd, to compare with and has none.
func (g *generator) place(r *rand.Rand, k *recipe, from, part int64) (*attack, error) {
	if k.learned && from < g.start+int64(learning) {
		return nil, nil
	}
	frames, err := k.frames()
	if err != nil {
		return nil, err
	}
	a := &attack{recipe: k, begin: from + r.Int64N(max(1, part)), stretch: 1}
	if k.stretch > 1 {
		a.stretch = 1 + r.Float64()*(k.stretch-1)
	}
	length := int64(float64(frames[len(frames)-1].at-frames[0].at) * a.stretch)
	if a.begin = min(a.begin, g.end-length-int64(time.Second)); a.begin < from {
		return nil, nil
	}
	if k.crowd && abroad(time.Unix(0, a.begin).UTC()) < 0.5 {
		return nil, nil
	}
	g.address(r, a)
	a.truth = truth.Attack{
		Analyzer: k.analyzer, Kind: k.kind, Also: k.also, Tool: k.tool, Source: "pcaps/" + k.capture, Stretch: float64(int(a.stretch*100)) / 100,
		First: truth.Time(g.end), Subject: a.party(k.subject), Victim: a.party(k.victim),
	}
	for _, p := range k.parties {
		q := netip.MustParsePrefix(p)
		a.truth.Parties = append(a.truth.Parties, netip.PrefixFrom(a.names.addr(q.Addr()), q.Bits()).Masked())
	}
	a.marks = prefixOf(a.truth.Subject).Addr()
	if !a.marks.IsValid() {
		a.marks = prefixOf(a.truth.Victim).Addr()
	}
	g.queue.push(a.begin, g.play(a))
	return a, nil
}

// address chooses who takes the places of the hosts of the lab.
func (g *generator) address(r *rand.Rand, a *attack) {
	m := newMapping()
	a.names = m
	server := g.servers[r.IntN(len(g.servers))]
	for range 100 { // one that a recipe of both families can have
		if server.dual() && server.system == linux {
			break
		}
		server = g.servers[r.IntN(len(g.servers))]
	}
	if a.recipe.at != "" {
		server = g.named(a.recipe.at)
	}
	net := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 20, 1, 0}), 24)
	m.nets = append(m.nets, swap{labInside, net}, swap{labInside6, netip.PrefixFrom(netip.AddrFrom16(server.ip6), 64)})
	host := func(old netip.Addr, h *host) {
		if old.Is6() {
			m.exact[old] = netip.AddrFrom16(h.ip6)
			return
		}
		m.exact[old] = h.addr()
		if other := netip.AddrFrom4([4]byte{10, 20, 0, h.ip4[3]}); other != old && h.ip4[2] == 1 { // who had that place goes to the other's
			m.exact[other] = netip.AddrFrom4([4]byte{10, 20, 1, old.As4()[3]})
		}
	}
	for _, p := range []string{a.recipe.victim, a.recipe.subject} {
		switch old := labAddr(p); {
		case !labInside.Contains(old) && !labInside6.Contains(old) || old == labGateway:
		case p == a.recipe.subject && old != labAddr(labVictim):
			host(old, pick(r, g.workstations))
		default:
			host(old, server)
		}
	}
	for _, o := range a.recipe.others {
		old, name, _ := strings.Cut(o, "=")
		host(netip.MustParseAddr(old), g.named(name))
	}
	for _, p := range labOutside {
		to := publicAddr(r)
		m.nets = append(m.nets, swap{p, netip.PrefixFrom(netip.AddrFrom4(to), 24).Masked()})
	}
	for _, p := range labSix {
		var b [16]byte
		copy(b[:], []byte{0x20, 1, 0x0d, 0xb8, byte(r.Uint32()) | 0x80, byte(r.Uint32())})
		m.nets = append(m.nets, swap{p, netip.PrefixFrom(netip.AddrFrom16(b), 48)})
	}
}

// named is the server of a name.
func (g *generator) named(name string) *host {
	return g.servers[slices.IndexFunc(g.servers, func(h *host) bool { return h.name == name })]
}

// labAddr is the address of "10.20.0.10:80/tcp" or "10.20.0.10"; invalid for a network and for nobody.
func labAddr(s string) netip.Addr {
	p := parseParty(s)
	if p == nil {
		return netip.Addr{}
	}
	return p.IP
}

// party is a recipe's party with the site's addresses.
func (a *attack) party(s string) *alert.Party {
	p := parseParty(s)
	switch {
	case p == nil:
	case p.IP.IsValid():
		p.IP = a.names.addr(p.IP)
	default:
		p.Prefix = netip.PrefixFrom(a.names.addr(p.Prefix.Addr()), p.Prefix.Bits())
	}
	return p
}

func prefixOf(p *alert.Party) netip.Prefix {
	switch {
	case p == nil:
		return netip.Prefix{}
	case p.IP.IsValid():
		return netip.PrefixFrom(p.IP, p.IP.BitLen())
	}
	return p.Prefix
}

// play writes the frames of an attack when they are due. The capture is in memory only while it plays.
func (g *generator) play(a *attack) task {
	var frames []frame
	i := 0
	return func(now int64) int64 {
		if frames == nil {
			frames, _ = a.recipe.frames() // was read before
		}
		f := &frames[i]
		b := slices.Clone(f.data)
		if a.names.frame(b) {
			g.out.raw(now, b, f.wire-len(b))
			if a.concerns(b) && f.at-frames[0].at >= int64(a.recipe.after) {
				a.truth.First, a.truth.Last = min(a.truth.First, truth.Time(now)), truth.Time(now)
				a.truth.Packets++
			}
		}
		if i++; i == len(frames) {
			return done
		}
		return max(now, a.begin+int64(float64(frames[i].at-frames[0].at)*a.stretch))
	}
}

// concerns tells whether a frame is from or to the host whose packets are the attack.
func (a *attack) concerns(b []byte) bool {
	if a.truth.Subject == nil && a.truth.Victim == nil {
		return true
	}
	within := func(x netip.Addr) bool {
		if a.truth.Subject == nil {
			return prefixOf(a.truth.Victim).Contains(x)
		}
		return x == a.marks
	}
	src, dst := ends(b)
	return within(src) || within(dst)
}

// ends are the addresses of a frame; invalid ones of what is neither IP nor ARP.
func ends(b []byte) (src, dst netip.Addr) {
	if len(b) < ethernetHeader {
		return src, dst
	}
	switch p := b[ethernetHeader:]; binary.BigEndian.Uint16(b[12:]) {
	case etherIPv4:
		if len(p) >= 20 {
			return netip.AddrFrom4([4]byte(p[12:])), netip.AddrFrom4([4]byte(p[16:]))
		}
	case etherIPv6:
		if len(p) >= 40 {
			return netip.AddrFrom16([16]byte(p[8:])), netip.AddrFrom16([16]byte(p[24:]))
		}
	case etherARP:
		if len(p) >= 28 {
			return netip.AddrFrom4([4]byte(p[14:])), netip.AddrFrom4([4]byte(p[24:]))
		}
	}
	return src, dst
}

// raw writes a frame as it is.
func (w *writer) raw(at int64, b []byte, cut int) {
	w.write(at, append(append(w.buf[:0], make([]byte, record)...), b...), cut)
}

// frames are those of a recipe's capture that are the attack.
func (k *recipe) frames() ([]frame, error) {
	list, err := load(k.capture)
	if err != nil || k.only == "" {
		return list, err
	}
	who := netip.MustParsePrefix(k.only)
	return slices.DeleteFunc(list, func(f frame) bool {
		src, dst := ends(f.data)
		return !who.Contains(src) && !who.Contains(dst)
	}), nil
}

// frame is one of a capture.
type frame struct {
	at   int64 // ns
	wire int
	data []byte
}

// load reads a capture of package pcaps: pcap in little-endian order, times in µs or ns, Ethernet.
func load(name string) ([]frame, error) {
	b, err := pcaps.Read(name)
	if err != nil {
		return nil, err
	}
	bad := fmt.Errorf("capture %s: %w", name, errNoPcap)
	if len(b) < 24 || binary.LittleEndian.Uint32(b[20:])&0xffff != 1 {
		return nil, bad
	}
	unit := int64(1)
	switch binary.LittleEndian.Uint32(b) {
	case 0xa1b2c3d4:
		unit = 1000
	case 0xa1b23c4d:
	default:
		return nil, bad
	}
	var list []frame
	for b = b[24:]; len(b) >= record; {
		u := func(i int) int64 { return int64(binary.LittleEndian.Uint32(b[i:])) }
		n := int(u(8))
		if n > len(b)-record {
			return nil, bad
		}
		list = append(list, frame{u(0)*1e9 + u(4)*unit, int(u(12)), b[record : record+n : record+n]})
		b = b[record+n:]
	}
	if len(list) == 0 {
		return nil, bad
	}
	slices.SortStableFunc(list, func(x, y frame) int { return int(x.at - y.at) })
	return list, nil
}

var errNoPcap = errors.New("no pcap of Ethernet in little-endian order")
