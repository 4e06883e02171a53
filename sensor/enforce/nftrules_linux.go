package enforce

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// nftSet names a set of elements that expire: whose keys, and what is done with packets that have one. There is a set, with its rule,
// only for what was needed so far, and one for each length of prefix: so a drop within a wider drop needs no care, each ends alone.
type nftSet struct {
	what   nftWhat
	v6     bool
	bits   uint8 // of the source that is looked up; 0 of services
	shadow bool
}

type nftWhat string

const (
	nftDrop    nftWhat = "drop"    // sources: all packets
	nftNew     nftWhat = "new"     // sources: SYNs without ACK
	nftLimit   nftWhat = "limit"   // sources: the same above the element's rate
	nftService nftWhat = "service" // destination, protocol, port: packets above the element's rate
	nftWhole   nftWhat = "whole"   // destination, protocol: the same, of what has no element of its own
)

var nftWhats = []nftWhat{nftDrop, nftNew, nftLimit, nftService, nftWhole}

func (s nftSet) name() string {
	return s.prefix() + string(s.what) + s.version() + s.suffix()
}

func (s nftSet) prefix() string {
	if s.shadow {
		return "shadow_"
	}
	return ""
}

func (s nftSet) version() string {
	if s.v6 {
		return "6"
	}
	return "4"
}

func (s nftSet) suffix() string {
	if s.bits == 0 {
		return ""
	}
	return "_" + strconv.Itoa(int(s.bits))
}

func (s nftSet) source() bool { return s.what != nftService && s.what != nftWhole }
func (s nftSet) full() uint8  { return map[bool]uint8{false: 32, true: 128}[s.v6] }
func (s nftSet) single() bool { return s.bits == s.full() }

// parseNftSet is the reverse of name.
func parseNftSet(name string) (nftSet, bool) {
	s := nftSet{shadow: strings.HasPrefix(name, "shadow_")}
	rest := strings.TrimPrefix(name, "shadow_")
	for _, w := range nftWhats {
		if v, ok := strings.CutPrefix(rest, string(w)); ok {
			v, bits, _ := strings.Cut(v, "_")
			n, _ := strconv.ParseUint(bits, 10, 8)
			s.what, s.v6, s.bits = w, v == "6", uint8(n)
		}
	}
	return s, s.what != "" && s.name() == name && s.source() == (s.bits > 0) && s.bits <= s.full()
}

// keyType is what `nft list` shows elements as.
func (s nftSet) keyType() nftables.SetDatatype {
	addr := nftables.TypeIPAddr
	if s.v6 {
		addr = nftables.TypeIP6Addr
	}
	switch s.what {
	case nftService:
		return nftables.MustConcatSetType(addr, nftables.TypeInetProto, nftables.TypeInetService)
	case nftWhole:
		return nftables.MustConcatSetType(addr, nftables.TypeInetProto)
	}
	return addr
}

// Chains. The first is the base chain; each of the others exists for IPv4 and IPv6.
const (
	nftChainBase      = "judge"
	nftChainVersion   = "ipv"     // never-list, then the chains below
	nftChainSource    = "source"  // by source, all packets
	nftChainFresh     = "fresh"   // by source, SYNs without ACK
	nftChainService   = "service" // by destination
	nftChainShadow    = "shadow"  // the same, counted only
	nftChainLater     = "later"   // by destination, later fragments
	nftChainLaterShad = "latershadow"
	nftChainSignature = "signature" // a rule each; not rewritten
)

// nftRewritten are the chains whose rules follow from the sets that there are.
var nftRewritten = []string{nftChainVersion, nftChainSource, nftChainFresh, nftChainService, nftChainShadow, nftChainLater, nftChainLaterShad}

