package fingerprint

import (
	"crypto/sha256"

	"weir/decode/hello"
)

// SSH is the print of an SSH client or server, our own form ("weir_ssh"): the first 16 bytes, in hexadecimal, of the SHA-256 of
//
//	protocol \n software \n kex \n ciphers \n ciphers \n macs \n macs \n compression \n compression \n
//
// where protocol and software are of the banner ("2.0", "OpenSSH_9.2p1"; what a distribution adds as a comment is left out),
// the lists are those of KEXINIT as sent, client to server first. Host key algorithms are left out: OpenSSH's client puts those first
// of which it knows a key of this server. Other tools' SSH hashes take other lists; the values do not compare. None before the
// KEXINIT has come. About 1 µs.
func SSH(s *hello.SSH) Print {
	if !s.KexInit {
		return Print{}
	}
	var room [2048]byte
	b := appendLine(room[:0], s.Protocol)
	b = appendLine(b, s.Software)
	b = appendLine(b, s.Lists[hello.SSHKex])
	for _, list := range s.Lists[hello.SSHCiphersOut : hello.SSHCompressionIn+1] {
		b = appendLine(b, list)
	}
	var p Print
	sum := sha256.Sum256(b)
	p.hex(sum[:16])
	return p.seal()
}

func appendLine(b, line []byte) []byte { return append(append(b, line...), '\n') }
