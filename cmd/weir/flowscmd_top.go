package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"weir/decode"
	"weir/decode/conn"
	"weir/sensor/store"
)

// topView adds connections up by what they have in common, and shows the largest.
type topView struct {
	table
	n      int
	by     string
	fields []topField
	format string
	need   store.Columns
	sums   map[topKey]topSum
	lost   uint64 // groups that were dropped on the way
}

// topKey is what the connections of a group have in common: of the fields that were asked for, the rest is zero.
type topKey struct {
	orig, resp     decode.Addr
	ver            uint8
	port           uint16
	proto          uint8
	state          conn.State
	service, named string
	hour           int64
}

type topSum struct{ connections, packets, bytes uint64 }

// maxGroups are added up at a time, in some 200 MB. With more, the smaller half is forgotten, and that is said.
const maxGroups = 1 << 20

// topField is one word of --group: what it takes of a connection, and how that shows.
type topField struct {
	name  string   // --group
	head  []string // names of its columns, those of JSON lines
	need  store.Columns
	take  func(k *topKey, r *conn.Record)
	cells func(k *topKey) []string
}

func origOf(k *topKey, r *conn.Record) { k.orig, k.ver = r.Orig, r.Ver }
func respOf(k *topKey, r *conn.Record) { k.resp, k.ver = r.Resp, r.Ver }
func protoOf(k *topKey, r *conn.Record) {
	k.proto, k.named = r.Proto, protocolOf(r)
}

var topFields = []topField{
	{"hour", []string{"hour"}, store.ColTime, func(k *topKey, r *conn.Record) { k.hour = r.Last / int64(time.Hour) }, func(k *topKey) []string {
		return []string{time.Unix(k.hour*3600, 0).UTC().Format(time.RFC3339)}
	}},
	{"orig", []string{"id.orig_h"}, store.ColEnds, origOf, func(k *topKey) []string { return []string{k.orig.Netip(k.ver).String()} }},
	{"resp", []string{"id.resp_h"}, store.ColEnds, respOf, func(k *topKey) []string { return []string{k.resp.Netip(k.ver).String()} }},
	{"port", []string{"proto", "id.resp_p"}, store.ColEnds, func(k *topKey, r *conn.Record) {
		protoOf(k, r)
		k.port = r.RespPort
	}, func(k *topKey) []string { return []string{k.named, strconv.Itoa(int(k.port))} }},
	{"proto", []string{"proto"}, store.ColEnds, protoOf, func(k *topKey) []string { return []string{k.named} }},
	{"service", []string{"service"}, store.ColService, func(k *topKey, r *conn.Record) { k.service = r.Service() }, func(k *topKey) []string {
		return []string{k.service}
	}},
	{"state", []string{"conn_state"}, store.ColState, func(k *topKey, r *conn.Record) { k.state = r.State }, func(k *topKey) []string {
		return []string{k.state.String()}
	}},
}

// topNumbers are the columns of sums.
var topNumbers = []string{"connections", "packets", "bytes"}

func newTopView(n int, by string, groups []string, format string, t table) (*topView, error) {
	w := &topView{table: t, n: n, by: by, format: format, need: store.ColPackets | store.ColIPBytes, sums: map[topKey]topSum{}}
	var words []string
	for _, g := range groups {
		if g == "pair" {
			words = append(words, "orig", "resp")
		} else {
			words = append(words, g)
		}
	}
	for i, word := range words {
		if slices.Contains(words[:i], word) || word == "proto" && slices.Contains(words, "port") {
			return nil, fmt.Errorf("--group: %s is in it twice", word)
		}
		at := slices.IndexFunc(topFields, func(f topField) bool { return f.name == word })
		w.fields = append(w.fields, topFields[at])
		w.need |= topFields[at].need
	}
	return w, nil
}

func (w *topView) columns() store.Columns { return w.need }

func (w *topView) note() string {
	text := fmt.Sprintf(", %d groups", len(w.sums))
	if w.lost > 0 {
		text += fmt.Sprintf("; %d groups with the least were forgotten on the way: sums may be too small (narrow the filter or the time)", w.lost)
	}
	return text
}

func (w *topView) show(r *conn.Record) error {
	var k topKey
	for i := range w.fields {
		w.fields[i].take(&k, r)
	}
	s, known := w.sums[k]
	if !known && len(w.sums) >= maxGroups {
		w.forget()
	}
	s.connections++
	s.packets += r.O.Packets + r.R.Packets
	s.bytes += r.O.IPBytes + r.R.IPBytes
	w.sums[k] = s
	return nil
}

