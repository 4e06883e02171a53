package rehearsal

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// User-Agents of browsers and programs, by system.
var (
	windowsAgents = []string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36 Edg/124.0.0.0",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:125.0) Gecko/20100101 Firefox/125.0",
	}
	macAgents = []string{
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
	}
	linuxAgents = []string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
	}
	phoneAgents = []string{
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Mobile Safari/537.36",
	}
)

// span is a random duration from a to b, the smaller the more often.
func span(r *rand.Rand, a, b float64) time.Duration {
	f := r.Float64()
	return time.Duration(a + (b-a)*f*f*f)
}

// request is the head of an HTTP/1 request as a browser writes it; further lines come before the empty one.
func request(method, host, path, agent string, further ...string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host)
	if strings.HasPrefix(agent, "Mozilla") {
		b.WriteString("Connection: keep-alive\r\n")
	}
	fmt.Fprintf(&b, "User-Agent: %s\r\nAccept: */*\r\n", agent)
	if strings.HasPrefix(agent, "Mozilla") {
		b.WriteString("Accept-Encoding: gzip, deflate\r\nAccept-Language: en-GB,en;q=0.9\r\n")
	}
	for _, line := range further {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}

// response is the head of a response with a body of so many bytes.
func response(status, body int) []byte {
	reason := map[int]string{200: "OK", 204: "No Content", 302: "Found", 304: "Not Modified", 401: "Unauthorized", 404: "Not Found"}[status]
	b := []byte("HTTP/1.1 " + strconv.Itoa(status) + " " + reason + "\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: ")
	b = strconv.AppendInt(b, int64(body), 10)
	return append(b, "\r\nConnection: keep-alive\r\n\r\n"...)
}

// get is a request on a connection and its response.
func (t *talk) get(method, host, path, agent string, status, body int, further ...string) {
	t.say(0, request(method, host, path, agent, further...), 0)
	t.wait(span(t.g.r, 500e3, 60e6))
	head := response(status, body)
	t.say(1, head, len(head)+body)
}

// DNS types and return codes.
const (
	typeA    = 1
	typePTR  = 12
	typeMX   = 15
	typeTXT  = 16
	typeAAAA = 28

	codeOK     = 0
	codeFailed = 2
	codeNX     = 3
)

// question is a DNS query with EDNS (RFC 1035, 6891).
func question(id uint16, name string, kind uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	b = append(b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1)
	b = append(labels(b, name), byte(kind>>8), byte(kind), 0, 1)
	return append(b, 0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0)
}

// reply answers a question with so many addresses or texts, or with an error.
func reply(id uint16, name string, kind uint16, code byte, records [][]byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	b = append(b, 0x81, 0x80|code, 0, 1)
	b = binary.BigEndian.AppendUint16(b, uint16(len(records)))
	b = append(b, 0, 0, 0, 1)
	b = append(labels(b, name), byte(kind>>8), byte(kind), 0, 1)
	for _, data := range records {
		b = append(b, 0xc0, 12, byte(kind>>8), byte(kind), 0, 1, 0, 0, 1, 44)
		b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
		b = append(b, data...)
	}
	return append(b, 0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0)
}

// labels appends a name in the form of the wire.
func labels(b []byte, name string) []byte {
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0)
}

// Lists of algorithms of an OpenSSH 9 client and server, in the order of KEXINIT (RFC 4253, section 7.1).
var sshLists = [...]string{
	"sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384," +
		"ecdh-sha2-nistp521,diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512," +
		"diffie-hellman-group14-sha256",
	"ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256",
	sshCiphers, sshCiphers, sshMACs, sshMACs, "none,zlib@openssh.com", "none,zlib@openssh.com", "", "",
}

const (
	sshCiphers = "chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com"
	sshMACs    = "umac-64-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha1-etm@openssh.com"
)

// kexInit is an SSH packet with the lists of algorithms.
func kexInit(r *rand.Rand) []byte {
	b := []byte{0, 0, 0, 0, 0, 20}
	for range 16 {
		b = append(b, byte(r.Uint32()))
	}
	for _, l := range sshLists {
		b = binary.BigEndian.AppendUint32(b, uint32(len(l)))
		b = append(b, l...)
	}
	b = append(b, 0, 0, 0, 0, 0)
	pad := 8 - len(b)%8
	if pad < 4 {
		pad += 8
	}
	b = append(b, make([]byte, pad)...)
	b[4] = byte(pad)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// ssh is the opening of an SSH connection up to the login, which takes so many passwords, the last of them right or not.
func (t *talk) ssh(passwords int, right bool) {
	r := t.g.r
	t.say(0, []byte("SSH-2.0-OpenSSH_9.6\r\n"), 0)
	t.wait(span(r, 2e6, 20e6))
	t.say(1, []byte("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u2\r\n"), 0)
	t.say(0, kexInit(r), 0)
	t.say(1, kexInit(r), 0)
	t.say(0, nil, 1208)
	t.wait(span(r, 5e6, 15e6))
	t.say(1, nil, 1564)
	t.say(0, nil, 16)
	t.say(0, nil, 44)
	t.say(1, nil, 44)
	t.say(0, nil, 68)
	t.say(1, nil, 84)
	for i := range passwords {
		t.wait(span(r, 2e9, 9e9)) // to type it
		t.say(0, nil, 148)
		if right && i == passwords-1 {
			break
		}
		t.wait(span(r, 1.5e9, 2.5e9)) // pam_unix waits after a wrong one
		t.say(1, nil, 84)
	}
	if right {
		t.wait(span(r, 5e6, 50e6))
		t.say(1, nil, 28)
		t.say(0, nil, 112)
		t.say(1, nil, 500)
	}
}
