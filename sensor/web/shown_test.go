package web

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"weir/sensor/alert"
)

// hostile is what somebody may send over the network.
const hostile = "</script><img src=x onerror=alert(1)>&\"'`\u2028\u2029\r\n\r\nevent: reset\ndata: {}\n\n\x00\x1b[31m\xff{{x}}${y}"

// fill sets all that a value holds: strings to a text, numbers and the rest to something that is not zero.
func fill(v reflect.Value, text string) {
	if v.CanSet() && v.CanAddr() {
		switch p := v.Addr().Interface().(type) {
		case *time.Time:
			*p = time.Unix(1795298239, 0).UTC()
			return
		case *alert.Time:
			*p = 1795298239e9
			return
		case *alert.Severity:
			*p = alert.High
			return
		case *alert.State:
			*p = alert.Update
			return
		}
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(3)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(3)
	case reflect.Float64:
		v.SetFloat(3)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value, text)
		key := reflect.New(v.Type().Key()).Elem()
		fill(key, text)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() { // addresses stay as they are: they hold no text
				fill(v.Field(i), text)
			}
		}
	}
}

func filled[T any](text string) *T {
	v := new(T)
	fill(reflect.ValueOf(v).Elem(), text)
	return v
}

const filledID = "00000000000000ee"

// full is a server that shows something in each field.
func full(t *testing.T, text string) *house {
	t.Helper()
	file := filepath.Join(t.TempDir(), "evidence")
	if err := os.WriteFile(file, []byte("frames"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, func(o *Options) {
		o.Status = func() *Status { return filled[Status](text) }
		o.Evidence = func(string) string { return file }
		o.Drops = &fullDrops{text}
	}).open(t)
	for rev := range 12 {
		a := filled[alert.Alert](text)
		a.ID, a.Rev = filledID, rev+1
		h.Alert(a, nil)
	}
	second := filled[alert.Alert](text)
	second.ID = some(1, 1).ID
	line, err := second.AppendLine(nil) // as other sensors publish it: without escapes for HTML
	if err != nil {
		t.Fatal(err)
	}
	h.Alert(second, line)
	h.Second(*filled[Second](text))
	until(t, "all were taken", func() bool { return h.took() == 13 })
	return h
}

type fullDrops struct{ text string }

func (d *fullDrops) List(context.Context) (*DropList, error) {
	return filled[DropList](d.text), nil
}

func (d *fullDrops) Add(context.Context, Ask, string) (*Drop, error) {
	return filled[Drop](d.text), nil
}

func (d *fullDrops) Remove(context.Context, string, string, string) (*Drop, error) {
	return filled[Drop](d.text), nil
}

func (d *fullDrops) Approve(context.Context, string, string, string) (*Drop, error) {
	return filled[Drop](d.text), nil
}

// TestHostile shows hostile text in every field, by every way: it stays text.
func TestHostile(t *testing.T) {
	h := full(t, hostile)
	l := h.listen(t, h.hub.id(0))
	defer l.Close()
	var seen []string
	for range 13 {
		e, ok := l.next(t)
		if !ok || e.name != "alert" {
			t.Fatalf("the stream has %+.80v", e)
		}
		seen = append(seen, e.data)
	}
	h.Second(*filled[Second](hostile))
	for _, want := range []string{"second", "near"} {
		e, _ := l.next(t)
		if seen = append(seen, e.data); e.name != want {
			t.Errorf("%s comes in the place of %s", e.name, want)
		}
	}
	for _, path := range []string{"status", "series", "top", "near", "alerts", "alerts/" + filledID, "drops"} {
		r, text := h.ask(t, http.MethodGet, "/api/v1/"+path, "")
		if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s %s", path, r.Status, r.Header.Get("Content-Type"))
		}
		seen = append(seen, text)
	}
	_, added := h.ask(t, http.MethodPost, "/api/v1/drops", "{}", withToken)
	for _, text := range append(seen, added) {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil || !utf8.ValidString(text) {
			t.Fatalf("%v: %q", err, text)
		}
		if strings.ContainsAny(text, "<>&\u2028\u2029\x00\x1b") || strings.Contains(strings.TrimSuffix(text, "\n"), "\n") {
			t.Errorf("it can be taken for something else: %.200q", text)
		}
		if n := texts(t, v); n == 0 && !strings.HasPrefix(text, `{"step"`) {
			t.Errorf("no hostile text came through: %.200q", text)
		}
	}
}

// texts counts the hostile strings in a value, which came through as they were.
func texts(t *testing.T, v any) (n int) {
	t.Helper()
	switch v := v.(type) {
	case string:
		if strings.Contains(v, "script") {
			if v != strings.ToValidUTF8(hostile, "\uFFFD") {
				t.Errorf("a text was changed: %q", v)
			}
			return 1
		}
	case []any:
		for _, one := range v {
			n += texts(t, one)
		}
	case map[string]any:
		for key, one := range v {
			n += texts(t, key) + texts(t, one)
		}
	}
	return n
}

// TestDocumented compares docs/api.md with what is served, both ways: the fields of each answer.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	h := full(t, "x")
	asked := 0
	for section := range strings.SplitSeq(string(text), "\n## ") {
		title, rest, _ := strings.Cut(section, "\n")
		_, rest, has := strings.Cut(rest, "```json\n")
		method, path, isPath := strings.Cut(title, " ")
		if !has || !isPath {
			continue
		}
		asked++
		example, _, _ := strings.Cut(rest, "```")
		path = strings.ReplaceAll(path, "ID", filledID)
		if path == "/api/v1/alerts" {
			path += "?limit=1" // so that there is a next
		}
		r, got := h.ask(t, method, path, "")
		if r.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", title, r.Status)
		}
		if has, want := fields(t, example), fields(t, got); !slices.Equal(has, want) {
			t.Errorf("%s: docs/api.md has\n%q, served are\n%q", title, has, want)
		}
	}
	if asked != 7 {
		t.Errorf("docs/api.md has %d examples", asked)
	}
	for path := range h.routes() {
		if strings.HasPrefix(path, "/api/") && !strings.Contains(string(text), " "+strings.ReplaceAll(path, "{id}", "ID")+"\n") {
			t.Errorf("docs/api.md does not tell of %s", path)
		}
	}
}

// fields are the names of all fields in JSON, by their way. What stands by itself elsewhere (alerts, parties, causes) is left out.
func fields(t *testing.T, text string) []string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	all := map[string]bool{}
	var walk func(way string, v any)
	walk = func(way string, v any) {
		switch v := v.(type) {
		case []any:
			for _, one := range v {
				walk(way, one)
			}
		case map[string]any:
			for name, one := range v {
				all[way+"."+name] = true
				if !slices.Contains([]string{"alert", "revisions", "subject", "victim", "causes"}, name) {
					walk(way+"."+name, one)
				}
			}
		}
	}
	walk("", v)
	return slices.Sorted(maps.Keys(all))
}
