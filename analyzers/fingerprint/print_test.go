package fingerprint

import (
	"strings"
	"testing"

	"weir/decode/hello"
)

// kexInit is a banner and a KEXINIT (RFC 4253, section 7.1).
func kexInit(banner string, lists [hello.SSHLists]string) []byte {
	body := append([]byte{4, 20}, make([]byte, 16)...)
	for _, list := range lists {
		body = append(append(body, 0, 0, byte(len(list)>>8), byte(len(list))), list...)
	}
	body = append(body, make([]byte, 5+4)...)
	return append(append([]byte(banner+"\r\n"), 0, 0, byte(len(body)>>8), byte(len(body))), body...)
}

// The hash is of the documented text: sha256sum of coreutils gave it.
func TestSSHPrint(t *testing.T) {
	lists := [hello.SSHLists]string{
		"sntrup761x25519-sha512@openssh.com,curve25519-sha256", "ssh-ed25519,rsa-sha2-512", "aes256-ctr", "aes128-ctr", "hmac-sha2-256",
		"hmac-sha2-512", "none,zlib@openssh.com", "none",
	}
	var s hello.SSH
	s.Parse(kexInit("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3", lists))
	print := SSH(&s)
	if got := print.String(); got != "cb50ef9e4e58fea2231e53d7dc7f92a2" {
		t.Error(got)
	}
	lists[hello.SSHHostKeys] = "rsa-sha2-512,ssh-ed25519" // as OpenSSH does with a host that it knows
	if s.Parse(kexInit("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u9", lists)); SSH(&s) != print {
		t.Error("host keys or the comment changed the print")
	}
	lists[hello.SSHKex] = "curve25519-sha256"
	if s.Parse(kexInit("SSH-2.0-OpenSSH_9.2p1", lists)); SSH(&s).Key == print.Key {
		t.Error("another list has the same print")
	}
	if s.Parse([]byte("SSH-2.0-OpenSSH_9.2p1\r\n")); SSH(&s) != (Print{}) {
		t.Error("a print without a KEXINIT")
	}
}

const curl = "GET /x HTTP/1.1\r\nHost: a.example\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\nCookie: s=1\r\nAccept-Encoding: gzip\r\n\r\n"

func TestHTTPPrint(t *testing.T) {
	of := func(head string) Print {
		var r hello.Request
		r.Parse([]byte(head))
		return HTTP(&r)
	}
	print := of(curl)
	if got := print.String(); got != "GET:1:00851dff8f5a:4b2c7fc2a2ee" {
		t.Error(got)
	}
	for what, head := range map[string]string{
		"another path": strings.Replace(curl, "/x", "/y?z", 1),
		"another host": strings.Replace(curl, "a.example", "b.example", 1),
		"no cookie":    strings.Replace(curl, "Cookie: s=1\r\n", "", 1),
		"referer":      strings.Replace(curl, "Cookie", "Referer", 1),
		"a body":       strings.Replace(curl, "Cookie: s=1", "Content-Type: text/plain\r\nContent-Length: 3", 1),
		"a proxy":      strings.Replace(curl, "Cookie: s=1", "Via: 1.1 p\r\nX-Forwarded-For: 192.0.2.1\r\nX-Real-IP: 192.0.2.1", 1),
	} {
		if of(head) != print {
			t.Errorf("%s: %v", what, of(head))
		}
	}
	for what, head := range map[string]string{
		"another order":  strings.Replace(curl, "Accept: */*\r\nCookie: s=1\r\nAccept-Encoding: gzip", "Accept-Encoding: gzip\r\nAccept: */*", 1),
		"another case":   strings.Replace(curl, "Accept:", "accept:", 1),
		"another agent":  strings.Replace(curl, "7.88.1", "7.88.2", 1),
		"another method": strings.Replace(curl, "GET", "HEAD", 1),
		"no agent":       strings.Replace(curl, "User-Agent: curl/7.88.1\r\n", "", 1),
	} {
		if p := of(head); p == print || p.None() || p.Key == print.Key {
			t.Errorf("%s: %v", what, p)
		}
	}
	if p := of(strings.Replace(curl, "GET", "VERSION-CONTROL", 1)); len(p.String()) != maxPrint {
		t.Errorf("%v", p)
	}
	if p := of(curl[:len(curl)-2]); !p.None() {
		t.Errorf("a head without its end: %v", p)
	}
}

