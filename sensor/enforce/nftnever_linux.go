package enforce

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

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

// mendNever writes the never-list again if the kernel's is another.
func (t *nftTable) mendNever() error {
	for _, v6 := range []bool{false, true} {
		type edge struct {
			key string
			end bool
		}
		want, extra := map[edge]bool{}, false
		for _, r := range nftRanges(t.never, v6) {
			want[edge{string(r.first.AsSlice()), false}] = true
			if r.end.IsValid() {
				want[edge{string(r.end.AsSlice()), true}] = true
			}
		}
		there := map[edge]bool{}
		err := t.readElements(nftNeverName+nftSet{v6: v6}.version(), func() { clear(there) }, func(b []byte) {
			end := nftNumber(nftAttribute(b, unix.NFTA_SET_ELEM_FLAGS))&unix.NFT_SET_ELEM_INTERVAL_END != 0
			there[edge{string(nftAttribute(b, unix.NFTA_SET_ELEM_KEY, unix.NFTA_DATA_VALUE)), end}] = true
		})
		if err != nil {
			return err
		}
		for e := range there {
			null := e.end && strings.Trim(e.key, "\x00") == "" // what nft adds: before the first range there is none
			extra = extra || !want[e] && !null
			delete(want, e)
		}
		if extra || len(want) > 0 {
			t.log.Warn("nftables: somebody changed the never-list, so it is written again", "table", t.table.Name)
			return t.writeNever()
		}
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
