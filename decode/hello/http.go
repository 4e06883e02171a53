package hello

import (
	"bytes"
	"net/netip"
)

// MaxFields is how many header lines are read; browsers send some 20. What is beyond is passed over to the end of the head: who
// sends thousands of short lines, a segment each, shall not cost more than others.
const MaxFields = 64

// maxMethod bounds a method's name. The longest registered one has 17 letters (IANA HTTP Method Registry).
const maxMethod = 24

// Request is the head of an HTTP/1 request. Header values are trimmed and not unfolded.
type Request struct {
	Method []byte // once it is set, the request line is complete
	Target []byte // as sent, query included
	Path   []byte // of the target, without query; of an absolute target what follows the authority; nil of CONNECT's and *
	Query  bool   // the target has one
	Minor  uint8  // HTTP/1.Minor

	Host          []byte
	UserAgent     []byte
	ContentLength int64  // -1 without one, or where it is no number
	ForwardedFor  []byte // the last X-Forwarded-For: the line that the nearest proxy wrote
	Forwarded     []byte // the last Forwarded (RFC 7239)
	Authorization bool   // has the header
	Cookie        bool   // has the header
	Chunked       bool   // has a Transfer-Encoding

	Client netip.AddrPort // from a PROXY header before the request; invalid without one
	Head   int            // bytes of the head, PROXY header and the empty line included; 0 where its end was not seen
	Cut    bool           // its end was not seen: NeedMore, or it is longer than MaxOpening
	Fields                // names of the headers in order
}

// Parse reads the head of a request at the start of b, the bytes from the client. NeedMore with Method set is worth having:
// the request line and the headers so far. About 600 ns for eight headers.
func (r *Request) Parse(b []byte) (Status, int) {
	b = cut(b)
	*r = Request{ContentLength: -1, Cut: true}
	client, skip, st := Proxy(b)
	if st == NeedMore {
		return unfinished(b, skip)
	}
	r.Client, r.head = client, b
	line, rest, ok := cutLine(b[skip:])
	if ok && !r.line(line) || !ok && !methodLike(line) {
		return NotThis, 0
	}
	for n := 0; ok; n++ {
		if line, rest, ok = headLine(rest, n); ok && len(line) == 0 {
			r.Head, r.Cut = len(b)-len(rest), false
			return Done, 0
		}
		if ok {
			r.field(line, len(b)-len(rest))
		}
	}
	if r.Method == nil && len(b) == MaxOpening {
		return NotThis, 0 // a request line without end is none
	}
	return unfinished(b, 0)
}

// line reads the request line (RFC 9112, section 3).
func (r *Request) line(line []byte) bool {
	i, j := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if i <= 0 || i > maxMethod || j <= i+1 || !isToken(line[:i]) {
		return false
	}
	minor, ok := version1(line[j+1:])
	if !ok {
		return false
	}
	r.Method, r.Target, r.Minor = line[:i], line[i+1:j], minor
	r.Path = r.Target
	if k := bytes.IndexByte(r.Path, '?'); k >= 0 {
		r.Path, r.Query = r.Path[:k], true
	}
	if len(r.Path) == 0 || r.Path[0] == '/' {
		return true
	}
	_, after, ok := bytes.Cut(r.Path, []byte("://")) // absolute form, to a proxy
	r.Path = nil
	if k := bytes.IndexByte(after, '/'); ok && k >= 0 {
		r.Path = after[k:]
	}
	return true
}

// field reads the header line that ends before offset end; a line that is none is passed over.
func (r *Request) field(line []byte, end int) {
	name, value, ok := r.cut(line, end)
	if !ok {
		return
	}
	switch len(name) {
	case len("host"):
		if r.Host == nil && equalFold(name, "host") {
			r.Host = value
		}
	case len("cookie"):
		r.Cookie = r.Cookie || equalFold(name, "cookie")
	case len("forwarded"):
		if equalFold(name, "forwarded") {
			r.Forwarded = value
		}
	case len("user-agent"):
		if r.UserAgent == nil && equalFold(name, "user-agent") {
			r.UserAgent = value
		}
	case len("authorization"):
		r.Authorization = r.Authorization || equalFold(name, "authorization")
	case len("content-length"):
		if equalFold(name, "content-length") {
			r.ContentLength = number(value)
		}
	case len("x-forwarded-for"):
		if equalFold(name, "x-forwarded-for") {
			r.ForwardedFor = value
		}
	case len("transfer-encoding"):
		r.Chunked = r.Chunked || equalFold(name, "transfer-encoding")
	}
}

// Response is the head of an HTTP/1 response.
type Response struct {
	Status        int   // 100 to 999; 0 before it is known
	Minor         uint8 // HTTP/1.Minor
	Server        []byte
	ContentLength int64 // -1 without one, or where it is no number
	Chunked       bool  // has a Transfer-Encoding
	Head          int   // bytes of the head, the empty line included; 0 where its end was not seen
	Cut           bool  // its end was not seen: NeedMore, or it is longer than MaxOpening
	Fields              // names of the headers in order
}

