package decode

import (
	"fmt"
	"reflect"
	"testing"
)

// check decodes f into a packet that held others and reports which promise of Packet is broken; "" if none is.
func check(d *Decoder, f *Frame, dirty *Packet) string {
	var p Packet
	d.Decode(f, &p)
	d.Decode(f, dirty)
	if a, b := visible(&p), visible(dirty); !reflect.DeepEqual(a, b) {
		return fmt.Sprintf("depends on the packet before:\n%+v\n%+v", a, b)
	}
	var walked Packet
	d.walk(f, &walked)
	if a, b := visible(&p), visible(&walked); !reflect.DeepEqual(a, b) {
		return fmt.Sprintf("the short way and the walk differ:\n%+v\n%+v", a, b)
	}
	if broken := sane(d, f, &p); broken != "" {
		return broken
	}
	return checkOuter(d, f, &p)
}

// visible is p with the fields that are not valid cleared.
func visible(p *Packet) Packet {
	v := *p
	v.Data = nil
	if v.Kind == KindNone {
		v.Key, v.Hash = Key{}, 0
	}
	if v.Key.Proto != protoTCP || v.Why == WhyCut || v.Why == WhyShort || v.FragOff != 0 {
		v.Opt = TCPOptions{}
	}
	if !v.HasQuote {
		v.Quote, v.QuoteHash = Key{}, 0
	}
	return v
}

// sane checks one packet against the comments of Packet.
func sane(d *Decoder, f *Frame, p *Packet) string {
	captured, tags := uint32(len(f.Data)), uint32(0)
	for _, t := range f.Tags {
		if t != (Tag{}) {
			tags += 4
		}
	}
	switch {
	case p.Why >= WhyCount:
		return "reason out of range"
	case p.WireLen != max(f.WireLen, captured)+tags || p.Cut != (f.WireLen > captured):
		return "length of the frame"
	case p.HasMAC && p.L2+14 > captured:
		return "Ethernet header beyond the frame"
	case p.Shard >= Shards:
		return "shard out of range"
	case p.Kind == KindNone && (p.Why == WhyOK || p.Shard != 0 || p.HasQuote):
		return "nothing read, but no reason"
	case p.Kind == KindNone:
		return ""
	case p.L3 > p.L4 || p.L4 > p.Payload || p.Payload > p.End || p.End > captured:
		return fmt.Sprintf("offsets %d %d %d %d %d", p.L3, p.L4, p.Payload, p.End, captured)
	case p.L3+p.IPLen > p.WireLen || p.PayloadLen > p.IPLen:
		return fmt.Sprintf("lengths %d+%d of %d, payload %d", p.L3, p.IPLen, p.WireLen, p.PayloadLen)
	case p.Kind != KindARP && p.End > p.L3+p.IPLen:
		return "captured end beyond the IP packet"
	case p.Depth > maxTunnels || (p.Depth > 0) != (p.Tunnels != 0):
		return "tunnels without kind"
	case p.Why == WhyCut && !p.Cut:
		return "cut, but the frame is whole"
	case (p.Kind == KindARP) != (p.Key.Ver == 0):
		return "version of the key"
	case !p.HasTCP() && (p.Seq|p.Ack != 0 || p.Flags|p.Window != 0):
		return "TCP fields without TCP"
	case p.FragOff != 0 && !p.Frag:
		return "offset, but no fragment"
	}
	if broken := canonical(d, &p.Key, p.Hash); broken != "" {
		return broken
	}
	pair := &p.Key
	if p.HasQuote {
		if broken := canonical(d, &p.Quote, p.QuoteHash); broken != "" {
			return "quote: " + broken
		}
		pair = &p.Quote
	}
	if p.Shard != shard(d.pair(pair)) {
		return "shard of another pair"
	}
	return ""
}

// canonical checks a key's order and hash.
func canonical(d *Decoder, k *Key, hash uint64) string {
	if k.B.Less(k.A) || k.A == k.B && k.PortB < k.PortA {
		return "order of the key"
	}
	if hash != d.hash(d.pair(k), k) {
		return "hash of the key"
	}
	return ""
}

// checkOuter checks the packets around p: depths below p's are tunnels, and those that UDP carries are UDP.
func checkOuter(d *Decoder, f *Frame, p *Packet) string {
	for depth := range maxTunnels {
		var o Packet
		found := d.DecodeOuter(f, &o, depth)
		switch {
		case found != o.Outer:
			return "outer without mark"
		case found && (o.Key.Proto != protoUDP || int(o.Depth) != depth || o.Why != WhyOK):
			return fmt.Sprintf("outer %+v", o)
		case found:
			if broken := sane(d, f, &o); broken != "" {
				return "outer: " + broken
			}
		}
		if depth < int(p.Depth) && o.Kind == KindNone {
			return "no carrier around a tunnel"
		}
	}
	return ""
}

// TestCaptures checks every frame of every capture, whole and cut to common snaplens.
func TestCaptures(t *testing.T) {
	d := NewDecoder(1)
	var dirty Packet
	total := 0
	for _, path := range captures(t) {
		n := 0
		readFrames(t, path, func(f *Frame) {
			n++
			if n > 500 { // of long captures: the rest repeats them
				return
			}
			total++
			for _, snap := range []int{1 << 20, 128, 68, 40} {
				cut := *f
				cut.Data = f.Data[:min(len(f.Data), snap)]
				if broken := check(d, &cut, &dirty); broken != "" {
					t.Fatalf("%s frame %d cut to %d: %s", label(path), n, snap, broken)
				}
			}
		})
	}
	t.Logf("%d frames", total)
}

// FuzzDecode looks for frames that break a promise of Packet.
func FuzzDecode(f *testing.F) {
	for _, c := range crafted {
		f.Add(c.frame, uint16(c.link), uint16(0), uint32(0))
		f.Add(c.frame, uint16(c.link), uint16(20), uint32(100<<16|200))
	}
	for _, path := range captures(f) {
		n := 0
		readFrames(f, path, func(fr *Frame) {
			if n++; n <= 4 && len(fr.Data) < 2000 {
				f.Add(fr.Data, uint16(fr.Link), uint16(0), uint32(0))
			}
		})
	}
	d := NewDecoder(1)
	var dirty Packet
	f.Fuzz(func(t *testing.T, data []byte, link, missing uint16, tags uint32) {
		fr := Frame{Data: data, WireLen: uint32(len(data)) + uint32(missing), Link: LinkType(link)}
		if tags != 0 {
			fr.Tags = [2]Tag{{0x88a8, uint16(tags >> 16)}, {0x8100, uint16(tags)}}
		}
		if broken := check(d, &fr, &dirty); broken != "" {
			t.Fatal(broken)
		}
	})
}
