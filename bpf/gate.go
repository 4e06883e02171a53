//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Mode is where the program sits.
type Mode string

// Modes. XDP drops before packet sockets see a frame, so a sensor on the same interface goes blind to what is dropped, but for
// hits and samples; tcx drops just after, at the price of the kernel's work before.
const (
	ModeXDP Mode = "xdp"
	ModeTCX Mode = "tcx"
)

// Config of a gate. Sizes are entries; the kernel takes the memory of hosts, services, peers and hits at once, that of
// prefixes as they come. An IPv4 host costs about 96 bytes and 32 for its hits, an IPv6 host 16 more; a table made much larger
// than what is in it is slower (143 ns instead of 72 for random sources with 1 M and 1 k).
type Config struct {
	Interface string        `yaml:"-"`
	Mode      Mode          `yaml:"mode"`
	Survive   bool          `yaml:"survive"`  // what is in force outlives this process, by pins in a bpffs
	Pins      string        `yaml:"pins"`     // folder in a bpffs; "": /sys/fs/bpf/weir, else one is mounted at /run/weir/bpf
	Hosts4    int           `yaml:"hosts4"`   // single IPv4 addresses
	Hosts6    int           `yaml:"hosts6"`   // single IPv6 addresses
	Prefixes  int           `yaml:"prefixes"` // of each family
	Services  int           `yaml:"services"`
	Peers     int           `yaml:"peers"`     // known ones; the least recently used go first
	PeerAge   time.Duration `yaml:"peer_age"`  // that a peer stays known after it was last seen connected
	PeerNew   int           `yaml:"peer_new"`  // new connections a second of each known peer past service limits; at most twice as many at once
	PeerRate  int           `yaml:"peer_rate"` // other packets likewise
	Sample    int           `yaml:"sample"`    // one of so many dropped frames is handed to Samples; 0: none
	Rehearse  bool          `yaml:"-"`         // count only, whatever the entries say
}

// Defaults are a gate for an edge host.
func Defaults() Config {
	return Config{
		Mode: ModeXDP, Survive: true, Hosts4: 131_072, Hosts6: 32_768, Prefixes: 16_384, Services: 1024, Peers: 65_536,
		PeerAge: time.Hour, PeerNew: 20, PeerRate: 2000, Sample: 1000,
	}
}

// Check tells which setting cannot be.
func (c *Config) Check() error {
	if c.Mode != ModeXDP && c.Mode != ModeTCX {
		return fmt.Errorf("gate: mode is %q, must be %s or %s", c.Mode, ModeXDP, ModeTCX)
	}
	for _, s := range []struct {
		name       string
		n, min, up int
	}{
		{"hosts4", c.Hosts4, 1, 1 << 24},
		{"hosts6", c.Hosts6, 1, 1 << 24},
		{"prefixes", c.Prefixes, 1, 1 << 20},
		{"services", c.Services, 1, 1 << 20},
		{"peers", c.Peers, 1, 1 << 24},
		{"peer_new", c.PeerNew, 1, 1e9},
		{"peer_rate", c.PeerRate, 1, 1e9},
		{"sample", c.Sample, 0, 1 << 30},
	} {
		if s.n < s.min || s.n > s.up {
			return fmt.Errorf("gate: %s is %d, must be %d to %d", s.name, s.n, s.min, s.up)
		}
	}
	if c.PeerAge < 0 {
		return errors.New("gate: peer_age is negative")
	}
	return nil
}

// Status is how a gate came to stand.
type Status struct {
	Interface string
	Index     int
	Mode      Mode
	Generic   bool     // XDP in the kernel's generic mode: the driver has no support for it
	Pinned    string   // folder of the pins, "" if the gate ends with this process
	Adopted   bool     // the tables of an earlier process were found and are in force
	Warnings  []string // what is less than was asked for
}

