package decode

// Bounds on nesting. They are far above what networks carry; a frame that exceeds one is cut off there with WhyDepth.
const (
	maxTags       = 16 // VLAN tags, MPLS labels and other shims of one link layer
	maxExtensions = 16 // extension headers of one IP header
	maxTunnels    = 8
	maxAttributes = 64 // of an NFLOG message; presence words of a radiotap header
)

// Decoder decodes frames. It holds only the hash secret: safe for concurrent use.
type Decoder struct{ secret [5]uint64 }

// NewDecoder returns a decoder whose Packet.Hash is keyed by seed: fixed in replays, secret and random live.
func NewDecoder(seed uint64) *Decoder { return &Decoder{secret: expand(seed)} }

// Decode reads f down to its innermost header and overwrites p, which may hold any earlier packet. Whatever a field's
// comment calls valid is right afterwards. It does not allocate; its cost is bounded by maxTunnels times the bounds on
// tags and extension headers.
//
// A tunnel whose inner header cannot be read is not entered: p is then the last header that could be read, and Why says
// what stopped the way inwards.
func (d *Decoder) Decode(f *Frame, p *Packet) {
	if !d.plain(f, p) {
		d.walk(f, p)
	}
}

// walk decodes any frame.
func (d *Decoder) walk(f *Frame, p *Packet) {
	w := walk{p: p, max: maxTunnels}
	w.begin(f)
	w.link(f.Link)
	d.seal(p)
}

// DecodeOuter is Decode that stops at the header which carries the depth-th tunnel (0: the outermost IP header): p is
// that header's packet, and p.Outer is set. It returns false if there is no tunnel at that depth, or none carried by UDP:
// only those outer packets make connections. Call it for depths below the Depth of the decoded packet.
func (d *Decoder) DecodeOuter(f *Frame, p *Packet, depth int) bool {
	if depth < 0 || depth >= maxTunnels {
		return false
	}
	w := walk{p: p, max: uint8(depth), outer: true}
	w.begin(f)
	w.link(f.Link)
	d.seal(p)
	return p.Outer
}

// walk is the way through one frame. What it learns of a link layer or a tunnel becomes the Packet's only when an IP or
// ARP header inside has been read (claim), so that a failure leaves the Packet as it was.
type walk struct {
	p    *Packet
	b    []byte // the frame up to the captured end of the enclosing header's payload; offsets count from the frame's start
	wire int    // end of the enclosing header's payload on the wire; at least len(b)

	l2      uint32
	disc    uint32
	vlan    [2]uint16
	ether   uint16
	tunnels Tunnels
	depth   uint8
	max     uint8 // tunnels to enter
	vlans   uint8
	shims   uint8 // tags and labels passed since the last tunnel
	hasMAC  bool
	outer   bool // DecodeOuter: reaching max is the goal, not a failure
}

func (w *walk) begin(f *Frame) {
	p := w.p
	w.b = f.Data
	w.wire = max(int(f.WireLen), len(f.Data))
	p.Time, p.Data, p.WireLen = f.Time, f.Data, uint32(w.wire)
	p.Cut = w.wire > len(f.Data)
	p.Kind, p.Why, p.Outer = KindNone, WhyOK, false
	p.L2, p.L3 = 0, 0
	p.clear()
	for i := range f.Tags { // by index: a copy of the array costs 2 ns
		if f.Tags[i] != (Tag{}) {
			w.tag(f.Tags[i].TCI)
			p.WireLen += 4
		}
	}
}

// clear resets what only some IP packets have. Seq, Ack and Window mean nothing without TCP but cost nothing here; Opt and
// the quote are guarded by Proto and HasQuote.
func (p *Packet) clear() {
	p.L4, p.Payload, p.End = 0, 0, 0
	p.IPLen, p.PayloadLen = 0, 0
	p.Seq, p.Ack, p.Window, p.Flags = 0, 0, 0, 0
	p.FragID, p.FragOff, p.IPID = 0, 0, 0
	p.Frag, p.MoreFrag, p.DF = false, false, false
	p.TTL, p.TOS = 0, 0
	p.ICMPType, p.ICMPCode, p.ARPOp = 0, 0, 0
	p.HasQuote, p.QuoteReverse, p.QuoteSeq = false, false, 0
}

// claim makes the header at off the packet's innermost one so far.
func (w *walk) claim(kind Kind, ver uint8, off int) {
	p := w.p
	if p.Kind != KindNone {
		p.clear()
	}
	w.describe()
	p.Kind, p.Why, p.L3 = kind, WhyOK, uint32(off)
	p.Key.PortA, p.Key.PortB, p.Key.Disc, p.Key.Proto, p.Key.Ver = 0, 0, w.disc, 0, ver
}

// describe tells the packet the link layers and tunnels passed so far.
func (w *walk) describe() {
	p := w.p
	p.L2, p.HasMAC = w.l2, w.hasMAC
	p.Ether, p.VLAN, p.VLANs = w.ether, w.vlan, w.vlans
	p.Tunnels, p.Depth = w.tunnels, w.depth
}

// stop ends the walk: the packet stays the last header that was claimed.
func (w *walk) stop(why Why) {
	if w.p.Kind == KindNone {
		w.describe()
	}
	w.p.Why = why
}

// need reports whether n bytes at off were captured, and ends the walk if they were not.
func (w *walk) need(off, n int) bool {
	if off+n <= len(w.b) {
		return true
	}
	w.stop(w.missing(off + n))
	return false
}

// missing says why the captured bytes end before end.
func (w *walk) missing(end int) Why {
	if end <= w.wire {
		return WhyCut
	}
	return WhyShort
}

// enter passes into a tunnel. It returns false where the walk has to end, with the packet as the tunnel's carrier.
func (w *walk) enter(t Tunnels) bool {
	if w.depth == w.max {
		if w.outer {
			w.p.Outer = w.p.Key.Proto == protoUDP
		} else {
			w.p.Why = WhyDepth
		}
		return false
	}
	w.depth++
	w.tunnels |= t
	w.disc, w.shims, w.ether = 0, 0, 0
	return true
}

// shim counts one more tag or label; false ends the walk.
func (w *walk) shim() bool {
	if w.shims == maxTags {
		w.stop(WhyDepth)
		return false
	}
	w.shims++
	return true
}

// tag notes an 802.1Q tag. A priority tag (VLAN id 0) does not tell connections apart.
func (w *walk) tag(tci uint16) {
	vid := tci & 0x0fff
	if w.vlans < 2 {
		w.vlan[w.vlans] = vid
	}
	w.vlans++ // at most maxTags in each of maxTunnels and the outermost layer
	if vid != 0 {
		w.disc = fold(w.disc, uint32(vid))
	}
}

func be16(b []byte) uint16 { return uint16(b[1]) | uint16(b[0])<<8 }

func be32(b []byte) uint32 {
	_ = b[3]
	return uint32(b[3]) | uint32(b[2])<<8 | uint32(b[1])<<16 | uint32(b[0])<<24
}
