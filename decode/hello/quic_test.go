package hello

import (
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"
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