// forget drops the smaller half.
func (w *topView) forget() {
	all := w.sorted()
	for i := range all[len(all)/2:] {
		delete(w.sums, all[len(all)/2+i].key)
		w.lost++
	}
}

type topRow struct {
	key   topKey
	sum   topSum
	value uint64
}

// sorted are the groups, the largest first; of one size in order of what they have in common.
func (w *topView) sorted() []topRow {
	all := make([]topRow, 0, len(w.sums))
	for k, s := range w.sums {
		all = append(all, topRow{k, s, map[string]uint64{"bytes": s.bytes, "packets": s.packets, "connections": s.connections}[w.by]})
	}
	slices.SortFunc(all, func(a, b topRow) int {
		return cmp.Or(cmp.Compare(b.value, a.value), a.key.compare(&b.key))
	})
	return all
}

func (k *topKey) compare(o *topKey) int {
	return cmp.Or(
		cmp.Compare(k.hour, o.hour), cmp.Compare(k.ver, o.ver), cmp.Compare(k.orig.Hi, o.orig.Hi), cmp.Compare(k.orig.Lo, o.orig.Lo),
		cmp.Compare(k.resp.Hi, o.resp.Hi), cmp.Compare(k.resp.Lo, o.resp.Lo), cmp.Compare(k.proto, o.proto), cmp.Compare(k.port, o.port),
		cmp.Compare(k.service, o.service), cmp.Compare(k.state, o.state),
	)
}

// end prints the largest.
func (w *topView) end() error {
	all := w.sorted()
	all = all[:min(len(all), w.n)]
	var head []string
	for _, f := range w.fields {
		head = append(head, f.head...)
	}
	rows := make([][]string, len(all))
	for i := range all {
		for _, f := range w.fields {
			rows[i] = append(rows[i], f.cells(&all[i].key)...)
		}
	}
	switch w.format {
	case "csv":
		return w.csv(head, rows, all)
	case "table":
		return w.print(head, rows, all)
	}
	return w.jsonl(head, rows, all)
}

func (s *topSum) numbers() []uint64 { return []uint64{s.connections, s.packets, s.bytes} }

func (w *topView) csv(head []string, rows [][]string, all []topRow) error {
	out := csv.NewWriter(w.out)
	err := out.Write(append(slices.Clip(head), topNumbers...))
	for i, row := range rows {
		for _, n := range all[i].sum.numbers() {
			row = append(row, strconv.FormatUint(n, 10))
		}
		err = errors.Join(err, out.Write(row))
	}
	out.Flush()
	return errors.Join(err, out.Error())
}

// jsonl writes an object a line; ports are numbers, all else is text.
func (w *topView) jsonl(head []string, rows [][]string, all []topRow) error {
	var b bytes.Buffer
	for i, row := range rows {
		b.WriteByte('{')
		for c, name := range head {
			value := row[c]
			if name != "id.resp_p" {
				text, err := json.Marshal(value)
				if err != nil {
					return err
				}
				value = string(text)
			}
			fmt.Fprintf(&b, "%q:%s,", name, value)
		}
		s := all[i].sum
		fmt.Fprintf(&b, "\"connections\":%d,\"packets\":%d,\"bytes\":%d}\n", s.connections, s.packets, s.bytes)
	}
	_, err := w.out.Write(b.Bytes())
	return err
}

// print shows a table, with columns as wide as they need to be.
func (w *topView) print(head []string, rows [][]string, all []topRow) error {
	if len(rows) == 0 {
		return nil
	}
	cells := [][]string{nil}
	for _, h := range append(slices.Clip(head), topNumbers...) {
		cells[0] = append(cells[0], strings.ToUpper(h))
	}
	for i, row := range rows {
		s := all[i].sum
		for c := range row {
			row[c] = orDash(row[c])
		}
		cells = append(cells, append(row, strconv.FormatUint(s.connections, 10), strconv.FormatUint(s.packets, 10), scaled(s.bytes, "B")))
	}
	widths := make([]int, len(cells[0]))
	for c := range widths {
		for _, row := range cells {
			widths[c] = max(widths[c], len(row[c])+tableGap)
		}
	}
	out := bufio.NewWriter(w.out)
	for _, row := range cells {
		w.row(out, row, widths, -1, lipgloss.NewStyle())
		out.WriteByte('\n')
	}
	return out.Flush()
}
