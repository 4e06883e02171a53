package rehearsal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// quicSalt is that of QUIC version 1 (RFC 9001, section 5.2).
var quicSalt = []byte{
	0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a,
}

// initial is a datagram with an Initial packet that carries a TLS message, sealed as RFC 9001 has it with what the client's first
// connection id gives, and padded to 1200 bytes. The keys of a side follow from its label.
func initial(first, to, from []byte, label string, message []byte) []byte {
	secret := func(key []byte, label string, n int) []byte {
		info := binary.BigEndian.AppendUint16(nil, uint16(n))
		info = append(append(info, byte(len("tls13 ")+len(label))), "tls13 "+label...)
		b, err := hkdf.Expand(sha256.New, key, string(append(info, 0)), n)
		must(err)
		return b
	}
	base, err := hkdf.Extract(sha256.New, first, quicSalt)
	must(err)
	side := secret(base, label, 32)

	b := []byte{0xc3, 0, 0, 0, 1} // long header, Initial, four bytes of packet number
	b = append(append(b, byte(len(to))), to...)
	b = append(append(b, byte(len(from))), from...)
	b = append(b, 0) // no token
	const size, number, tag = 1200, 4, 16
	rest := size - len(b) - 2
	b = binary.BigEndian.AppendUint16(b, 0x4000|uint16(rest))
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	plain := []byte{6, 0} // CRYPTO at offset 0
	plain = binary.BigEndian.AppendUint16(plain, 0x4000|uint16(len(message)))
	plain = append(plain, message...)
	plain = append(plain, make([]byte, max(0, rest-number-tag-len(plain)))...)
	block, err := aes.NewCipher(secret(side, "quic key", 16))
	must(err)
	seal, err := cipher.NewGCM(block)
	must(err)
	b = seal.Seal(b, secret(side, "quic iv", 12), plain, b)
	mask, err := aes.NewCipher(secret(side, "quic hp", 16))
	must(err)
	var m [16]byte
	mask.Encrypt(m[:], b[at+4:at+20])
	b[0] ^= m[0] & 15
	for i := range number {
		b[at+i] ^= m[1+i]
	}
	return b
}

// must holds what cannot fail with keys of the right length.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// quic is a visit of a site over HTTP/3.
func (g *generator) quic(now int64, u, server *host, name string, objects int) {
	id := func() []byte { return binary.BigEndian.AppendUint64(nil, g.r.Uint64()) }
	first, own := id(), id()
	x := g.udp(now, u, server, 443)
	x.ask(initial(first, first, nil, "client in", clientHello(g.r, chromeQUIC, name)[5:]), 0)
	x.answer(span(g.r, 300e3, 3e6), initial(first, nil, own, "server in", serverHello(g.r, chromeQUIC)[5:]), 0)
	x.list = append(x.list, message{x.now - 2*u.delay + 40_000, 1, 1200, []byte{0xe0, 0, 0, 0, 1}})
	x.ask([]byte{0xe0, 0, 0, 0, 1}, 1200)
	for range objects {
		x.ask([]byte{0x40}, 60+g.r.IntN(500))
		x.now += int64(span(g.r, 1e6, 120e6))
		x.bulk(int(span(g.r, 150, 44e3)))
		x.now += int64(span(g.r, 1e6, 3e9))
	}
	x.end()
}

// bulk is size bytes of the server, with acknowledgements of the client.
func (x *exchange) bulk(size int) {
	const most = 1250
	gap := most * 8 * int64(time.Second) / min(x.from.rate, x.to.rate)
	var back []message
	for i := 0; size > 0; i++ {
		x.list = append(x.list, message{x.now, 1, int32(min(size, most) + 24), []byte{0x50}})
		if size -= most; i%4 == 3 || size <= 0 {
			back = append(back, message{x.now + 2*x.from.delay + 30_000, 0, 33, []byte{0x41}})
		}
		x.now += gap
	}
	x.list = append(x.list, back...)
	x.now += 2*x.from.delay + 50_000
}
