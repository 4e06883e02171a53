package hello

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/quic"
	"pgregory.net/rapid"
)

// readHex reads a packet as an RFC prints it.
func readHex(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The client's Initial of RFC 9001, appendix A.2, and RFC 9369, appendix A.2: the same hello in both versions.
func TestInitialOfRFC(t *testing.T) {
	for _, c := range []struct {
		file    string
		version uint32
	}{
		{"rfc9001-a2.hex", QUIC1},
		{"rfc9369-a2.hex", QUIC2},
	} {
		packet := readHex(t, c.file)
		l, ok := ParseLong(packet)
		if !ok || !l.Initial || l.Version != c.version || hex.EncodeToString(l.Destination) != "8394c8f03e515708" || len(l.Source) != 0 {
			t.Fatalf("%s: %+v %v", c.file, l, ok)
		}
		var (
			o   Opener
			got Crypto
			buf [MaxOpening]byte
			h   ClientHello
		)
		if st := o.Initial(&got, packet, buf[:]); st != Done || got.Len() != 0xf1 {
			t.Fatalf("%s: %v, %d bytes", c.file, st, got.Len())
		}
		if st, _ := h.ParseMessage(buf[:got.Len()]); st != Done {
			t.Fatalf("%s: %v", c.file, st)
		}
		if string(h.SNI) != "example.com" || string(h.ALPN.First()) != "alpn" || h.Version() != 0x0304 || h.Ciphers.Len() != 2 || h.Ciphers.At(1) != 0x1302 {
			t.Errorf("%s: %+v", c.file, h.SNI)
		}
		for i := range packet {
			broken := slices.Clone(packet)
			broken[i] ^= 1
			var got Crypto
			if st := o.Initial(&got, broken, buf[:]); st != NotThis {
				t.Fatalf("%s: byte %d is wrong, yet %v", c.file, i, st)
			}
		}
	}
}

// relay lets a QUIC client of golang.org/x/net speak with its server and gives the first datagrams of each.
func relay(t *testing.T, cfg *tls.Config) (client, server [][]byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	serving, err := quic.Listen("udp", "127.0.0.1:0", &quic.Config{TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{certificate(t)}, NextProtos: cfg.NextProtos, MinVersion: tls.VersionTLS13,
	}})
	if err != nil {
		t.Fatal(err)
	}
	dialing, err := quic.Listen("udp", "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	between, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer between.Close()
	done := make(chan bool)
	go func() {
		defer close(done)
		for b := make([]byte, 65536); ; {
			n, from, err := between.ReadFromUDPAddrPort(b)
			switch {
			case err != nil:
				return
			case from == serving.LocalAddr():
				server = append(server, slices.Clone(b[:n]))
				_, _ = between.WriteToUDPAddrPort(b[:n], dialing.LocalAddr())
			default:
				client = append(client, slices.Clone(b[:n]))
				_, _ = between.WriteToUDPAddrPort(b[:n], serving.LocalAddr())
			}
		}
	}()
	conn, err := dialing.Dial(ctx, "udp", between.LocalAddr().String(), &quic.Config{TLSConfig: cfg})
	if err != nil {
		t.Fatal(err)
	}
	conn.Abort(nil)
	_ = dialing.Close(ctx)
	_ = serving.Close(ctx)
	between.Close()
	<-done
	return client, server
}

// A post-quantum hello of a real client takes two datagrams; the server's answer opens with the client's id.
func TestInitialOfClient(t *testing.T) {
	client, server := relay(t, &tls.Config{ServerName: "quic.example.org", NextProtos: []string{"h3"}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	var (
		o        Opener
		c, other Crypto
		buf      [MaxOpening]byte
		h        ClientHello
		s        ServerHello
	)
	if st := o.Initial(&c, client[0], buf[:]); st != NeedMore || c.Len() == 0 {
		t.Errorf("first datagram: %v, %d bytes", st, c.Len())
	}
	if st, want := h.ParseMessage(buf[:c.Len()]); st != NeedMore || want < 1200 || string(h.ALPN.First()) != "h3" && string(h.SNI) != "quic.example.org" {
		t.Errorf("half a hello: %v %d %q", st, want, h.SNI)
	}
	if st := o.Initial(&c, client[1], buf[:]); st != Done {
		t.Fatalf("second datagram: %v, %d bytes", st, c.Len())
	}
	if st, _ := h.ParseMessage(buf[:c.Len()]); st != Done || string(h.SNI) != "quic.example.org" || string(h.ALPN.First()) != "h3" || h.Version() != tls.VersionTLS13 || h.Record != 0 {
		t.Errorf("%v %q %q", st, h.SNI, h.ALPN.First())
	}
	if Sniff(client[0], true, 4433) != KindQUIC || Sniff(client[1], true, 4433) != KindQUIC || Sniff(server[0], false, 4433) != KindQUIC {
		t.Error("not known for QUIC")
	}
	first, _ := ParseLong(client[0])
	if st := o.Initial(&other, server[0], buf[:]); st != NotThis {
		t.Errorf("a server's datagram with its own id: %v", st)
	}
	for i, d := range server { // the first may only acknowledge
		st := o.Answer(&other, d, first.Destination, buf[:])
		if st == Done {
			break
		}
		if st != NeedMore || i == 2 {
			t.Fatalf("answer %d: %v", i, st)
		}
	}
	if st, _ := s.ParseMessage(buf[:other.Len()]); st != Done || s.Version != tls.VersionTLS13 || s.Cipher>>8 != 0x13 {
		t.Errorf("%v %#x %#x", st, s.Version, s.Cipher)
	}
}

// seal protects a payload as a client does: the way back of open.
func seal(version uint32, id, token []byte, number uint32, digits int, payload []byte) []byte {
	first := byte(longForm | fixedBit | digits - 1)
	if version == QUIC2 {
		first |= 1 << 4
	}
	var k initialKeys
	k.derive(version, id, false)
	b := binary.BigEndian.AppendUint32([]byte{first}, version)
	b = append(append(b, byte(len(id))), id...)
	b = append(append(b, 0, byte(len(token))), token...)
	b = binary.BigEndian.AppendUint16(b, uint16(1<<14|digits+len(payload)+tagSize))
	at := len(b)
	b = append(b, binary.BigEndian.AppendUint32(nil, number)[4-digits:]...)
	nonce := k.iv
	binary.BigEndian.PutUint32(nonce[8:], binary.BigEndian.Uint32(nonce[8:])^number)
	b = k.aead.Seal(b, nonce[:], payload, b)
	var mask [sampleSize]byte
	k.header.Encrypt(mask[:], b[at+4:at+4+sampleSize])
	b[0] ^= mask[0] & 0x0f
	for i := range digits {
		b[at+i] ^= mask[1+i]
	}
	return b
}

// piece is a CRYPTO frame.
func piece(stream []byte, from, to int) []byte {
	b := binary.BigEndian.AppendUint16([]byte{frameCrypto}, uint16(1<<14|from))
	return append(binary.BigEndian.AppendUint16(b, uint16(1<<14|to-from)), stream[from:to]...)
}

// Browsers scatter the hello over frames and packets; other packets may lie behind it.
func TestScattered(t *testing.T) {
	message := clientHello(&tls.Config{ServerName: "www.example.org", CurvePreferences: []tls.CurveID{tls.X25519}})[recordHeader:]
	end := len(message)
	ack := []byte{frameACK, 0x42, 0x00, 0x05, 0x02, 0x00, 0x01, 0x02, 0x03, 0x04, frameACKECN, 1, 1, 0, 1, 1, 2, 3, framePing, 0, 0, 0}
	coalesced := append(binary.BigEndian.AppendUint32([]byte{longForm | fixedBit | 1<<4}, QUIC1), 0, 0, 3, 'x', 'y', 'z') // 0-RTT
	for name, datagrams := range map[string][][]byte{
		"in order":      {seal(QUIC1, []byte("12345678"), nil, 0, 1, piece(message, 0, end))},
		"version 2":     {seal(QUIC2, []byte("12345678"), nil, 0, 2, piece(message, 0, end))},
		"number, token": {seal(QUIC1, []byte("1234"), []byte("a token"), 0x01020304, 4, piece(message, 0, end))},
		"backwards":     {seal(QUIC1, []byte("12345678"), nil, 7, 3, slices.Concat(piece(message, 90, end), ack, piece(message, 40, 100), piece(message, 0, 40)))},
		"two packets":   {slices.Concat(seal(QUIC1, []byte("1"), nil, 0, 1, piece(message, 50, end)), seal(QUIC1, []byte("1"), nil, 1, 1, piece(message, 0, 60)))},
		"behind 0-RTT":  {slices.Concat(coalesced, seal(QUIC1, nil, nil, 0, 1, piece(message, 0, end)), make([]byte, 100))},
		"two datagrams": {seal(QUIC1, []byte("12345678"), nil, 0, 1, piece(message, 30, end)), seal(QUIC1, []byte("12345678"), nil, 1, 1, piece(message, 0, 30))},
	} {
		var (
			o   Opener
			c   Crypto
			buf [MaxOpening]byte
			h   ClientHello
		)
		for i, d := range datagrams {
			want := NeedMore
			if i == len(datagrams)-1 {
				want = Done
			}
			if st := o.Initial(&c, d, buf[:]); st != want {
				t.Errorf("%s: datagram %d: %v", name, i, st)
			}
		}
		if st, _ := h.ParseMessage(buf[:c.Len()]); st != Done || string(h.SNI) != "www.example.org" {
			t.Errorf("%s: %v %q", name, st, h.SNI)
		}
	}
	var o Opener
	for name, d := range map[string][]byte{
		"empty":         {},
		"short header":  {0x40, 1, 2, 3},
		"no hello":      seal(QUIC1, []byte("1"), nil, 0, 1, piece([]byte("\x02\x00\x00\x00............"), 0, 16)),
		"negotiation":   append([]byte{0x80, 0, 0, 0, 0, 1, 'a', 1, 'b'}, 0, 0, 0, 1),
		"retry":         append([]byte{0xf0, 0, 0, 0, 1, 1, 'a', 1, 'b'}, make([]byte, 40)...),
		"draft 29":      append([]byte{0xc0, 0xff, 0, 0, 29, 1, 'a', 1, 'b'}, make([]byte, 1200)...),
		"id too long":   append([]byte{0xc0, 0, 0, 0, 1, 21}, make([]byte, 1200)...),
		"length beyond": append([]byte{0xc0, 0, 0, 0, 1, 1, 'a', 1, 'b', 0, 0x7f, 0xff}, make([]byte, 1200)...),
		"too long":      seal(QUIC1, []byte("1"), nil, 0, 1, make([]byte, maxPacket)),
	} {
		var c Crypto
		if st := o.Initial(&c, d, make([]byte, MaxOpening)); st != NotThis {
			t.Errorf("%s: %v", name, st)
		}
	}
}

// Pieces of a stream in any order, overlapping, beyond the buffer: against a slow twin that remembers each byte.
func TestCryptoModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Crypto
		buf := make([]byte, rapid.IntRange(0, 300).Draw(t, "room"))
		stream := make([]byte, 400)
		for i := range stream {
			stream[i] = byte(i*7 + 1)
		}
		have := make([]bool, len(buf))
		for range rapid.IntRange(0, 30).Draw(t, "pieces") {
			from := rapid.IntRange(0, len(stream)).Draw(t, "from")
			to := rapid.IntRange(from, min(from+60, len(stream))).Draw(t, "to")
			before := c
			c.add(from, stream[from:to], buf)
			if c == before && before.n == maxSpans {
				continue // no room for another span, or nothing new
			}
			for i := from; i < min(to, len(buf)); i++ {
				have[i] = true
			}
		}
		want := slices.Index(have, false)
		if want < 0 {
			want = len(have)
		}
		if c.Len() != want || !slices.Equal(buf[:want], stream[:want]) {
			t.Fatalf("%d bytes instead of %d: %v", c.Len(), want, c.spans[:c.n])
		}
	})
}

