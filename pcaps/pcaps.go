// Package pcaps carries those golden captures that weir generate makes its attacks of. They are recordings of real tools between
// network namespaces; the README of each folder tells how it was made.
package pcaps

import (
	"bytes"
	"embed"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// All of them together stay below 5 MB (a test holds it): of the floods, the smaller ones.
//
//go:embed scan/*/in.pcap* fingerprint/*/in.pcap*
//go:embed dns/*/in.pcap* tunnel/*/in.pcap* exfil/*/in.pcap* beacon/*/in.pcap*
//go:embed flood/amplification-dns/in.pcap.zst flood/amplification-memcached/in.pcap.zst flood/amplification-ntp/in.pcap.zst
//go:embed flood/syn-one-source/in.pcap.zst flood/syn-near-floor/in.pcap.zst flood/syn-ipv6/in.pcap.zst
//go:embed flood/udp/in.pcap.zst flood/icmp/in.pcap.zst flood/slow-headers/in.pcap.zst flood/slow-read/in.pcap.zst
var files embed.FS

// Read is the capture of a case, as "scan/nmap-fin": a pcap.
func Read(name string) ([]byte, error) {
	dir, err := files.ReadDir(name)
	if err != nil || len(dir) != 1 {
		return nil, fmt.Errorf("capture %s is not in the program", name)
	}
	file := dir[0].Name()
	text, err := files.ReadFile(name + "/" + file)
	if err != nil || !strings.HasSuffix(file, ".zst") {
		return text, err
	}
	z, err := zstd.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return io.ReadAll(z)
}
