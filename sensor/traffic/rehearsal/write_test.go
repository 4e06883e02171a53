package rehearsal

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"weir/analyzers/fingerprint"
	"weir/decode"
	"weir/decode/hello"
	"weir/sensor/traffic/truth"
)

// morning is when everybody is at work.
var morning = DefaultStart.Add(9*time.Hour + 30*time.Minute)

func write(t *testing.T, cfg Config) ([]byte, *Made) {
	t.Helper()
	var b bytes.Buffer
	made, err := Write(context.Background(), &b, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), made
}

// framesOf are the frames of a capture that this package wrote.
func framesOf(t *testing.T, b []byte) (list []frame) {
	t.Helper()
	for b = b[24:]; len(b) > 0; {
		u := func(i int) int64 { return int64(binary.LittleEndian.Uint32(b[i:])) }
		n := int(u(8))
		list = append(list, frame{u(0)*1e9 + u(4), int(u(12)), b[record : record+n]})
		b = b[record+n:]
	}
	if !slices.IsSortedFunc(list, func(x, y frame) int { return cmp.Compare(x.at, y.at) }) {
		t.Error("frames are not in order of time")
	}
	return list
}

// TestSameBytes holds that bytes follow from seed and settings, and that benign traffic does not depend on the attacks.
func TestSameBytes(t *testing.T) {
	cfg := Config{Seed: 5, Start: morning, Length: 4 * time.Minute, Attacks: 2, Rate: 1}
	one, made := write(t, cfg)
	again, _ := write(t, cfg)
	if !bytes.Equal(one, again) {
		t.Error("the same seed gave other bytes")
	}
	cfg.Seed++
	if other, _ := write(t, cfg); bytes.Equal(one, other) {
		t.Error("another seed gave the same bytes")
	}
	cfg.Seed--
	cfg.Attacks = 0
	benign, none := write(t, cfg)
	if len(none.Truth.Attacks) != 0 || len(made.Truth.Attacks) != 2 {
		t.Fatalf("%d and %d attacks", len(none.Truth.Attacks), len(made.Truth.Attacks))
	}
	all := framesOf(t, one)
	i := 0
	for _, f := range framesOf(t, benign) {
		for i < len(all) && !(all[i].at == f.at && bytes.Equal(all[i].data, f.data)) {
			i++
		}
		if i == len(all) {
			t.Fatal("a benign frame is missing beside attacks")
		}
	}
	if extra := uint64(len(all)) - none.Packets; extra < made.Truth.Attacks[0].Packets+made.Truth.Attacks[1].Packets { // recordings hold more
		t.Errorf("%d frames more, the attacks have %d and %d", extra, made.Truth.Attacks[0].Packets, made.Truth.Attacks[1].Packets)
	}
}

// TestWellFormed holds every frame of some minutes against gopacket, its checksums included, and against our decoder.
func TestWellFormed(t *testing.T) {
	for name, start := range map[string]time.Time{"day": morning, "night": DefaultStart.Add(time.Hour)} {
		t.Run(name, func(t *testing.T) {
			b, made := write(t, Config{Seed: 9, Start: start, Length: 2 * time.Minute, Rate: 1})
			list := framesOf(t, b)
			if uint64(len(list)) != made.Packets || len(list) < 1000 {
				t.Fatalf("%d frames, told %d", len(list), made.Packets)
			}
			decoder := decode.NewDecoder(0)
			protocols := map[uint8]int{}
			i := slices.IndexFunc(list, func(f frame) bool { return binary.BigEndian.Uint16(f.data[12:]) == etherIPv4 })
			damaged := frame{wire: list[i].wire, data: slices.Clone(list[i].data)}
			if damaged.data[30]++; wrong(damaged) == "" {
				t.Fatal("a damaged frame is not noticed")
			}
			for i, f := range list {
				if bad := wrong(f); bad != "" {
					t.Fatalf("frame %d: %s\n% x", i+1, bad, f.data)
				}
				var p decode.Packet
				decoder.Decode(&decode.Frame{Data: f.data, Time: f.at, WireLen: uint32(f.wire), Link: decode.LinkEthernet}, &p)
				if p.Why != decode.WhyOK {
					t.Fatalf("frame %d: decoding stopped: %s", i+1, p.Why)
				}
				protocols[p.Key.Proto]++
			}
			for _, p := range []uint8{protoTCP, protoUDP, protoICMP} {
				if protocols[p] == 0 {
					t.Errorf("no packet of protocol %d", p)
				}
			}
		})
	}
}

