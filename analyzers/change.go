package analyzers

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unsafe"

	"weir/analyzers/baseline"
	"weir/analyzers/context"
	"weir/analyzers/tally"
	"weir/decode"
)

// Change finds what is otherwise than it was, without being an attack.
//
//	new_service     an inside host answers on a port on which it never did
//	new_peer        an inside server of few outside peers asks an outside network that it never asked
//	silent_service  a service that always answered somebody answers nobody
//
// How. What was seen is remembered by the baseline's first-seen memory, over restarts. Nothing is new until that memory is as old as
// `learn`, nor in the first hour after a start or a gap. Ports of clients (32768 and above, where Linux takes them from) are services only once three clients were answered;
// a port of UDP once two were. A server is a host that served for as long as `learn`; one with more than `peers` outside networks speaks
// to anybody (mail, proxies, resolvers), and is not judged. A network is new if neither its prefix (/24, /48) nor its AS, where a
// database tells it, was asked before. A service is steady if it answered in nine of ten slots of ten seconds for ten minutes;
// it is silent when nothing of it came for `silent`, while others speak, and this hour of the week is not always so quiet.
//
// Several. More than maxParts new services of one host within an hour, or peers, are told as one, of the host. When several services
// of a host fall silent the host is told; when half of all steady services do it is the link, which analyzer rate tells.
//
// What it mistakes. Deployments, updates and maintenance are changes; so all of this is low, and a service that only the inside has
// reached so far is for information. A failover is a silent service. New addresses of a known content network are new peers
// where no database tells the AS. What is known of peers' number and of steadiness does not outlive a restart: those kinds are
// silent for `learn`, or ten minutes.
//
// Score: new_service 35, 20 (info) if only the inside has reached it; new_peer 30, 45 if a list names the peer; silent_service 30, 45 if
// clients go on asking.
//
// State: bounded by Services and Hosts; what found no room is counted.
type Change struct {
	cfg    ChangeConfig
	site   *Site
	emit   func(*Finding)
	now    int64
	key    uint64
	fresh  *pool[tally.ServiceKey, freshService]
	notes  [changeNotes]uint64
	hosts  *pool[tally.ServiceKey, changeHost] // by address
	steady map[tally.ServiceKey]int
	list   []changeService
	slot   int64 // of ten seconds: number of the one that is being filled
	lost   uint64
	heard  int64 // ns: somebody answered anything
	looks  int64 // ns: since then, without a jump
}

// ChangeConfig holds the times.
type ChangeConfig struct {
	Learn    time.Duration `yaml:"learn"`    // how old the memory must be before anything is new
	Peers    uint64        `yaml:"peers"`    // outside networks of a server above which it is not judged
	Silent   time.Duration `yaml:"silent"`   // without an answer
	Quiet    time.Duration `yaml:"quiet"`    // after which an alert closes
	Services int           `yaml:"services"` // inside services that are watched for silence
	Hosts    int           `yaml:"hosts"`    // inside hosts whose peers are counted; 150 bytes each
}

// DefaultChange returns these: a day shows what is done every day; a machine restarts within two minutes; a server with more than 32 networks
// has them by chance.
func DefaultChange() ChangeConfig {
	return ChangeConfig{Learn: 24 * time.Hour, Peers: 32, Silent: 2 * time.Minute, Quiet: 10 * time.Minute, Services: 4096, Hosts: 8192}
}

// Check reports the first setting that is out of range.
func (c *ChangeConfig) Check() error {
	switch {
	case c.Learn < time.Minute || c.Learn > 30*24*time.Hour:
		return errors.New("change: learn must be 1m to 720h")
	case c.Peers < 1 || c.Peers > 1e6:
		return errors.New("change: peers must be 1 to 1000000")
	case c.Silent < 30*time.Second || c.Silent > time.Hour:
		return errors.New("change: silent must be 30s to 1h")
	case c.Quiet < time.Minute || c.Quiet > 24*time.Hour:
		return errors.New("change: quiet must be 1m to 24h")
	case c.Services < 64 || c.Services > 1<<20:
		return errors.New("change: services must be 64 to 1048576")
	case c.Hosts < 64 || c.Hosts > 1<<20:
		return errors.New("change: hosts must be 64 to 1048576")
	}
	return nil
}

