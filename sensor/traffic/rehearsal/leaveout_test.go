package rehearsal

import (
	"os"
	"testing"
)

// leaveOut skips a test that this machine cannot run. In CI, which can run all of them, that is a failure.
func leaveOut(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}