// nftCounters are the named counters, by verdict and reason of Total. All frames are counted, so that those without a verdict are the rest.
var nftCounters = []struct{ name, verdict, reason string }{
	{"seen", "pass", "none"},
	{"never", "pass", "never"},
	{"peer", "pass", "peer"},
	{"drop_host", "drop", "host"},
	{"drop_prefix", "drop", "prefix"},
	{"drop_signature", "drop", "signature"},
	{"limit_host", "limit", "host"},
	{"limit_prefix", "limit", "prefix"},
	{"limit_service", "limit", "service"},
	{"shadow_host", "shadow", "host"},
	{"shadow_prefix", "shadow", "prefix"},
	{"shadow_service", "shadow", "service"},
	{"shadow_signature", "shadow", "signature"},
}

// nftIP is where the fields of an IP header stand (RFC 791, RFC 8200), in bytes.
type nftIP struct {
	version                  string
	protocol                 uint16 // EtherType
	source, destination, len uint32
	length, ttl              uint32
}

var (
	nftIP4 = nftIP{"4", unix.ETH_P_IP, 12, 16, 4, 2, 8}
	nftIP6 = nftIP{"6", unix.ETH_P_IPV6, 8, 24, 16, 4, 7}
)

func (s nftSet) ip() nftIP {
	if s.v6 {
		return nftIP6
	}
	return nftIP4
}

// Registers: 1 is 16 bytes, and the same memory as the four of 4 bytes from 8 on.
const (
	nftReg = 1
	nft32  = unix.NFT_REG32_00
)

func nftLoad(base expr.PayloadBase, offset, n, reg uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: n}
}

func nftNet(offset, n uint32) expr.Any {
	return nftLoad(expr.PayloadBaseNetworkHeader, offset, n, nftReg)
}

func nftTransport(offset, n uint32) expr.Any {
	return nftLoad(expr.PayloadBaseTransportHeader, offset, n, nftReg)
}

func nftCmp(op expr.CmpOp, v ...byte) expr.Any {
	return &expr.Cmp{Op: op, Register: nftReg, Data: v}
}

func nftMask(mask ...byte) expr.Any {
	n := uint32(len(mask))
	return &expr.Bitwise{SourceRegister: nftReg, DestRegister: nftReg, Len: n, Mask: mask, Xor: make([]byte, n)}
}

func nftProto(op expr.CmpOp, n byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: nftReg}, nftCmp(op, n)}
}

func nftIn(set string, invert bool) expr.Any {
	return &expr.Lookup{SourceRegister: nftReg, SetName: set, Invert: invert}
}

func nftCount(name string) expr.Any {
	return &expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: name}
}

func nftVerdict(kind expr.VerdictKind, chain string) expr.Any {
	return &expr.Verdict{Kind: kind, Chain: chain}
}

// nftOpens holds of SYNs without ACK.
func nftOpens(op expr.CmpOp) []expr.Any {
	const syn, ack = 2, 16
	return append(nftProto(expr.CmpOpEq, unix.IPPROTO_TCP), nftTransport(13, 1), nftMask(syn|ack), nftCmp(op, syn))
}

// nftLater holds of later fragments.
func (ip nftIP) later() []expr.Any {
	if ip == nftIP6 {
		return []expr.Any{
			&expr.Exthdr{DestRegister: nftReg, Type: unix.IPPROTO_FRAGMENT, Offset: 2, Len: 2, Op: expr.ExthdrOpIpv6},
			nftMask(0xff, 0xf8), nftCmp(expr.CmpOpNeq, 0, 0),
		}
	}
	return []expr.Any{nftNet(6, 2), nftMask(0x1f, 0xff), nftCmp(expr.CmpOpNeq, 0, 0)}
}

// key loads what the set's elements are found by.
func (s nftSet) key() []expr.Any {
	ip := s.ip()
	if s.source() {
		e := []expr.Any{nftNet(ip.source, ip.len)}
		if !s.single() {
			e = append(e, nftMask(nftMaskOf(int(s.bits), int(ip.len))...))
		}
		return e
	}
	next := nft32 + ip.len/4
	e := []expr.Any{nftNet(ip.destination, ip.len), &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: next}}
	if s.what == nftService {
		e = append(e, nftLoad(expr.PayloadBaseTransportHeader, 2, 2, next+1))
	}
	return e
}

