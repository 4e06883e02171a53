package notify

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is also the child of TestKilled.
func TestMain(m *testing.M) {
	if dir := os.Getenv("WEIR_NOTIFY_CHILD"); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}