// Gate is the handle to the program at one interface. All methods may be called concurrently; those that change tables wait
// for each other. Entries of the kernel survive Close if they are pinned.
type Gate struct {
	cfg    Config
	status Status
	prog   *ebpf.Program
	maps   gateMaps
	inner  map[string]*ebpf.MapSpec // of the maps that hold maps
	link   link.Link

	claimed net.Listener // of the interface; never accepts

	mu       sync.Mutex
	control  *gateControl // the map's memory
	mapped   [][]byte
	slots    slots
	hosts4   table[[4]byte]
	hosts6   table[gateHost6]
	nets4    table[gateNet4]
	nets6    table[gateNet6]
	services table[gateService]
	wide6    int           // prefixes shorter than /48
	whole    int           // services with port 0
	never    [2]ebpf.MapID // by family: the list that this process put in force
	listed   bool          // it is not empty
	signed   map[uint64]uint32
	signedIn *ebpf.Map // that this process put in force
}

// Open loads the program and attaches it, or adopts what an earlier process left pinned. With a changed layout or changed
// sizes what was pinned is detached and the tables are empty: Status.Adopted says which, and the caller fills them.
//
// Needs CAP_BPF, CAP_NET_ADMIN and, for the verifier, CAP_PERFMON; CAP_SYS_ADMIN to mount a bpffs or to name a foreign program.
// Afterwards the tables need CAP_BPF only, and Reattach CAP_NET_ADMIN.
func Open(cfg Config) (*Gate, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	g := &Gate{cfg: cfg, status: Status{Interface: cfg.Interface, Mode: cfg.Mode}, signed: map[uint64]uint32{}}
	if err := g.open(); err != nil {
		if _, missing := os.Stat(filepath.Join(g.status.Pinned, pinnedLink)); g.status.Pinned != "" && missing != nil {
			unpin(g.status.Pinned) // maps without a link serve nobody
		}
		return nil, errors.Join(err, g.release())
	}
	return g, nil
}

// Status tells how the gate stands.
func (g *Gate) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.status
	s.Warnings = slices.Clone(s.Warnings)
	return s
}

// Close lets go of the gate. Without pins it ends, and all passes.
func (g *Gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.release()
}

func (g *Gate) release() error {
	var err error
	if g.link != nil {
		err = g.link.Close()
	}
	if g.prog != nil {
		err = errors.Join(err, g.prog.Close())
	}
	if g.signedIn != nil {
		err = errors.Join(err, g.signedIn.Close())
	}
	err = errors.Join(err, g.maps.Close())
	for _, b := range g.mapped {
		err = errors.Join(err, unix.Munmap(b))
	}
	g.mapped, g.control, g.slots.hits = nil, nil, nil
	if g.claimed != nil {
		err = errors.Join(err, g.claimed.Close())
	}
	return err
}

// wire makes the tables of loaded maps.
func (g *Gate) wire() error {
	var words [2]*bitmap
	for i, m := range []*ebpf.Map{g.maps.Bits4, g.maps.Bits6} {
		w, err := mapped[uint64](g, m)
		if err != nil {
			return err
		}
		words[i] = &bitmap{words: w}
	}
	control, err := mapped[gateControl](g, g.maps.Control)
	if err != nil {
		return err
	}
	g.control = &control[0]
	if g.slots.hits, err = mapped[gateHits](g, g.maps.Hit); err != nil {
		return err
	}
	g.hosts4 = table[[4]byte]{"hosts4", g.maps.Hosts4, g.cfg.Hosts4, words[0], func(k [4]byte) span { return spanOf4(k, 32) }, nil}
	g.hosts6 = table[gateHost6]{"hosts6", g.maps.Hosts6, g.cfg.Hosts6, words[1], func(k gateHost6) span { return spanOf6(k.Addr, 128) }, nil}
	g.nets4 = table[gateNet4]{"prefixes", g.maps.Nets4, g.cfg.Prefixes, words[0], func(k gateNet4) span { return spanOf4(k.Addr, int(k.Bits)) }, nil}
	g.nets6 = table[gateNet6]{"prefixes", g.maps.Nets6, g.cfg.Prefixes, words[1], func(k gateNet6) span { return spanOf6(k.Addr, int(k.Bits)) }, nil}
	g.services = table[gateService]{"services", g.maps.Services, g.cfg.Services, nil, nil, nil}
	return nil
}

