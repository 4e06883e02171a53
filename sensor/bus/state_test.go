package bus

import (
	"path/filepath"
	"testing"
	"time"
)

// keys is a new folder of keys with an own one.
func keys(t testing.TB) *Keys {
	t.Helper()
	k, err := OpenKeys(filepath.Join(t.TempDir(), "keys"), true)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestState(t *testing.T) {
	dir := t.TempDir()
	b := open(t, embedded(), dir)
	s := b.State(keys(t))
	if err := s.Put(within(t, 5*time.Second), "src.v4.c0000201", []byte(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := s.Read(within(t, 5*time.Second), func(e Signed) { n++; t.Logf("%+v %s", e, e.Body) }); err != nil || n != 1 {
		t.Error(n, err)
	}
	closeBus(t, b)
}