// freshService is a service that is new, and waits for its clients.
type freshService struct {
	clients tally.HLL
	since   int64 // ns
	client  decode.Addr
	outside bool
	told    bool
}

// changeHost is what is known of an inside host.
type changeHost struct {
	since    int64 // ns: known
	networks tally.HLL
	hour     int64 // number, of the next two
	services uint32
	peers    uint32
}

const (
	changeCap        = 49
	clientPorts      = 32768 // net.ipv4.ip_local_port_range of Linux begins here
	clientsOfClients = 3     // make a port of clients a service
	clientsOfUDP     = 2
	freshServices    = 1024
	changeNotes      = 1 << 16
)

// NewChange returns a Change. It panics if cfg.Check fails.
func NewChange(cfg ChangeConfig, site *Site) *Change {
	if err := cfg.Check(); err != nil {
		panic(err)
	}
	return &Change{
		cfg: cfg, site: site, steady: map[tally.ServiceKey]int{},
		fresh: newPool[tally.ServiceKey, freshService](freshServices, nil),
		hosts: newPool[tally.ServiceKey, changeHost](cfg.Hosts, nil),
	}
}

// Name implements Analyzer.
func (a *Change) Name() string { return "change" }

// Judge implements Analyzer.
func (a *Change) Judge(e *tally.Epoch, emit func(*Finding)) {
	if e.End()-a.now > int64(time.Hour) {
		a.looks = e.End()
	}
	a.emit, a.now, a.key = emit, e.End(), e.SketchKey
	if slot := e.Tick / (10 * ticksPerSecond); slot != a.slot {
		a.turn(slot)
	}
	for i := range e.Services {
		a.serve(&e.Services[i])
	}
	for i := range e.Pairs {
		p := &e.Pairs[i]
		if p.Opened == 0 {
			continue
		}
		client, server := p.Key.Client.Netip(p.Key.Ver), p.Key.Server.Netip(p.Key.Ver)
		switch from, to := a.site.Inside(client), a.site.Inside(server); {
		case to && p.Key.Port != 0:
			a.served(&p.Key, !from)
		case from && !to:
			a.asked(&p.Key, server)
		}
	}
}

// Finish implements Analyzer.
func (a *Change) Finish(func(*Finding)) {}

// learned reports whether the memory is old enough for anything to be new, and has been looked after for an hour.
func (a *Change) learned() bool {
	since, learn := a.site.Baseline.Since(), int64(a.cfg.Learn)
	return since != 0 && a.now-since >= learn && a.now-a.looks >= min(learn, int64(time.Hour))
}

// served takes in that an inside service was reached.
func (a *Change) served(k *tally.PairKey, outside bool) {
	service := tally.ServiceKey{Addr: k.Server, Port: k.Port, Proto: k.Proto, Ver: k.Ver}
	key := serviceKey(k.Server, k.Ver, k.Proto, k.Port)
	key.Measure = baseline.MeasurePresence
	hash := placeHash(&service) ^ a.key
	at := a.fresh.find(&service, hash)
	if at < 0 {
		if a.noted(hash) {
			return
		}
		if _, _, known := a.site.Baseline.Seen(key, a.now); known {
			a.site.Baseline.Seen(servesKey(k.Server, k.Ver), a.now)
			return
		}
		if !a.learned() {
			a.site.Baseline.Seen(servesKey(k.Server, k.Ver), a.now)
			return
		}
		if at, _ = a.fresh.at(&service, hash, a.now, int64(time.Hour)); at < 0 {
			return
		}
	}
	_, s := a.fresh.value(at)
	if s.since == 0 {
		s.since, s.client = a.now, k.Client
	}
	s.clients.Add(scramble(k.Client.Lo^a.key, k.Client.Hi))
	s.outside = s.outside || outside
	need := uint64(1)
	switch {
	case k.Port >= clientPorts:
		need = clientsOfClients
	case k.Proto != protoTCP:
		need = clientsOfUDP
	}
	if !s.told && s.clients.Count() >= need && a.learned() {
		s.told = true
		a.tellService(&service, s, need)
	}
}

