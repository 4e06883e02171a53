package rehearsal

import (
	"encoding/binary"
	"math/rand/v2"
)

// Clients whose ClientHellos are written.
const (
	chrome = iota
	firefox
	safari
	openssl
	schannel
	goTLS
	chromeQUIC
	clientCount
)

// tlsClient is what a program offers: the lists of its ClientHello, in its order. Values are those of the IANA TLS registries; 0x0a0a
// stands for a value of GREASE (RFC 8701).
type tlsClient struct {
	ciphers, extensions, groups, signatures, versions []uint16
	alpn                                              []string
	shares                                            []uint16 // groups with a key
	shuffle                                           bool     // extensions in random order
}

const grease = 0x0a0a

// tlsClients are by number. The lists are what these programs are known to send (for Chrome 124, Firefox 125, Safari 17; curl with
// OpenSSL 3.0, Windows' WinHTTP and Go 1.22): the first parts of their JA4 hold them to that in a test.
var tlsClients = [clientCount]tlsClient{
	chrome: {
		ciphers: []uint16{
			grease, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x9c, 0x9d, 0x2f, 0x35,
		},
		extensions: []uint16{grease, 0, 23, 65281, 10, 11, 35, 16, 5, 13, 18, 51, 45, 43, 27, 17513, grease, 21},
		groups:     []uint16{grease, 0x1d, 0x17, 0x18},
		signatures: []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601},
		versions:   []uint16{grease, 0x0304, 0x0303}, alpn: []string{"h2", "http/1.1"}, shares: []uint16{grease, 0x1d}, shuffle: true,
	},
	firefox: {
		ciphers: []uint16{
			0x1301, 0x1303, 0x1302, 0xc02b, 0xc02f, 0xcca9, 0xcca8, 0xc02c, 0xc030, 0xc00a, 0xc009, 0xc013, 0xc014, 0x9c, 0x9d, 0x2f, 0x35,
		},
		extensions: []uint16{0, 23, 65281, 10, 11, 35, 16, 5, 34, 51, 43, 13, 45, 28, 21},
		groups:     []uint16{0x1d, 0x17, 0x18, 0x19, 0x100, 0x101},
		signatures: []uint16{0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201},
		versions:   []uint16{0x0304, 0x0303}, alpn: []string{"h2", "http/1.1"}, shares: []uint16{0x1d, 0x17},
	},
	safari: {
		ciphers: []uint16{
			grease, 0x1301, 0x1302, 0x1303, 0xc02c, 0xc02b, 0xcca9, 0xc030, 0xc02f, 0xcca8, 0xc00a, 0xc009, 0xc014, 0xc013, 0x9d, 0x9c,
			0x35, 0x2f, 0xc008, 0xc012, 0x0a,
		},
		extensions: []uint16{grease, 0, 23, 65281, 10, 11, 16, 5, 13, 18, 51, 45, 43, 27, grease, 21},
		groups:     []uint16{grease, 0x1d, 0x17, 0x18, 0x19},
		signatures: []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0203, 0x0805, 0x0805, 0x0501, 0x0806, 0x0601, 0x0201},
		versions:   []uint16{grease, 0x0304, 0x0303, 0x0302, 0x0301}, alpn: []string{"h2", "http/1.1"}, shares: []uint16{grease, 0x1d},
	},
	openssl: {
		ciphers: []uint16{
			0x1302, 0x1303, 0x1301, 0xc02c, 0xc030, 0x9f, 0xcca9, 0xcca8, 0xccaa, 0xc02b, 0xc02f, 0x9e, 0xc024, 0xc028, 0x6b, 0xc023, 0xc027,
			0x67, 0xc00a, 0xc014, 0x39, 0xc009, 0xc013, 0x33, 0x9d, 0x9c, 0x3d, 0x3c, 0x35, 0x2f, 0xff,
		},
		extensions: []uint16{0, 11, 10, 16, 22, 23, 49, 13, 43, 45, 51, 21},
		groups:     []uint16{0x1d, 0x17, 0x1e, 0x19, 0x18, 0x100, 0x101, 0x102, 0x103, 0x104},
		signatures: []uint16{
			0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0809, 0x080a, 0x080b, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0303, 0x0301,
			0x0302, 0x0402, 0x0502, 0x0602,
		},
		versions: []uint16{0x0304, 0x0303}, alpn: []string{"h2", "http/1.1"}, shares: []uint16{0x1d},
	},
	schannel: {
		ciphers: []uint16{
			0xc02c, 0xc02b, 0xc030, 0xc02f, 0xc024, 0xc023, 0xc028, 0xc027, 0xc00a, 0xc009, 0xc014, 0xc013, 0x9d, 0x9c, 0x3d, 0x3c, 0x35, 0x2f,
		},
		extensions: []uint16{0, 5, 10, 11, 13, 35, 16, 23, 65281},
		groups:     []uint16{0x1d, 0x17, 0x18},
		signatures: []uint16{0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0201, 0x0403, 0x0503, 0x0203, 0x0202, 0x0601, 0x0603},
		alpn:       []string{"http/1.1"},
	},
	chromeQUIC: {
		ciphers:    []uint16{0x1301, 0x1302, 0x1303},
		extensions: []uint16{0, 10, 16, 13, 51, 45, 43, 27, 57, 17513},
		groups:     []uint16{0x1d, 0x17, 0x18},
		signatures: []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601, 0x0201},
		versions:   []uint16{0x0304}, alpn: []string{"h3"}, shares: []uint16{0x1d},
	},
	goTLS: {
		ciphers:    []uint16{0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc009, 0xc013, 0xc00a, 0xc014, 0x1301, 0x1302, 0x1303},
		extensions: []uint16{0, 11, 65281, 23, 18, 5, 10, 13, 16, 43, 51},
		groups:     []uint16{0x1d, 0x17, 0x18, 0x19},
		signatures: []uint16{0x0804, 0x0403, 0x0807, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0503, 0x0603, 0x0201, 0x0203},
		versions:   []uint16{0x0304, 0x0303}, alpn: []string{"h2", "http/1.1"}, shares: []uint16{0x1d},
	},
}

