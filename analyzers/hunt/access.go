package hunt

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Access is a line of an access log. Texts are as they stand in the log: hostile.
type Access struct {
	Time             int64  // ns; 0: unknown
	Client, User     string // address or name; "" for "-"
	Method, Path     string
	Query            string // without the question mark
	Status           int
	Bytes            float64
	Ms               float64 // it took; -1 unknown
	Referer, Agent   string
	Server, Protocol string
}

// Patterns of Tomcat's AccessLogValve and of Apache httpd's LogFormat.
const (
	CommonPattern   = `%h %l %u %t "%r" %s %b`
	CombinedPattern = CommonPattern + ` "%{Referer}i" "%{User-Agent}i"`
)

// Pattern reads lines of an access log.
type Pattern struct {
	parts []part
	micro bool // %D is in µs
}

// part is text that must stand there, or a field that goes to the next text.
type part struct {
	literal string
	code    byte   // of the field: 'h' of %h
	name    string // "User-Agent" of %{User-Agent}i
}

// NewPattern compiles a pattern of Tomcat's AccessLogValve (https://tomcat.apache.org/tomcat-9.0-doc/config/valve.html#Access_Logging), of
// which Apache's LogFormat is much the same: "common", "combined", or as `%h %l %u %t "%r" %s %b %D`. Fields with no meaning here are passed
// over. micro: %D is in µs (httpd; Tomcat from 10 on), not in ms.
func NewPattern(s string, micro bool) (*Pattern, error) {
	switch strings.ToLower(s) {
	case "common":
		s = CommonPattern
	case "combined":
		s = CombinedPattern
	}
	if len(s) > 4096 {
		return nil, errors.New("a pattern of more than 4096 bytes")
	}
	p := &Pattern{micro: micro}
	for rest := s; rest != ""; {
		at := strings.IndexByte(rest, '%')
		if at < 0 {
			at = len(rest)
		}
		if at > 0 {
			p.parts = append(p.parts, part{literal: rest[:at]})
			rest = rest[at:]
			continue
		}
		f, left, err := field(rest)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", short(s), err)
		}
		if n := len(p.parts); n > 0 && p.parts[n-1].literal == "" && f.literal == "" {
			return nil, fmt.Errorf("pattern %q: two fields with nothing between them cannot be told apart", short(s))
		}
		p.parts, rest = append(p.parts, f), left
	}
	for _, need := range []struct {
		codes, what string
	}{{"ha", "a client (%h or %a)"}, {"rU", "a request (%r, or %m and %U)"}, {"s", "a status (%s)"}} {
		if !p.has(need.codes) {
			return nil, fmt.Errorf("pattern %q: it has no %s", short(s), need.what)
		}
	}
	return p, nil
}

func (p *Pattern) has(codes string) bool {
	for _, f := range p.parts {
		if f.literal == "" && strings.IndexByte(codes, f.code) >= 0 {
			return true
		}
	}
	return false
}

// field reads "%s", "%>s", "%{User-Agent}i" or "%%" at the beginning.
func field(s string) (f part, rest string, err error) {
	s = strings.TrimLeft(s[1:], "><!,0123456789") // httpd's conditions and directions
	if name, after, is := strings.Cut(s, "}"); is && strings.HasPrefix(name, "{") {
		f.name, s = name[1:], after
		if s == "" {
			return f, s, errors.New("it ends in a name without a letter")
		}
	}
	if s == "" {
		return f, s, errors.New("it ends in a %")
	}
	if s[0] == '%' {
		return part{literal: "%"}, s[1:], nil
	}
	const known = "aAbBcCdDefFhHiIklLmnoOpPqrRsStTuUvVxX^"
	if strings.IndexByte(known, s[0]) < 0 {
		return f, s, fmt.Errorf("nothing is called %%%c", s[0])
	}
	f.code = s[0]
	return f, s[1:], nil
}

var errLine = errors.New("the line does not fit the pattern")

