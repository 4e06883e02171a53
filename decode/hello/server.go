package hello

import "bytes"

// ServerHello is the first message of a TLS server (RFC 8446, section 4.1.3). Keep one and use it again.
type ServerHello struct {
	Hello
	Cipher  uint16
	Version uint16 // the chosen one: of supported_versions, else Legacy
	Retry   bool   // it is a HelloRetryRequest
}

// retryRandom is the random value of a HelloRetryRequest: SHA-256 of that word (RFC 8446, section 4.1.3).
var retryRandom = []byte("\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c")

// Parse reads a ServerHello in TLS records at the start of b, the bytes from the server.
func (h *ServerHello) Parse(b []byte) (Status, int) {
	h.reset()
	return h.body(h.message(b, typeServerHello))
}

// ParseMessage reads a ServerHello that came without records, as CRYPTO frames of QUIC hold it.
func (h *ServerHello) ParseMessage(message []byte) (Status, int) {
	h.reset()
	return h.body(h.handshake(message, typeServerHello))
}

func (h *ServerHello) reset() {
	h.Hello.reset()
	h.Cipher, h.Version, h.Retry = 0, 0, false
}

// body reads a message as far as there is of it.
func (h *ServerHello) body(message []byte, st Status, want int) (Status, int) {
	if st == NotThis || len(message) < messageHeader {
		return st, want
	}
	whole := len(message) == h.Size
	c := cursor{b: message[messageHeader:]}
	h.Legacy = c.u16()
	h.Version = h.Legacy
	h.Retry = bytes.Equal(c.take(random), retryRandom)
	h.SessionID = c.list8()
	h.Cipher = c.u16()
	c.skip(1) // compression
	block := c.extensions(whole)
	for {
		typ, body, ok := h.extension(&block)
		if !ok {
			return h.ended(st, want, whole, &block)
		}
		switch typ {
		case ExtALPN:
			h.ALPN = body.list16()
		case ExtVersions:
			if v := body.u16(); v != 0 {
				h.Version = v
			}
		}
	}
}
