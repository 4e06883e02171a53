package enforce

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"weir/sensor/policy"
)

// nftTable is a Table of nftables, for hosts where XDP cannot be: `table netdev weir_<interface>` at the interface's ingress hook, or
// `table inet weir_<interface>` in prerouting before connection tracking and address translation, so that published container ports
// are behind it, too. No other table is touched. `nft list ruleset` shows it all.
//
// Sources and services are elements of sets, which the kernel ends by itself, with a limit and a counter of their own; a signature is a
// rule that compares the time. What was asked for beyond that (the exact end, the canary, the key) stands in their comments.
//
// What differs from the XDP gate:
//
//   - A canary cannot end in the kernel: until somebody puts the drop again, it concerns new connections only. While the canary runs,
//     Read tells it as the drop that was asked for; from then on as drop_new, which is what it is, so that the Enforcer puts it again.
//   - A wider prefix is asked, too, where a longer one let a packet pass.
//   - It comes after AF_PACKET: a sensor on the interface sees what is dropped. There are no samples.
//   - Known peers are only those that AddPeers was told; the kernel's own connections are not looked up.
//   - Last is when Read first saw the hits, and 0 for hits from before this process.
//   - A drop that changes loses the hits of the milliseconds in between.
//   - Option layouts are refused, and so are ports or payloads without a protocol. Inner headers of two VLAN tags are not seen.
//   - A packet that receive offload joined from many counts once.
//
// It takes Linux 5.11 (elements with two expressions; payloads of TCP 5.16). An Enforcer's goroutine calls it; Totals and AddPeers may be called beside.
type nftTable struct {
	nftConfig
	iface      string
	rehearse   bool
	prerouting bool
	log        *slog.Logger
	now        func() time.Time

	table   *nftables.Table
	conn    *nftables.Conn
	link    *nftSocket
	look    int             // a socket to ask for the interface
	index   int             // of the interface
	destroy bool            // the kernel deletes elements that may not be there
	sets    map[nftSet]bool // those there are
	written map[string]int  // rules by chain
	held    map[string]nftHeld
	never   []netip.Prefix

	beside sync.Mutex // of what follows
	other  *nftSocket
	peers  map[netip.Addr]time.Time // when they were told last
	before map[string]nftSum        // counters of tables that are gone
	last   map[string]nftSum
}

// nftConfig is what a table of nftables needs of Config.
type nftConfig struct {
	Survive                            bool
	Hosts4, Hosts6, Prefixes, Services int
	Peers                              int
	PeerAge                            time.Duration
	PeerNew, PeerRate                  int
	prerouting                         bool // even where ingress is available
}

// nftHeld is an entry of the kernel, and where it stands: an element of a set, or a rule.
type nftHeld struct {
	Held
	set    nftSet
	elem   string
	chain  string // of rules
	handle uint64
}

type nftSum struct{ packets, bytes uint64 }

const (
	nftName      = "weir_"
	nftBatch     = 4096 // elements of a transaction
	nftPriority  = -500 // of ingress; below what others use
	nftForever   = math.MaxInt64
	nftClockSlip = 2 // seconds by which the kernel's end may differ from what was asked for before it is told as it is
	nftNeverName = "never"
)

var (
	errNftEnded = errors.New("nftables: its end is past")
	errNftGone  = errors.New("nftables: the interface is gone; drops hold again when it is back")
)

// openNftables opens the table of an interface. One that an earlier process left is taken over with its entries if this version can read
// it, else replaced.
func openNftables(cfg nftConfig, iface string, rehearse bool, log *slog.Logger) (Table, error) {
	t := &nftTable{nftConfig: cfg, iface: iface, rehearse: rehearse, log: log, now: time.Now, look: -1}
	if err := t.open(); err != nil {
		t.shut()
		return nil, err
	}
	return t, nil
}

func (t *nftTable) open() (err error) {
	if t.look, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	if t.index = t.ifindex(); t.index == 0 {
		return fmt.Errorf("nftables: there is no interface %q", t.iface)
	}
	room := func(c *netlink.Conn) error { return errors.Join(c.SetReadBuffer(1<<20), c.SetWriteBuffer(1<<20)) }
	if t.conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(room)); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	if t.link, err = openNftSocket(); err != nil {
		return err
	}
	if t.other, err = openNftSocket(); err != nil {
		return err
	}
	t.prerouting = t.nftConfig.prerouting
	if err = t.settle(); err != nil && !t.prerouting && !errors.Is(err, unix.EPERM) {
		t.log.Warn("nftables: no ingress hook, so prerouting", "interface", t.iface, "error", err)
		t.prerouting = true
		err = errors.Join(err, t.settle())
		if t.written != nil {
			err = nil
		}
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("nftables: it takes CAP_NET_ADMIN: %w", err)
	}
	return err
}

// settle takes over the table that is there, or makes it anew. It fails with t.written nil.
func (t *nftTable) settle() error {
	t.written = nil
	t.table = &nftables.Table{Name: nftName + t.iface, Family: nftables.TableFamilyNetdev}
	foreign := &nftables.Table{Name: t.table.Name, Family: nftables.TableFamilyINet}
	if t.prerouting {
		t.table, foreign = foreign, t.table
	}
	if t.exists(foreign) {
		t.conn.DelTable(foreign)
		if err := t.conn.Flush(); err != nil {
			return fmt.Errorf("nftables: deleting table %s: %w", foreign.Name, err)
		}
	}
	adopted := t.adopt()
	if !adopted {
		if err := t.build(); err != nil {
			return err
		}
	}
	t.destroy = t.probe()
	if adopted {
		return t.Read(func(Held) {})
	}
	return nil
}