// No print of what was cut: half a list would be another client's.
func TestNoPrintOfPart(t *testing.T) {
	var h hello.ClientHello
	var s hello.ServerHello
	if h.Parse([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")); !none(JA3(&h)) || !none(JA4(&h, false)) {
		t.Error("a print of half a hello")
	}
	if s.Parse([]byte("\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03")); !none(JA3S(&s)) {
		t.Error("a print of half a server's hello")
	}
	if !none(JA3(new(hello.ClientHello))) || !none(JA4(new(hello.ClientHello), true)) {
		t.Error("a print of nothing")
	}
}

func none(p Print) bool { return p.None() }

// User-Agents as programs sent them: of Firefox, Chrome, Safari, Edge and others as their makers document them.
func TestSystemOfAgent(t *testing.T) {
	for agent, want := range map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0":                                                        SystemWindows,
		"Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950) AppleWebKit/537.36 like iPhone":                                    SystemWindows,
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15":                   SystemMacOS,
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1": SystemIOS,
		"Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15":                                                                      SystemIOS,
		"Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36":                   SystemAndroid,
		"Dalvik/2.1.0 (Linux; U; Android 13; SM-G991B Build/TP1A)":                                                                                SystemAndroid,
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36":                                                                             SystemChromeOS,
		"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0":                                                                  SystemLinux,
		"Mozilla/5.0 (X11; FreeBSD amd64; rv:120.0) Gecko/20100101 Firefox/120.0":                                                                 SystemFreeBSD,
		"Debian APT-HTTP/1.3 (2.6.1)": SystemLinux,
		"Wget/1.21.3 (linux-gnu)":     SystemLinux,
		"Microsoft-CryptoAPI/10.0":    SystemWindows,
		"curl/7.88.1":                 "",
		"Go-http-client/1.1":          "",
		"":                            "",
	} {
		if got := SystemOfAgent([]byte(agent)); got != want {
			t.Errorf("%s: %q, not %q", agent, got, want)
		}
	}
	if SystemOfLabel(labelLinux) != SystemLinux || SystemOfLabel(labelNmap) != "" || SystemOfLabel(labelNone) != "" {
		t.Error("systems of labels")
	}
}

// tls12 is a ClientHello of OpenSSL's form, made by hand: two suites, server name, groups, point formats, ALPN.
var tls12 = []byte("\x16\x03\x01\x00\x68\x01\x00\x00\x64\x03\x03" + strings.Repeat("r", 32) + "\x00\x00\x06\x0a\x0a\xc0\x2f\x00\x35\x01\x00" +
	"\x00\x35\x00\x00\x00\x0e\x00\x0c\x00\x00\x09a.example" + "\x00\x0a\x00\x06\x00\x04\x1a\x1a\x00\x1d" + "\x00\x0b\x00\x02\x01\x00" +
	"\x00\x10\x00\x0b\x00\x09\x08http/1.1" + "\x2a\x2a\x00\x00")

func TestPrintAllocs(t *testing.T) {
	var h hello.ClientHello
	var s hello.SSH
	var r hello.Request
	if st, _ := h.Parse(tls12); st != hello.Done {
		t.Fatal(st)
	}
	if text := string(AppendJA3(nil, &h)); text != "771,49199-53,0-10-11-16,29,0" {
		t.Error(text)
	}
	if text := JA4(&h, false).String(); !strings.HasPrefix(text, "t12d0204h1_") {
		t.Error(text)
	}
	s.Parse(kexInit("SSH-2.0-x", [hello.SSHLists]string{"a", "b"}))
	r.Parse([]byte(curl))
	agent := []byte("Mozilla/5.0 (X11; Linux x86_64)")
	for what, f := range map[string]func(){
		"JA3":    func() { JA3(&h) },
		"JA4":    func() { JA4(&h, false) },
		"SSH":    func() { SSH(&s) },
		"HTTP":   func() { HTTP(&r) },
		"system": func() { SystemOfAgent(agent) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

func BenchmarkPrints(b *testing.B) {
	var h hello.ClientHello
	var s hello.SSH
	var r hello.Request
	h.Parse(tls12)
	s.Parse(kexInit("SSH-2.0-x", [hello.SSHLists]string{strings.Repeat("a", 300), "", strings.Repeat("c", 100), strings.Repeat("c", 100)}))
	r.Parse([]byte(curl))
	for _, c := range []struct {
		name string
		f    func() Print
	}{
		{"ja3", func() Print { return JA3(&h) }},
		{"ja4", func() Print { return JA4(&h, false) }},
		{"ssh", func() Print { return SSH(&s) }},
		{"http", func() Print { return HTTP(&r) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.f()
			}
		})
	}
	agent := []byte("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
	b.Run("system", func(b *testing.B) {
		for b.Loop() {
			SystemOfAgent(agent)
		}
	})
}
