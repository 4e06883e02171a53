//go:build unix

package host

import (
	"os"
	"path/filepath"
	"slices"
)

// Access is what a process still needs once its sockets are open. Connections and ports are not restricted: NATS may come
// back at any address of its cluster, and what listens is open already.
type Access struct {
	Capabilities []string // kept, as capabilities(7) writes them: "CAP_NET_RAW"
	ReadOnly     []string // folders that are read; a file stands for its folder, because editors replace files by renaming
	ReadWrite    []string // folders that are written to
}

// NameFiles are the folders that a process reads to find hosts by name and to check certificates: of use to Access.ReadOnly
// where there are servers elsewhere. All of /etc is among them, since resolv.conf is replaced by renaming, and a rule for the
// file would end with it. Beyond that, files in /etc are as open as their permissions make them, which is reason not to run
// as root.
func NameFiles() []string {
	all := []string{
		"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf", // facts_files.go
		"/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/usr/share/pki", "/var/lib/ca-certificates",
	}
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR"} { // as crypto/x509 reads them
		all = append(all, filepath.SplitList(os.Getenv(name))...)
	}
	return all
}

// folders are the folders that hold the paths, and those that their symbolic links lead to; what is not there is left out.
func folders(paths []string) (out []string) {
	for _, p := range paths {
		real, err := filepath.EvalSymlinks(p)
		if err != nil {
			continue
		}
		if info, err := os.Stat(real); err != nil {
			continue
		} else if !info.IsDir() {
			p, real = filepath.Dir(p), filepath.Dir(real)
		}
		for _, dir := range []string{p, real} {
			if dir, err := filepath.Abs(dir); err == nil && !slices.Contains(out, dir) {
				out = append(out, dir)
			}
		}
	}
	return out
}
