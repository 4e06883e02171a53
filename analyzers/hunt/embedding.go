package hunt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Embeddings is an Input of vectors made elsewhere.
type Embeddings struct {
	ids    []string
	values []float32
	names  []string // of the columns, if the file has a header
	dims   int
	keep   *Reservoir
	lines  int
}

// NewEmbeddings is an Input of so many vectors at most; of more, a uniform sample.
func NewEmbeddings(limit int) *Embeddings { return &Embeddings{keep: NewReservoir(limit)} }

// Line takes a line: {"id": "…", "vector": [1, 2]} or an id and numbers with commas between; a first line without numbers is a header.
func (e *Embeddings) Line(line []byte) error {
	e.lines++
	line = bytes.TrimSpace(line)
	if len(line) > 0 && line[0] == '{' {
		return e.object(line)
	}
	cells := strings.Split(string(line), ",")
	v := make([]float32, len(cells)-1)
	for i, cell := range cells[1:] {
		x, err := strconv.ParseFloat(strings.TrimSpace(cell), 32)
		if err != nil {
			if e.lines == 1 && i == 0 {
				e.names = cells[1:]
				return nil
			}
			return fmt.Errorf("%q in column %d is no number", short(cell), i+2)
		}
		v[i] = float32(x)
	}
	return e.take(strings.Trim(strings.TrimSpace(cells[0]), `"`), v)
}

func (e *Embeddings) object(line []byte) error {
	var one struct {
		ID     any       `json:"id"`
		Vector []float32 `json:"vector"`
	}
	if err := json.Unmarshal(line, &one); err != nil {
		return fmt.Errorf("no object with id and vector: %w", err)
	}
	id := ""
	switch v := one.ID.(type) {
	case string:
		id = v
	case float64:
		id = strconv.FormatFloat(v, 'f', -1, 64)
	}
	return e.take(id, one.Vector)
}

func (e *Embeddings) take(id string, v []float32) error {
	switch {
	case id == "":
		return errors.New("no id")
	case len(v) == 0:
		return errors.New("no numbers")
	case len(v) > MaxDims:
		return fmt.Errorf("%d numbers, at most %d", len(v), MaxDims)
	case e.dims != 0 && len(v) != e.dims:
		return fmt.Errorf("%d numbers, those before have %d", len(v), e.dims)
	}
	for _, x := range v {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return errors.New("a number that is none, or without end")
		}
	}
	if e.dims == 0 {
		e.dims = len(v)
		e.keep.limit = min(e.keep.limit, maxNumbers/e.dims)
	}
	if at := e.keep.Place(); at == len(e.ids) {
		e.ids, e.values = append(e.ids, cut(id)), append(e.values, v...)
	} else if at >= 0 {
		e.ids[at] = cut(id)
		copy(e.values[at*e.dims:], v)
	}
	return nil
}

// maxNumbers bounds what embeddings take: they are held twice, 4 bytes each.
const maxNumbers = 128 << 20

// Seen is how many vectors there were, and how many of these are kept.
func (e *Embeddings) Seen() (all, kept int) { return e.keep.Seen(), len(e.ids) }

// Of implements Input.
func (e *Embeddings) Of() string { return "vectors" }

// Len implements Input.
func (e *Embeddings) Len() int { return len(e.ids) }

// Features implements Input.
func (e *Embeddings) Features() []Feature {
	all := make([]Feature, e.dims)
	for i := range all {
		name := fmt.Sprintf("number %d", i+1)
		if i < len(e.names) && strings.TrimSpace(e.names[i]) != "" {
			name = cut(strings.TrimSpace(e.names[i]))
		}
		all[i] = Feature{Name: name, Kind: Plain, Unit: Times, Did: name + " is", Does: "has"}
	}
	return all
}

// Vector implements Input.
func (e *Embeddings) Vector(i int, v []float32) { copy(v, e.values[i*e.dims:i*e.dims+e.dims]) }

// Row implements Input.
func (e *Embeddings) Row(i int) Row { return Row{ID: e.ids[i], What: e.ids[i]} }
