package hello

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// message packs what dnsmessage builds.
func message(t testing.TB, m dnsmessage.Message) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func question(name string, typ dnsmessage.Type) []dnsmessage.Question {
	return []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: typ, Class: dnsmessage.ClassINET}}
}

func answer(name string, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: 300}, Body: body}
}

// tunnelAnswer is what a tunnel's server sends.
func tunnelAnswer(t testing.TB) []byte {
	return message(t, dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 0xbeef, Response: true, Authoritative: true, RecursionDesired: true},
		Questions: question("ABC.Tunnel.example.", dnsmessage.TypeTXT),
		Answers: []dnsmessage.Resource{
			answer("abc.tunnel.example.", &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("x.example.")}),
			answer("x.example.", &dnsmessage.TXTResource{TXT: []string{strings.Repeat("t", 200)}}),
			answer("x.example.", &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}),
		},
	})
}

func TestDNS(t *testing.T) {
	b := tunnelAnswer(t)
	var m DNS
	if st := m.Parse(b); st != Done {
		t.Fatal(st)
	}
	start := dnsHeader + len("\x03ABC\x06Tunnel\x07example\x00") + 4 // of the first answer
	if m.ID != 0xbeef || !m.Response || !m.Authoritative || m.Truncated || m.Rcode != 0 || m.Opcode != 0 || m.Questions != 1 || m.Answers != 3 || m.Cut {
		t.Errorf("%+v", m)
	}
	if m.Name.String() != "abc.tunnel.example" || m.Type != 16 || m.Class != 1 || m.Size != len(b) {
		t.Errorf("%q %d %d %d", m.Name, m.Type, m.Class, m.Size)
	}
	if !slices.Equal(m.Types[:m.NTypes], []uint16{5, 16, 1}) || m.AnswerBytes != len(b)-start {
		t.Errorf("%v, %d bytes instead of %d", m.Types[:m.NTypes], m.AnswerBytes, len(b)-start)
	}
	var labels []string
	for l := m.Name.Labels(); ; {
		label, ok := l.Next()
		if !ok {
			break
		}
		labels = append(labels, string(label))
	}
	if strings.Join(labels, " ") != "ABC Tunnel example" {
		t.Error(labels)
	}
	for n := range b { // cut anywhere: question or nothing
		m.Parse(alone(b[:n]))
	}
	if st := m.Parse(b[:len(b)-1]); st != Done || !m.Cut || m.NTypes != 2 {
		t.Errorf("cut: %v %v %d", st, m.Cut, m.NTypes)
	}
}

func TestDNSOverTCP(t *testing.T) {
	b := tunnelAnswer(t)
	stream := append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
	var m DNS
	prefixes(t, stream, m.ParseTCP)
	if m.ParseTCP(append(slices.Clone(stream), 0, 9)); m.Size != len(b) || m.NTypes != 3 || m.Cut {
		t.Errorf("%+v", m)
	}
	if st, want := m.ParseTCP(stream[:60]); st != NeedMore || want != len(stream) || m.Name.String() != "abc.tunnel.example" || !m.Cut {
		t.Errorf("%v %d %q", st, want, m.Name)
	}
	large := dnsmessage.Message{Header: dnsmessage.Header{Response: true}, Questions: question("zone.example.", dnsmessage.TypeALL)}
	for range 60 {
		large.Answers = append(large.Answers, answer("zone.example.", &dnsmessage.TXTResource{TXT: []string{strings.Repeat("t", 200)}}))
	}
	b = message(t, large)
	stream = append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
	if st, want := m.ParseTCP(stream); st != Done || want != 0 || !m.Cut || m.Size != len(b) || m.NTypes != MaxTypes {
		t.Errorf("%v %d %+v", st, want, m)
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("\x3f"+strings.Repeat("a", 63), 3)
	for wire, want := range map[string]string{
		"\x00":                          "",
		"\x03WWW\x07eXample\x03org\x00": "www.example.org",
		"\x03a.b\x02\x00\xff\x00":       `a\046b.\000\255`,
		"\x01\\\x01 \x00":               `\092.\032`,
		long + "\x3d" + strings.Repeat("b", 61) + "\x00": strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("b", 61),
		long + "\x3e" + strings.Repeat("b", 62) + "\x00": "not this",
		"\xc0\x0c":          "not this", // at itself
		"\x01a\xc0\x0c":     "not this", // round and round
		"\x41" + "a\x00":    "not this",
		"\x80a\x00":         "not this",
		"\x05abc":           "not this",
		"\x01a\xc0\xff":     "not this", // beyond the message
		"\x01a\xc0":         "not this",
		"\xc0\x0e\x01a\x00": "not this", // forward
	} {
		b := append([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"+wire), "\x00\x01\x00\x01"...)
		var m DNS
		st, text := m.Parse(alone(b)), ""
		if text = m.Name.String(); st != Done {
			text = st.String()
		}
		if text != want {
			t.Errorf("%.40q: %q, not %q", wire, text, want)
		}
	}
}

func TestRegistered(t *testing.T) {
	for name, want := range map[string]string{ // by https://publicsuffix.org/list/ and its algorithm
		"www.example.com":            "example.com",
		"example.com":                "example.com",
		"a.b.c.example.co.uk":        "example.co.uk",
		"com":                        "com",
		"co.uk":                      "co.uk",
		"localhost":                  "localhost",
		"":                           "",
		"x.user.github.io":           "user.github.io",
		"www.ck":                     "www.ck",
		"a.b.foo.ck":                 "b.foo.ck",
		"4.2.0.192.in-addr.arpa":     "192.in-addr.arpa",
		`a\046b.t.example.org`:       "example.org",
		"a.b.unknown-tld-of-a-house": "b.unknown-tld-of-a-house",
	} {
		if got := string(Registered([]byte(name))); got != want {
			t.Errorf("%s: %s, not %s", name, got, want)
		}
	}
}

func TestDNSAllocs(t *testing.T) {
	b := tunnelAnswer(t)
	stream := append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
	m := new(DNS)
	name := make([]byte, 0, MaxNameText)
	noAllocs(t, "udp", func() { m.Parse(b) })
	noAllocs(t, "tcp", func() { m.ParseTCP(stream) })
	noAllocs(t, "name", func() { name = m.Name.Append(name[:0]) })
	if n := testing.AllocsPerRun(100, func() { Registered(name) }); n > 1 {
		t.Errorf("registered domain: %v allocations", n)
	}
}

func BenchmarkDNS(b *testing.B) {
	query := message(b, dnsmessage.Message{Questions: question("www.example.org.", dnsmessage.TypeA)})
	answers := tunnelAnswer(b)
	var m DNS
	for _, c := range []struct {
		name string
		b    []byte
	}{{"query", query}, {"answer", answers}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				m.Parse(c.b)
			}
		})
	}
	name := make([]byte, 0, MaxNameText)
	b.Run("name", func(b *testing.B) {
		for b.Loop() {
			name = m.Name.Append(name[:0])
		}
	})
	b.Run("registered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Registered(name)
		}
	})
}