// mapped is an array map's memory.
func mapped[T any](g *Gate, m *ebpf.Map) ([]T, error) {
	size := int(m.MaxEntries()) * int(m.ValueSize()) // values are multiples of 8 bytes, so they lie without gaps
	page := os.Getpagesize()
	b, err := unix.Mmap(m.FD(), 0, (size+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, explain("memory of the tables", err)
	}
	g.mapped = append(g.mapped, b)
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), int(m.MaxEntries())), nil
}

// configure sets what the program reads of the configuration.
func (g *Gate) configure() {
	c := g.control
	atomic.StoreUint32(&c.Sample, uint32(g.cfg.Sample))
	atomic.StoreUint64(&c.PeerAge, uint64(g.cfg.PeerAge))
	atomic.StoreUint32(&c.PeerNew, uint32(g.cfg.PeerNew))
	atomic.StoreUint32(&c.PeerRate, uint32(g.cfg.PeerRate))
	g.flag(gateTableTABLE_REHEARSE, g.cfg.Rehearse)
}

func (g *Gate) flag(t gateTable, on bool) {
	if on {
		atomic.OrUint32(&g.control.Tables, uint32(t))
	} else {
		atomic.AndUint32(&g.control.Tables, ^uint32(t))
	}
}

// flags tells the program which tables hold anything. Before entries go in, with those that will; after, with what is there.
func (g *Gate) flags() {
	g.flag(gateTableTABLE_HOSTS4, len(g.hosts4.slots) > 0)
	g.flag(gateTableTABLE_HOSTS6, len(g.hosts6.slots) > 0)
	g.flag(gateTableTABLE_NETS4, len(g.nets4.slots) > 0)
	g.flag(gateTableTABLE_NETS6, len(g.nets6.slots) > 0)
	g.flag(gateTableTABLE_WIDE6, g.wide6 > 0)
	g.flag(gateTableTABLE_SERVICES, len(g.services.slots) > 0)
	g.flag(gateTableTABLE_WHOLE, g.whole > 0)
	g.flag(gateTableTABLE_SIGNATURES, len(g.signed) > 0)
}

// Resync makes this process' record and the bitmaps those of what the kernel's tables hold, writes the settings again, and returns by how
// many entries record and tables differed: 0 unless somebody else wrote the tables. It walks all entries (1 M: about a second).
func (g *Gate) Resync() (drift int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.configure()
	return g.resync()
}

func (g *Gate) resync() (int, error) {
	for _, b := range []*bitmap{g.hosts4.bits, g.hosts6.bits} {
		b.counts = [bitmapBits >> 8]*[1 << 8]uint16{}
	}
	g.slots.begin()
	if err := g.claimSignatures(); err != nil {
		return 0, err
	}
	drift := 0
	var mends []func() error
	for _, sync := range []func(*slots) (int, func() error, error){
		g.hosts4.sync, g.hosts6.sync, g.nets4.sync, g.nets6.sync, g.services.sync,
	} {
		n, mend, err := sync(&g.slots)
		if err != nil {
			return drift, err
		}
		drift += n
		mends = append(mends, mend)
	}
	g.slots.end()
	for _, mend := range mends {
		if err := mend(); err != nil {
			return drift, err
		}
	}
	for _, b := range []*bitmap{g.hosts4.bits, g.hosts6.bits} {
		b.clearUncounted()
	}
	g.count()
	g.flags()
	return drift, nil
}

// count counts the entries that need a flag of their own.
func (g *Gate) count() {
	g.wide6, g.whole = 0, 0
	for k := range g.nets6.slots {
		if k.Bits < 48 {
			g.wide6++
		}
	}
	for k := range g.services.slots {
		if k.Port == 0 {
			g.whole++
		}
	}
}

// sorted is drops by table.
type sorted struct {
	hosts4 [][4]byte
	hosts6 []gateHost6
	nets4  []gateNet4
	nets6  []gateNet6
	wide6  bool

	eHosts4, eHosts6, eNets4, eNets6 []gateEntry
}

