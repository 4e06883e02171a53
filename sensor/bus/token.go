package bus

import (
	"errors"
	"strings"
)

const hexDigits = "0123456789ABCDEF"

// Token makes any string one token of a NATS subject, legal also in the names of streams, buckets and files: letters, digits
// and '-' stand for themselves, each other byte is '_' and two upper-case hex digits, and the empty string is "_". So
// "web-1.example.org" is "web-1_2Eexample_2Eorg". Different strings have different tokens.
func Token(s string) string {
	if s == "" {
		return "_"
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('_')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

// ParseToken is the inverse of Token. It refuses what Token cannot have made.
func ParseToken(token string) (string, error) {
	if token == "_" {
		return "", nil
	}
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		c := token[i]
		if plain(c) {
			b.WriteByte(c)
			continue
		}
		if c != '_' || i+2 >= len(token) {
			return "", errToken
		}
		high, low := strings.IndexByte(hexDigits, token[i+1]), strings.IndexByte(hexDigits, token[i+2])
		if high < 0 || low < 0 || plain(byte(high<<4|low)) {
			return "", errToken
		}
		b.WriteByte(byte(high<<4 | low))
		i += 2
	}
	if b.Len() == 0 {
		return "", errToken
	}
	return b.String(), nil
}

var errToken = errors.New("not an escaped token: letters, digits, '-', and '_' with two upper-case hex digits for any other byte")

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-'
}

// names are the subjects and streams of a sensor, or of a site where sensor is "*".
type names struct{ site, sensor string } // as tokens

func namesOf(id Identity) names { return names{Token(id.Site), Token(id.Sensor)} }

func (n names) subject(rest string) string { return "weir.v1." + n.site + "." + n.sensor + "." + rest }

func (n names) alert(analyzer, severity string) string {
	return n.subject("alert." + Token(analyzer) + "." + Token(severity))
}

func (n names) drop(event string) string { return n.subject("drop." + Token(event)) }

func (n names) command(command string) string { return "weir.v1." + n.site + ".cmd." + Token(command) }

func (n names) stream(kind string) string { return "WEIR_" + kind + "_" + n.site }
