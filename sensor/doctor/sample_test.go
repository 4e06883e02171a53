package doctor

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"weir/decode"
	"weir/sensor/capture"
)

// sampled counts a capture; more, if it is given, says which frames to count in place of each.
func sampled(t testing.TB, path string, more func(f decode.Frame) []decode.Frame) *Sample {
	t.Helper()
	src, err := capture.Open(path, capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	c := NewCounter(1500, nil)
	d := decode.NewDecoder(1)
	var b capture.Block
	var p decode.Packet
	for err == nil {
		err = src.Next(&b)
		for i := range b.Frames {
			all := []decode.Frame{b.Frames[i]}
			if more != nil {
				all = more(b.Frames[i])
			}
			for k := range all {
				d.Decode(&all[k], &p)
				c.Count(&all[k], &p)
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	s := &Sample{Seconds: 10, Workers: 1}
	s.Merge(&c.Sample)
	s.Close()
	return s
}

// says is what a check of traffic says of a sample.
func says(t *testing.T, check string, s *Sample) Result {
	t.Helper()
	f := facts(ixgbe())
	f.Sample = s
	all := Examine(f)
	i := slices.IndexFunc(all, func(r Result) bool { return r.Check == check })
	if i < 0 {
		t.Fatalf("no result of %s", check)
	}
	return all[i]
}

const browsing = "../../pcaps/benign/web-browsing/in.pcap.zst"

// TestCaptures holds the verdicts on captures whose READMEs say what is true in them: one shows one direction only, and in
// none a mirror doubled anything.
func TestCaptures(t *testing.T) {
	paths, err := filepath.Glob("../../pcaps/benign/*/in.pcap*")
	if err != nil || len(paths) < 20 {
		t.Fatalf("%d captures: %v", len(paths), err)
	}
	for _, path := range paths {
		s := sampled(t, path, nil)
		name := filepath.Base(filepath.Dir(path))
		if r := says(t, "doubled", s); r.Status > Note {
			t.Errorf("%s: %s", name, r.What)
		}
		r := says(t, "one_way", s)
		if want := name == "oneway-browsing"; (r.Status == Fail) != want {
			t.Errorf("%s: %s %s", name, r.Status, r.What)
		}
		t.Logf("%s: %s; %s", name, r.What, says(t, "doubled", s).What)
	}
}

// again is a frame as a switch or router would send it a second time, a moment later.
func again(f decode.Frame, after int64, change func(b []byte)) decode.Frame {
	f.Data = slices.Clone(f.Data)
	f.Time += after
	change(f.Data)
	return f
}

// TestDoubled counts a capture whose frames all come twice, as a mirror of both directions of all ports sends them.
func TestDoubled(t *testing.T) {
	plain := sampled(t, browsing, nil)
	for _, c := range []struct {
		name   string
		after  int64
		change func(b []byte)
		routed bool
		counts bool
	}{
		{"switch", 15e3, func([]byte) {}, false, true},
		{"router", 40e3, func(b []byte) { // a hop less, another header checksum, other Ethernet addresses
			if b[12] == 8 && b[13] == 0 {
				b[14+8]--
				binary.BigEndian.PutUint16(b[14+10:], binary.BigEndian.Uint16(b[14+10:])+0x100)
			}
			b[5], b[11] = 1, 2
		}, true, true},
		{"late", 50e6, func([]byte) {}, false, false},
		{"another packet", 15e3, func(b []byte) { // the next identification: a retransmission
			if b[12] == 8 && b[13] == 0 && (b[14+4] != 0 || b[14+5] != 0) { // RSTs without one do repeat
				b[14+4] ^= 0x80
			}
		}, false, false},
	} {
		s := sampled(t, browsing, func(f decode.Frame) []decode.Frame { return []decode.Frame{f, again(f, c.after, c.change)} })
		want := uint64(0)
		if c.counts {
			want = plain.Told
		}
		if s.Doubled < want || s.Doubled > want+want/500 || s.Told != 2*plain.Told {
			t.Errorf("%s: %d of %d packets are doubled, want %d", c.name, s.Doubled, s.Told, want)
		}
		if c.routed != (s.Routed > 0) {
			t.Errorf("%s: %d over a router", c.name, s.Routed)
		}
		if r := says(t, "doubled", s); (r.Status == Fail) != c.counts {
			t.Errorf("%s: %s %s", c.name, r.Status, r.What)
		}
		if d := s.distance(); c.counts && (d < c.after || d > 2*c.after) {
			t.Errorf("%s: %d ns apart, not %d", c.name, d, c.after)
		}
	}
}

// segment is a TCP segment as gopacket writes it.
func segment(t testing.TB, id uint16, ttl uint8, vlan uint16, seq uint32, payload string) decode.Frame {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}
	ip := &layers.IPv4{Version: 4, Id: id, TTL: ttl, Protocol: layers.IPProtocolTCP, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{198, 51, 100, 1}}
	tcp := &layers.TCP{SrcPort: 40000, DstPort: 80, Seq: seq, ACK: true, Ack: 7, Window: 500}
	all := []gopacket.SerializableLayer{eth, ip, tcp, gopacket.Payload(payload)}
	if vlan > 0 {
		eth.EthernetType = layers.EthernetTypeDot1Q
		all = slices.Insert(all, 1, gopacket.SerializableLayer(&layers.Dot1Q{VLANIdentifier: vlan, Type: layers.EthernetTypeIPv4}))
	}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return decode.Frame{Data: b.Bytes(), WireLen: uint32(len(b.Bytes())), Link: decode.LinkEthernet}
}

// TestSecond holds which second packet is a copy of the first.
func TestSecond(t *testing.T) {
	first := segment(t, 700, 64, 0, 1000, "hello")
	for _, c := range []struct {
		name   string
		second decode.Frame
		apart  int64
		copy   bool
	}{
		{"the same", segment(t, 700, 64, 0, 1000, "hello"), 1e6, true},
		{"the same in a VLAN, behind a router", segment(t, 700, 63, 9, 1000, "hello"), 1e6, true},
		{"before the first, by the clock", segment(t, 700, 64, 0, 1000, "hello"), -1e6, true},
		{"retransmission", segment(t, 701, 64, 0, 1000, "hello"), 1e6, false},
		{"next segment", segment(t, 700, 64, 0, 1005, "hello"), 1e6, false},
		{"same numbers, other bytes", segment(t, 700, 64, 0, 1000, "hullo"), 1e6, false},
		{"other length", segment(t, 700, 64, 0, 1000, "hello!"), 1e6, false},
		{"the same, too late", segment(t, 700, 64, 0, 1000, "hello"), 11e6, false},
	} {
		k := NewCounter(1500, nil)
		d := decode.NewDecoder(1)
		var p decode.Packet
		a, b := first, c.second
		a.Time, b.Time = 1e9, 1e9+c.apart
		for _, f := range []*decode.Frame{&a, &b} {
			d.Decode(f, &p)
			k.Count(f, &p)
		}
		if (k.Doubled == 1) != c.copy {
			t.Errorf("%s: %d copies", c.name, k.Doubled)
		}
	}
	zero := segment(t, 0, 64, 0, 1000, "hello")
	k := NewCounter(1500, nil)
	var p decode.Packet
	for range 2 {
		decode.NewDecoder(1).Decode(&zero, &p)
		k.Count(&zero, &p)
	}
	if k.Doubled != 0 || k.Told != 0 {
		t.Errorf("without an identification: %d of %d doubled", k.Doubled, k.Told)
	}
}

// TestBounds holds that a flood of connections does not grow the sample, and says so.
func TestBounds(t *testing.T) {
	c := NewCounter(1500, nil)
	f := segment(t, 1, 64, 0, 1, "x")
	d := decode.NewDecoder(1)
	var p decode.Packet
	for i := range uint32(2 * maxConnections) {
		binary.BigEndian.PutUint32(f.Data[14+12:], i)
		d.Decode(&f, &p)
		c.Count(&f, &p)
	}
	if len(c.connections) != maxConnections || c.Untold != maxConnections {
		t.Errorf("%d connections, %d left out", len(c.connections), c.Untold)
	}
}

// TestOwn holds whose frames count as this host's, and what else the link layer tells.
func TestOwn(t *testing.T) {
	c := NewCounter(40, map[[6]byte]bool{{2, 0, 0, 0, 0, 2}: true})
	d := decode.NewDecoder(1)
	var p decode.Packet
	count := func(f decode.Frame) {
		d.Decode(&f, &p)
		c.Count(&f, &p)
	}
	count(segment(t, 1, 64, 0, 1, "to this host, above the MTU"))
	other := segment(t, 2, 64, 5, 1, "")
	other.Data[5] = 9
	count(other)
	all := segment(t, 3, 64, 4095, 1, "")
	copy(all.Data, "\xff\xff\xff\xff\xff\xff")
	count(all)
	c.Close()
	if c.Packets != 3 || c.Unicast != 2 || c.Own != 1 || c.Tagged != 2 || c.VLANs != 2 || c.Super != 1 || c.IP != 3 {
		t.Errorf("%+v", c.Sample)
	}
}

func BenchmarkCount(b *testing.B) {
	f := segment(b, 1, 64, 0, 1, "x")
	c := NewCounter(1500, nil)
	d := decode.NewDecoder(1)
	var p decode.Packet
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		binary.BigEndian.PutUint32(f.Data[14+12:], uint32(i)%50000)
		f.Time += 1000
		d.Decode(&f, &p)
		c.Count(&f, &p)
	}
}
