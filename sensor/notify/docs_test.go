package notify

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// leaveOut skips a test that cannot run here, and says why. In CI nothing is left out.
func leaveOut(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why + ", and this is CI")
	}
	t.Skip(why)
}

// snippet is the block of a language in docs/notify.md that has a word in it.
func snippet(t *testing.T, language, word string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/notify.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(text), "```"+language+"\n")[1:] {
		if block, _, _ = strings.Cut(block, "```"); strings.Contains(block, word) {
			return block
		}
	}
	t.Fatalf("docs/notify.md has no %s with %q", language, word)
	return ""
}

// TestDocumentedVerification runs the receivers' code of docs/notify.md on a request that a channel made, on the same once more, on one
// with another body, and on one that is old.
func TestDocumentedVerification(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var headers http.Header
	var body []byte
	r := newReceiver(t, nil)
	r.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		headers = q.Header.Clone()
		r.behave = func(_ int, _ http.ResponseWriter, b []byte) bool { body = b; return true }
		r.ServeHTTP(w, q)
	})
	cfg, o, _ := quick(t, r.URL)
	if _, err := Try(t.Context(), &cfg.Channels[0], 5*time.Second, o); err != nil {
		t.Fatal(err)
	}
	old := fmt.Sprint(time.Now().Add(-301 * time.Second).Unix())
	for name, text := range map[string]string{
		"secret": string(receiverSecret), "body": string(body), "timestamp": headers.Get(HeaderTimestamp), "signature": headers.Get(HeaderSignature),
		"old": old, "old-signature": signature(receiverSecret, old, []byte(`{"id":"other"}`)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const want = "true false false false true"
	for _, c := range []struct {
		name, file, text string
		command          []string
	}{
		{"python", "verify.py", snippet(t, "python", "def verify") + `
read = lambda name: open(name, "rb").read()
seen, secret, body = set(), read("secret"), read("body")
new = {"Weir-Timestamp": read("timestamp").decode(), "Weir-Signature": read("signature").decode()}
old = {"Weir-Timestamp": read("old").decode(), "Weir-Signature": read("old-signature").decode()}
bad = verify(secret, new, body.replace(b"test", b"fest"), set())
aged = verify(secret, old, b'{"id":"other"}', set())
print(*[str(v).lower() for v in (verify(secret, new, body, seen), verify(secret, new, body, seen), bad, aged, verify(secret, new, body, set()))])
`, []string{"python3", "verify.py"}},
		{"go", "verify.go", `package main
import ("bytes"; "crypto/hmac"; "crypto/sha256"; "encoding/hex"; "encoding/json"; "fmt"; "net/http"; "os"; "strconv"; "time")
` + snippet(t, "go", "func verify") + `
func read(name string) []byte { b, _ := os.ReadFile(name); return b }
func header(at, signature string) http.Header {
	return http.Header{"Weir-Timestamp": {string(read(at))}, "Weir-Signature": {string(read(signature))}}
}
func main() {
	seen, secret, body, h := map[string]bool{}, read("secret"), read("body"), header("timestamp", "signature")
	bad := verify(secret, h, bytes.ReplaceAll(body, []byte("test"), []byte("fest")), map[string]bool{})
	aged := verify(secret, header("old", "old-signature"), []byte("{\"id\":\"other\"}"), map[string]bool{})
	fmt.Println(verify(secret, h, body, seen), verify(secret, h, body, seen), bad, aged, verify(secret, h, body, map[string]bool{}))
}
`, []string{"go", "run", "verify.go"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := exec.LookPath(c.command[0]); err != nil {
				leaveOut(t, c.command[0]+" is not installed")
			}
			if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, c.command[0], c.command[1:]...)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != want {
				t.Errorf("%v, %q, want %q", err, got, want)
			}
		})
	}
}
