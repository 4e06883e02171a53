package enforce

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
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
//   - Prerouting knows a packet by the interface it ends at: VLANs and bridges on the interface are others there, and not judged.
//   - Without Survive the table goes at Close; after a crash entries stay until they end, or the next process takes them over.
//
// It takes Linux 5.11 (elements with two expressions; payloads of TCP 5.16). An Enforcer's goroutine calls it; Totals and AddPeers may
// be called beside.
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
	claimed net.Listener // of the interface; never accepts
	never   []netip.Prefix
	looked  uint64 // generation of the ruleset that Mend found whole

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
	if err := t.claim(); err != nil {
		return err
	}
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
	err = t.settle()
	if !t.prerouting && nftLacks(err) {
		t.log.Warn("nftables: no ingress hook, so prerouting", "interface", t.iface, "error", err)
		t.prerouting = true
		err = t.settle()
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("nftables: it takes CAP_NET_ADMIN: %w", err)
	}
	return err
}

// claim makes this the one process with a gate at the interface, of any mode: the name is that of bpf.Gate.
func (t *nftTable) claim() (err error) {
	t.claimed, err = net.Listen("unix", "@weir.gate."+t.iface)
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("%s: another process has a gate open at this interface; end that one first", t.iface)
	}
	return err
}

// nftLacks tells an error that may come of a kernel without ingress hooks for nftables.
func nftLacks(err error) bool {
	const notSupported = unix.Errno(524) // ENOTSUPP of the kernel's linux/errno.h
	return slices.ContainsFunc([]error{unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.ENOENT, unix.EINVAL, notSupported},
		func(e error) bool { return errors.Is(err, e) })
}

// settle takes over the table that is there, or makes it anew.
func (t *nftTable) settle() error {
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
		_ = t.conn.AddSet(&nftables.Set{Table: t.table, ID: nftSetIDs.Add(1), Name: nftNeverName + v, KeyType: key, Interval: true}, nil)
		for _, name := range []string{"peer", "peernew"} {
			_ = t.conn.AddSet(&nftables.Set{Table: t.table, ID: nftSetIDs.Add(1), Name: name + v, KeyType: key, HasTimeout: true}, nil)
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

// Mend makes the table anew if a chain, a rule or a set of it is missing, or the interface is another one of the same name. It looks
// only when somebody, ourselves included, changed the ruleset since. A never-list that was changed is written again.
func (t *nftTable) Mend() (anew bool, err error) {
	index := t.ifindex()
	if index == 0 {
		t.index = 0
		return false, errNftGone
	}
	generation, err := t.generation()
	if err != nil {
		return false, err
	}
	other := index != t.index && !t.prerouting
	if t.index = index; generation == t.looked && !other {
		return false, nil
	}
	whole, err := t.whole()
	if err != nil {
		return false, err
	}
	if !whole || other {
		t.looked = 0
		return true, t.build()
	}
	if err := t.mendNever(); err != nil {
		return false, err
	}
	t.looked = generation
	return false, nil
}

// generation is the number of the ruleset's last change.
func (t *nftTable) generation() (n uint64, err error) {
	err = t.link.ask(func(m *nftMessages) { m.message(nftKind(unix.NFT_MSG_GETGEN), 0, unix.AF_UNSPEC) }, func(b []byte) {
		n = nftNumber(nftAttribute(b, unix.NFTA_GEN_ID))
	})
	if err != nil {
		return 0, fmt.Errorf("nftables: %w", err)
	}
	return n, nil
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

// Close deletes the table, unless it is to survive: then its entries end by themselves. A second call does nothing.
func (t *nftTable) Close() error {
	if t.look < 0 {
		return nil
	}
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
	t.beside.Lock()
	_ = t.other.Close()
	t.beside.Unlock()
	if t.look >= 0 {
		_ = unix.Close(t.look)
		t.look = -1
	}
	if t.claimed != nil {
		_ = t.claimed.Close()
	}
}

// clearNftables ends all drops of our tables without an agent: of one interface, or of all (""). It tells of which.
func clearNftables(iface string) (cleared []string, err error) {
	err = eachNftTable(iface, func(t *nftTable) error {
		wrong := t.Clear()
		if wrong == nil {
			cleared = append(cleared, strings.TrimPrefix(t.table.Name, nftName)+" (nftables)")
		}
		return wrong
	})
	return cleared, err
}

// detachNftables deletes our tables: of one interface, or of all (""). It tells how many there were.
func detachNftables(iface string) (n int, err error) {
	err = eachNftTable(iface, func(t *nftTable) error {
		n++
		t.conn.DelTable(t.table)
		return t.conn.Flush()
	})
	return n, err
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
