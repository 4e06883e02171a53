package store

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"

	"github.com/parquet-go/parquet-go"

	"weir/decode"
)

// Columns is a set of columns of connections.
type Columns uint64

// Columns by what they tell of a conn.Record. Those of Ends are always read.
const (
	ColTime    Columns = 1 << iota // First, Last
	ColEnds                        // addresses, ports, Proto, Ver
	ColLink                        // VLAN, Tunnels, Disc, Outer
	ColService                     // App, where it is told by another name than the port's
	ColState                       // State, Close, Action, Proven, Midstream, HistLen and Hist
	ColPackets                     // O.Packets, R.Packets
	ColIPBytes                     // O.IPBytes, R.IPBytes
	ColBytes                       // O.Bytes, R.Bytes
	ColTCP                         // Gap, Retrans, ZeroWindow and Flags of both, RTT
	AllColumns = ColTCP<<1 - 1
)

// names of the columns of each set.
var columnNames = map[Columns][]string{
	ColTime:    {"ts", "ts_ns", "duration_us", "ended"},
	ColEnds:    {"orig_h", "orig_p", "resp_h", "resp_p", "ip_proto", "ver"},
	ColLink:    {"vlan", "vlan_inner", "tunnels", "disc", "outer"},
	ColService: {"service"},
	ColState:   {"conn_state", "history", "close", "action", "proven", "midstream"},
	ColPackets: {"orig_pkts", "resp_pkts"},
	ColIPBytes: {"orig_ip_bytes", "resp_ip_bytes"},
	ColBytes:   {"orig_bytes", "resp_bytes"},
	ColTCP: {
		"orig_gap", "orig_retrans", "orig_zero_window", "orig_flags", "resp_gap", "resp_retrans", "resp_zero_window", "resp_flags",
		"rtt_us",
	},
}

// group is a row group whose wanted columns are decoded: at most 65,536 rows of our own files.
type group struct {
	rows  int
	at    places
	ints  map[string][]int64 // booleans are 0 and 1
	texts map[string]*textColumn
}

// textColumn is a column of texts: each row has the number of a word.
type textColumn struct {
	index []int32
	words []string
	addrs []decode.Addr // of the words, for addresses
}

// maxGroupRows is what a row group of another writer may have: all columns of it take some 300 MB.
const maxGroupRows = 1 << 20

var errShape = errors.New("it is no file of connections of this version")

// places are the numbers of the columns of a file, by name.
type places map[string]int

// ownSchema is that of the files that are written here.
var ownSchema = sync.OnceValue(func() *parquet.Schema { return parquet.SchemaOf(flow{}) })

// shapeOf finds the columns of a file. One that lacks a column, or has other values in it, is refused, and one of too large row groups.
// That row groups have all columns is seen to when a file is opened.
func shapeOf(file *parquet.File) (places, error) {
	for _, rg := range file.Metadata().RowGroups {
		if rg.NumRows > maxGroupRows {
			return nil, fmt.Errorf("%w: a row group of %d rows", errShape, rg.NumRows)
		}
	}
	at := places{}
	for _, names := range columnNames {
		for _, name := range names {
			own, _ := ownSchema().Lookup(name)
			leaf, ok := file.Schema().Lookup(name)
			if !ok || leaf.MaxDefinitionLevel > 0 || leaf.MaxRepetitionLevel > 0 || leaf.Node.Type().Kind() != own.Node.Type().Kind() {
				return nil, fmt.Errorf("%w: column %s", errShape, name)
			}
			at[name] = leaf.ColumnIndex
		}
	}
	return at, nil
}

// read decodes the columns of some sets into the group, and keeps what it has of others.
func (g *group) read(rg parquet.RowGroup, want Columns) error {
	g.rows = int(rg.NumRows())
	for set, names := range columnNames {
		if want&set == 0 {
			continue
		}
		for _, name := range names {
			if err := g.column(name, rg.ColumnChunks()[g.at[name]]); err != nil {
				return fmt.Errorf("column %s: %w", name, err)
			}
		}
	}
	return nil
}