func FuzzInitial(f *testing.F) {
	message := clientHello(clients["tls13"])[recordHeader:]
	f.Add(readHex(f, "rfc9001-a2.hex"), []byte("12345678"))
	f.Add(seal(QUIC1, []byte("12345678"), nil, 0, 1, piece(message, 50, len(message))), piece(message, 0, 50))
	f.Fuzz(func(t *testing.T, datagram, payload []byte) {
		var (
			o   Opener
			c   Crypto
			h   ClientHello
			buf = make([]byte, MaxOpening)
		)
		o.Initial(&c, alone(datagram), buf)
		ParseLong(datagram)
		st := o.Initial(&c, seal(QUIC1, []byte("12345678"), nil, 0, 1, append(payload, make([]byte, 20)...)), buf) // any frames
		if st == Done {
			if st, _ := h.ParseMessage(buf[:c.Len()]); st == NeedMore {
				t.Fatalf("%d bytes are said to be whole", c.Len())
			}
		}
	})
}

func BenchmarkInitial(b *testing.B) {
	packet := readHex(b, "rfc9001-a2.hex")
	for _, bench := range []struct {
		name string
		same bool
	}{{"new-keys", false}, {"same-keys", true}} {
		b.Run(bench.name, func(b *testing.B) {
			var o Opener
			buf := make([]byte, MaxOpening)
			b.ReportAllocs()
			for b.Loop() {
				if !bench.same {
					o.keys.aead = nil
				}
				var c Crypto
				if o.Initial(&c, packet, buf) != Done {
					b.Fatal("not opened")
				}
			}
		})
	}
}
