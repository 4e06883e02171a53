package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/parquet-go/parquet-go"

	"weir/decode/conn"
	"weir/decode/filter"
)

// Query says which connections to read, and what of them.
type Query struct {
	Since, Until time.Time      // ended at Since or later, and before Until; zero: open
	Filter       *filter.Filter // by filter.ParseEnds; nil: all
	Columns      Columns        // zero: all. What is not asked for may be zero in the records
	Progress     func(Progress) // if not nil: after each row group, on the caller's goroutine
}

// Progress is how far a Query is.
type Progress struct {
	Files, Read int   // finished files of the range, and those that are read or passed over
	Rows        int64 // that were looked at
}

// Read yields the connections of a store: hour by hour of their end, within an hour in the order in which the sensor closed them. Files
// that are being written are left out; one that retention takes away meanwhile is, too. Hours and row groups outside the time range are
// not opened. The record is valid until the next one. An error names its file and leaves out what is left of that; the sequence goes on.
// A store may be read while it is written. Memory: the wanted columns of 65,536 connections, some 20 MB.
func Read(ctx context.Context, folder string, q Query) iter.Seq2[*conn.Record, error] {
	return func(yield func(*conn.Record, error) bool) {
		files, err := flowFiles(folder, q.Since, q.Until)
		if err != nil {
			yield(nil, err)
			return
		}
		r := reader{q: q, yield: yield, progress: Progress{Files: len(files)}}
		if r.q.Columns == 0 {
			r.q.Columns = AllColumns
		}
		r.from, r.to = micros(q.Since, math.MinInt64), micros(q.Until, math.MaxInt64)
		for _, name := range files {
			err := r.file(ctx, filepath.Join(folder, name))
			if errors.Is(err, errEnough) {
				return
			}
			if ctx.Err() != nil {
				yield(nil, ctx.Err())
				return
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !yield(nil, fmt.Errorf("%s: %w", name, err)) {
				return
			}
			r.progress.Read++
			r.tell()
		}
	}
}

var errEnough = errors.New("the reader has enough")

func micros(t time.Time, open int64) int64 {
	if t.IsZero() {
		return open
	}
	return t.UnixMicro()
}

// flowFiles are the finished files of the hours that a time range touches, in order, with slashes below the folder.
func flowFiles(folder string, since, until time.Time) (names []string, err error) {
	if _, err := os.Stat(folder); err != nil {
		return nil, err
	}
	err = walk(folder, func(name string, e fs.DirEntry) error {
		if hour, ok := hourOf(name); ok && e.IsDir() {
			if !until.IsZero() && !hour.Before(until) || !since.IsZero() && !hour.Add(time.Hour).After(since) {
				return fs.SkipDir
			}
			return nil
		}
		if k, ok := kindOf(name); ok && k != Flows {
			return fs.SkipAll
		}
		if _, ok := hourOf(path.Dir(name)); ok && fileName.MatchString(name) {
			names = append(names, name)
		}
		return nil
	})
	slices.Sort(names)
	return names, err
}

// reader goes through files.
type reader struct {
	q        Query
	from, to int64 // µs
	yield    func(*conn.Record, error) bool
	progress Progress
	record   conn.Record
}

func (r *reader) tell() {
	if r.q.Progress != nil {
		r.q.Progress(r.progress)
	}
}

func (r *reader) file(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var file *parquet.File
	var at places
	if err := sound(func() (err error) {
		if file, err = parquet.OpenFile(f, info.Size(), parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true)); err == nil {
			at, err = shapeOf(file)
		}
		return err
	}); err != nil {
		return err
	}
	for i, rg := range file.RowGroups() {
		if err := ctx.Err(); err != nil {
			return err
		}
		stats := file.Metadata().RowGroups[i].Columns[at["ended"]].MetaData.Statistics
		low, high := bound(stats.MinValue, math.MinInt64), bound(stats.MaxValue, math.MaxInt64)
		if low >= r.to || high < r.from {
			continue
		}
		if err := r.group(rg, at, low < r.from || high >= r.to); err != nil {
			return err
		}
		r.progress.Rows += rg.NumRows()
		r.tell()
	}
	return nil
}

// sound turns a panic of the decoder, which does not bear every damage, into an error.
func sound(decode func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it is damaged: %v", p)
		}
	}()
	return decode()
}

// bound is a statistic of a column of int64; without one nothing is known.
func bound(b []byte, open int64) int64 {
	if len(b) != 8 {
		return open
	}
	return int64(binary.LittleEndian.Uint64(b))
}

// group yields the rows of a row group that are asked for. What the filter does not need is decoded only if a row passes.
func (r *reader) group(rg parquet.RowGroup, at places, cut bool) error {
	g := group{at: at, ints: map[string][]int64{}, texts: map[string]*textColumn{}}
	first := ColEnds
	if cut {
		first |= ColTime
	}
	if r.q.Filter != nil {
		first |= ColLink
	}
	if err := sound(func() error { return g.read(rg, first) }); err != nil {
		return err
	}
	var rows []int32
	for i := range g.rows {
		if r.wanted(&g, i, cut) {
			rows = append(rows, int32(i))
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if err := sound(func() error { return g.read(rg, r.q.Columns&^first) }); err != nil {
		return err
	}
	for _, i := range rows {
		g.record(int(i), r.q.Columns|first, &r.record)
		if !r.yield(&r.record, nil) {
			return errEnough
		}
	}
	return nil
}

func (r *reader) wanted(g *group, i int, cut bool) bool {
	if cut {
		if ended := g.ints["ended"][i]; ended < r.from || ended >= r.to {
			return false
		}
	}
	if r.q.Filter == nil {
		return true
	}
	return r.q.Filter.MatchEnds(&filter.Ends{
		Orig: g.addr("orig_h", i), Resp: g.addr("resp_h", i), OrigPort: uint16(g.ints["orig_p"][i]), RespPort: uint16(g.ints["resp_p"][i]),
		Proto: uint8(g.ints["ip_proto"][i]), Ver: uint8(g.ints["ver"][i]), VLAN: [2]uint16{uint16(g.ints["vlan"][i]), uint16(g.ints["vlan_inner"][i])},
	})
}
