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

// All of them together stay below 5 MB (a test holds it): of each kind, smaller ones.
//
//go:embed scan/nmap-sS-vertical/in.pcap.zst scan/nmap-sT-vertical/in.pcap.zst scan/nmap-ipv6/in.pcap.zst scan/slow-scan/in.pcap
//go:embed scan/slow-scan-1min/in.pcap scan/nmap-sS-filtered/in.pcap scan/masscan-horizontal/in.pcap scan/nmap-horizontal/in.pcap
//go:embed scan/zmap-horizontal/in.pcap scan/mirai-like/in.pcap scan/strobe/in.pcap scan/nmap-block/in.pcap.zst
//go:embed scan/nmap-ack/in.pcap scan/nmap-fin/in.pcap scan/nmap-null/in.pcap scan/nmap-xmas/in.pcap scan/nmap-maimon/in.pcap
//go:embed scan/nmap-udp/in.pcap scan/nmap-udp-horizontal/in.pcap.zst scan/ping-sweep/in.pcap scan/arp-sweep/in.pcap
//go:embed scan/distributed/in.pcap scan/distributed-hidden/in.pcap
//go:embed flood/syn-near-floor/in.pcap.zst flood/udp/in.pcap.zst flood/icmp/in.pcap.zst flood/amplification-dns/in.pcap.zst
//go:embed flood/amplification-memcached/in.pcap.zst flood/slow-read/in.pcap.zst
//go:embed fingerprint/nmap-O/in.pcap fingerprint/nmap-sV/in.pcap fingerprint/masscan/in.pcap fingerprint/zmap/in.pcap
//go:embed fingerprint/hping3-syn/in.pcap fingerprint/cluster/in.pcap.zst fingerprint/rotation/in.pcap.zst
//go:embed fingerprint/mismatch/in.pcap
//go:embed bruteforce/hydra-ssh/in.pcap.zst bruteforce/hydra-ftp/in.pcap.zst bruteforce/medusa-ftp/in.pcap.zst
//go:embed bruteforce/hydra-basic/in.pcap.zst bruteforce/hydra-form-redirect/in.pcap.zst bruteforce/stuffing-ftp/in.pcap.zst
//go:embed http/ffuf/in.pcap.zst http/gobuster-ipv6/in.pcap.zst http/methods/in.pcap http/rotating-agents/in.pcap.zst
//go:embed http/spike/in.pcap.zst http/error-surge/in.pcap.zst
//go:embed dns/dns2tcp/in.pcap dns/generated/in.pcap dns/iodine/in.pcap dns/slow/in.pcap
//go:embed tunnel/*/in.pcap*
//go:embed exfil/curl-upload/in.pcap.zst exfil/slow/in.pcap.zst
//go:embed beacon/*/in.pcap*
//go:embed rate/spike/in.pcap.zst rate/source-connections/in.pcap.zst rate/source-scraper/in.pcap.zst
//go:embed rate/sustained-mirror/in.pcap.zst rate/drop/in.pcap.zst
//go:embed change/*/in.pcap*
//go:embed latency/*/in.pcap*
//go:embed weird/*/in.pcap*
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