func (t *nftTable) exists(table *nftables.Table) bool {
	list, err := t.conn.ListTablesOfFamily(table.Family)
	return err == nil && slices.ContainsFunc(list, func(o *nftables.Table) bool { return o.Name == table.Name })
}

// layout names a chain without rules that says how the table is made.
func (t *nftTable) layout() string {
	if t.rehearse {
		return "layout_1_rehearsal"
	}
	return "layout_1"
}

// adopt takes over a table of the same layout: sets and entries stay, rules are written anew.
func (t *nftTable) adopt() bool {
	if !t.exists(t.table) {
		return false
	}
	chains := map[string]bool{}
	if t.chains(func(name string, _ bool) { chains[name] = true }) != nil || !chains[t.layout()] {
		return false
	}
	sets, err := t.listSets()
	if err != nil {
		return false
	}
	t.sets, t.written, t.held = sets, map[string]int{}, map[string]nftHeld{}
	t.frame()
	if err := t.conn.Flush(); err != nil {
		t.log.Warn("nftables: the table that was left does not fit, so it is replaced", "table", t.table.Name, "error", err)
		t.written = nil
		return false
	}
	return true
}

// build makes the table anew, without entries.
func (t *nftTable) build() error {
	t.keepTotals()
	if t.exists(t.table) {
		t.conn.DelTable(t.table)
	}
	t.sets, t.written, t.held = map[nftSet]bool{}, map[string]int{}, map[string]nftHeld{}
	t.conn.AddTable(t.table)
	t.frame()
	if err := t.conn.Flush(); err != nil {
		t.written = nil
		return fmt.Errorf("nftables: table %s: %w", t.table.Name, err)
	}
	return t.writeNever()
}

// frame adds all but the table and the sets of entries. What is there stays, rules excepted.
func (t *nftTable) frame() {
	for _, c := range nftCounters {
		t.conn.AddObj(&nftables.CounterObj{Table: t.table, Name: c.name})
	}
	for _, v := range []string{"4", "6"} {
		key := map[string]nftables.SetDatatype{"4": nftables.TypeIPAddr, "6": nftables.TypeIP6Addr}[v]
		_ = t.conn.AddSet(&nftables.Set{Table: t.table, Name: nftNeverName + v, KeyType: key, Interval: true}, nil)
		for _, name := range []string{"peer", "peernew"} {
			_ = t.conn.AddSet(&nftables.Set{Table: t.table, Name: name + v, KeyType: key, HasTimeout: true}, nil)
		}
		for _, chain := range append([]string{nftChainSignature}, nftRewritten...) {
			t.conn.AddChain(&nftables.Chain{Table: t.table, Name: chain + v})
		}
	}
	t.conn.AddChain(&nftables.Chain{Table: t.table, Name: t.layout()})
	t.conn.AddChain(t.base())
	t.write()
}

func (t *nftTable) base() *nftables.Chain {
	accept := nftables.ChainPolicyAccept
	c := &nftables.Chain{Table: t.table, Name: nftChainBase, Type: nftables.ChainTypeFilter, Policy: &accept}
	if t.prerouting {
		c.Hooknum, c.Priority = nftables.ChainHookPrerouting, nftables.ChainPriorityRaw
	} else {
		c.Hooknum, c.Priority, c.Device = nftables.ChainHookIngress, nftables.ChainPriorityRef(nftPriority), t.iface
	}
	return c
}

// Name is that of receipts.
func (t *nftTable) Name() string { return string(ModeNFTables) }

// nftElement is a drop as an element.
type nftElement struct {
	Entry
	set     nftSet
	key     []byte
	timeout time.Duration
	sum     nftSum // hits so far
}

// Put writes elements 4,096 a transaction and signatures one by one. A transaction that the kernel refuses is halved until it is
// known which drops it refuses.
func (t *nftTable) Put(drops []*policy.Drop) map[string]error {
	failed := map[string]error{}
	elements := make(map[string]nftElement, len(drops))
	signatures := map[string]*policy.Drop{}
	sets := map[nftSet]bool{}
	for _, d := range drops {
		e, err := t.element(d)
		switch {
		case err != nil:
			failed[e.Key] = err
		case d.Scope == policy.ScopeSignature:
			signatures[e.Key] = d
		default:
			elements[e.Key] = e
			sets[e.set] = true
		}
	}
	t.crowd(elements, failed)
	err := t.need(sets)
	if err == nil {
		err = t.carry(elements)
	}
	list := slices.SortedFunc(maps.Values(elements), func(a, b nftElement) int { return strings.Compare(a.set.name(), b.set.name()) })
	if err != nil {
		for _, e := range list {
			failed[e.Key] = err
		}
		list = nil
	}
	for some := range slices.Chunk(list, nftBatch) {
		t.insert(some, failed)
	}
	for key, d := range signatures {
		if err := t.sign(key, d); err != nil {
			failed[key] = err
		}
	}
	return failed
}

