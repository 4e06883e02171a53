package host

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// The test binary stands in for the process under test: children names what it does instead of testing.
var children = map[string]func(){"lock": lockChild, "open": openChild, "poll": pollChild}

const childEnv = "WEIR_HOST_CHILD"

func TestMain(m *testing.M) {
	if child := children[os.Getenv(childEnv)]; child != nil {
		child()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// leaveOut skips a test that cannot run here, and says why. In CI nothing is left out.
func leaveOut(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why + ", and this is CI")
	}
	t.Skip(why)
}

// needRoot leaves a test out for others.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		leaveOut(t, "needs root")
	}
}

// command runs the test binary as a child. Its output is one JSON value.
func command(t *testing.T, child string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), childEnv+"="+child)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	return cmd
}

// asNobody lets a child run as a user without a name or rights, from a copy that this user can reach.
func asNobody(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	text, err := os.ReadFile(cmd.Path)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(sharedDir(t), "host.test")
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd.Path, cmd.Dir = path, "/"
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
}

const nobody = 65534

// sharedDir is a temporary folder that every user can enter.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "weir-host-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// result runs a child to its end and reads what it says.
func result(t *testing.T, cmd *exec.Cmd, into any) {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("child: %v\n%s", err, stderr.String())
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("child: %v\n%s%s", err, out, stderr.String())
	}
}

// tell writes a child's result.
func tell(v any) {
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		panic(err)
	}
}