// noted reports whether a known service was noted within this ten minutes: looking it up costs four cache lines. A service that is
// new is not noted until it was seen before.
func (a *Change) noted(hash uint64) bool {
	at := &a.notes[hash%changeNotes]
	mark := hash&^0xffff | uint64(a.now/int64(10*time.Minute))&0xffff
	if *at == mark {
		return true
	}
	*at = mark
	return false
}

// servesKey is where it is remembered that a host is a server.
func servesKey(addr decode.Addr, ver uint8) baseline.Key {
	return baseline.Key{Kind: baseline.KindHost, Measure: baseline.MeasurePresence, Num: 1, Ver: ver, Addr: [2]uint64{addr.Hi, addr.Lo}}
}

// host is the record of an inside host; nil if there is no room.
func (a *Change) host(addr decode.Addr, ver uint8) *changeHost {
	k := tally.ServiceKey{Addr: addr, Ver: ver}
	at, made := a.hosts.at(&k, placeHash(&k)^a.key, a.now, int64(a.cfg.Learn))
	if at < 0 {
		return nil
	}
	_, h := a.hosts.value(at)
	if made {
		h.since = a.now
	}
	if hour := a.now / int64(time.Hour); hour != h.hour {
		h.hour, h.services, h.peers = hour, 0, 0
	}
	a.hosts.keep(at, h.networks.Count(), a.now+int64(a.cfg.Learn))
	return h
}

// tellService tells of a new service; of the host alone, when there are too many of it.
func (a *Change) tellService(k *tally.ServiceKey, s *freshService, need uint64) {
	f := a.finding("new_service", s.since, 20)
	if s.outside {
		f.Score = 35
	} else {
		f.Notes = append(f.Notes, "only inside hosts have reached it so far")
	}
	addr := k.Addr.Netip(k.Ver)
	f.Victim = Party{Prefix: netip.PrefixFrom(addr, addr.BitLen()), Port: k.Port, Proto: k.Proto}
	first, _, _ := a.site.Baseline.SeenBefore(servesKey(k.Addr, k.Ver))
	if first == 0 {
		f.Notes = append(f.Notes, "the host was never seen to serve anything")
	}
	a.site.Baseline.Seen(servesKey(k.Addr, k.Ver), a.now)
	f.Why = []Measure{
		{Name: "clients", Value: float64(s.clients.Count()), Unit: "clients", Threshold: float64(need)},
		{Name: "memory", Value: round(float64(a.now-a.site.Baseline.Since()) / 3600e9), Unit: "h", Threshold: a.cfg.Learn.Hours()},
	}
	f.Summary = fmt.Sprintf("%s answers for the first time: %v has reached it.", victimText(&f.Victim), s.client.Netip(k.Ver))
	if h := a.host(k.Addr, k.Ver); h != nil {
		if h.services++; h.services > maxParts {
			f.Victim.Port, f.Victim.Proto = 0, 0
			f.Summary = fmt.Sprintf("%v answers on many ports for the first time: %d within the hour.", addr, h.services)
		}
	}
	a.emit(f)
}

// finding is what all have in common.
func (a *Change) finding(kind string, since int64, score int) *Finding {
	return &Finding{
		Analyzer: a.Name(), Kind: kind, Time: a.now, First: min(since, a.now), Last: a.now, Quiet: int64(a.cfg.Quiet),
		Score: score, MaxScore: changeCap, Confidence: 100, Count: 1,
	}
}

// asked takes in that an inside host reached an outside one.
func (a *Change) asked(k *tally.PairKey, peer netip.Addr) {
	first, _, serves := a.site.Baseline.SeenBefore(servesKey(k.Client, k.Ver))
	if !serves || a.site.Networks.Is(context.KnownDestination, peer) {
		return
	}
	network, asn, known := a.network(k, peer)
	h := a.host(k.Client, k.Ver)
	if h == nil {
		return
	}
	h.networks.Add(scramble(network.Lo^a.key, network.Hi))
	young := a.now-h.since < int64(a.cfg.Learn) || a.now-first < int64(a.cfg.Learn)
	if known || young || !a.learned() || h.networks.Count() > a.cfg.Peers {
		return
	}
	h.peers++
	a.tellPeer(k, h, peer, asn)
}

