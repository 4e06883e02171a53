package store

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"weir/decode/conn"
)

// foreign is a row of another program's, whose addresses are numbers.
type foreign struct {
	TS       int64  `parquet:"ts"`
	Nanos    int32  `parquet:"ts_ns"`
	Duration int64  `parquet:"duration_us"`
	Ended    int64  `parquet:"ended"`
	OrigH    int64  `parquet:"orig_h"`
	OrigP    int32  `parquet:"orig_p"`
	RespH    string `parquet:"resp_h"`
	RespP    int32  `parquet:"resp_p"`
	Proto    int32  `parquet:"ip_proto"`
	Ver      int32  `parquet:"ver"`
}

// TestReadShape holds that a file of another shape is told for that before anything of it is decoded.
func TestReadShape(t *testing.T) {
	folder := t.TempDir()
	rng := rand.New(rand.NewPCG(4, 4))
	written(t, folder, func(int) *conn.Record {
		r := oddRecord(rng)
		r.First = noon.UnixNano()
		r.Last = r.First
		return r
	}, 10)
	names, err := flowFiles(folder, time.Time{}, time.Time{})
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	path := filepath.Join(folder, names[0])
	own := []byte(readFile(t, path))
	for name, text := range map[string][]byte{
		"numbers for addresses": foreignFile(t),
		"a column of other values": withFooter(t, own, func(m *format.FileMetaData) {
			i := slices.IndexFunc(m.Schema, func(e format.SchemaElement) bool { return e.Name == "service" })
			m.Schema[i].Type = thrift.New(format.Int64)
			m.Schema[i].ConvertedType, m.Schema[i].LogicalType = thrift.Null[deprecated.ConvertedType]{}, format.LogicalType{}
		}),
		"too many rows": withFooter(t, own, func(m *format.FileMetaData) {
			m.NumRows, m.RowGroups[0].NumRows = maxGroupRows+1, maxGroupRows+1
		}),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, text, 0o640); err != nil {
				t.Fatal(err)
			}
			var errs []error
			for r, err := range Read(t.Context(), folder, Query{Columns: ColEnds}) {
				if errs = append(errs, err); r != nil {
					t.Error("a connection")
				}
			}
			if len(errs) != 1 || !errors.Is(errs[0], errShape) {
				t.Errorf("%v", errs)
			}
		})
	}
}

func foreignFile(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "foreign")
	if err := parquet.WriteFile(path, []foreign{{RespH: "192.0.2.1", Ver: 4}}); err != nil {
		t.Fatal(err)
	}
	return []byte(readFile(t, path))
}

// withFooter is a file with changed metadata. They stand at the end, with their length in 4 bytes and "PAR1" behind.
func withFooter(t *testing.T, file []byte, change func(*format.FileMetaData)) []byte {
	t.Helper()
	end := len(file) - 8
	begin := end - int(binary.LittleEndian.Uint32(file[end:]))
	var m format.FileMetaData
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), file[begin:end], &m); err != nil {
		t.Fatal(err)
	}
	change(&m)
	text, err := thrift.Marshal(new(thrift.CompactProtocol), m)
	if err != nil {
		t.Fatal(err)
	}
	out := append(slices.Clone(file[:begin]), text...)
	return append(binary.LittleEndian.AppendUint32(out, uint32(len(text))), "PAR1"...)
}
