package hello

import (
	"bytes"
	"encoding/binary"
)

// Lists of an SSH KEXINIT, in the order of the message (RFC 4253, section 7.1).
const (
	SSHKex = iota
	SSHHostKeys
	SSHCiphersOut // client to server
	SSHCiphersIn  // server to client
	SSHMACsOut
	SSHMACsIn
	SSHCompressionOut
	SSHCompressionIn
	SSHLanguagesOut
	SSHLanguagesIn

	SSHLists
)

// Bounds of RFC 4253.
const (
	maxBanner    = 255   // section 4.2, which counts the line end in; this does not
	maxGreetings = 16    // lines before a server's banner
	maxSSHPacket = 35000 // section 6.1
	msgKexInit   = 20
)

// SSH is how one side of a connection begins: its banner, then its KEXINIT.
type SSH struct {
	Banner   []byte // "SSH-2.0-OpenSSH_9.2p1 Debian-2", without line end
	Protocol []byte // of it "2.0"
	Software []byte // "OpenSSH_9.2p1"
	Comment  []byte // "Debian-2", nil without one
	KexInit  bool   // the lists are set
	Lists    [SSHLists][]byte
	Cut      bool // not all of it was read: NeedMore, or it is longer than MaxOpening
}

// Parse reads one side's stream from its first byte. NeedMore with Banner set is worth having. A first packet that is no KEXINIT
// (SSH 1) ends it without lists.
func (s *SSH) Parse(b []byte) (Status, int) {
	*s = SSH{Cut: true}
	b = cut(b)
	rest := b
	for i := 0; !bytes.HasPrefix(rest, []byte("SSH-")); i++ {
		if len(rest) < len("SSH-") && mayBegin(rest, "SSH-") {
			return s.unfinished(b, len(b)-len(rest)+len("SSH-"))
		}
		line, after, ok := cutLine(rest)
		if !ok {
			line = bytes.TrimSuffix(line, []byte{'\r'})
		}
		if i == maxGreetings || len(line) > maxBanner || !printable(line) {
			return NotThis, 0
		}
		if !ok {
			return s.unfinished(b, 0)
		}
		rest = after
	}
	line, rest, ok := cutLine(rest)
	if !ok {
		if len(bytes.TrimSuffix(line, []byte{'\r'})) > maxBanner {
			return NotThis, 0
		}
		return s.unfinished(b, 0)
	}
	if !s.banner(line) {
		return NotThis, 0
	}
	return s.packet(b, rest)
}

func (s *SSH) unfinished(b []byte, want int) (Status, int) {
	if len(b) == MaxOpening && s.Banner == nil {
		return NotThis, 0
	}
	return unfinished(b, want)
}

// banner splits "SSH-protocol-software comment".
func (s *SSH) banner(line []byte) bool {
	protocol, software, ok := bytes.Cut(line[len("SSH-"):], []byte{'-'})
	if !ok || len(line) > maxBanner || len(protocol) == 0 || len(software) == 0 || !printable(line) {
		return false
	}
	s.Banner, s.Protocol = line, protocol
	s.Software, s.Comment, ok = bytes.Cut(software, []byte{' '})
	if !ok {
		s.Comment = nil
	}
	return true
}

// packet reads the first binary packet, in rest, the end of b.
func (s *SSH) packet(b, rest []byte) (Status, int) {
	const header = 4 + 1 + 1 // length, padding length, message type
	begin := len(b) - len(rest)
	if len(rest) < header {
		return s.unfinished(b, begin+header)
	}
	size := int(binary.BigEndian.Uint32(rest))
	if rest[5] != msgKexInit || size > maxSSHPacket || size < header {
		s.Cut = false
		return Done, 0
	}
	c := cursor{b: rest[header:min(len(rest), 4+size)]}
	c.skip(16) // cookie
	for i := range s.Lists {
		s.Lists[i] = c.take(int(min(c.u32(), MaxOpening)))
	}
	if s.KexInit = !c.bad; s.KexInit || len(rest) >= 4+size {
		s.Cut = false
		return Done, 0
	}
	return s.unfinished(b, begin+4+size)
}

// printable tells whether b is text of one line: no control character but tabs.
func printable(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