func nftMaskOf(bits, n int) []byte {
	m := bytes.Repeat([]byte{0xff}, n)
	for i := range m {
		if have := bits - 8*i; have < 8 {
			m[i] = ^byte(0xff >> max(0, have))
		}
	}
	return m
}

// fate counts the packet and drops it, unless the set or the whole table rehearses.
func (t *nftTable) fate(verdict, reason string, shadow bool) []expr.Any {
	if shadow || t.rehearse {
		return []expr.Any{nftCount("shadow_" + reason)}
	}
	return []expr.Any{nftCount(verdict + "_" + reason), nftVerdict(expr.VerdictDrop, "")}
}

// rules are those of a chain of one version of IP, by the sets that there are.
func (t *nftTable) rules(chain string, ip nftIP) [][]expr.Any {
	switch chain {
	case nftChainVersion:
		return t.versionRules(ip)
	case nftChainSource, nftChainFresh:
		return t.sourceRules(chain, ip)
	case nftChainService:
		return t.serviceRules(ip, false)
	case nftChainShadow:
		return t.serviceRules(ip, true)
	case nftChainLater:
		return t.laterRules(ip, false)
	case nftChainLaterShad:
		return t.laterRules(ip, true)
	}
	return nil
}

// versionRules let later fragments pass all that asks for a transport header. They have none, and of IPv6 the kernel (6.18) takes the
// header of the fragment for it.
func (t *nftTable) versionRules(ip nftIP) [][]expr.Any {
	v := ip.version
	jump := func(chain string) expr.Any { return nftVerdict(expr.VerdictJump, chain+v) }
	return [][]expr.Any{
		{nftNet(ip.source, ip.len), nftIn("never"+v, false), nftCount("never"), nftVerdict(expr.VerdictAccept, "")},
		{jump(nftChainSource)},
		append(ip.later(), jump(nftChainLater)),
		append(ip.later(), jump(nftChainLaterShad)),
		append(ip.later(), nftVerdict(expr.VerdictAccept, "")),
		append(nftOpens(expr.CmpOpEq), jump(nftChainFresh)),
		{jump(nftChainService)},
		{jump(nftChainShadow)},
		{jump(nftChainSignature)},
	}
}

// sourceRules look up the address, then its prefixes from long to short.
func (t *nftTable) sourceRules(chain string, ip nftIP) (list [][]expr.Any) {
	for _, s := range t.sorted() {
		if !s.source() || s.ip() != ip || (s.what == nftDrop) != (chain == nftChainSource) {
			continue
		}
		verdict, reason := "drop", "prefix"
		if s.what == nftLimit {
			verdict = "limit"
		}
		if s.single() {
			reason = "host"
		}
		list = append(list, append(s.find(false), t.fate(verdict, reason, s.shadow)...))
	}
	return list
}

// serviceRules leave what no limit concerns, let known peers pass within their allowance, and limit the rest. A look-up that must
// not find does not take from the element's rate.
func (t *nftTable) serviceRules(ip nftIP, shadow bool) [][]expr.Any {
	port, whole := nftServiceSets(ip, shadow)
	if !t.sets[port] || !t.sets[whole] {
		return nil
	}
	limit := t.fate("limit", "service", shadow)
	neither := slices.Concat(port.find(true), whole.find(true))
	return [][]expr.Any{
		append(neither, nftVerdict(expr.VerdictReturn, "")),
		append(nftOpens(expr.CmpOpEq), ip.peer("peernew")...),
		append(nftOpens(expr.CmpOpNeq), ip.peer("peer")...),
		append(nftProto(expr.CmpOpNeq, unix.IPPROTO_TCP), ip.peer("peer")...),
		slices.Concat(port.find(false), limit),
		slices.Concat(port.find(true), whole.find(false), limit),
	}
}

