package enforce

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"weir/bpf"
	"weir/sensor/policy"
)

// signatures are those of this process in the gate, which takes only the whole list at once.
type signatures struct {
	list []*signature // in the order in which they came
	byID map[uint64]*signature
}

type signature struct {
	key string
	bpf.Signature
}

// put adds or replaces signatures; those that do not fit or cannot be go to failed.
func (s *signatures) put(g *bpf.Gate, drops []*policy.Drop, failed map[string]error) {
	if len(drops) == 0 {
		return
	}
	next := signatures{append([]*signature(nil), s.list...), map[uint64]*signature{}}
	for _, c := range next.list {
		next.byID[c.ID] = c
	}
	var changed []string
	for _, d := range drops {
		key := d.Key()
		n, err := signatureOf(d)
		switch {
		case err != nil:
			failed[key] = err
			continue
		case next.byID[n.ID] == nil && len(next.list) >= bpf.MaxSignatures:
			failed[key] = &bpf.FullError{Table: "signatures", Max: bpf.MaxSignatures}
			continue
		}
		next.set(&signature{key, n})
		changed = append(changed, key)
	}
	if len(changed) == 0 {
		return
	}
	if err := next.write(g); err != nil {
		for _, key := range changed {
			failed[key] = err
		}
		return
	}
	*s = next
}

func (s *signatures) set(n *signature) {
	if s.byID[n.ID] == nil {
		s.list = append(s.list, n)
	} else {
		for i, c := range s.list {
			if c.ID == n.ID {
				s.list[i] = n
			}
		}
	}
	s.byID[n.ID] = n
}

// remove takes signatures off the list, and off the kernel's, which may hold some that are not ours.
func (s *signatures) remove(g *bpf.Gate, ids []uint64) error {
	if len(ids) == 0 {
		return nil
	}
	gone := map[uint64]bool{}
	for _, id := range ids {
		gone[id] = true
	}
	next := signatures{byID: map[uint64]*signature{}}
	for _, c := range s.list {
		if !gone[c.ID] {
			next.set(c)
		}
	}
	if err := next.write(g); err != nil {
		return err
	}
	*s = next
	return nil
}

func (s *signatures) write(g *bpf.Gate) error {
	list := make([]bpf.Signature, len(s.list))
	for i, c := range s.list {
		list[i] = c.Signature
	}
	return g.SetSignatures(list)
}

// recall takes up those of drops that an earlier process left in the kernel: the id says that the fields are the same.
func (s *signatures) recall(g *bpf.Gate, drops []*policy.Drop) {
	known := map[uint64]*signature{}
	for _, d := range drops {
		if d.Scope != policy.ScopeSignature {
			continue
		}
		if n, err := signatureOf(d); err == nil {
			known[n.ID] = &signature{d.Key(), n}
		}
	}
	_ = g.Signed(func(id uint64, _ bpf.Rule, _ bpf.Hits) { // an error shows at the next Read
		if n := known[id]; n != nil && s.byID[id] == nil {
			s.set(n)
		}
	})
}

func (s *signatures) forget() { *s = signatures{byID: map[uint64]*signature{}} }

// key is the key of a signature in the kernel.
func (s *signatures) key(id uint64) string {
	if c := s.byID[id]; c != nil {
		return c.key
	}
	return fmt.Sprintf("%s%016x", unknownSignature, id)
}

// signatureOf is the gate's form of a drop by header fields (their meaning: analyzers.ExtractSignature). In the gate 0 often means
// any value, so that a condition on 0 cannot be told: it is refused rather than widened.
func signatureOf(d *policy.Drop) (bpf.Signature, error) {
	n := bpf.Signature{ID: signatureID(d.Key()), Rule: ruleOf(d), To: destination(d.Service), DstPort: d.Service.Port}
	if d.Service.Protocol != "" {
		number, err := protocolNumber(d.Service.Protocol)
		if err != nil {
			return n, err
		}
		n.Proto = number
	}
	for _, f := range d.Signature.Fields {
		if err := addField(&n, f.Name, f.Value); err != nil {
			return n, fmt.Errorf("signature: %s %s: %w", f.Name, f.Value, err)
		}
	}
	if n.FlagMask == 0 && n.Window == nil && n.Layout == nil {
		return n, nil
	}
	if n.Proto != 0 && n.Proto != protocols["tcp"] {
		return n, errors.New("signature: fields of TCP, but another protocol")
	}
	n.Proto = protocols["tcp"]
	return n, nil
}

func destination(s *policy.Service) netip.Prefix {
	if s.IP.IsValid() {
		return netip.PrefixFrom(s.IP, s.IP.BitLen())
	}
	return s.Prefix
}

var (
	errZero  = errors.New("the gate cannot compare with 0")
	errOther = errors.New("the service says otherwise")
)

func addField(n *bpf.Signature, name, value string) error {
	switch name {
	case "protocol":
		return addProtocol(n, value)
	case "tcp_flags":
		return addFlags(n, value)
	case "tcp_options":
		v, err := strconv.ParseUint(value, 16, 32)
		layout := uint32(v)
		n.Layout = &layout
		return err
	case "payload":
		b, err := hex.DecodeString(value)
		n.Opening = b
		return err
	}
	v, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return err // a length above 65535: IPv6 jumbograms, that the gate does not read
	}
	return addNumber(n, name, uint16(v))
}

func addProtocol(n *bpf.Signature, value string) error {
	number, err := protocolNumber(value)
	if err != nil {
		v, e := strconv.ParseUint(value, 10, 8) // here numbers are legal where names exist
		if number = uint8(v); e != nil || v == 0 {
			return err
		}
	}
	if n.Proto != 0 && n.Proto != number {
		return errOther
	}
	n.Proto = number
	return nil
}

// allFlags are the nine of decode.Packet.Flags.
const allFlags = 1<<9 - 1

func addFlags(n *bpf.Signature, value string) error {
	n.FlagMask = allFlags
	if value == "none" {
		return nil
	}
	for f := range strings.SplitSeq(value, ",") {
		bit, ok := flagBits[f]
		if !ok {
			return errors.New("no such flag")
		}
		n.Flags |= bit
	}
	return nil
}

var flagBits = map[string]uint16{
	"fin": 1 << 0, "syn": 1 << 1, "rst": 1 << 2, "psh": 1 << 3, "ack": 1 << 4, "urg": 1 << 5, "ece": 1 << 6, "cwr": 1 << 7, "ae": 1 << 8,
}

func addNumber(n *bpf.Signature, name string, v uint16) error {
	switch {
	case name == "tcp_window":
		n.Window = &v
	case name == "ttl_min":
		n.MinTTL = uint8(v)
	case v == 0:
		return errZero
	case name == "src_port":
		n.SrcPort = v
	case name == "dst_port" && n.DstPort != 0 && n.DstPort != v:
		return errOther
	case name == "dst_port":
		n.DstPort = v
	case name == "length":
		n.MinLen, n.MaxLen = v, v
	case name == "ttl_max":
		n.MaxTTL = uint8(v)
	default:
		return errors.New("no such field")
	}
	return nil
}