// column decodes one column.
func (g *group) column(name string, chunk parquet.ColumnChunk) (err error) {
	if n := chunk.NumValues(); n != int64(g.rows) {
		return fmt.Errorf("it has %d values, not %d", n, g.rows)
	}
	var numbers []int64
	var texts textColumn
	kind := chunk.Type().Kind()
	if kind == parquet.ByteArray {
		texts.index = make([]int32, 0, g.rows)
	} else {
		numbers = make([]int64, 0, g.rows)
	}
	pages := chunk.Pages()
	defer func() { err = errors.Join(err, pages.Close()) }()
	for len(numbers)+len(texts.index) <= g.rows {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if kind == parquet.ByteArray {
			err = texts.add(page)
		} else {
			numbers, err = appendNumbers(numbers, kind, page)
		}
		parquet.Release(page)
		if err != nil {
			return err
		}
	}
	if len(numbers)+len(texts.index) != g.rows {
		return fmt.Errorf("it has %d values, not %d", len(numbers)+len(texts.index), g.rows)
	}
	if kind != parquet.ByteArray {
		g.ints[name] = numbers
		return nil
	}
	if name == "orig_h" || name == "resp_h" {
		if err := texts.parse(); err != nil {
			return err
		}
	}
	g.texts[name] = &texts
	return nil
}

// appendNumbers appends the values of a page of integers or booleans.
func appendNumbers(to []int64, kind parquet.Kind, page parquet.Page) ([]int64, error) {
	data := page.Data()
	dict := page.Dictionary()
	switch {
	case dict != nil:
		words := make([]int64, dict.Len())
		for i := range words {
			words[i] = number(dict.Index(int32(i)))
		}
		for _, i := range data.Int32() {
			to = append(to, words[i])
		}
		return to, nil
	case kind == parquet.Int64:
		return append(to, data.Int64()...), nil
	case kind == parquet.Int32:
		for _, v := range data.Int32() {
			to = append(to, int64(v))
		}
		return to, nil
	}
	return to, eachValue(page, func(v parquet.Value) { to = append(to, number(v)) })
}

func number(v parquet.Value) int64 {
	switch v.Kind() {
	case parquet.Boolean:
		if v.Boolean() {
			return 1
		}
		return 0
	case parquet.Int32:
		return int64(v.Int32())
	case parquet.Int64:
		return v.Int64()
	}
	return 0
}

func eachValue(page parquet.Page, take func(parquet.Value)) error {
	var buf [256]parquet.Value
	values := page.Values()
	for {
		n, err := values.ReadValues(buf[:])
		for _, v := range buf[:n] {
			take(v)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// add appends the values of a page.
func (c *textColumn) add(page parquet.Page) error {
	dict := page.Dictionary()
	if dict == nil {
		return eachValue(page, func(v parquet.Value) {
			c.index = append(c.index, int32(len(c.words)))
			c.words = append(c.words, string(v.ByteArray()))
		})
	}
	if c.words == nil { // pages with a dictionary come first, and share it
		c.words = make([]string, dict.Len())
		for i := range c.words {
			c.words[i] = string(dict.Index(int32(i)).ByteArray())
		}
	}
	data := page.Data()
	for _, i := range data.Int32() {
		if i < 0 || int(i) >= len(c.words) {
			return fmt.Errorf("word %d of %d", i, len(c.words))
		}
		c.index = append(c.index, i)
	}
	return nil
}

// parse reads the words as addresses.
func (c *textColumn) parse() error {
	c.addrs = make([]decode.Addr, len(c.words))
	for i, w := range c.words {
		a, err := netip.ParseAddr(w)
		if err != nil {
			return err
		}
		c.addrs[i] = decode.AddrFrom(a)
	}
	return nil
}

// word is the text of a row.
func (g *group) word(name string, row int) string {
	c := g.texts[name]
	return c.words[c.index[row]]
}

func (g *group) addr(name string, row int) decode.Addr {
	c := g.texts[name]
	return c.addrs[c.index[row]]
}