// element is a drop as an element of a set, or why it cannot be in force.
func (t *nftTable) element(d *policy.Drop) (nftElement, error) {
	now := t.now()
	e := nftElement{Entry: EntryOf(d), timeout: time.Unix(d.Until, 0).Sub(now)}
	if e.timeout < time.Millisecond {
		return e, errNftEnded
	}
	e.set.shadow = e.Shadow
	switch d.Scope {
	case policy.ScopeSignature:
		_, _, err := nftMatch(d)
		return e, err
	case policy.ScopeService:
		return e, e.service(d.Service)
	}
	p := d.Source()
	e.set.v6, e.set.bits, e.key = p.Addr().Is6(), uint8(p.Bits()), p.Addr().AsSlice()
	switch {
	case p.Bits() == 0:
		return e, errors.New("nftables: a drop of all addresses is refused")
	case e.Action == policy.DropAll && now.Unix() >= e.Canary:
		e.set.what = nftDrop
	case e.Action == policy.DropAll || e.Action == policy.DropNew:
		e.set.what = nftNew
	case e.Action == policy.LimitNew:
		e.set.what = nftLimit
	default:
		return e, fmt.Errorf("nftables: %s is no action for a source", e.Action)
	}
	return e, nil
}

func (e *nftElement) service(s *policy.Service) error {
	proto, err := nftProtocol(s.Protocol)
	switch {
	case err != nil:
		return err
	case e.Action != policy.Limit:
		return fmt.Errorf("nftables: %s is no action for a service", e.Action)
	case s.Port != 0 && !nftPorts(proto):
		return fmt.Errorf("nftables: protocol %s has no ports", s.Protocol)
	}
	e.set.what, e.set.v6 = nftWhole, s.IP.Is6()
	e.key = append(s.IP.AsSlice(), proto, 0, 0, 0)
	if s.Port != 0 {
		e.set.what = nftService
		e.key = append(binary.BigEndian.AppendUint16(e.key, s.Port), 0, 0)
	}
	return nil
}

// crowd refuses what there is no room for.
func (t *nftTable) crowd(elements map[string]nftElement, failed map[string]error) {
	counts := t.Counts()
	for key, e := range elements {
		if _, there := t.held[key]; there {
			continue
		}
		i := nftCountOf(e.set)
		if counts[i].Used >= counts[i].Limit {
			failed[key] = fmt.Errorf("nftables: %s is full with %d", counts[i].Kind, counts[i].Limit)
			delete(elements, key)
			continue
		}
		counts[i].Used++
	}
}

