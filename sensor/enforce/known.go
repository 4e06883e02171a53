package enforce

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"weir/sensor/policy"
)

// KnownSchema is the version of the form of the state file: a line of knownHead, then one line of savedRecord for each key.
const KnownSchema = "weir.known/1"

type knownHead struct {
	Schema  string `json:"schema"`
	Records int    `json:"records"` // lines that follow
	Panic   *Panic `json:"panic,omitempty"`
	Void    uint64 `json:"void,omitempty"` // generation up to which drops are
}

type savedRecord struct {
	Keep    int64           `json:"keep"`              // unix s: see record
	Applied uint64          `json:"applied,omitempty"` // generation
	Void    uint64          `json:"void,omitempty"`    // likewise
	Drop    json.RawMessage `json:"drop"`
}

// known is what goes into the state file. Its drops are shared, and not changed by anybody.
type known struct {
	head knownHead
	list []savedState
}

type savedState struct {
	drop    *policy.Drop
	keep    int64
	applied uint64
	void    uint64
}

// snapshot is what is known now. Quick.
func (e *Enforcer) snapshot() *known {
	k := &known{head: knownHead{KnownSchema, len(e.records), e.panic, e.void}}
	for _, r := range e.records {
		k.list = append(k.list, savedState{r.drop, r.keep, r.applied, r.void})
	}
	return k
}

// save writes the state file if it is older than what is known: at most once a second, beside Run, and for large files seldomer.
func (e *Enforcer) save(now time.Time) {
	if !e.dirty || e.saving || e.o.Dir == "" || now.Before(e.saveAfter) {
		return
	}
	k := e.snapshot()
	e.dirty, e.saving = false, true
	e.saver.Go(func() {
		begun := time.Now()
		err := k.write(e.knownPath())
		took := time.Since(begun)
		e.mu.Lock()
		defer e.mu.Unlock()
		now := e.o.Now()
		e.saving, e.saveAfter = false, now.Add(max(900*time.Millisecond, 20*took))
		if err != nil {
			e.dirty = true
		} else {
			e.status.Saved = now
		}
		e.trouble("state file", now, err)
	})
}

func (k *known) write(path string) error {
	b, err := k.bytes()
	if err != nil {
		return err
	}
	return replaceFile(path, b)
}

func (k *known) bytes() ([]byte, error) {
	b, err := appendLine(nil, &k.head)
	for i := range k.list {
		if err != nil {
			return nil, err
		}
		r := &k.list[i]
		b = fmt.Appendf(b, `{"keep":%d,"applied":%d,"void":%d,"drop":`, r.keep, r.applied, r.void)
		if b, err = r.drop.AppendLine(b); err == nil {
			b = append(b[:len(b)-1], "}\n"...)
		}
	}
	return b, err
}

// load reads the state file and the file of a panic. A damaged state file is set aside: the bus tells all anew, but for the
// generations of what it has not any more.
func (e *Enforcer) load() error {
	if e.o.Dir == "" {
		return nil
	}
	b, err := os.ReadFile(e.knownPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("state of the enforcer: %w", err)
	}
	head, list, err := parseKnown(b)
	if err == nil && len(list) > e.maxKnown() {
		e.o.Log.Warn("state of the enforcer: more keys than may be known: tombstones go", "keys", len(list), "most", e.maxKnown())
	}
	if err != nil {
		aside := fmt.Sprintf("%s.bad-%d", e.knownPath(), e.begun.Unix())
		e.o.Log.Error("state of the enforcer is damaged: set aside; drops come from the bus again", "file", aside, "error", err)
		return os.Rename(e.knownPath(), aside)
	}
	e.panic, e.void = head.Panic, head.Void
	for _, r := range list {
		if len(e.records) < e.maxKnown() || r.drop.State == policy.Requested && e.forgetTombstones() {
			r.replace(r.drop, e.rehearse)
			e.records[r.want.Key] = r
		}
	}
	return nil
}

// parseKnown reads a state file.
func parseKnown(b []byte) (head knownHead, list []*record, err error) {
	in := bufio.NewReader(bytes.NewReader(b))
	line, err := in.ReadBytes('\n')
	if err != nil {
		return head, nil, errors.New("line 1: cut off")
	}
	if err := strict(line, &head); err != nil {
		return head, nil, fmt.Errorf("line 1: %w", err)
	}
	if head.Schema != KnownSchema {
		return head, nil, fmt.Errorf("line 1: schema %q, want %q", head.Schema, KnownSchema)
	}
	if p := head.Panic; p != nil && (p.Schema != PanicSchema || p.Generation == 0 || p.Generation > maxGeneration) || head.Void > maxGeneration {
		return head, nil, errors.New("line 1: panic is none")
	}
	keys := map[string]bool{}
	for n := 2; ; n++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		if err != nil {
			return head, nil, fmt.Errorf("line %d: cut off", n)
		}
		r, err := parseRecord(line)
		if err != nil {
			return head, nil, fmt.Errorf("line %d: %w", n, err)
		}
		if keys[r.want.Key] {
			return head, nil, fmt.Errorf("line %d: key %s twice", n, r.want.Key)
		}
		keys[r.want.Key] = true
		list = append(list, r)
	}
	if len(list) != head.Records {
		return head, nil, fmt.Errorf("%d records, and line 1 says %d", len(list), head.Records)
	}
	return head, list, nil
}

func parseRecord(line []byte) (*record, error) {
	var s savedRecord
	if err := strict(line, &s); err != nil {
		return nil, err
	}
	d, err := policy.ParseDrop(s.Drop)
	if err != nil {
		return nil, err
	}
	if s.Keep < d.Until || s.Keep > 1<<38 {
		return nil, fmt.Errorf("keep %d is before the drop's end, or no time", s.Keep)
	}
	if s.Applied > d.Generation {
		return nil, fmt.Errorf("applied generation %d is above the drop's, %d", s.Applied, d.Generation)
	}
	if s.Void > d.Generation {
		return nil, fmt.Errorf("void generation %d is above the drop's, %d", s.Void, d.Generation)
	}
	r := &record{keep: s.Keep, applied: s.Applied, void: s.Void, early: true}
	r.replace(d, false)
	return r, nil
}

func strict(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if strings.TrimSpace(string(b[dec.InputOffset():])) != "" {
		return errors.New("more than one JSON value")
	}
	return nil
}
