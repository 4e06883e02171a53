package enforce

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"weir/sensor/policy"
)

// nftSignatures is how many there may be: each is a rule that every packet is compared with.
const nftSignatures = 32

// nftProtocols are those that drops name by a word.
var nftProtocols = map[string]byte{
	"icmp": unix.IPPROTO_ICMP, "igmp": unix.IPPROTO_IGMP, "tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "gre": unix.IPPROTO_GRE,
	"esp": unix.IPPROTO_ESP, "ah": unix.IPPROTO_AH, "icmpv6": unix.IPPROTO_ICMPV6, "sctp": unix.IPPROTO_SCTP, "udplite": unix.IPPROTO_UDPLITE,
}

func nftProtocol(name string) (byte, error) {
	if n, ok := nftProtocols[name]; ok {
		return n, nil
	}
	n, err := strconv.ParseUint(name, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("nftables: unknown protocol %q", name)
	}
	return byte(n), nil
}

func nftPorts(protocol byte) bool {
	return protocol == unix.IPPROTO_TCP || protocol == unix.IPPROTO_UDP || protocol == unix.IPPROTO_UDPLITE || protocol == unix.IPPROTO_SCTP
}

// addSignature appends the rule of a signature: all of its fields, and the time until which it holds, by the kernel's wall clock.
func (t *nftTable) addSignature(d *policy.Drop) error {
	ip, match, err := nftMatch(d)
	if err != nil {
		return err
	}
	match = append(match, nftUntil(d.Until)...)
	match = append(match, &expr.Counter{})
	match = append(match, t.fate("drop", "signature", d.Action == policy.Shadow)...)
	t.conn.AddRule(&nftables.Rule{
		Table: t.table, Chain: &nftables.Chain{Name: nftChainSignature + ip.version, Table: t.table}, Exprs: match,
		UserData: userdata.AppendString(nil, userdata.TypeComment, nftNote(EntryOf(d))),
	})
	return nil
}

// nftUntil holds as long as the wall clock is before a time.
func nftUntil(unix64 int64) []expr.Any {
	ns := binary.BigEndian.AppendUint64(nil, uint64(time.Unix(unix64, 0).UnixNano()))
	return []expr.Any{
		&expr.Meta{Key: nftMetaTimeNs, Register: nftReg},
		&expr.Byteorder{SourceRegister: nftReg, DestRegister: nftReg, Op: expr.ByteorderHton, Len: 8, Size: 8},
		nftCmp(expr.CmpOpLt, ns...),
	}
}

// nftMatch is the signature of a drop as expressions, or why nftables cannot compare it: a part of it would hit more than was asked.
func nftMatch(d *policy.Drop) (nftIP, []expr.Any, error) {
	to := d.Service.Prefix
	if d.Service.IP.IsValid() {
		to = netip.PrefixFrom(d.Service.IP, d.Service.IP.BitLen())
	}
	s := nftSet{v6: to.Addr().Is6()}
	m := nftMatcher{ip: s.ip(), v6: s.v6}
	m.add(nftNet(m.ip.destination, m.ip.len))
	if !to.IsSingleIP() {
		m.add(nftMask(nftMaskOf(to.Bits(), int(m.ip.len))...))
	}
	m.add(nftCmp(expr.CmpOpEq, to.Masked().Addr().AsSlice()...))
	if err := m.protocols(d); err != nil {
		return m.ip, nil, err
	}
	if d.Service.Port != 0 {
		if err := m.field("dst_port", strconv.Itoa(int(d.Service.Port))); err != nil {
			return m.ip, nil, err
		}
	}
	for _, f := range d.Signature.Fields {
		if err := m.field(f.Name, f.Value); err != nil {
			return m.ip, nil, err
		}
	}
	return m.ip, m.list, nil
}

type nftMatcher struct {
	ip       nftIP
	v6       bool
	protocol byte
	named    bool // the protocol is
	list     []expr.Any
}

func (m *nftMatcher) add(e ...expr.Any) { m.list = append(m.list, e...) }

