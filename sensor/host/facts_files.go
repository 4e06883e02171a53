package host

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// root is where the files below are looked for; "/" but in tests.
type root string

const (
	maxFactFile  = 64 << 10 // bytes that are read of a file
	maxFactFiles = 64       // of a folder
	maxSSHPorts  = 64
)

// stubs are where a local stub resolver writes the nameservers that it asks: systemd-resolved.service(8), NetworkManager.conf(5).
var stubs = []string{"run/systemd/resolve/resolv.conf", "run/NetworkManager/no-stub-resolv.conf"}

// resolvers adds the nameservers of resolv.conf(5), and behind a nameserver on the loopback those that it asks.
func (r root) resolvers(into *addrSet) error {
	all, err := r.nameservers("etc/resolv.conf")
	if errors.Is(err, os.ErrNotExist) { // then the resolver is local: resolv.conf(5)
		return nil
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, netip.Addr.IsLoopback) {
		for _, name := range stubs {
			behind, err := r.nameservers(name)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			all = append(all, behind...)
		}
	}
	for _, a := range all {
		into.add(a)
	}
	return nil
}

func (r root) nameservers(name string) (out []netip.Addr, err error) {
	err = r.lines(name, func(words []string) {
		if len(words) > 1 && words[0] == "nameserver" {
			if a, err := netip.ParseAddr(words[1]); err == nil {
				out = append(out, a)
			}
		}
	})
	return out, err
}

// sshPorts are the ports at which SSH servers of this host may listen: 22, those of sshd_config(5), as far as this process may
// read it, and the one that the session came to in which the process was started (ssh(1): SSH_CONNECTION). The other end of
// that session is added to into.
func (r root) sshPorts(connection string, into *addrSet) (ports []uint16) {
	add := func(text string) {
		n, err := strconv.ParseUint(text, 10, 16)
		if err == nil && n > 0 && !slices.Contains(ports, uint16(n)) && len(ports) < maxSSHPorts {
			ports = append(ports, uint16(n))
		}
	}
	add("22")
	if f := strings.Fields(connection); len(f) == 4 { // peer, its port, own address, own port
		if a, err := netip.ParseAddr(f[0]); err == nil {
			into.add(a)
		}
		add(f[3])
	}
	names := []string{"etc/ssh/sshd_config"}
	more, _ := filepath.Glob(filepath.Join(string(r), "etc/ssh/sshd_config.d/*.conf")) // the pattern is a good one
	for _, name := range more[:min(len(more), maxFactFiles)] {
		names = append(names, strings.TrimPrefix(name, string(r)))
	}
	for _, name := range names {
		_ = r.lines(name, func(words []string) { // what root keeps to itself is left out
			if len(words) < 2 {
				return
			}
			switch strings.ToLower(words[0]) {
			case "port":
				add(words[1])
			case "listenaddress": // host, [host]:port or host:port
				if i := strings.LastIndexByte(words[1], ':'); i >= 0 && (strings.Count(words[1], ":") == 1 || words[1][i-1] == ']') {
					add(words[1][i+1:])
				}
			}
		})
	}
	return ports
}

// lines hands in the words of each line that is no comment. Quotes and the equals sign of sshd_config(5) are taken away.
func (r root) lines(name string, each func(words []string)) error {
	text, err := readBounded(filepath.Join(string(r), name))
	if err != nil {
		return err
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := strings.NewReplacer("=", " ", `"`, " ").Replace(lines.Text())
		if words := strings.Fields(line); len(words) > 0 && words[0][0] != '#' && words[0][0] != ';' {
			each(words)
		}
	}
	return nil
}

// readBounded reads a file, which must be one and not longer than 64 KiB.
func readBounded(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold us up
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is no file", path))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFactFile+1))
	if err == nil && len(text) > maxFactFile {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxFactFile)
	}
	return text, err
}
