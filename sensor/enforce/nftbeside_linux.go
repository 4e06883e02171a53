package enforce

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

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

// AddPeers makes sources known, as having completed a connection now: each passes service limits within an allowance of its own. Where
// there are as many as may be, new ones have to wait until an old one's time is over.
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
