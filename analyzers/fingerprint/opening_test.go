package fingerprint

import (
	"bufio"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weir/decode"
	"weir/decode/hello"
)

// way is one direction of a connection.
type way struct {
	src, dst netip.AddrPort
	udp      bool
}

// opening is what a direction began with.
type opening struct {
	base      uint32 // sequence number of the first byte
	synced    bool
	stream    [hello.MaxOpening]byte
	filled    [hello.MaxOpening]bool
	datagrams [][]byte
}

// bytes is the stream up to the first gap.
func (o *opening) bytes() []byte {
	if n := slices.Index(o.filled[:], false); n >= 0 {
		return o.stream[:n]
	}
	return o.stream[:]
}

// openings gathers the beginnings of all connections of a capture, slowly and plainly: no worker's code.
func openings(t *testing.T, path string) map[way]*opening {
	all := map[way]*opening{}
	readCapture(t, path, func(p *decode.Packet) {
		if p.Kind < decode.KindIPv4 || p.FragOff > 0 || !p.HasTCP() && p.Key.Proto != 17 {
			return
		}
		src, sport := p.Src()
		dst, dport := p.Dst()
		w := way{netip.AddrPortFrom(src.Netip(p.Key.Ver), sport), netip.AddrPortFrom(dst.Netip(p.Key.Ver), dport), !p.HasTCP()}
		o := all[w]
		if o == nil || p.Flags&decode.FlagSYN != 0 {
			o = &opening{}
			all[w] = o
		}
		payload := p.Data[p.Payload:p.End]
		switch {
		case w.udp:
			if len(o.datagrams) < 64 {
				o.datagrams = append(o.datagrams, slices.Clone(payload))
			}
			return
		case p.Flags&decode.FlagSYN != 0:
			o.base, o.synced = p.Seq+1, true
		case !o.synced && len(payload) > 0:
			o.base, o.synced = p.Seq, true
		}
		if off := int64(int32(p.Seq - o.base)); off >= 0 && off < hello.MaxOpening && o.synced && p.Flags&decode.FlagSYN == 0 {
			for i := range copy(o.stream[off:], payload) {
				o.filled[int(off)+i] = true
			}
		}
	})
	return all
}

// printed are the prints of one sender; JA4 and JA3 of a client's hello, JA3S of a server's.
type printed struct{ ja3, ja3s, ja4, sni string }

var (
	client hello.ClientHello
	server hello.ServerHello
	opener hello.Opener
)

// prints of an opening: of each hello, as a client that is sent back with a HelloRetryRequest says two. answered is the other
// direction.
func (o *opening) prints(answered *opening) (all []printed) {
	for b := o.bytes(); len(b) > 5; b = b[min(len(b), 5+int(b[3])<<8+int(b[4])):] { // record by record
		if st, _ := client.Parse(b); st == hello.Done {
			all = append(all, ofClient(false))
		} else if st, _ := server.Parse(b); st == hello.Done {
			all = append(all, printed{ja3s: JA3S(&server).String()})
		}
	}
	var crypto, answer hello.Crypto
	buf := make([]byte, hello.MaxOpening)
	for _, d := range o.datagrams {
		if opener.Initial(&crypto, d, buf) == hello.Done {
			if st, _ := client.ParseMessage(buf[:crypto.Len()]); st == hello.Done {
				return append(all, ofClient(true))
			}
		}
		if answered == nil {
			continue
		}
		if l, ok := hello.ParseLong(answered.datagrams[0]); ok && opener.Answer(&answer, d, l.Destination, buf) == hello.Done {
			if st, _ := server.ParseMessage(buf[:answer.Len()]); st == hello.Done {
				return append(all, printed{ja3s: JA3S(&server).String()})
			}
		}
	}
	return all
}

func ofClient(quic bool) printed {
	return printed{ja3: JA3(&client).String(), ja4: JA4(&client, quic).String(), sni: string(client.SNI)}
}

// expectation is a value that another program found for the opening of a sender.
type expectation struct {
	src netip.AddrPort
	printed
}

func corpus(t *testing.T) string {
	root := os.Getenv("WEIR_CORPUS")
	if root == "" {
		skip(t, "WEIR_CORPUS is not set")
	}
	return root
}

