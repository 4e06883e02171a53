package hunt

import (
	"math"
	"strings"
	"unicode"
)

// HashDims is how many coordinates the words of a request are hashed into. More of them collide less; these are enough to tell a few
// hundred shapes apart, and what collides differs in other features.
const HashDims = 16

// HashSeed is what the hash of words begins with. It is part of the format: the same words give the same vector for ever.
const HashSeed = 0x7765697268756e74 // "weirhunt"

// maxWords bounds what one request can put into a vector.
const maxWords = 64

// shape is a path without what differs between things of one sort: numbers become 0, long hexadecimal words x, other long words l.
func shape(path string) string {
	var b strings.Builder
	for i, segment := range strings.SplitN(strings.ToLower(path), "/", maxWords) {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(shapeOf(segment))
	}
	return b.String()
}

func shapeOf(word string) string {
	var digits, hexes int
	for _, r := range word {
		if r >= '0' && r <= '9' {
			digits++
			hexes++
		} else if r >= 'a' && r <= 'f' || r == '-' {
			hexes++
		}
	}
	switch {
	case word == "" || digits == 0 && len(word) <= 24:
		return word
	case digits == len(word):
		return "0"
	case digits > 0 && hexes == len(word) && len(word) >= 8:
		return "x"
	case len(word) > 24:
		return "l"
	}
	var b strings.Builder
	last := false
	for _, r := range word { // "page12.html" becomes "page0.html"
		digit := r >= '0' && r <= '9'
		if !digit {
			b.WriteRune(r)
		} else if !last {
			b.WriteByte('0')
		}
		last = digit
	}
	return b.String()
}

// words are those of a request: segments of the path's shape, names of parameters, products of the User-Agent without versions.
func words(shape, query, agent string) (path, names, products []string) {
	for _, s := range strings.SplitN(shape, "/", maxWords) {
		if s != "" {
			path = append(path, s)
		}
	}
	for _, s := range strings.SplitN(query, "&", maxWords) {
		if name, _, _ := strings.Cut(s, "="); name != "" {
			names = append(names, shapeOf(strings.ToLower(name)))
		}
	}
	for _, s := range strings.FieldsFunc(agent, func(r rune) bool { return r == ' ' || r == '(' || r == ')' || r == ';' || r == ',' }) {
		if name, _, _ := strings.Cut(strings.ToLower(s), "/"); name != "" && len(products) < maxWords {
			products = append(products, shapeOf(name))
		}
	}
	return path, names, products
}

// hashed adds words to a vector (feature hashing: Weinberger, Dasgupta, Langford, Smola and Attenberg 2009): each word has a coordinate and
// a sign by its hash, and all words of a sort together have length weight.
func hashed(v []float32, sort byte, words []string, weight float64) {
	if len(words) == 0 {
		return
	}
	add := float32(weight / math.Sqrt(float64(len(words))))
	for _, w := range words {
		h := hashWord(sort, w)
		if h>>63 == 1 {
			v[h%HashDims] -= add
		} else {
			v[h%HashDims] += add
		}
	}
}

// hashWord is FNV-1a in 64 bits over the sort and the word, mixed.
func hashWord(sort byte, word string) uint64 {
	h := uint64(HashSeed)
	h = (h ^ uint64(sort)) * 1099511628211
	for i := range len(word) {
		h = (h ^ uint64(word[i])) * 1099511628211
	}
	return hash(h)
}

// odd is how many characters of a target are such as injections need: quotes, brackets, semicolons, escapes of these, "..".
func odd(target string) (n int) {
	for i := 0; i < len(target); i++ {
		switch c := target[i]; {
		case strings.IndexByte("'\"<>(){};|`$\\*", c) >= 0, c >= unicode.MaxASCII, c < ' ':
			n++
		case c == '.' && i+1 < len(target) && target[i+1] == '.':
			n++
		case c == '%' && i+2 < len(target):
			switch strings.ToLower(target[i+1 : i+3]) {
			case "22", "27", "3c", "3e", "28", "29", "3b", "7c", "60", "5c", "00", "2e", "0a", "0d", "25":
				n++
			}
		}
	}
	return n
}