func (s *sorted) add(p netip.Prefix, e gateEntry) {
	switch a := p.Addr(); {
	case a.Is4() && p.Bits() == 32:
		s.hosts4, s.eHosts4 = append(s.hosts4, a.As4()), append(s.eHosts4, e)
	case a.Is4():
		s.nets4, s.eNets4 = append(s.nets4, gateNet4{Bits: uint32(p.Bits()), Addr: a.As4()}), append(s.eNets4, e)
	case p.Bits() == 128:
		s.hosts6, s.eHosts6 = append(s.hosts6, gateHost6{Addr: a.As16()}), append(s.eHosts6, e)
	default:
		s.nets6, s.eNets6 = append(s.nets6, gateNet6{Bits: uint32(p.Bits()), Addr: a.As16()}), append(s.eNets6, e)
		s.wide6 = s.wide6 || p.Bits() < 48
	}
}

// Counts is how many entries each table holds, expired ones too.
type Counts struct{ Hosts4, Hosts6, Prefixes4, Prefixes6, Services, Signatures int }

// Counts tells how full the tables are, as far as this process knows. Cheap.
func (g *Gate) Counts() Counts {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Counts{
		len(g.hosts4.slots), len(g.hosts6.slots), len(g.nets4.slots), len(g.nets6.slots), len(g.services.slots), len(g.signed),
	}
}