// TestAgainstOthers holds JA3, JA3S and JA4 against every value that tshark, FoxIO's JA4 and nDPI found in the corpus.
func TestAgainstOthers(t *testing.T) {
	root := corpus(t)
	total := map[string]int{}
	for _, source := range []struct {
		file string
		read func(text string) []expectation
	}{
		{"tshark-ja3.tsv", readTshark},
		{"expected.ja4.yaml", readFoxIO},
		{"ndpi.out", readNDPI},
	} {
		files, err := filepath.Glob(filepath.Join(root, "ground-truth", "*", "*", source.file))
		if err != nil || len(files) < 10 {
			t.Fatalf("%d of %s: %v", len(files), source.file, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := source.read(string(text))
			if len(want) == 0 {
				continue
			}
			name := filepath.Base(filepath.Dir(file))
			ours := map[netip.AddrPort][]printed{}
			ways := openings(t, filepath.Join(root, filepath.Base(filepath.Dir(filepath.Dir(file))), name))
			for w, o := range ways {
				ours[w.src] = append(ours[w.src], o.prints(ways[way{w.dst, w.src, w.udp}])...)
			}
			for _, e := range want {
				e.check(t, name+": "+source.file, ours[e.src], total)
			}
		}
	}
	for _, what := range slices.Sorted(maps.Keys(total)) {
		t.Logf("%s: %d equal", what, total[what])
	}
	if total["ja3"] < 125 || total["ja3s"] < 122 || total["ja4"] < 120 {
		t.Errorf("too few values: %v", total)
	}
}

// check looks for each value of e among the prints of its sender.
func (e expectation) check(t *testing.T, where string, ours []printed, total map[string]int) {
	for _, v := range []struct {
		what, want string
		got        func(printed) string
	}{
		{"ja3", e.ja3, func(p printed) string { return p.ja3 }},
		{"ja3s", e.ja3s, func(p printed) string { return p.ja3s }},
		{"ja4", e.ja4, func(p printed) string { return p.ja4 }},
		{"sni", e.sni, func(p printed) string { return p.sni }},
	} {
		switch {
		case v.want == "":
		case slices.ContainsFunc(ours, func(p printed) bool { return v.got(p) == v.want }):
			total[v.what]++
		default:
			t.Errorf("%s: %v: %s %s, ours %+v", where, e.src, v.what, v.want, ours)
		}
	}
}

// readTshark reads a table of hellos by frame.
func readTshark(text string) (all []expectation) {
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), "\t")
		if len(f) < 9 || strings.HasPrefix(line, "#") {
			continue
		}
		addr, err := netip.ParseAddr(f[1] + f[2])
		if err != nil {
			continue
		}
		port := netip.MustParseAddrPort("0.0.0.0:" + f[3] + f[4]).Port()
		all = append(all, expectation{src: netip.AddrPortFrom(addr, port), printed: printed{ja3: f[6], ja3s: f[7], sni: f[8]}})
	}
	return all
}

// readFoxIO reads the snapshots of FoxIO's program: flat YAML.
func readFoxIO(text string) (all []expectation) {
	fields := map[string]string{}
	end := func() {
		if fields["ja4"] != "" {
			addr, port := netip.MustParseAddr(fields["src"]), netip.MustParseAddrPort("0.0.0.0:"+fields["src_port"]).Port()
			all = append(all, expectation{src: netip.AddrPortFrom(addr, port), printed: printed{ja4: fields["ja4"], sni: fields["tls_server_name"]}})
		}
		clear(fields)
	}
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		line := s.Text()
		if strings.HasPrefix(line, "- ") {
			end()
		}
		if name, value, ok := strings.Cut(strings.TrimLeft(line, "- "), ": "); ok {
			fields[name] = value
		}
	}
	end()
	return all
}

var (
	flowNDPI = regexp.MustCompile(`\t(?:TCP|UDP) (\S+):(\d+) <?-> (\S+):(\d+) `)
	ja3NDPI  = regexp.MustCompile(`\[JA3C: ([0-9a-f]{32})`)
	ja3sNDPI = regexp.MustCompile(`\[JA3S: ([0-9a-f]{32})`)
	ja4NDPI  = regexp.MustCompile(`\[JA4: ([0-9a-z_]{36})`)
)

// mended corrects two slips in the readable part of this nDPI's JA4: it writes d without a server name too, and the first two
// characters of http/1.1 instead of first and last.
func mended(ja4, line string) string {
	if ja4 == "" {
		return ""
	}
	name := "d"
	if !strings.Contains(line, "[Hostname/SNI: ") {
		name = "i"
	}
	return ja4[:3] + name + strings.Replace(ja4[4:], "ht_", "h1_", 1)
}

// readNDPI reads the lines of flows.
func readNDPI(text string) (all []expectation) {
	for line := range strings.Lines(text) {
		f := flowNDPI.FindStringSubmatch(line)
		if f == nil {
			continue
		}
		find := func(re *regexp.Regexp) string {
			if m := re.FindStringSubmatch(line); m != nil {
				return m[1]
			}
			return ""
		}
		src, err := netip.ParseAddrPort(f[1] + ":" + f[2])
		dst, err2 := netip.ParseAddrPort(f[3] + ":" + f[4])
		if err != nil || err2 != nil {
			continue
		}
		if ja3, ja4 := find(ja3NDPI), find(ja4NDPI); ja3 != "" || ja4 != "" {
			all = append(all, expectation{src: src, printed: printed{ja3: ja3, ja4: mended(ja4, line)}})
		}
		if ja3s := find(ja3sNDPI); ja3s != "" {
			all = append(all, expectation{src: dst, printed: printed{ja3s: ja3s}})
		}
	}
	return all
}
