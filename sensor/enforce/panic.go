package enforce

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// PanicSchema is the version of the form of a panic, PanicKey its key on the bus, PanicFile its file in the state folder.
const (
	PanicSchema = "weir.panic/1"
	PanicKey    = "panic"
	PanicFile   = "panic"
)

// Panic ends all drops, or lets newer ones in again. Of two the one with the higher generation counts; drops with a generation up to
// that of a panic are void for ever.
type Panic struct {
	Schema     string `json:"schema"`
	Held       bool   `json:"held"` // false: resumed
	By         string `json:"by"`
	Generation uint64 `json:"generation"` // unix µs, as those of drops
	Reason     string `json:"reason,omitempty"`
}

// maxPanic is how many bytes one may have.
const maxPanic = 4 << 10

// ParsePanic reads a panic: one JSON object of this schema.
func ParsePanic(b []byte) (*Panic, error) {
	p := new(Panic)
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if len(b) > maxPanic {
		return nil, fmt.Errorf("panic: %d bytes, at most %d", len(b), maxPanic)
	}
	if err := dec.Decode(p); err != nil {
		return nil, fmt.Errorf("panic: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("panic: more than one JSON value")
	}
	switch {
	case p.Schema != PanicSchema:
		return nil, fmt.Errorf("panic: schema %q, want %q", p.Schema, PanicSchema)
	case p.Generation == 0 || p.Generation > maxGeneration:
		return nil, fmt.Errorf("panic: generation %d, must be 1 to %d", p.Generation, uint64(maxGeneration))
	case p.By == "":
		return nil, errors.New("panic: by is missing")
	}
	return p, nil
}

// maxGeneration is what every JSON reader holds exactly.
const maxGeneration = 1<<53 - 1

// Panicked reads the panic of a file, nil if there is none. A file that cannot be read as one counts as a panic of the time when it
// was written, so that an operator's bare touch holds: both are returned then, the panic and the error.
func Panicked(path string) (*Panic, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		var p *Panic
		if p, err = ParsePanic(b); err == nil {
			return p, nil
		}
	}
	info, missing := os.Stat(path)
	if errors.Is(missing, fs.ErrNotExist) {
		return nil, nil
	}
	held := &Panic{Schema: PanicSchema, Held: true, By: path, Generation: 1, Reason: "the file is not a panic in JSON"}
	if missing == nil {
		held.Generation = min(uint64(max(info.ModTime().UnixMicro(), 1)), maxGeneration)
	}
	return held, fmt.Errorf("%s: %w", path, err)
}

// WritePanic writes the file, at once or not at all.
func WritePanic(path string, p Panic) error {
	p.Schema = PanicSchema
	b, err := appendLine(nil, &p)
	if err != nil {
		return err
	}
	return replaceFile(path, b)
}

// replaceFile writes a file anew: after a crash there is the old one or the new one.
func replaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
