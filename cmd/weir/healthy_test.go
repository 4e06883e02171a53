package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestHealth asks servers that are well, that stand still, that are not there, and that are not named.
func TestHealth(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, "no link\nno bus\x1b[31m\n")
			return
		}
		fmt.Fprintln(w, "ok")
	}))
	at := strings.TrimPrefix(server.URL, "http://")
	ask := func(args ...string) (code int, out, err string) {
		var o, e bytes.Buffer
		code = run(context.Background(), append([]string{"health"}, args...), &streams{nil, &o, &e})
		return code, o.String(), e.String()
	}
	if code, out, err := ask("--at", at); code != exitDone || out != "ok\n" || err != "" {
		t.Errorf("well: %d %q %q", code, out, err)
	}
	if code, out, err := ask("--at", at, "--ready"); code != exitFailed || out != "" || !strings.HasPrefix(err, "weir: /readyz: no link; no bus") || strings.Contains(err, "\x1b") {
		t.Errorf("not ready: %d %q %q", code, out, err)
	}
	server.Close()
	if code, _, err := ask("--at", at); code != exitFailed || !strings.Contains(err, "refused") {
		t.Errorf("nobody there: %d %q", code, err)
	}
	if code, _, _ := ask("--at", "no address"); code != exitUsage {
		t.Errorf("no address: %d", code)
	}
	if code, _, _ := ask("--config", t.TempDir()+"/none.yaml"); code != exitUsage {
		t.Errorf("no configuration: %d", code)
	}
}