// network is the outside network of a peer, its AS where a database tells it, and whether the host asked either before; now it did.
func (a *Change) network(k *tally.PairKey, peer netip.Addr) (network decode.Addr, asn uint32, known bool) {
	bits := map[bool]int{true: 24, false: 48}[k.Ver != 6]
	prefix, _ := peer.Prefix(bits)
	network = decode.AddrFrom(prefix.Addr())
	host := [2]uint64{k.Client.Hi, k.Client.Lo}
	_, _, known = a.site.Baseline.Seen(baseline.Key{
		Kind: baseline.KindPair, Measure: baseline.MeasurePresence, Ver: k.Ver, Bits: uint8(bits),
		Addr: host, Peer: [2]uint64{network.Hi, network.Lo},
	}, a.now)
	if known {
		return network, 0, true
	}
	if asn, _ = a.site.Networks.Origin(peer); asn != 0 {
		key := baseline.Key{Kind: baseline.KindHostASN, Measure: baseline.MeasurePresence, Ver: k.Ver, Addr: host, Num: asn}
		_, _, known = a.site.Baseline.Seen(key, a.now)
	}
	return network, asn, known
}

// tellPeer tells of a server's new peer; of the server alone, when there are too many of it.
func (a *Change) tellPeer(k *tally.PairKey, h *changeHost, peer netip.Addr, asn uint32) {
	f := a.finding("new_peer", a.now, 30)
	client := k.Client.Netip(k.Ver)
	f.Subject = Party{Prefix: netip.PrefixFrom(client, client.BitLen()), ReturnPath: k.Proto == protoTCP}
	f.Victim = Party{Prefix: netip.PrefixFrom(peer, peer.BitLen())}
	if k.Port != 0 {
		f.Victim.Port, f.Victim.Proto = k.Port, k.Proto
	}
	networks := h.networks.Count()
	f.Why = []Measure{{Name: "outside_networks", Value: float64(networks), Unit: "networks", Threshold: float64(a.cfg.Peers)}}
	where := ""
	if asn != 0 {
		where = fmt.Sprintf(" (AS%d)", asn)
	}
	if lists := a.site.Networks.Listed(f.Victim.Prefix); len(lists) > 0 {
		f.Score = 45
		f.Notes = append(f.Notes, "on the list "+strings.Join(lists, ", "))
	}
	f.Summary = fmt.Sprintf("The server %v asks %s%s for the first time; it has %d outside networks.", client, victimText(&f.Victim), where, networks)
	if h.peers > maxParts {
		f.Victim = Party{}
		f.Summary = fmt.Sprintf("The server %v asks many outside networks for the first time: %d within the hour.", client, h.peers)
	}
	a.emit(f)
}

// adjust implements adjustable.
func (a *Change) adjust(cfg *Config) []string {
	next := cfg.Change
	restart := fixed(a.cfg.Hosts, &next.Hosts, "change.hosts")
	a.cfg = next
	return restart
}

// bytes is the memory of the tables when they are full.
func (c *ChangeConfig) bytes() int {
	services := c.Services * int(2*unsafe.Sizeof(changeService{})+unsafe.Sizeof(tally.ServiceKey{}))
	hosts := c.Hosts * int(unsafe.Sizeof(poolEntry[tally.ServiceKey, changeHost]{}))
	fresh := freshServices * int(unsafe.Sizeof(poolEntry[tally.ServiceKey, freshService]{}))
	return services + hosts + fresh + 8*changeNotes
}

// Costs implements Bounded.
func (a *Change) Costs() []Cost {
	return []Cost{
		{"change services", a.lost + a.fresh.Refused + a.fresh.Evicted}, {"change hosts", a.hosts.Refused + a.hosts.Evicted},
	}
}