// Parse reads a line. What follows the last part is passed over.
func (p *Pattern) Parse(line []byte) (*Access, error) {
	a := &Access{Ms: -1}
	rest := line
	for i, f := range p.parts {
		if f.literal != "" {
			after, is := bytes.CutPrefix(rest, []byte(f.literal))
			if !is {
				return nil, errLine
			}
			rest = after
			continue
		}
		end := len(rest)
		switch {
		case f.code == 't' && len(rest) > 0 && rest[0] == '[':
			end = bytes.IndexByte(rest, ']') + 1
		case i+1 < len(p.parts):
			end = until(rest, p.parts[i+1].literal)
		case f.code != 't':
			if at := bytes.IndexByte(rest, ' '); at >= 0 {
				end = at
			}
		}
		if end < 0 {
			return nil, errLine
		}
		if err := a.set(f, string(rest[:end]), p.micro); err != nil {
			return nil, err
		}
		rest = rest[end:]
	}
	return a, a.check()
}

// until is where a field ends: before the next text; inside quotes an escaped quote does not end it. -1: nowhere.
func until(s []byte, literal string) int {
	if literal[0] != '"' {
		return bytes.Index(s, []byte(literal))
	}
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		} else if bytes.HasPrefix(s[i:], []byte(literal)) {
			return i
		}
	}
	return -1
}

func (a *Access) set(f part, s string, micro bool) (err error) {
	if s == "-" {
		s = ""
	}
	switch f.code {
	case 'h', 'a':
		a.Client = s
	case 'u':
		a.User = s
	case 'v':
		a.Server = s
	case 'm':
		a.Method = s
	case 'H':
		a.Protocol = s
	case 'U':
		a.Path = s
	case 'q':
		a.Query = strings.TrimPrefix(s, "?")
	case 'r':
		a.request(s)
	case 's':
		a.Status, err = strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("status %q is no number", short(s))
		}
	case 'b', 'B', 'O':
		a.Bytes, err = amount(s)
	case 'D', 'F':
		if a.Ms, err = amount(s); micro && err == nil {
			a.Ms /= 1000
		}
	case 'T':
		if a.Ms < 0 { // %D is finer
			a.Ms, err = amount(s)
			a.Ms *= 1000
		}
	case 't':
		a.Time, err = moment(s)
	case 'i':
		switch strings.ToLower(f.name) {
		case "user-agent":
			a.Agent = s
		case "referer":
			a.Referer = s
		}
	}
	return err
}

// request reads "GET /path?query HTTP/1.1".
func (a *Access) request(s string) {
	method, rest, _ := strings.Cut(s, " ")
	target, protocol := rest, ""
	if at := strings.LastIndexByte(rest, ' '); at >= 0 && strings.HasPrefix(rest[at+1:], "HTTP/") {
		target, protocol = rest[:at], rest[at+1:]
	}
	a.Method, a.Protocol = method, protocol
	a.target(target)
}

func (a *Access) target(s string) {
	a.Path, a.Query, _ = strings.Cut(s, "?")
}

func (a *Access) check() error {
	switch {
	case a.Client == "":
		return errors.New("no client")
	case a.Status < 100 || a.Status > 999:
		return fmt.Errorf("status %d is none of HTTP", a.Status)
	}
	return nil
}

func amount(s string) (float64, error) {
	if s == "" {
		return 0, nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 0 && v <= math.MaxInt64) {
		return 0, fmt.Errorf("%q is no amount", short(s))
	}
	return v, nil
}

// moment reads the time of a line: "[10/Oct/2000:13:55:36 -0700]", RFC 3339, or seconds, ms or µs since 1970.
func moment(s string) (int64, error) {
	s = strings.Trim(s, "[]")
	for _, layout := range []string{"02/Jan/2006:15:04:05 -0700", time.RFC3339, "2006-01-02T15:04:05-0700", "2006-01-02 15:04:05", "02/Jan/2006:15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			return bounded(t)
		}
	}
	if v, err := strconv.ParseFloat(s, 64); err == nil && v >= 0 && v <= math.MaxInt64 { // "Inf" never gets smaller
		for v > 1e11 { // not in seconds before the year 5138
			v /= 1000
		}
		return int64(v * 1e9), nil
	}
	return 0, fmt.Errorf("%q is no time", short(s))
}

func bounded(t time.Time) (int64, error) {
	if t.Year() < 1971 || t.Year() > 2200 {
		return 0, fmt.Errorf("the year %d", t.Year())
	}
	return t.UnixNano(), nil
}
