package hello

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
)

// Sizes of the protection of Initial packets: AES-128-GCM (RFC 9001, section 5.2).
const (
	keySize    = 16
	nonceSize  = 12
	tagSize    = 16
	sampleSize = 16
)

// protection is what the keys of a version are made with: salt and the labels of key, IV and header protection, each as an
// HkdfLabel (RFC 8446, section 7.1).
type protection struct {
	salt            [20]byte
	key, iv, header []byte
}

var protections = map[uint32]*protection{
	QUIC1: { // RFC 9001, section 5.2
		salt: [20]byte{
			0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a,
		},
		key:    label("quic key", keySize),
		iv:     label("quic iv", nonceSize),
		header: label("quic hp", keySize),
	},
	QUIC2: { // RFC 9369, section 3.3
		salt: [20]byte{
			0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9,
		},
		key:    label("quicv2 key", keySize),
		iv:     label("quicv2 iv", nonceSize),
		header: label("quicv2 hp", keySize),
	},
}

// secrets are the labels of the secrets of a client and of a server.
var secrets = map[bool][]byte{false: label("client in", sha256.Size), true: label("server in", sha256.Size)}

// label is the HkdfLabel of a word, for size bytes, without a context, and behind it the counter 1 of HKDF-Expand: as no key here
// is longer than a hash, one block is all there is.
func label(word string, size byte) []byte {
	word = "tls13 " + word
	return append(append([]byte{0, size, byte(len(word))}, word...), 0, 1)
}

// initialKeys are those of one side, for a version and connection id.
type initialKeys struct {
	version uint32
	server  bool
	id      [maxConnID]byte
	idLen   int
	aead    cipher.AEAD
	header  cipher.Block
	iv      [nonceSize]byte
}

// derive makes the keys of a side from the connection id of the client's first packet. The last ones are kept: the second
// datagram of a hello has the same.
func (k *initialKeys) derive(version uint32, id []byte, server bool) bool {
	if k.aead != nil && k.version == version && k.server == server && bytes.Equal(k.id[:k.idLen], id) {
		return true
	}
	p := protections[version]
	if p == nil {
		return false
	}
	initial := mac(p.salt[:], id)
	secret := mac(initial[:], secrets[server])
	key, iv, header := mac(secret[:], p.key), mac(secret[:], p.iv), mac(secret[:], p.header)
	block, err := aes.NewCipher(key[:keySize])
	if err != nil {
		return false
	}
	if k.header, err = aes.NewCipher(header[:keySize]); err != nil {
		return false
	}
	if k.aead, err = cipher.NewGCM(block); err != nil {
		return false
	}
	k.version, k.server, k.idLen = version, server, copy(k.id[:], id)
	copy(k.iv[:], iv[:])
	return true
}

// mac is HMAC-SHA256 of a short message. The standard library's keeps four hashes on the heap; this is called five times a
// connection, and all its input is shorter than a block.
func mac(key, message []byte) [sha256.Size]byte {
	var inner, outer [sha256.BlockSize + sha256.BlockSize]byte
	copy(inner[:], key)
	copy(outer[:], key)
	for i := range sha256.BlockSize {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	n := copy(inner[sha256.BlockSize:], message)
	hash := sha256.Sum256(inner[:sha256.BlockSize+n])
	n = copy(outer[sha256.BlockSize:], hash[:])
	return sha256.Sum256(outer[:sha256.BlockSize+n])
}

// open removes header protection and decrypts (RFC 9001, sections 5.3 and 5.4). The plain bytes are o's, until the next.
func (o *Opener) open(p *packet, id []byte, server bool) ([]byte, bool) {
	const longest = 4 // bytes of a packet number; the sample stands behind the longest
	if len(p.payload) < longest+sampleSize || len(p.payload) > maxPacket || len(p.header)+longest > maxHeader {
		return nil, false
	}
	if !o.keys.derive(p.Version, id, server) {
		return nil, false
	}
	o.keys.header.Encrypt(o.mask[:], p.payload[longest:longest+sampleSize])
	size := copy(o.header[:], p.header)
	o.header[0] ^= o.mask[0] & 0x0f
	number, digits := uint32(0), int(o.header[0]&3)+1
	for i := range digits {
		o.header[size+i] = p.payload[i] ^ o.mask[1+i]
		number = number<<8 | uint32(o.header[size+i])
	}
	o.nonce = o.keys.iv
	tail := o.nonce[nonceSize-4:]
	binary.BigEndian.PutUint32(tail, binary.BigEndian.Uint32(tail)^number)
	plain, err := o.keys.aead.Open(o.plain[:0], o.nonce[:], p.payload[digits:], o.header[:size+digits])
	return plain, err == nil
}