// protocols compares the protocol first: it tells what the bytes behind the IP header are.
func (m *nftMatcher) protocols(d *policy.Drop) error {
	names := []string{d.Service.Protocol}
	for _, f := range d.Signature.Fields {
		if f.Name == "protocol" {
			names = append(names, f.Value)
		}
	}
	for _, name := range names {
		if name == "" {
			continue
		}
		n, err := nftProtocol(name)
		if err != nil {
			return err
		}
		m.protocol, m.named = n, true
		m.add(nftProto(expr.CmpOpEq, n)...)
	}
	return nil
}

func (m *nftMatcher) field(name, value string) error {
	n, _ := strconv.ParseUint(value, 10, 32)
	two := binary.BigEndian.AppendUint16(nil, uint16(n))
	switch name {
	case "protocol":
	case "src_port", "dst_port":
		if !m.named || !nftPorts(m.protocol) {
			return fmt.Errorf("nftables cannot compare %s without a protocol that has ports", name)
		}
		m.add(nftTransport(map[string]uint32{"src_port": 0, "dst_port": 2}[name], 2), nftCmp(expr.CmpOpEq, two...))
	case "length":
		return m.length(expr.CmpOpEq, int(n))
	case "ttl_min":
		m.add(nftNet(m.ip.ttl, 1), nftCmp(expr.CmpOpGte, byte(n)))
	case "ttl_max":
		m.add(nftNet(m.ip.ttl, 1), nftCmp(expr.CmpOpLte, byte(n)))
	case "tcp_window", "tcp_flags":
		if !m.named || m.protocol != unix.IPPROTO_TCP {
			return fmt.Errorf("nftables cannot compare %s without protocol tcp", name)
		}
		if name == "tcp_window" {
			m.add(nftTransport(14, 2), nftCmp(expr.CmpOpEq, two...))
			break
		}
		flags, err := nftFlags(value)
		if err != nil {
			return err
		}
		m.add(nftTransport(12, 2), nftMask(1, 0xff), nftCmp(expr.CmpOpEq, flags...))
	case "payload":
		return m.payload(value)
	default: // tcp_options: the order of options is no field of nftables
		return fmt.Errorf("nftables cannot compare %s: this signature takes XDP", name)
	}
	return nil
}

// length compares the length of the IP packet, its header included.
func (m *nftMatcher) length(op expr.CmpOp, n int) error {
	if m.v6 {
		n -= 40
	}
	if n < 0 || n > 0xffff {
		return fmt.Errorf("no packet of IPv%s has the length %d", m.ip.version, n)
	}
	m.add(nftNet(m.ip.length, 2), nftCmp(op, binary.BigEndian.AppendUint16(nil, uint16(n))...))
	return nil
}

// payload compares the first bytes behind the transport header. What pads a short frame is no payload: so the packet must be long enough.
func (m *nftMatcher) payload(value string) error {
	b, err := hex.DecodeString(value)
	if err != nil || len(b) == 0 || !m.named {
		return errors.New("nftables cannot compare a payload without a protocol")
	}
	base, header := expr.PayloadBaseTransportHeader, 0
	switch m.protocol {
	case unix.IPPROTO_TCP:
		base, header = nftPayloadInner, 20 // Linux 5.16
	case unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE:
		header = 8
	case unix.IPPROTO_SCTP:
		header = 12
	}
	at := uint32(header)
	if base == nftPayloadInner {
		at = 0
	}
	least := header + len(b) + 20
	if m.v6 {
		least += 20
	}
	if err := m.length(expr.CmpOpGte, least); err != nil {
		return err
	}
	m.add(nftLoad(base, at, uint32(len(b)), nftReg), nftCmp(expr.CmpOpEq, b...))
	return nil
}

// nftFlags are the nine flags of TCP as its header has them.
func nftFlags(value string) ([]byte, error) {
	var bits uint16
	for name := range strings.SplitSeq(value, ",") {
		i := strings.Index("fin,syn,rst,psh,ack,urg,ece,cwr,ae,", name+",")
		switch {
		case value == "none":
		case name == "" || i < 0 || i%4 != 0:
			return nil, fmt.Errorf("nftables: unknown flag %q", name)
		default:
			bits |= 1 << (i / 4)
		}
	}
	return binary.BigEndian.AppendUint16(nil, bits), nil
}
