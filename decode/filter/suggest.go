package filter

import "fmt"

// words is all that the grammar knows.
var words = []string{
	"and", "or", "not", "src", "dst", "host", "net", "port", "portrange", "vlan",
	"ip", "ip6", "arp", "tcp", "udp", "sctp", "icmp", "icmp6",
}

// unknown is the error for a word that the grammar does not have at its place.
func unknown(t token) *Error {
	if mark(t.text[0]) {
		return &Error{t.col, fmt.Sprintf("expected a condition, found %q", t.text)}
	}
	best, least := "", 3 // farther than two letters is no misspelling
	for _, w := range words {
		if w == t.text {
			return &Error{t.col, fmt.Sprintf("expected a condition, found %q", t.text)}
		}
		if d := distance(t.text, w); d < least && d < len(w) {
			best, least = w, d
		}
	}
	if best == "" {
		return &Error{t.col, fmt.Sprintf("unknown word %q", clip(t.text))}
	}
	return &Error{t.col, fmt.Sprintf("unknown word %q: did you mean %q?", clip(t.text), best)}
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// distance is the edit distance in which a swap of neighbours counts one (optimal string alignment), or 3 where the lengths
// alone differ by that much.
func distance(a, b string) int {
	if len(a) > len(b)+2 || len(b) > len(a)+2 {
		return 3
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
