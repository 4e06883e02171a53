package enforce

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"weir/sensor/policy"
)

// nftElement is a drop as an element.
type nftElement struct {
	Entry
	set  nftSet
	key  []byte
	sum  nftSum // hits so far, and the last of them
	last int64
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
	e := nftElement{Entry: EntryOf(d)}
	if d.Until <= now.Unix() {
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
	p := d.Source().Masked()
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
	known := t.known(sets)
	for s := range sets {
		err := t.readSet(s, known[s], func(h nftHeld) {
			if e, ok := elements[h.Key]; ok {
				e.sum, e.last = nftSum{h.Packets, h.Bytes}, h.Last
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
	var err error
	if t.destroy {
		t.deleteElements(&m, nftMsgDestroySetElem, old)
	} else { // for an instant the entries are not there: in one transaction, one that has just expired would fail all
		err = t.remove(old)
	}
	w := nftWriter{t: t, m: &m, kind: unix.NFT_MSG_NEWSETELEM}
	now := t.now()
	for _, e := range list {
		w.element(e.set.name())
		e.write(&m, now)
	}
	if err == nil {
		err = t.link.commit(&m)
	}
	if err != nil && len(list) > 1 && nftByElement(err) {
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
		held := Held{Entry: e.Entry, Packets: e.sum.packets, Bytes: e.sum.bytes, Last: e.last}
		t.held[e.Key] = nftHeld{Held: held, set: e.set, elem: string(e.key)}
	}
}

// nftByElement tells an error that one element may be the cause of, and not the table or the machine.
func nftByElement(err error) bool {
	return !slices.ContainsFunc([]error{unix.ENOENT, unix.EPERM, unix.ENOMEM, unix.ENOBUFS, unix.EAGAIN}, func(e error) bool { return errors.Is(err, e) })
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

// write writes the element. The kernel takes a time of 0 for none.
func (e *nftElement) write(m *nftMessages, now time.Time) {
	m.key(e.key)
	m.u64(unix.NFTA_SET_ELEM_TIMEOUT, uint64(max(1, time.Unix(e.Until, 0).Sub(now).Milliseconds())))
	m.nest(nftaSetElemExprs)
	if e.Rate != 0 {
		m.limit(e.Rate, e.Rate, true)
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