// wrong tells what gopacket finds wrong with a frame. What was cut is zeros.
func wrong(f frame) string {
	whole := append(slices.Clone(f.data), make([]byte, f.wire-len(f.data))...)
	p := gopacket.NewPacket(whole, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil && p.ApplicationLayer() == nil && p.TransportLayer() == nil {
		return e.Error().Error()
	}
	if p.Metadata().Truncated {
		return "truncated"
	}
	switch l4 := p.TransportLayer().(type) { // it needs to be told
	case *layers.TCP:
		_ = l4.SetNetworkLayerForChecksum(p.NetworkLayer())
	case *layers.UDP:
		_ = l4.SetNetworkLayerForChecksum(p.NetworkLayer())
	}
	if six, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok {
		_ = six.SetNetworkLayerForChecksum(p.NetworkLayer())
	}
	err, mismatches := p.VerifyChecksums()
	if err != nil {
		return err.Error()
	}
	for _, m := range mismatches {
		return m.Layer.LayerType().String() + ": checksum"
	}
	return ""
}

// TestTshark lets Wireshark's decoders read a minute: nothing malformed, no bad checksum, nothing odd in TCP's sequence but
// the retransmissions.
func TestTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		leaveOut(t, "tshark is not installed")
	}
	b, _ := write(t, Config{Seed: 2, Start: morning, Length: time.Minute, Rate: 1})
	const odd = "_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 || icmp.checksum.status == 0 || " +
		"tcp.analysis.lost_segment || tcp.analysis.ack_lost_segment || tcp.analysis.keep_alive || tcp.analysis.zero_window"
	cmd := exec.Command(tshark, "-n", "-r", "-", "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-Y", odd)
	var errors bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(b), &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, errors.String())
	}
	if len(out) > 0 {
		t.Errorf("tshark finds odd:\n%.2000s", out)
	}
}

// TestOpenings holds the ClientHellos to the JA4 that are published for these programs (FoxIO's ja4plus-mapping, and Go's own
// from a recording), and the other openings to the decoder.
func TestOpenings(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for client, want := range map[int]string{
		chrome:  "t13d1516h2_8daaf6152771_e5627efa2ab1",
		firefox: "t13d1715h2_5b57614c22b0_3d5424432f57",
		safari:  "t13d2014h2_a09f3c656075_14788d8d241b",
	} {
		for range 20 {
			var h hello.ClientHello
			if st, _ := h.Parse(clientHello(r, client, "www.example")); st != hello.Done || string(h.SNI) != "www.example" {
				t.Fatalf("client %d: %v, for %q", client, st, h.SNI)
			}
			if got := fingerprint.JA4(&h, false); got.String() != want {
				t.Errorf("client %d: JA4 %s, want %s", client, got.String(), want)
			}
		}
	}
	for client := range clientCount {
		if client == chromeQUIC {
			continue
		}
		var h hello.ClientHello
		if st, _ := h.Parse(clientHello(r, client, "a.example")); st != hello.Done || h.Cut {
			t.Errorf("client %d: %v", client, st)
		}
		var s hello.ServerHello
		if st, _ := s.Parse(serverHello(r, client)); st != hello.Done || s.Cut {
			t.Errorf("server for client %d: %v", client, st)
		}
	}
	var (
		o   hello.Opener
		c   hello.Crypto
		buf [hello.MaxOpening]byte
		h   hello.ClientHello
	)
	id := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	if st := o.Initial(&c, initial(id, id, nil, "client in", clientHello(r, chromeQUIC, "q.example")[5:]), buf[:]); st != hello.Done {
		t.Errorf("QUIC: %v", st)
	}
	h.ParseMessage(buf[:c.Len()])
	if got := fingerprint.JA4(&h, true); string(h.SNI) != "q.example" || !strings.HasPrefix(got.String(), "q13d0310h3_55b375c5d22e_") {
		t.Errorf("QUIC: %q, JA4 %s", h.SNI, got.String())
	}
	var q hello.Request
	if st, _ := q.Parse(request("GET", "www.example", "/a?b", "Mozilla/5.0", "X-Forwarded-For: 192.0.2.1")); st != hello.Done ||
		string(q.Path) != "/a" || string(q.ForwardedFor) != "192.0.2.1" {
		t.Errorf("request: %v, %+v", st, q)
	}
	var d hello.DNS
	if st := d.Parse(reply(7, "www.example", typeA, codeOK, [][]byte{{192, 0, 2, 1}})); st != hello.Done || d.Answers != 1 || d.Cut {
		t.Errorf("reply: %v, %+v", st, d)
	}
}

