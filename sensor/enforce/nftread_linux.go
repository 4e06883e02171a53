package enforce

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weir/sensor/policy"
)

// Read walks all elements of our sets and all signatures, whoever put them there. The kernel does not tell what has expired, signatures excepted.
func (t *nftTable) Read(each func(Held)) error {
	held := make(map[string]nftHeld, len(t.held))
	sets, err := t.listSets()
	if err != nil {
		return err
	}
	known := t.known(sets)
	for s := range sets {
		t.sets[s] = true
		err := t.readSet(s, known[s], func(h nftHeld) {
			held[h.Key] = h
			each(h.Held)
		})
		if err != nil {
			return err
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

// known are the elements of sets that should be there.
func (t *nftTable) known(sets map[nftSet]bool) map[nftSet][]string {
	list := make(map[nftSet][]string, len(sets))
	now := t.now().Unix()
	for _, h := range t.held {
		if h.chain == "" && sets[h.set] && h.Until > now {
			list[h.set] = append(list[h.set], h.elem)
		}
	}
	return list
}

// readSet reads the elements of a set. While the kernel enlarges a set, its list has some twice and lacks others: so those that are
// known, and were not in it, are asked for one by one. Others that it lacked are found the next time.
func (t *nftTable) readSet(s nftSet, known []string, each func(nftHeld)) error {
	found := make(map[string]nftHeld, len(known))
	now := t.now()
	take := func(b []byte) {
		h := t.hold(s, b, now)
		found[h.elem] = h
	}
	if err := t.readElements(s.name(), func() { clear(found) }, take); err != nil {
		return err
	}
	for _, elem := range known {
		if _, ok := found[elem]; ok {
			continue
		}
		now = t.now()
		if err := t.readElement(s.name(), elem, take); err != nil {
			return err
		}
	}
	for _, h := range found {
		each(h)
	}
	return nil
}

// readElement reads one; that it is not there is no error.
func (t *nftTable) readElement(set, elem string, each func([]byte)) error {
	err := t.link.ask(func(m *nftMessages) {
		m.message(nftKind(unix.NFT_MSG_GETSETELEM), 0, byte(t.table.Family))
		m.text(unix.NFTA_SET_ELEM_LIST_TABLE, t.table.Name)
		m.text(unix.NFTA_SET_ELEM_LIST_SET, set)
		m.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		m.nest(unix.NFTA_LIST_ELEM)
		m.key([]byte(elem))
	}, nftEachElement(each))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("nftables: reading set %s: %w", set, err)
	}
	return nil
}

func nftEachElement(each func([]byte)) func([]byte) {
	return func(b []byte) {
		for kind, e := range nftAttributes(nftAttribute(b, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			if kind == unix.NFTA_LIST_ELEM {
				each(e)
			}
		}
	}
}

func (t *nftTable) readElements(set string, begin func(), each func([]byte)) error {
	err := t.link.dump(func(m *nftMessages) {
		t.request(m, unix.NFT_MSG_GETSETELEM)
		m.text(unix.NFTA_SET_ELEM_LIST_SET, set)
	}, begin, nftEachElement(each))
	if err != nil {
		return fmt.Errorf("nftables: reading set %s: %w", set, err)
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
			if nftText(nftAttribute(e, unix.NFTA_EXPR_NAME)) == "immediate" { // the verdict
				h.Shadow = false
			}
		}
		t.met(&h, now)
		list = append(list, h)
	})
	if err != nil {
		return nil, fmt.Errorf("nftables: reading the signatures: %w", err)
	}
	return list, nil
}
