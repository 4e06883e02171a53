package hello

import (
	"os"
	"slices"
	"testing"
)

// leaveOut skips a test that cannot run here, and says why. In CI nothing is left out.
func leaveOut(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why + ", and this is CI")
	}
	t.Skip(why)
}

// parser is a Parse method.
type parser func(b []byte) (Status, int)

// alone is b in memory of its own size, so that a read beyond it fails.
func alone(b []byte) []byte { return slices.Clip(slices.Clone(b)) }

// prefixes parses an opening byte by byte: all its beginnings want more, at least one byte and never more than there is.
func prefixes(t *testing.T, whole []byte, parse parser) {
	t.Helper()
	if st, want := parse(alone(whole)); st != Done || want != 0 {
		t.Fatalf("whole: %v, want %d", st, want)
	}
	for n := range whole {
		st, want := parse(alone(whole[:n]))
		if st != NeedMore || want <= n || want > len(whole) {
			t.Fatalf("%d of %d bytes: %v, want %d", n, len(whole), st, want)
		}
	}
	rounds := 0
	for n := 0; n < len(whole); rounds++ {
		_, n = parse(whole[:n])
		if n == 0 {
			break
		}
	}
	t.Logf("%d bytes, asked for in %d steps", len(whole), rounds)
}

// lawful holds what every parser of streams promises of any input: a want in its bounds, and that NotThis and a Done that is
// not cut are final.
func lawful(t *testing.T, b []byte, parse parser, isCut func() bool) Status {
	t.Helper()
	st, want := parse(alone(b))
	final := st == NotThis || st == Done && !isCut()
	switch {
	case st == NeedMore && (want <= len(b) || want > MaxOpening):
		t.Fatalf("need more than %d bytes: want %d", len(b), want)
	case st != NeedMore && want != 0:
		t.Fatalf("%v, want %d", st, want)
	case st == NeedMore && !isCut():
		t.Fatal("need more, and not cut")
	}
	for _, tail := range []string{"\x00", "\r\n\r\n", "\x16\x03\x01\x00\x01\x00", "a: b\n\n"} {
		if later, _ := parse(append(alone(b), tail...)); final && later != st {
			t.Fatalf("%v, but with %q behind it %v", st, tail, later)
		}
	}
	if again, _ := parse(b); again != st {
		t.Fatalf("%v, then %v", st, again)
	}
	return st
}

// noAllocs holds that f does not allocate.
func noAllocs(t *testing.T, what string, f func()) {
	t.Helper()
	if n := testing.AllocsPerRun(100, f); n != 0 {
		t.Errorf("%s: %v allocations", what, n)
	}
}