// laterRules are the same for later fragments, which have no ports.
func (t *nftTable) laterRules(ip nftIP, shadow bool) [][]expr.Any {
	_, whole := nftServiceSets(ip, shadow)
	if !t.sets[whole] {
		return nil
	}
	return [][]expr.Any{
		append(whole.find(true), nftVerdict(expr.VerdictReturn, "")),
		ip.peer("peer"),
		slices.Concat(whole.find(false), t.fate("limit", "service", shadow)),
	}
}

func nftServiceSets(ip nftIP, shadow bool) (port, whole nftSet) {
	v6 := ip == nftIP6
	return nftSet{nftService, v6, 0, shadow}, nftSet{nftWhole, v6, 0, shadow}
}

// peer lets a known peer pass.
func (ip nftIP) peer(set string) []expr.Any {
	return []expr.Any{nftNet(ip.source, ip.len), nftIn(set+ip.version, false), nftCount("peer"), nftVerdict(expr.VerdictReturn, "")}
}

// find looks a packet up; not: it must not be there.
func (s nftSet) find(not bool) []expr.Any { return append(s.key(), nftIn(s.name(), not)) }

// sorted are the sets, those of longer prefixes first.
func (t *nftTable) sorted() []nftSet {
	return slices.SortedFunc(maps.Keys(t.sets), func(a, b nftSet) int {
		return cmp.Or(cmp.Compare(b.bits, a.bits), cmp.Compare(a.name(), b.name()))
	})
}

// baseRules tell IPv4 from IPv6. Prerouting sees all interfaces.
func (t *nftTable) baseRules() (list [][]expr.Any) {
	var here []expr.Any
	if t.prerouting {
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, t.iface)
		here = []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: nftReg}, nftCmp(expr.CmpOpEq, name...)}
	}
	list = append(list, append(slices.Clone(here), nftCount("seen")))
	for _, ip := range []nftIP{nftIP4, nftIP6} {
		is := []expr.Any{
			&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: nftReg},
			nftCmp(expr.CmpOpEq, binary.BigEndian.AppendUint16(nil, ip.protocol)...),
			nftVerdict(expr.VerdictJump, nftChainVersion+ip.version),
		}
		list = append(list, append(slices.Clone(here), is...))
	}
	return list
}

// write replaces the rules of all chains but those of signatures.
func (t *nftTable) write() {
	for _, ip := range []nftIP{nftIP4, nftIP6} {
		for _, chain := range nftRewritten {
			t.writeChain(chain+ip.version, t.rules(chain, ip))
		}
	}
	t.writeChain(nftChainBase, t.baseRules())
}

func (t *nftTable) writeChain(name string, rules [][]expr.Any) {
	c := &nftables.Chain{Name: name, Table: t.table}
	t.conn.FlushChain(c)
	for _, r := range rules {
		t.conn.AddRule(&nftables.Rule{Table: t.table, Chain: c, Exprs: r})
	}
	t.written[name] = len(rules)
}

// need makes the sets, with their rules, that are not there yet.
func (t *nftTable) need(sets map[nftSet]bool) error {
	before := maps.Clone(t.sets)
	for s := range sets {
		both := []nftSet{s}
		if !s.source() { // the rules of services look into both sets
			port, whole := nftServiceSets(s.ip(), s.shadow)
			both = []nftSet{port, whole}
		}
		for _, s := range both {
			if t.sets[s] {
				continue
			}
			t.sets[s] = true
			if err := t.addSet(s); err != nil {
				return err
			}
		}
	}
	if len(t.sets) == len(before) {
		return nil
	}
	t.write()
	if err := t.conn.Flush(); err != nil {
		t.sets = before
		return fmt.Errorf("nftables: a set with its rule: %w", err)
	}
	return nil
}

// nftSetIDs numbers the sets of a transaction. The library would do so itself in a variable that gates of several interfaces share.
var nftSetIDs atomic.Uint32

func (t *nftTable) addSet(s nftSet) error {
	return t.conn.AddSet(&nftables.Set{Table: t.table, ID: nftSetIDs.Add(1), Name: s.name(), KeyType: s.keyType(), HasTimeout: true}, nil)
}