// carry takes the hits of elements that are about to be replaced.
func (t *nftTable) carry(elements map[string]nftElement) error {
	sets := map[nftSet]bool{}
	for key := range elements {
		if h, ok := t.held[key]; ok {
			sets[h.set] = true
		}
	}
	for s := range sets {
		err := t.readSet(s, func() {}, func(h nftHeld) {
			if e, ok := elements[h.Key]; ok {
				e.sum = nftSum{h.Packets, h.Bytes}
				elements[h.Key] = e
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// insert replaces or adds elements in one transaction.
func (t *nftTable) insert(list []nftElement, failed map[string]error) {
	var old []nftHeld
	for _, e := range list {
		if h, ok := t.held[e.Key]; ok {
			old = append(old, h)
		}
	}
	var m nftMessages
	if !t.destroy { // a kernel that refuses to delete what has just expired: for an instant the entry is not there
		t.remove(old)
		old = nil
	}
	t.deleteElements(&m, nftMsgDestroySetElem, old)
	w := nftWriter{t: t, m: &m, kind: unix.NFT_MSG_NEWSETELEM}
	for _, e := range list {
		w.element(e.set.name())
		e.write(&m)
	}
	err := t.link.commit(&m)
	if err != nil && len(list) > 1 {
		half := len(list) / 2
		t.insert(list[:half], failed)
		t.insert(list[half:], failed)
		return
	}
	for _, e := range list {
		if err != nil {
			failed[e.Key] = fmt.Errorf("nftables: %w", err)
			continue
		}
		h := nftHeld{Held: Held{Entry: e.Entry, Packets: e.sum.packets, Bytes: e.sum.bytes}, set: e.set, elem: string(e.key)}
		h.Last = t.held[e.Key].Last
		t.held[e.Key] = h
	}
}

// nftWriter writes elements of several sets, in messages that are not too long.
type nftWriter struct {
	t    *nftTable
	m    *nftMessages
	kind uint16
	set  string
}

// element begins an element; all of a set come together.
func (w *nftWriter) element(set string) {
	if w.set == set && w.m.size() < nftMessageBytes {
		w.m.end() // the element before
	} else {
		w.set = set
		w.m.message(nftKind(w.kind), unix.NLM_F_CREATE, byte(w.t.table.Family))
		w.m.text(unix.NFTA_SET_ELEM_LIST_TABLE, w.t.table.Name)
		w.m.text(unix.NFTA_SET_ELEM_LIST_SET, set)
		w.m.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	}
	w.m.nest(unix.NFTA_LIST_ELEM)
}

func (m *nftMessages) key(b []byte) {
	m.nest(unix.NFTA_SET_ELEM_KEY)
	m.attr(unix.NFTA_DATA_VALUE, b...)
	m.end()
}

func (e *nftElement) write(m *nftMessages) {
	m.key(e.key)
	m.u64(unix.NFTA_SET_ELEM_TIMEOUT, uint64(e.timeout.Milliseconds()))
	m.nest(nftaSetElemExprs)
	if e.Rate != 0 {
		m.limit(e.Rate, max(1, e.Rate), true)
	}
	m.nest(unix.NFTA_LIST_ELEM)
	m.text(unix.NFTA_EXPR_NAME, "counter")
	m.nest(unix.NFTA_EXPR_DATA)
	m.u64(unix.NFTA_COUNTER_BYTES, e.sum.bytes)
	m.u64(unix.NFTA_COUNTER_PACKETS, e.sum.packets)
	m.end()
	m.end()
	m.end()
	m.comment(unix.NFTA_SET_ELEM_USERDATA, nftNote(e.Entry))
}

// limit matches what is above a rate, or what is within.
func (m *nftMessages) limit(rate, burst uint32, over bool) {
	m.nest(unix.NFTA_LIST_ELEM)
	m.text(unix.NFTA_EXPR_NAME, "limit")
	m.nest(unix.NFTA_EXPR_DATA)
	m.u64(unix.NFTA_LIMIT_RATE, uint64(rate))
	m.u64(unix.NFTA_LIMIT_UNIT, 1)
	m.u32(unix.NFTA_LIMIT_BURST, burst)
	m.u32(unix.NFTA_LIMIT_TYPE, unix.NFT_LIMIT_PKTS)
	flags := uint32(0)
	if over {
		flags = unix.NFT_LIMIT_F_INV
	}
	m.u32(unix.NFTA_LIMIT_FLAGS, flags)
	m.end()
	m.end()
}

// nftNote is the comment of an entry: what the kernel does not hold of it.
func nftNote(e Entry) string {
	note := "until " + strconv.FormatInt(e.Until, 10)
	if e.Canary != 0 {
		note += " canary " + strconv.FormatInt(e.Canary, 10)
	}
	if e.Shadow {
		note += " shadow yes"
	}
	if strings.HasPrefix(e.Key, "s") { // service, signature: those of sources follow from the address
		note += " key " + e.Key
	}
	return note
}

func parseNftNote(note string) (e Entry) {
	words := strings.Fields(note)
	for i := 0; i+1 < len(words); i += 2 {
		n, _ := strconv.ParseInt(words[i+1], 10, 64)
		switch words[i] {
		case "until":
			e.Until = n
		case "canary":
			e.Canary = n
		case "shadow":
			e.Shadow = true
		case "key":
			e.Key = words[i+1]
		}
	}
	return e
}

// sign replaces or adds the rule of a signature.
func (t *nftTable) sign(key string, d *policy.Drop) error {
	rules, err := t.readRules()
	if err != nil {
		return err
	}
	n := 0
	var last int64
	for _, h := range rules {
		if h.Key == key {
			last = h.Last
			_ = t.conn.DelRule(t.rule(h))
			continue
		}
		n++
		if h.Until <= t.now().Unix() { // rules that hold no more
			_ = t.conn.DelRule(t.rule(h))
			n--
		}
	}
	if n >= nftSignatures {
		_ = t.conn.Flush()
		return fmt.Errorf("nftables: signatures is full with %d", nftSignatures)
	}
	if err = t.addSignature(d); err == nil {
		err = t.conn.Flush()
	}
	if err != nil {
		return fmt.Errorf("nftables: signature: %w", err)
	}
	t.held[key] = nftHeld{Held: Held{Entry: EntryOf(d), Last: last}, chain: nftChainSignature}
	return nil
}

func (t *nftTable) rule(h nftHeld) *nftables.Rule {
	return &nftables.Rule{Table: t.table, Chain: &nftables.Chain{Table: t.table, Name: h.chain}, Handle: h.handle}
}

// Delete ends drops by their keys.
func (t *nftTable) Delete(keys []string) error {
	var elements []nftHeld
	rules := map[string]bool{}
	for _, key := range keys {
		switch h, ok := t.held[key]; {
		case ok && h.chain == "":
			elements = append(elements, h)
		case ok:
			rules[key] = true
		}
	}
	slices.SortFunc(elements, func(a, b nftHeld) int { return strings.Compare(a.set.name(), b.set.name()) })
	for some := range slices.Chunk(elements, nftBatch) {
		if err := t.remove(some); err != nil {
			return err
		}
	}
	if len(rules) == 0 {
		return nil
	}
	list, err := t.readRules()
	if err != nil {
		return err
	}
	for _, h := range list {
		if rules[h.Key] {
			_ = t.conn.DelRule(t.rule(h))
		}
	}
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("nftables: deleting signatures: %w", err)
	}
	for key := range rules {
		delete(t.held, key)
	}
	return nil
}

// remove deletes elements; those that have just expired are no error.
func (t *nftTable) remove(list []nftHeld) error {
	if len(list) == 0 {
		return nil
	}
	kind := uint16(unix.NFT_MSG_DELSETELEM)
	if t.destroy {
		kind = nftMsgDestroySetElem
	}
	var m nftMessages
	t.deleteElements(&m, kind, list)
	err := t.link.commit(&m)
	if errors.Is(err, unix.ENOENT) {
		if len(list) > 1 {
			half := len(list) / 2
			return errors.Join(t.remove(list[:half]), t.remove(list[half:]))
		}
		err = nil
	}
	if err != nil {
		return fmt.Errorf("nftables: deleting: %w", err)
	}
	for _, h := range list {
		delete(t.held, h.Key)
	}
	return nil
}

func (t *nftTable) deleteElements(m *nftMessages, kind uint16, list []nftHeld) {
	w := nftWriter{t: t, m: m, kind: kind}
	slices.SortStableFunc(list, func(a, b nftHeld) int { return strings.Compare(a.set.name(), b.set.name()) })
	for _, h := range list {
		w.element(h.set.name())
		m.key([]byte(h.elem))
	}
}

// probe asks whether the kernel deletes what is not there without an error.
func (t *nftTable) probe() bool {
	var m nftMessages
	w := nftWriter{t: t, m: &m, kind: nftMsgDestroySetElem}
	w.element("peer4")
	m.key(make([]byte, 4))
	return t.link.commit(&m) == nil
}

// Read walks all elements of our sets and all signatures, whoever put them there. The kernel does not tell what has expired, signatures excepted.
func (t *nftTable) Read(each func(Held)) error {
	held := make(map[string]nftHeld, len(t.held))
	sets, err := t.listSets()
	if err != nil {
		return err
	}
	for s := range sets {
		t.sets[s] = true
		var list []nftHeld
		if err := t.readSet(s, func() { list = list[:0] }, func(h nftHeld) { list = append(list, h) }); err != nil {
			return err
		}
		for _, h := range list {
			held[h.Key] = h
			each(h.Held)
		}
	}
	rules, err := t.readRules()
	if err != nil {
		return err
	}
	for _, h := range rules {
		held[h.Key] = h
		each(h.Held)
	}
	t.held = held
	return nil
}

func (t *nftTable) request(m *nftMessages, kind uint16) {
	m.message(nftKind(kind), unix.NLM_F_DUMP, byte(t.table.Family))
	m.text(1, t.table.Name) // NFTA_*_TABLE
}

// listSets are the sets of entries that the kernel has.
func (t *nftTable) listSets() (map[nftSet]bool, error) {
	sets := map[nftSet]bool{}
	err := t.link.dump(func(m *nftMessages) { t.request(m, unix.NFT_MSG_GETSET) }, func() { clear(sets) }, func(b []byte) {
		if s, ok := parseNftSet(nftText(nftAttribute(b, unix.NFTA_SET_NAME))); ok {
			sets[s] = true
		}
	})
	if err != nil {
		return nil, fmt.Errorf("nftables: reading the sets: %w", err)
	}
	return sets, nil
}

func (t *nftTable) readSet(s nftSet, begin func(), each func(nftHeld)) error {
	now := t.now()
	err := t.link.dump(func(m *nftMessages) {
		t.request(m, unix.NFT_MSG_GETSETELEM)
		m.text(unix.NFTA_SET_ELEM_LIST_SET, s.name())
	}, begin, func(b []byte) {
		for kind, e := range nftAttributes(nftAttribute(b, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			if kind == unix.NFTA_LIST_ELEM {
				each(t.hold(s, e, now))
			}
		}
	})
	if err != nil {
		return fmt.Errorf("nftables: reading set %s: %w", s.name(), err)
	}
	return nil
}

// hold is an element as an entry.
func (t *nftTable) hold(s nftSet, b []byte, now time.Time) nftHeld {
	h := nftHeld{set: s, elem: string(nftAttribute(b, unix.NFTA_SET_ELEM_KEY, unix.NFTA_DATA_VALUE))}
	h.Entry = parseNftNote(nftComment(nftAttribute(b, unix.NFTA_SET_ELEM_USERDATA)))
	h.Shadow = s.shadow
	if h.Key == "" {
		h.Key = s.dropKey([]byte(h.elem))
	}
	if left := nftAttribute(b, unix.NFTA_SET_ELEM_EXPIRATION); left == nil {
		h.Until = nftForever
	} else if end := now.Add(time.Duration(nftNumber(left)) * time.Millisecond).Unix(); max(end-h.Until, h.Until-end) > nftClockSlip {
		h.Until = end
	}
	switch {
	case s.what == nftDrop, s.what == nftNew && now.Unix() < h.Canary:
		h.Action = policy.DropAll
	case s.what == nftNew:
		h.Action = policy.DropNew
	case s.what == nftLimit:
		h.Action = policy.LimitNew
	default:
		h.Action = policy.Limit
	}
	if one := nftAttribute(b, unix.NFTA_SET_ELEM_EXPR); one != nil {
		h.expression(one)
	}
	for _, e := range nftAttributes(nftAttribute(b, nftaSetElemExprs)) {
		h.expression(e)
	}
	t.met(&h, now)
	return h
}

// expression takes what a counter or a limit says.
func (h *nftHeld) expression(b []byte) {
	data := nftAttribute(b, unix.NFTA_EXPR_DATA)
	switch nftText(nftAttribute(b, unix.NFTA_EXPR_NAME)) {
	case "counter":
		h.Packets = nftNumber(nftAttribute(data, unix.NFTA_COUNTER_PACKETS))
		h.Bytes = nftNumber(nftAttribute(data, unix.NFTA_COUNTER_BYTES))
	case "limit":
		unit := max(1, nftNumber(nftAttribute(data, unix.NFTA_LIMIT_UNIT)))
		h.Rate = uint32(min(math.MaxUint32, nftNumber(nftAttribute(data, unix.NFTA_LIMIT_RATE))/unit))
	}
}

// met dates hits by the reading that first saw them.
func (t *nftTable) met(h *nftHeld, now time.Time) {
	if was, ok := t.held[h.Key]; ok {
		h.Last = was.Last
		if h.Packets > was.Packets {
			h.Last = now.UnixNano()
		}
	}
}

// dropKey is policy.Drop.Key of what an element stands for.
func (s nftSet) dropKey(b []byte) string {
	n := int(s.ip().len)
	if len(b) < n {
		return "foreign." + s.name() + "." + hex.EncodeToString(b)
	}
	a, _ := netip.AddrFromSlice(b[:n])
	d := policy.Drop{Scope: policy.ScopeAddress, IP: a}
	switch {
	case !s.source():
		d = policy.Drop{Scope: policy.ScopeService, Service: &policy.Service{IP: a}}
		if len(b) > n {
			d.Service.Protocol = nftProtocolName(b[n])
		}
		if s.what == nftService && len(b) >= n+6 {
			d.Service.Port = binary.BigEndian.Uint16(b[n+4:])
		}
	case !s.single():
		d = policy.Drop{Scope: policy.ScopePrefix, Prefix: netip.PrefixFrom(a, int(s.bits))}
	}
	return d.Key()
}

func nftProtocolName(n byte) string {
	for name, p := range nftProtocols {
		if p == n {
			return name
		}
	}
	return strconv.Itoa(int(n))
}

// readRules are the signatures, those that nobody of us wrote included.
func (t *nftTable) readRules() (list []nftHeld, err error) {
	now := t.now()
	err = t.link.dump(func(m *nftMessages) { t.request(m, unix.NFT_MSG_GETRULE) }, func() { list = nil }, func(b []byte) {
		h := nftHeld{chain: nftText(nftAttribute(b, unix.NFTA_RULE_CHAIN)), handle: nftNumber(nftAttribute(b, unix.NFTA_RULE_HANDLE))}
		if !strings.HasPrefix(h.chain, nftChainSignature) {
			return
		}
		h.Entry = parseNftNote(nftComment(nftAttribute(b, unix.NFTA_RULE_USERDATA)))
		h.Action = policy.DropAll
		if h.Key == "" {
			h.Key, h.Until = fmt.Sprintf("foreign.%s.%d", h.chain, h.handle), nftForever
		}
		for _, e := range nftAttributes(nftAttribute(b, unix.NFTA_RULE_EXPRESSIONS)) {
			h.expression(e)
		}
		t.met(&h, now)
		list = append(list, h)
	})
	if err != nil {
		return nil, fmt.Errorf("nftables: reading the signatures: %w", err)
	}
	return list, nil
}

// Never replaces the never-list, in one transaction. Prefixes within others, or beside them, are joined.
func (t *nftTable) Never(prefixes []netip.Prefix) error {
	t.never = slices.Clone(prefixes)
	return t.writeNever()
}

func (t *nftTable) writeNever() error {
	var m nftMessages
	for _, v6 := range []bool{false, true} {
		name := nftNeverName + nftSet{v6: v6}.version()
		t.flushSet(&m, name)
		w := nftWriter{t: t, m: &m, kind: unix.NFT_MSG_NEWSETELEM}
		for _, r := range nftRanges(t.never, v6) {
			w.element(name)
			m.key(r.first.AsSlice())
			if r.end.IsValid() {
				w.element(name)
				m.u32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
				m.key(r.end.AsSlice())
			}
		}
	}
	if err := t.link.commit(&m); err != nil {
		return fmt.Errorf("nftables: the never-list: %w", err)
	}
	return nil
}

// nftRange is from an address to before another; without one, to the last.
type nftRange struct{ first, end netip.Addr }

// nftRanges are prefixes of one version as ranges that neither overlap nor touch.
func nftRanges(prefixes []netip.Prefix, v6 bool) (list []nftRange) {
	var of []netip.Prefix
	for _, p := range prefixes {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if p.IsValid() && p.Addr().Is6() == v6 {
			of = append(of, p.Masked())
		}
	}
	slices.SortFunc(of, netip.Prefix.Compare)
	for _, p := range of {
		end := nftLast(p).Next()
		n := len(list)
		if n > 0 && (!list[n-1].end.IsValid() || list[n-1].end.Compare(p.Addr()) >= 0) {
			if list[n-1].end.IsValid() && (!end.IsValid() || end.Compare(list[n-1].end) > 0) {
				list[n-1].end = end
			}
			continue
		}
		list = append(list, nftRange{p.Addr(), end})
	}
	return list
}

func nftLast(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i, m := range nftMaskOf(p.Bits(), len(b)) {
		b[i] |= ^m
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func (t *nftTable) flushSet(m *nftMessages, name string) {
	m.message(nftKind(unix.NFT_MSG_DELSETELEM), 0, byte(t.table.Family))
	m.text(unix.NFTA_SET_ELEM_LIST_TABLE, t.table.Name)
	m.text(unix.NFTA_SET_ELEM_LIST_SET, name)
}

// Clear ends all drops in one transaction. If that is refused because somebody changed the table, the table goes as a whole.
func (t *nftTable) Clear() error {
	sets, err := t.listSets()
	if err == nil {
		maps.Copy(sets, t.sets)
		err = t.flush(sets)
	}
	if err != nil && t.exists(t.table) {
		t.log.Warn("nftables: clearing failed, so the table is deleted", "table", t.table.Name, "error", err)
		t.conn.DelTable(t.table)
		if err := t.conn.Flush(); err != nil {
			return fmt.Errorf("nftables: deleting table %s: %w", t.table.Name, err)
		}
	}
	t.held = map[string]nftHeld{}
	return nil
}

func (t *nftTable) flush(sets map[nftSet]bool) error {
	var m nftMessages
	for s := range sets {
		t.flushSet(&m, s.name())
	}
	for _, v := range []string{"4", "6"} {
		m.message(nftKind(unix.NFT_MSG_DELRULE), 0, byte(t.table.Family))
		m.text(unix.NFTA_RULE_TABLE, t.table.Name)
		m.text(unix.NFTA_RULE_CHAIN, nftChainSignature+v)
	}
	return t.link.commit(&m)
}

// Mend makes the table anew if a chain, a rule or a set of it is missing, or the interface is another one of the same name.
func (t *nftTable) Mend() (anew bool, err error) {
	index := t.ifindex()
	if index == 0 {
		t.index = 0
		return false, errNftGone
	}
	whole, err := t.whole()
	if err != nil {
		return false, err
	}
	if whole && (t.prerouting || index == t.index) {
		t.index = index
		return false, nil
	}
	if err := t.build(); err != nil {
		return false, err
	}
	t.index = index
	return true, nil
}

// whole reports whether all that was written is there.
func (t *nftTable) whole() (bool, error) {
	if !t.exists(t.table) {
		return false, nil
	}
	based, rules := false, map[string]int{}
	if err := t.chains(func(name string, hooked bool) { based = based || name == nftChainBase && hooked }); err != nil {
		return false, err
	}
	err := t.link.dump(func(m *nftMessages) { t.request(m, unix.NFT_MSG_GETRULE) }, func() { clear(rules) }, func(b []byte) {
		rules[nftText(nftAttribute(b, unix.NFTA_RULE_CHAIN))]++
	})
	if err != nil {
		return false, fmt.Errorf("nftables: reading the rules: %w", err)
	}
	for chain, n := range t.written {
		if rules[chain] != n {
			return false, nil
		}
	}
	return based, nil
}

func (t *nftTable) chains(each func(name string, hooked bool)) error {
	err := t.link.dump(func(m *nftMessages) { t.request(m, unix.NFT_MSG_GETCHAIN) }, func() {}, func(b []byte) {
		if nftText(nftAttribute(b, unix.NFTA_CHAIN_TABLE)) == t.table.Name { // older kernels list those of all tables
			each(nftText(nftAttribute(b, unix.NFTA_CHAIN_NAME)), nftAttribute(b, unix.NFTA_CHAIN_HOOK) != nil)
		}
	})
	if err != nil {
		return fmt.Errorf("nftables: reading the chains: %w", err)
	}
	return nil
}

func (t *nftTable) ifindex() int {
	r, err := unix.NewIfreq(t.iface)
	if err != nil || unix.IoctlIfreq(t.look, unix.SIOCGIFINDEX, r) != nil {
		return 0
	}
	return int(r.Uint32())
}

// Totals are by reason; a packet that two shadow entries meet counts twice. never are all packets of listed sources.
func (t *nftTable) Totals() ([]Total, error) {
	t.beside.Lock()
	defer t.beside.Unlock()
	if err := t.readTotals(); err != nil {
		return nil, err
	}
	list := make([]Total, 0, len(nftCounters))
	var judged nftSum
	for _, c := range nftCounters[1:] {
		n := t.last[c.name].plus(t.before[c.name])
		judged = judged.plus(n)
		list = append(list, Total{Verdict: c.verdict, Reason: c.reason, Packets: n.packets, Bytes: n.bytes})
	}
	seen, c := t.last[nftCounters[0].name].plus(t.before[nftCounters[0].name]), nftCounters[0]
	rest := nftSum{max(seen.packets, judged.packets) - judged.packets, max(seen.bytes, judged.bytes) - judged.bytes}
	return append(list, Total{Verdict: c.verdict, Reason: c.reason, Packets: rest.packets, Bytes: rest.bytes}), nil
}

func (n nftSum) plus(o nftSum) nftSum { return nftSum{n.packets + o.packets, n.bytes + o.bytes} }

func (t *nftTable) readTotals() error {
	last := map[string]nftSum{}
	err := t.other.dump(func(m *nftMessages) { t.request(m, unix.NFT_MSG_GETOBJ) }, func() { clear(last) }, func(b []byte) {
		data := nftAttribute(b, unix.NFTA_OBJ_DATA)
		last[nftText(nftAttribute(b, unix.NFTA_OBJ_NAME))] = nftSum{
			nftNumber(nftAttribute(data, unix.NFTA_COUNTER_PACKETS)), nftNumber(nftAttribute(data, unix.NFTA_COUNTER_BYTES)),
		}
	})
	if err != nil {
		return fmt.Errorf("nftables: reading the counters: %w", err)
	}
	if len(last) > 0 || t.last == nil {
		t.last = last
	}
	return nil
}

// keepTotals makes totals go on when the table is made anew.
func (t *nftTable) keepTotals() {
	t.beside.Lock()
	defer t.beside.Unlock()
	if t.exists(t.table) {
		_ = t.readTotals() // else those of the last reading
	}
	if t.before == nil {
		t.before = map[string]nftSum{}
	}
	for name, n := range t.last {
		t.before[name] = t.before[name].plus(n)
	}
	t.last, t.peers = nil, map[netip.Addr]time.Time{}
}

var nftKinds = []string{"hosts4", "hosts6", "prefixes4", "prefixes6", "services", "signatures"}

func nftCountOf(s nftSet) int {
	i := 0
	if s.v6 {
		i = 1
	}
	switch {
	case !s.source():
		return 4
	case !s.single():
		return 2 + i
	}
	return i
}

// Counts are of the last reading, and what was put and deleted since.
func (t *nftTable) Counts() []Count {
	limits := []int{t.Hosts4, t.Hosts6, t.Prefixes, t.Prefixes, t.Services, nftSignatures}
	list := make([]Count, len(nftKinds))
	for i, kind := range nftKinds {
		list[i] = Count{Kind: kind, Limit: limits[i]}
	}
	now := t.now().Unix()
	for _, h := range t.held {
		switch {
		case h.Until <= now:
		case h.chain != "":
			list[5].Used++
		default:
			list[nftCountOf(h.set)].Used++
		}
	}
	return list
}

// AddPeers makes sources known, as having completed a connection now: each passes service limits within an allowance of its own. When
// there are too many, those told longest ago are forgotten by the kernel only; new ones have to wait.
func (t *nftTable) AddPeers(peers []netip.Addr) error {
	t.beside.Lock()
	defer t.beside.Unlock()
	if t.peers == nil {
		t.peers = map[netip.Addr]time.Time{}
	}
	now := t.now()
	maps.DeleteFunc(t.peers, func(_ netip.Addr, at time.Time) bool { return now.Sub(at) >= t.PeerAge })
	var fresh []netip.Addr
	for _, a := range peers {
		a = a.Unmap().WithZone("")
		at, known := t.peers[a]
		if !a.IsValid() || known && now.Sub(at) < t.PeerAge/4 || !known && len(t.peers) >= t.Peers {
			continue
		}
		t.peers[a] = now
		fresh = append(fresh, a)
	}
	for some := range slices.Chunk(fresh, nftBatch) {
		if err := t.putPeers(some); err != nil {
			for _, a := range some {
				delete(t.peers, a)
			}
			return fmt.Errorf("nftables: known peers: %w", err)
		}
	}
	return nil
}

func (t *nftTable) putPeers(list []netip.Addr) error {
	var m nftMessages
	for _, kind := range []uint16{nftMsgDestroySetElem, unix.NFT_MSG_NEWSETELEM} {
		if kind == nftMsgDestroySetElem && !t.destroy {
			continue // known peers are known until their time is over, and then told again
		}
		for _, of := range []struct {
			set  string
			rate int
			v6   bool
		}{{"peer4", t.PeerRate, false}, {"peernew4", t.PeerNew, false}, {"peer6", t.PeerRate, true}, {"peernew6", t.PeerNew, true}} {
			w := nftWriter{t: t, m: &m, kind: kind}
			for _, a := range list {
				if a.Is6() != of.v6 {
					continue
				}
				w.element(of.set)
				m.key(a.AsSlice())
				if kind != nftMsgDestroySetElem {
					m.u64(unix.NFTA_SET_ELEM_TIMEOUT, uint64(max(1, t.PeerAge.Milliseconds())))
					m.nest(nftaSetElemExprs)
					m.limit(uint32(of.rate), uint32(2*of.rate), false)
					m.end()
				}
			}
		}
	}
	return t.other.commit(&m)
}

// Close deletes the table, unless it is to survive: then its entries end by themselves.
func (t *nftTable) Close() error {
	defer t.shut()
	if t.Survive || !t.exists(t.table) {
		return nil
	}
	t.conn.DelTable(t.table)
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("nftables: deleting table %s: %w", t.table.Name, err)
	}
	return nil
}

func (t *nftTable) shut() {
	if t.conn != nil {
		_ = t.conn.CloseLasting()
	}
	_ = t.link.Close()
	_ = t.other.Close()
	if t.look >= 0 {
		_ = unix.Close(t.look)
	}
}

// clearNftables ends all drops of our tables without an agent: of one interface, or of all ("").
func clearNftables(iface string) error {
	return eachNftTable(iface, func(t *nftTable) error { return t.Clear() })
}

// detachNftables deletes our tables.
func detachNftables(iface string) error {
	return eachNftTable(iface, func(t *nftTable) error {
		t.conn.DelTable(t.table)
		return t.conn.Flush()
	})
}

func eachNftTable(iface string, f func(*nftTable) error) error {
	link, err := openNftSocket()
	if err != nil {
		return err
	}
	conn, err := nftables.New()
	if err != nil {
		return errors.Join(err, link.Close())
	}
	t := &nftTable{conn: conn, link: link, look: -1, log: slog.Default(), now: time.Now}
	defer t.shut()
	var wrong []error
	for _, family := range []nftables.TableFamily{nftables.TableFamilyNetdev, nftables.TableFamilyINet} {
		list, err := conn.ListTablesOfFamily(family)
		wrong = append(wrong, err)
		for _, table := range list {
			if name, ours := strings.CutPrefix(table.Name, nftName); ours && (iface == "" || iface == name) {
				t.table, t.sets = table, map[nftSet]bool{}
				wrong = append(wrong, f(t))
			}
		}
	}
	return errors.Join(wrong...)
}