// like is how dnsmessage reads a message: header, first question, types of the answers; an error where it refuses header or
// questions.
func like(b []byte) (h dnsmessage.Header, q []dnsmessage.Question, types []uint16, size int, err error) {
	var p dnsmessage.Parser
	if h, err = p.Start(b); err != nil {
		return h, nil, nil, 0, err
	}
	if q, err = p.AllQuestions(); err != nil {
		return h, nil, nil, 0, err
	}
	for {
		r, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return h, q, types, 0, nil
		}
		if err != nil || p.SkipAnswer() != nil {
			return h, q, types, -1, nil
		}
		types = append(types, uint16(r.Type))
	}
}

// lower is a dnsmessage name as Append writes names: it refuses dots within labels, so that the text is unambiguous.
func lower(n dnsmessage.Name) string {
	var b []byte
	for _, c := range n.Data[:n.Length] {
		switch {
		case 'A' <= c && c <= 'Z':
			b = append(b, c|0x20)
		case c == '.':
			b = append(b, c)
		case c <= ' ' || c >= 0x7f || c == '\\':
			b = fmt.Appendf(b, `\%03d`, c)
		default:
			b = append(b, c)
		}
	}
	return strings.TrimSuffix(string(b), ".")
}

// forward tells whether anything in b may be a compression pointer that does not point back.
func forward(b []byte) bool {
	for i := range len(b) - 1 {
		if b[i] >= 0xc0 && int(b[i]&0x3f)<<8|int(b[i+1]) >= i {
			return true
		}
	}
	return false
}

func FuzzDNS(f *testing.F) {
	f.Add(tunnelAnswer(f))
	f.Add(message(f, dnsmessage.Message{Header: dnsmessage.Header{ID: 1}, Questions: question("WWW.Example.org.", dnsmessage.TypeAAAA)}))
	f.Add([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\xc0\x16\x00\x01\x00\x01\x03org\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m DNS
		st := m.Parse(alone(b))
		lawful(t, b, m.ParseTCP, func() bool { return m.Cut })
		m.Parse(b)
		if text := m.Name.Append(nil); len(text) > MaxNameText || len(Registered(text)) > len(text) {
			t.Fatalf("name of %d bytes", len(text))
		}
		h, questions, types, rest, err := like(b)
		if err != nil || len(questions) > MaxRecords {
			return
		}
		for _, q := range questions {
			if q.Name.Length == 255 {
				return // dnsmessage counts the dots of the text, RFC 1035 the bytes of the wire
			}
		}
		if st != Done && forward(b) {
			return // dnsmessage follows pointers forward
		}
		if st != Done {
			t.Fatalf("dnsmessage reads it, we do not: %v", st)
		}
		if m.ID != h.ID || m.Response != h.Response || m.Truncated != h.Truncated || uint16(m.Rcode) != uint16(h.RCode)&15 || uint16(m.Opcode) != uint16(h.OpCode) {
			t.Fatalf("%+v, dnsmessage has %+v", m, h)
		}
		if len(questions) != int(m.Questions) {
			t.Fatalf("%d questions, dnsmessage has %d", m.Questions, len(questions))
		}
		if len(questions) > 0 && (lower(questions[0].Name) != m.Name.String() || uint16(questions[0].Type) != m.Type || uint16(questions[0].Class) != m.Class) {
			t.Fatalf("%q %d, dnsmessage has %v", m.Name, m.Type, questions[0])
		}
		if rest == 0 && len(types) <= MaxRecords && (m.Cut || !slices.Equal(m.Types[:m.NTypes], types[:min(len(types), MaxTypes)])) {
			t.Fatalf("%v, cut %v, dnsmessage has %v", m.Types[:m.NTypes], m.Cut, types)
		}
	})
}