// TestTruth holds first, last and number of each attack's packets to the capture: those of its subject's address, which nobody else
// has, else of its victim's.
func TestTruth(t *testing.T) {
	b, made := write(t, Config{Seed: 11, Start: morning, Length: 20 * time.Minute, Attacks: 6, Rate: 0.1})
	if len(made.Truth.Attacks) != 6 {
		t.Fatalf("%d attacks", len(made.Truth.Attacks))
	}
	list := framesOf(t, b)
	for _, a := range made.Truth.Attacks {
		if a.Subject == nil || Inside[0].Contains(a.Subject.IP) {
			continue // other packets are of that host, too
		}
		var first, last truth.Time
		n := uint64(0)
		for _, f := range list {
			if src, dst := ends(f.data); src == a.Subject.IP || dst == a.Subject.IP {
				if n++; n == 1 {
					first = truth.Time(f.at)
				}
				last = truth.Time(f.at)
			}
		}
		if first != a.First || last != a.Last || n != a.Packets {
			t.Errorf("%s %s: %d packets from %s to %s, told %d from %s to %s", a.ID, a.Source, n, first, last, a.Packets, a.First, a.Last)
		}
	}
	var text bytes.Buffer
	if err := made.Truth.Write(&text); err != nil {
		t.Fatal(err)
	}
	if f, err := truth.Read(&text); err != nil || len(f.Attacks) != 6 {
		t.Errorf("the truth cannot be read: %v", err)
	}
}

// TestHours holds the profile: the middle of a working morning has many times the traffic of the small hours and of Sunday.
func TestHours(t *testing.T) {
	at := func(start time.Time) float64 {
		_, made := write(t, Config{Seed: 3, Start: start, Length: 4 * time.Minute, Rate: 1})
		return float64(made.Packets)
	}
	work, night, sunday := at(morning), at(DefaultStart.Add(5*time.Hour)), at(morning.Add(6*24*time.Hour))
	if work < 3*night || work < 2*sunday {
		t.Errorf("packets: %g on Monday morning, %g in the night, %g on Sunday", work, night, sunday)
	}
}

// TestCheck names what cannot be.
func TestCheck(t *testing.T) {
	good := Config{Start: DefaultStart, Length: time.Hour, Rate: 1}
	for want, change := range map[string]func(*Config){
		"a length of":      func(c *Config) { c.Length = time.Second },
		"a length of 9600": func(c *Config) { c.Length = 400 * 24 * time.Hour },
		"start ":           func(c *Config) { c.Start = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC) },
		"a rate of":        func(c *Config) { c.Rate = 0 },
		"-1 attacks":       func(c *Config) { c.Attacks = -1 },
	} {
		c := good
		change(&c)
		if err := c.Check(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want %q…", c, err, want)
		}
	}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}

// TestInterrupted ends with an error.
func TestInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	h := sha256.New()
	if _, err := Write(ctx, h, Config{Start: DefaultStart, Length: time.Hour, Rate: 1}, nil); err == nil {
		t.Error("no error")
	}
}