// clientHello is the record of a ClientHello for a server name (RFC 8446, section 4.1.2).
func clientHello(r *rand.Rand, client int, name string) []byte {
	c := &tlsClients[client]
	random := func(b []byte, n int) []byte {
		for range n {
			b = append(b, byte(r.Uint32()))
		}
		return b
	}
	greased := func(v uint16) uint16 {
		if v == grease {
			n := uint16(r.IntN(16))
			return n<<12 | 0xa00 | n<<4 | 0xa
		}
		return v
	}
	list := func(b []byte, values []uint16) []byte {
		for _, v := range values {
			b = binary.BigEndian.AppendUint16(b, greased(v))
		}
		return b
	}
	b := []byte{22, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3}
	b = random(b, 32)
	if client == chromeQUIC {
		b = append(b, 0) // no session id (RFC 9001, section 8.4)
	} else {
		b = random(append(b, 32), 32)
	}
	b = vector16(b, func(b []byte) []byte { return list(b, c.ciphers) })
	b = append(b, 1, 0)
	extensions := append([]uint16(nil), c.extensions...)
	if c.shuffle {
		inner := extensions[1 : len(extensions)-2]
		r.Shuffle(len(inner), func(i, j int) { inner[i], inner[j] = inner[j], inner[i] })
	}
	firstGrease := true
	body := func(b []byte, e uint16) []byte {
		switch e {
		case grease:
			if !firstGrease {
				b = append(b, 0)
			}
			firstGrease = false
		case 0: // server_name
			b = vector16(b, func(b []byte) []byte {
				return vector16(append(b, 0), func(b []byte) []byte { return append(b, name...) })
			})
		case 5: // status_request
			b = append(b, 1, 0, 0, 0, 0)
		case 10:
			b = vector16(b, func(b []byte) []byte { return list(b, c.groups) })
		case 11:
			b = append(b, 1, 0)
		case 13, 34:
			b = vector16(b, func(b []byte) []byte { return list(b, c.signatures) })
		case 16, 17513:
			b = vector16(b, func(b []byte) []byte {
				for _, p := range c.alpn {
					b = append(append(b, byte(len(p))), p...)
				}
				return b
			})
		case 21: // padding
			b = append(b, make([]byte, 120)...)
		case 27: // compress_certificate
			b = append(b, 2, 0, 2)
		case 28: // record_size_limit
			b = append(b, 0x40, 1)
		case 43:
			b = append(b, byte(2*len(c.versions)))
			b = list(b, c.versions)
		case 45:
			b = append(b, 1, 1)
		case 51:
			b = vector16(b, func(b []byte) []byte {
				for _, g := range c.shares {
					n := 32
					switch g {
					case grease:
						n = 1
					case 0x17:
						n = 65
					}
					b = binary.BigEndian.AppendUint16(b, greased(g))
					b = vector16(b, func(b []byte) []byte { return random(b, n) })
				}
				return b
			})
		case 57: // quic_transport_parameters: idle timeout, and a first flow control window
			b = append(b, 1, 4, 0x80, 0, 0x75, 0x30, 4, 4, 0x80, 0xf0, 0, 0)
		case 65281:
			b = append(b, 0)
		}
		return b
	}
	b = vector16(b, func(b []byte) []byte {
		for _, e := range extensions {
			b = binary.BigEndian.AppendUint16(b, greased(e))
			b = vector16(b, func(b []byte) []byte { return body(b, e) })
		}
		return b
	})
	binary.BigEndian.PutUint16(b[3:], uint16(len(b)-5))
	binary.BigEndian.PutUint16(b[7:], uint16(len(b)-9))
	return b
}