// Put inserts drops, or replaces those of the same prefix, whose hits go on. It returns how many are in force: with an error
// (FullError among them) fewer than were given. A drop that cannot be is refused before any is written.
func (g *Gate) Put(drops []Drop) (int, error) {
	var s sorted
	for i := range drops {
		p, err := canonical(drops[i].Prefix)
		if err == nil && p.Bits() == 0 {
			err = ErrWide
		}
		if err == nil {
			err = drops[i].check()
		}
		if err != nil {
			return 0, fmt.Errorf("drop of %s: %w", drops[i].Prefix, err)
		}
		s.add(p, drops[i].entry())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flag(gateTableTABLE_HOSTS4, len(g.hosts4.slots)+len(s.hosts4) > 0)
	g.flag(gateTableTABLE_HOSTS6, len(g.hosts6.slots)+len(s.hosts6) > 0)
	g.flag(gateTableTABLE_NETS4, len(g.nets4.slots)+len(s.nets4) > 0)
	g.flag(gateTableTABLE_NETS6, len(g.nets6.slots)+len(s.nets6) > 0)
	g.flag(gateTableTABLE_WIDE6, g.wide6 > 0 || s.wide6)
	n1, e1 := g.hosts4.put(&g.slots, s.hosts4, s.eHosts4)
	n2, e2 := g.hosts6.put(&g.slots, s.hosts6, s.eHosts6)
	n3, e3 := g.nets4.put(&g.slots, s.nets4, s.eNets4)
	n4, e4 := g.nets6.put(&g.slots, s.nets6, s.eNets6)
	g.count()
	g.flags()
	return n1 + n2 + n3 + n4, errors.Join(e1, e2, e3, e4)
}

// Delete removes drops, and returns how many there were. Prefixes without one are no error.
func (g *Gate) Delete(prefixes []netip.Prefix) (int, error) {
	var s sorted
	for _, p := range prefixes {
		c, err := canonical(p)
		if err != nil {
			return 0, fmt.Errorf("drop of %s: %w", p, err)
		}
		s.add(c, gateEntry{})
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	n1, e1 := g.hosts4.remove(&g.slots, s.hosts4)
	n2, e2 := g.hosts6.remove(&g.slots, s.hosts6)
	n3, e3 := g.nets4.remove(&g.slots, s.nets4)
	n4, e4 := g.nets6.remove(&g.slots, s.nets6)
	g.count()
	g.flags()
	return n1 + n2 + n3 + n4, errors.Join(e1, e2, e3, e4)
}

// Drops walks what the kernel holds, expired entries too, in no order. f must not call the gate; it returns false to stop.
func (g *Gate) Drops(f func(Drop, Hits) bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	stopped := false
	show := func(p netip.Prefix, e *gateEntry) bool {
		stopped = !f(Drop{p, e.rule()}, g.hits(e.Slot))
		return !stopped
	}
	err := g.hosts4.each(func(k [4]byte, e *gateEntry) bool {
		return show(netip.PrefixFrom(netip.AddrFrom4(k), 32), e)
	})
	if err == nil && !stopped {
		err = g.hosts6.each(func(k gateHost6, e *gateEntry) bool { return show(netip.PrefixFrom(netip.AddrFrom16(k.Addr), 128), e) })
	}
	if err == nil && !stopped {
		err = g.nets4.each(func(k gateNet4, e *gateEntry) bool {
			return show(netip.PrefixFrom(netip.AddrFrom4(k.Addr), int(k.Bits)), e)
		})
	}
	if err == nil && !stopped {
		err = g.nets6.each(func(k gateNet6, e *gateEntry) bool {
			return show(netip.PrefixFrom(netip.AddrFrom16(k.Addr), int(k.Bits)), e)
		})
	}
	return err
}

func (g *Gate) hits(slot uint32) Hits {
	if int(slot) >= len(g.slots.hits) {
		return Hits{}
	}
	h := &g.slots.hits[slot]
	return Hits{atomic.LoadUint64(&h.Packets), atomic.LoadUint64(&h.Bytes), Time(atomic.LoadUint64(&h.Last))}
}

func (s *Service) key() (gateService, error) {
	a := s.Addr.Unmap()
	if !a.IsValid() || a.Zone() != "" {
		return gateService{}, fmt.Errorf("service at %s: not an address", s.Addr)
	}
	k := gateService{Proto: s.Proto, Port: s.Port<<8 | s.Port>>8, Ver: 6}
	if a.Is4() {
		k.Ver = 4
		copy(k.Addr[:], a.AsSlice())
	} else {
		k.Addr = a.As16()
	}
	return k, nil
}

// PutServices is Put for services.
func (g *Gate) PutServices(services []Service) (int, error) {
	keys, entries := make([]gateService, len(services)), make([]gateEntry, len(services))
	whole := false
	for i := range services {
		k, err := services[i].key()
		if err == nil {
			err = services[i].check()
		}
		if err != nil {
			return 0, fmt.Errorf("service %s/%d/%d: %w", services[i].Addr, services[i].Proto, services[i].Port, err)
		}
		keys[i], entries[i] = k, services[i].entry()
		whole = whole || k.Port == 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flag(gateTableTABLE_SERVICES, len(g.services.slots)+len(keys) > 0)
	g.flag(gateTableTABLE_WHOLE, g.whole > 0 || whole)
	n, err := g.services.put(&g.slots, keys, entries)
	g.count()
	g.flags()
	return n, err
}

// DeleteServices is Delete for services; their rules are not looked at.
func (g *Gate) DeleteServices(services []Service) (int, error) {
	keys := make([]gateService, len(services))
	for i := range services {
		k, err := services[i].key()
		if err != nil {
			return 0, err
		}
		keys[i] = k
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	n, err := g.services.remove(&g.slots, keys)
	g.count()
	g.flags()
	return n, err
}

// Services is Drops for services.
func (g *Gate) Services(f func(Service, Hits) bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.services.each(func(k gateService, e *gateEntry) bool {
		a := netip.AddrFrom16(k.Addr)
		if k.Ver == 4 {
			a = netip.AddrFrom4([4]byte(k.Addr[:4]))
		}
		return f(Service{a, k.Proto, k.Port<<8 | k.Port>>8, e.rule()}, g.hits(e.Slot))
	})
}

// Clear removes all drops, services and signatures. The never-list and the peers stay.
func (g *Gate) Clear() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	// No verdict but "pass" from here on, before the walk.
	g.flag(gateTableTABLE_HOSTS4|gateTableTABLE_HOSTS6|gateTableTABLE_NETS4|gateTableTABLE_NETS6|gateTableTABLE_SERVICES|
		gateTableTABLE_SIGNATURES, false)
	err := errors.Join(
		clearTable(g, &g.hosts4), clearTable(g, &g.hosts6), clearTable(g, &g.nets4), clearTable(g, &g.nets6),
		clearTable(g, &g.services), g.setSignatures(nil),
	)
	if err != nil {
		return err
	}
	_, err = g.resync()
	return err
}

// clearTable deletes what the kernel holds, whoever put it in.
func clearTable[K comparable](g *Gate, t *table[K]) error {
	var keys []K
	err := t.each(func(k K, _ *gateEntry) bool { keys = append(keys, k); return true })
	if err == nil {
		_, err = t.remove(&g.slots, keys)
	}
	return err
}
