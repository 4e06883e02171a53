package hello

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// dialogue lets OpenSSH's client and server agree on keys over a pipe, and gives what each sent and what the client said of it.
func dialogue(t *testing.T) (client, server []byte, said string) {
	t.Helper()
	for _, tool := range []string{"ssh", "ssh-keygen", "/usr/sbin/sshd"} {
		if _, err := exec.LookPath(tool); err != nil {
			leaveOut(t, tool+" is not installed (openssh-client, openssh-server)")
		}
	}
	dir := t.TempDir()
	if os.Getuid() == 0 {
		_ = os.MkdirAll("/run/sshd", 0o755) // sshd wants it; a service manager would make it
	}
	run := func(line string) string {
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir = dir
		out, _ := cmd.CombinedOutput() // ssh fails: it does not know the host
		return string(out)
	}
	run("ssh-keygen -q -t ed25519 -N '' -f key")
	said = run(`timeout 20 ssh -vv -F none -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o ProxyCommand="tee client | \
		/usr/sbin/sshd -i -f /dev/null -h $PWD/key -o UsePAM=no 2>/dev/null | tee server" nobody@localhost </dev/null`)
	for _, f := range []struct {
		name string
		to   *[]byte
	}{{"client", &client}, {"server", &server}} {
		b, err := os.ReadFile(filepath.Join(dir, f.name))
		if err != nil || !bytes.Contains(b, []byte("curve25519")) {
			t.Fatalf("%v; ssh said:\n%s", err, said)
		}
		*f.to = b
	}
	return client, server, said
}

// proposals reads the lists that ssh -vv prints: of itself, then of its peer.
func proposals(said string) (all [2][SSHLists]string) {
	names := [SSHLists]string{
		"KEX algorithms", "host key algorithms", "ciphers ctos", "ciphers stoc", "MACs ctos", "MACs stoc", "compression ctos",
		"compression stoc", "languages ctos", "languages stoc",
	}
	side := -1
	for s := bufio.NewScanner(strings.NewReader(said)); s.Scan(); {
		line, ok := strings.CutPrefix(s.Text(), "debug2: ")
		if strings.HasSuffix(line, "KEXINIT proposal") {
			side++
		}
		for i, name := range names {
			if list, found := strings.CutPrefix(line, name+":"); ok && found && side >= 0 && side < 2 && all[side][i] == "" {
				all[side][i] = strings.TrimSpace(list)
			}
		}
	}
	return all
}

// What OpenSSH says that it proposes, and what was proposed to it, is what is read from the bytes.
func TestSSH(t *testing.T) {
	client, server, said := dialogue(t)
	want := proposals(said)
	for side, stream := range [][]byte{client, server} {
		var s SSH
		if st, _ := s.Parse(stream); st != Done || !s.KexInit || s.Cut {
			t.Fatalf("%v\n%s", st, said)
		}
		for i, list := range s.Lists {
			if string(list) != want[side][i] {
				t.Errorf("side %d, list %d: %s, ssh said %s", side, i, list, want[side][i])
			}
		}
		if !strings.Contains(said, string(s.Software)) || string(s.Protocol) != "2.0" || !strings.HasPrefix(string(s.Banner), "SSH-2.0-OpenSSH") {
			t.Errorf("%q %q %q", s.Banner, s.Protocol, s.Software)
		}
		// The shortest beginning that is whole ends with the last list: the reserved bytes and the padding are not waited for.
		end := len(stream)
		for ; end > 0; end-- {
			if st, _ := s.Parse(stream[:end-1]); st != Done {
				break
			}
		}
		for n := range end {
			if st, _ := s.Parse(alone(stream[:n])); st != NeedMore {
				t.Fatalf("%d of %d bytes: %v", n, end, st)
			}
		}
		if st, want := s.Parse(stream[:end-1]); st != NeedMore || want < end || want > len(stream) || s.Banner == nil || s.KexInit || !s.Cut {
			t.Errorf("%v %d", st, want)
		}
		noAllocs(t, "ssh", func() { s.Parse(stream) })
		lawful(t, stream, s.Parse, func() bool { return s.Cut })
	}
}

func TestSSHBanners(t *testing.T) {
	for text, want := range map[string]struct {
		st                          Status
		protocol, software, comment string
	}{
		"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n":         {NeedMore, "2.0", "OpenSSH_9.2p1", "Debian-2"},
		"SSH-2.0-Go\r\n":                             {NeedMore, "2.0", "Go", ""},
		"SSH-2.0-libssh2_1.10.0\n":                   {NeedMore, "2.0", "libssh2_1.10.0", ""},
		"SSH-1.99-Cisco-1.25\n":                      {NeedMore, "1.99", "Cisco-1.25", ""},
		"SSH-1.5-1.2.27\n\x00\x00\x01\x0a\x01\x02":   {Done, "1.5", "1.2.27", ""},
		"Welcome\r\nto this host\r\nSSH-2.0-x y\r\n": {NeedMore, "2.0", "x", "y"},
		"":                         {st: NeedMore},
		"SS":                       {st: NeedMore},
		"SSH-2.0-x":                {st: NeedMore},
		"SSH-2.0\r\n":              {st: NotThis},
		"SSH--x\r\n":               {st: NotThis},
		"\x16\x03\x01\x00\x01":     {st: NotThis},
		strings.Repeat("a\n", 100): {st: NotThis},
		"SSH-2.0-" + strings.Repeat("x", maxBanner):          {st: NotThis},
		"SSH-2.0-" + strings.Repeat("x", maxBanner-8):        {NeedMore, "", "", ""},
		"SSH-2.0-" + strings.Repeat("x", maxBanner-8) + "\r": {NeedMore, "", "", ""},
		"Welcome\r": {st: NeedMore},
	} {
		var s SSH
		if st, _ := s.Parse([]byte(text)); st != want.st || string(s.Protocol) != want.protocol || string(s.Software) != want.software || string(s.Comment) != want.comment {
			t.Errorf("%.40q: %v %q %q %q", text, st, s.Protocol, s.Software, s.Comment)
		}
	}
}

// kexInit is a banner and a KEXINIT of given lists.
func kexInit(banner string, lists ...string) []byte {
	body := append([]byte{4, msgKexInit}, make([]byte, 16)...)
	for i := range SSHLists {
		list := ""
		if i < len(lists) {
			list = lists[i]
		}
		body = append(append(body, 0, 0, byte(len(list)>>8), byte(len(list))), list...)
	}
	body = append(body, make([]byte, 5+4)...)
	head := []byte{0, 0, byte(len(body) >> 8), byte(len(body))}
	return append(append([]byte(banner+"\r\n"), head...), body...)
}

func FuzzSSH(f *testing.F) {
	f.Add(kexInit("SSH-2.0-a b", "curve25519-sha256", "ssh-ed25519", "aes128-ctr"))
	f.Add([]byte("Hello\r\nSSH-2.0-x\r\n\x00\x00\x00\x20"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s SSH
		lawful(t, b, s.Parse, func() bool { return s.Cut })
	})
}

func BenchmarkSSH(b *testing.B) {
	list := strings.Repeat("algorithm-name@example.org,", 8)
	stream := kexInit("SSH-2.0-OpenSSH_9.2p1 Debian-2", list, list, list, list, list, list)
	var s SSH
	b.SetBytes(int64(len(stream)))
	for b.Loop() {
		s.Parse(stream)
	}
}