// vector16 appends what f does behind its length in two bytes.
func vector16(b []byte, f func([]byte) []byte) []byte {
	at := len(b)
	b = f(append(b, 0, 0))
	binary.BigEndian.PutUint16(b[at:], uint16(len(b)-at-2))
	return b
}

// serverHello is the record of a ServerHello that answers a client, and what else of the server's first flight is in the clear.
func serverHello(r *rand.Rand, client int) []byte {
	c := &tlsClients[client]
	b := []byte{22, 3, 3, 0, 0, 2, 0, 0, 0, 3, 3}
	for range 32 {
		b = append(b, byte(r.Uint32()))
	}
	modern := len(c.versions) > 0
	cipher := uint16(0xc030)
	if modern {
		cipher = 0x1301
	}
	if modern && client != chromeQUIC {
		b = append(b, 32)
		for range 32 {
			b = append(b, byte(r.Uint32()))
		}
	} else {
		b = append(b, 0)
	}
	b = binary.BigEndian.AppendUint16(b, cipher)
	b = append(b, 0)
	b = vector16(b, func(b []byte) []byte {
		if !modern {
			return append(b, 0xff, 1, 0, 1, 0, 0, 11, 0, 2, 1, 0, 0, 23, 0, 0)
		}
		b = append(b, 0, 43, 0, 2, 3, 4, 0, 51, 0, 36, 0, 0x1d, 0, 32)
		for range 32 {
			b = append(b, byte(r.Uint32()))
		}
		return b
	})
	binary.BigEndian.PutUint16(b[3:], uint16(len(b)-5))
	binary.BigEndian.PutUint16(b[7:], uint16(len(b)-9))
	if modern && client != chromeQUIC {
		b = append(b, 20, 3, 3, 0, 1, 1)
	}
	return b
}

// sealed is the head of a record of encrypted data.
func sealed(n int) []byte {
	n = min(n, 1<<14)
	return []byte{23, 3, 3, byte((n - 5) >> 8), byte(n - 5)}
}

// tls is the handshake on a new connection.
func (t *talk) tls(client int, name string) {
	r := t.g.r
	t.say(0, clientHello(r, client, name), 0)
	t.wait(span(r, 300e3, 3e6))
	t.say(1, serverHello(r, client), 2600+r.IntN(2400))
	t.wait(span(r, 200e3, 2e6))
	t.say(0, []byte{20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 53}, 64+r.IntN(2)*29)
	if r.IntN(3) > 0 { // session tickets
		t.wait(span(r, 100e3, 1e6))
		t.say(1, sealed(250), 510)
	}
}

// sealed sends encrypted data.
func (t *talk) sealed(side, size int) { t.say(side, sealed(size), size) }