// statusLine is the length of the shortest beginning that tells: "HTTP/1.1 200".
const statusLine = len("HTTP/1.1 200")

// Parse reads the head of a response at the start of b, the bytes from the server. NeedMore with Status set is worth having.
func (r *Response) Parse(b []byte) (Status, int) {
	b = cut(b)
	*r = Response{ContentLength: -1, Cut: true}
	r.head = b
	if !mayBegin(b, "HTTP/1.") {
		return NotThis, 0
	}
	if len(b) < statusLine {
		return unfinished(b, statusLine)
	}
	minor, ok := version1(b[:len("HTTP/1.1")])
	code := number(b[len("HTTP/1.1 "):statusLine])
	if !ok || b[len("HTTP/1.1")] != ' ' || code < 100 || len(b) > statusLine && b[statusLine] > ' ' {
		return NotThis, 0
	}
	r.Status, r.Minor = int(code), minor
	_, rest, ok := cutLine(b)
	line := []byte(nil)
	for n := 0; ok; n++ {
		if line, rest, ok = headLine(rest, n); ok && len(line) == 0 {
			r.Head, r.Cut = len(b)-len(rest), false
			return Done, 0
		}
		if ok {
			r.field(line, len(b)-len(rest))
		}
	}
	return unfinished(b, 0)
}

func (r *Response) field(line []byte, end int) {
	name, value, ok := r.cut(line, end)
	switch {
	case !ok:
	case equalFold(name, "server"):
		r.Server = value
	case equalFold(name, "content-length"):
		r.ContentLength = number(value)
	case equalFold(name, "transfer-encoding"):
		r.Chunked = true
	}
}

// Fields are the names of a head's headers, as sent and in order; at most MaxFields of them.
type Fields struct {
	NFields int
	head    []byte
	names   [MaxFields]span // in head
}

// Name is the i-th header's name, i below NFields.
func (f *Fields) Name(i int) []byte { return f.head[f.names[i].from:f.names[i].to] }

// cut splits the header line that ends before offset end, and lists its name; not ok for a line without a name (a folded one, or
// none).
func (f *Fields) cut(line []byte, end int) (name, value []byte, ok bool) {
	i := bytes.IndexByte(line, ':')
	if i <= 0 || !isToken(line[:i]) {
		return nil, nil, false
	}
	if f.NFields < MaxFields {
		from := end - len("\n") - len(line)
		if f.head[end-len("\r\n")] == '\r' {
			from--
		}
		f.names[f.NFields] = span{uint16(from), uint16(from + i)}
		f.NFields++
	}
	return line[:i], bytes.Trim(line[i+1:], " \t"), true
}

// cutLine splits b behind its first line feed; the line is without its end. False where there is none: then line is b.
func cutLine(b []byte) (line, rest []byte, ok bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return b, nil, false
	}
	line, rest = b[:i], b[i+1:]
	if i > 0 && line[i-1] == '\r' {
		line = line[:i-1]
	}
	return line, rest, true
}

// headLine is line n of a head, as cutLine gives it; behind MaxFields lines it is the empty one that ends the head.
func headLine(b []byte, n int) (line, rest []byte, ok bool) {
	if n < MaxFields || len(b) > 0 && b[0] == '\n' || bytes.HasPrefix(b, []byte("\r\n")) {
		return cutLine(b)
	}
	end := len(b)
	for _, empty := range []string{"\n\n", "\n\r\n"} {
		if i := bytes.Index(b[:end], []byte(empty)); i >= 0 {
			end, rest = i, b[i+len(empty):]
		}
	}
	return nil, rest, rest != nil
}

// version1 reads "HTTP/1.0" or "HTTP/1.1".
func version1(b []byte) (minor uint8, ok bool) {
	if len(b) != len("HTTP/1.1") || !mayBegin(b, "HTTP/1.") || b[7] < '0' || b[7] > '9' {
		return 0, false
	}
	return b[7] - '0', true
}

// methodLike tells whether b, the beginning of a line, may be that of a request line.
func methodLike(b []byte) bool {
	method, _, found := bytes.Cut(b, []byte{' '})
	return len(method) <= maxMethod && isToken(method) && (found || len(b) == len(method)) && (len(method) > 0 || len(b) == 0)
}

// number reads decimal digits; -1 for anything else.
func number(b []byte) int64 {
	if len(b) == 0 || len(b) > 18 {
		return -1
	}
	n := int64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

// isToken tells whether all of b are token characters (RFC 9110, section 5.6.2).
func isToken(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 || tokens[c>>6]&(1<<(c&63)) == 0 {
			return false
		}
	}
	return true
}

// tokens is the set of token characters: letters, digits and !#$%&'*+-.^_`|~.
var tokens = func() (set [2]uint64) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" {
		set[c>>6] |= 1 << (c & 63)
	}
	return set
}()

// equalFold compares b with a word in lower case, letters of either case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// mayBegin tells whether b and word agree as far as both go: b begins with word, or may yet.
func mayBegin(b []byte, word string) bool {
	n := min(len(b), len(word))
	return string(b[:n]) == word[:n]
}
