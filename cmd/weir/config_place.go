package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// mistakes are the errors of reading a configuration, each by itself and with its place in the file, where that can be found:
// FILE:LINE:COLUMN: MISTAKE.
func mistakes(path string, text []byte, err error) error {
	var all []error
	for _, e := range causes(err) {
		at, message := splitPosition(e.Error())
		if at == (place{}) {
			at = locate(text, message)
		}
		all = append(all, usageError{fmt.Errorf("%s%v: %s", path, at, message)})
	}
	return errors.Join(all...)
}

// place is a line and column of a file, both from 1; the zero place is unknown.
type place struct{ line, column int }

// String is how compilers write it, after the file's name.
func (p place) String() string {
	if p == (place{}) {
		return ""
	}
	return fmt.Sprintf(":%d:%d", p.line, p.column)
}

// splitPosition takes the place off an error of the YAML package: "[3:5] unknown field".
func splitPosition(text string) (place, string) {
	var p place
	if n, err := fmt.Sscanf(text, "[%d:%d]", &p.line, &p.column); n < 2 || err != nil {
		return place{}, text
	}
	_, message, _ := strings.Cut(text, "] ")
	return p, message
}

// locate finds the setting that an error of a Check method means. Those begin with the section's name and name the key:
// "capture: snaplen is 7, must be …", "nats: streams: alerts: max_age is …". The words of the message are held against the
// keys of the file: the one meant has most of its way in them, in order, from the first word on. If the key has its default,
// the section is meant; if that is not in the file either, the place is unknown.
func locate(text []byte, message string) place {
	file, err := parser.ParseBytes(text, 0)
	if err != nil || len(file.Docs) == 0 {
		return place{}
	}
	words := strings.FieldsFunc(message, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' })
	var best place
	var most, least int
	eachKey(file.Docs[0].Body, nil, func(way []string, at place) {
		named, last := match(way, words)
		if named > most || named == most && last < least {
			best, most, least = at, named, last
		}
	})
	return best
}

// match tells how many of a way's keys are among the words, in order, and at which word the last one is. The first word
// and the last key must be among them.
func match(way, words []string) (named, last int) {
	next := 0
	for i, key := range way {
		at := slices.Index(words[next:], key)
		if at < 0 && i == len(way)-1 || named == 0 && at > 0 {
			return 0, 0
		}
		if at >= 0 {
			named, last, next = named+1, next+at, next+at+1
		}
	}
	return named, last
}

// eachKey walks all keys below a node, with the way to each.
func eachKey(n ast.Node, above []string, f func(way []string, at place)) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	case *ast.AnchorNode:
		eachKey(n.Value, above, f)
	}
	for _, v := range values {
		token := v.Key.GetToken()
		way := append(slices.Clip(above), token.Value)
		f(way, place{token.Position.Line, token.Position.Column})
		eachKey(v.Value, way, f)
	}
}
