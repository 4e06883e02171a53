package alert

import (
	"net/netip"
	"slices"
	"strings"

	"weir/analyzers/context"
)

// maxNamed is how many addresses of a sentence are named: names have up to 64 bytes.
const maxNamed = 4

// named is a sentence in which the names that the operator gave to networks stand behind their addresses and prefixes, each behind
// its first mention: "203.0.113.9 (office-vpn) had …".
func (m *Manager) named(sentence string) string {
	if m.networks == nil || !m.networks.Named() {
		return sentence
	}
	var told []netip.Prefix
	words := strings.Split(sentence, " ")
	for i, word := range words {
		p, end := mentioned(word)
		name := m.networks.Name(p)
		if name == "" || slices.Contains(told, p) {
			continue
		}
		if words[i] = word[:end] + " (" + name + ")" + word[end:]; len(told) == maxNamed-1 {
			break
		}
		told = append(told, p)
	}
	return strings.Join(words, " ")
}

// mentioned is the address or prefix that a word is, perhaps with a port and a protocol, and where it ends before the punctuation
// behind it; not valid if the word is neither.
func mentioned(word string) (p netip.Prefix, end int) {
	for _, marks := range [...]string{",.;)", ",.;):"} { // "::" ends IPv6 prefixes
		end = len(strings.TrimRight(word, marks))
		text := strings.TrimLeft(word[:end], "(")
		if p, err := context.ParsePrefix(text); err == nil {
			return p, end
		}
		text, _, _ = strings.Cut(text, "/")
		if at, err := netip.ParseAddrPort(text); err == nil {
			return context.Single(at.Addr()), end
		}
	}
	return netip.Prefix{}, 0
}
