package store

import (
	"os"
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
