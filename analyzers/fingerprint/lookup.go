package fingerprint

import (
	"fmt"
	"strconv"
	"strings"
)

// Lookup finds the label of a signature, 0 for none. About 10 ns; safe for concurrent use.
func Lookup(s Sig) uint16 {
	for i := known.first[s.slot()]; i < len(known.patterns); i++ {
		p := &known.patterns[i]
		if p.like.slot() != s.slot() {
			return labelNone
		}
		if p.matches(&s) {
			return p.label
		}
	}
	return labelNone
}

// pattern is a print, read.
type pattern struct {
	label             uint16
	like              Sig // what must be equal
	anyVer, anyTTL    bool
	anyMSS, anyWindow bool
	anyScale, anyData bool
	optional          Quirks
}

func (p *pattern) matches(s *Sig) bool {
	l := &p.like
	return l.Layout == s.Layout && l.NOpt == s.NOpt && l.SYNACK == s.SYNACK && l.EOLPad == s.EOLPad && l.IPOpt == s.IPOpt &&
		s.Quirks&^p.optional == l.Quirks &&
		(p.anyWindow || l.Window == s.Window) && (p.anyTTL || l.TTL == s.TTL) && (p.anyVer || l.Ver == s.Ver) &&
		(p.anyMSS || l.MSS == s.MSS) && (p.anyScale || l.WScale == s.WScale) && (p.anyData || l.Payload == s.Payload)
}

// slots of the index; a power of two.
const slots = 256

// slot is where a signature's patterns stand: by option layout, which no pattern leaves open.
func (s *Sig) slot() uint8 {
	return uint8(fold(s.Layout[0]^0x9e3779b97f4a7c15, uint64(s.NOpt)+0xd1b54a32d192ed03))
}

// index holds the patterns grouped by slot, in the order of prints within one.
type index struct {
	patterns []pattern
	first    [slots]int // of a slot; len(patterns) where it has none
}

var known = newIndex(prints)

// newIndex panics on a malformed print: the list is part of the program.
func newIndex(list []print) *index {
	var grouped [slots][]pattern
	for _, pr := range list {
		p, err := parse(pr)
		if err != nil {
			panic(fmt.Sprintf("fingerprint: %q: %v", pr.raw, err))
		}
		grouped[p.like.slot()] = append(grouped[p.like.slot()], p)
	}
	x := &index{}
	for slot, patterns := range grouped {
		x.first[slot] = len(list)
		if len(patterns) > 0 {
			x.first[slot] = len(x.patterns)
			x.patterns = append(x.patterns, patterns...)
		}
	}
	return x
}

// parse reads a print's text.
func parse(pr print) (pattern, error) {
	p := pattern{label: pr.label, like: Sig{SYNACK: pr.synack}}
	f := strings.Split(pr.raw, ":")
	if len(f) != 8 {
		return p, fmt.Errorf("%d fields instead of 8", len(f))
	}
	window, scale, _ := strings.Cut(f[4], ",")
	l := &p.like
	for _, n := range []struct {
		text string
		open *bool
		set  func(uint16)
	}{
		{f[0], &p.anyVer, func(v uint16) { l.Ver = uint8(v) }},
		{f[1], &p.anyTTL, func(v uint16) { l.TTL = uint8(v) }},
		{f[2], nil, func(v uint16) { l.IPOpt = uint8(v) }},
		{f[3], &p.anyMSS, func(v uint16) { l.MSS = v }},
		{window, &p.anyWindow, func(v uint16) { l.Window = v }},
		{scale, &p.anyScale, func(v uint16) { l.WScale = uint8(v) }},
	} {
		if n.text == "*" && n.open != nil {
			*n.open = true
			continue
		}
		v, err := strconv.ParseUint(n.text, 10, 16)
		if err != nil {
			return p, err
		}
		n.set(uint16(v))
	}
	p.anyData, l.Payload = f[7] == "*", f[7] == "+"
	if err := l.parseLayout(f[5]); err != nil {
		return p, err
	}
	return p, p.parseQuirks(f[6])
}

func (s *Sig) parseLayout(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		if name == "" {
			return nil
		}
		kind := -1
		for k, known := range optionNames {
			if known == name {
				kind = k
			}
		}
		number, found := strings.CutPrefix(name, "?")
		pad, eol := strings.CutPrefix(name, "eol+")
		if eol {
			number, kind = pad, kindEOL
		}
		if found || eol {
			v, err := strconv.ParseUint(number, 10, 8)
			if err != nil {
				return err
			}
			if eol {
				s.EOLPad = uint8(v)
			} else {
				kind = int(v)
			}
		}
		if kind < 0 || s.NOpt == MaxOptions {
			return fmt.Errorf("option %q", name)
		}
		s.Layout[s.NOpt>>3] |= uint64(kind) << (s.NOpt & 7 * 8)
		s.NOpt++
	}
	return nil
}

func (p *pattern) parseQuirks(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		if name == "" {
			return nil
		}
		name, optional := strings.CutSuffix(name, "?")
		bit := Quirks(0)
		for i, known := range quirkNames {
			if known == name {
				bit = 1 << i
			}
		}
		switch {
		case bit == 0:
			return fmt.Errorf("quirk %q", name)
		case optional:
			p.optional |= bit
		default:
			p.like.Quirks |= bit
		}
	}
	return nil
}
