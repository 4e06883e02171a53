package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/sensor/alert"
	"weir/sensor/web"
)

// viewed is the API of a running process' page.
type viewed struct {
	ns, url, token string
	client         *http.Client
}

// viewing is the page at a port of a namespace's loopback, with the token of a state folder.
func viewing(t *testing.T, ns string, port int, state string) *viewed {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(state, pageToken))
	if err != nil {
		t.Fatal(err)
	}
	dial := func(_ context.Context, network, addr string) (net.Conn, error) { return dialer{ns}.Dial(network, addr) }
	return &viewed{
		ns, fmt.Sprintf("http://127.0.0.1:%d/api/v1/", port), strings.TrimSpace(string(token)),
		&http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}},
	}
}

// ask sends a request with the token, and reads the answer.
func (v *viewed) ask(t *testing.T, method, path, body string, into any) (code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, v.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+v.token)
	got, err := v.client.Do(r)
	if err != nil {
		t.Logf("%s %s: %v", method, path, err)
		return 0
	}
	defer got.Body.Close()
	text, _ := io.ReadAll(got.Body)
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s %s: %s: %v: %s", method, path, got.Status, err, text)
	}
	return got.StatusCode
}

// first is the first alert of an analyzer that the page has; nil: there is none.
func (v *viewed) first(t *testing.T, analyzer string) *alert.Alert {
	t.Helper()
	var list struct {
		Alerts []struct{ Alert *alert.Alert }
	}
	if v.ask(t, "GET", "alerts?analyzer="+analyzer, "", &list); len(list.Alerts) == 0 {
		return nil
	}
	return list.Alerts[len(list.Alerts)-1].Alert
}

func (v *viewed) drops(t *testing.T) *web.DropList {
	t.Helper()
	list := new(web.DropList)
	if code := v.ask(t, "GET", "drops", "", list); code != http.StatusOK {
		t.Errorf("drops: %d", code)
	}
	return list
}

func (v *viewed) status(t *testing.T) *web.Status {
	t.Helper()
	st := new(web.Status)
	v.ask(t, "GET", "status", "", st)
	return st
}

// TestPageAPI has a sensor and a gate with a page each. A scan appears at both, and the drop that answers it; it is removed at the
// one and gone from the other and from the kernel. Guards hold; a panic shows; a reload and a restart lose nothing.
func TestPageAPI(t *testing.T) {
	t.Parallel()
	need(t, "nmap", "nft")
	o := newOutpost(t, answering+"gate: {mode: nftables, every: 200ms}\n")
	o.probe(t, 900, 1) // who is who
	state := filepath.Join(o.dir, "state")
	words := []string{"sense", "--format", "none", "-i", "eth0", "--config", o.config, "--state", state}
	sense := o.weir(t, 9470, words...)
	block := o.weir(t, 9471, "block", "-i", "eth0", "--config", o.config, "--state", state)
	page, gate := viewing(t, o.far, 9480, state), viewing(t, o.far, 9481, filepath.Join(state, blockFolder))
	if strings.Contains(sense.err.String()+block.err.String(), page.token) {
		t.Error("a token is in the log")
	}
	scan := spawn(t, o.near, strings.Fields("nmap -n -Pn -sS -T4 --max-retries 0 -p 1000-1400 10.9.0.1")...)
	var a *alert.Alert
	await(t, "the scan is on the page", func() bool { a = page.first(t, "scan"); return a != nil })
	if took := time.Since(time.Unix(0, int64(a.First))); took > 2*time.Second {
		t.Errorf("the scan is on the page after %v", took)
	} else {
		t.Logf("from the scan's first packet to the page: %v", took.Round(time.Millisecond))
	}
	scan.wait(t)
	await(t, "the gate's page has it", func() bool { b := gate.first(t, "scan"); return b != nil && b.ID == a.ID })
	if a.Subject == nil || a.Subject.IP.String() != "10.9.0.2" {
		t.Errorf("the scan is by %v", a.Subject)
	}

	var drop web.Drop
	for _, v := range []*viewed{page, gate} {
		await(t, "the drop is in force on "+v.url, func() bool {
			list := v.drops(t)
			if len(list.Drops) == 1 {
				drop = list.Drops[0]
			}
			return len(list.Drops) == 1 && drop.State == "applied" && list.Enforced == 1
		})
		if drop.Target != "10.9.0.2" || drop.Alert == "" || len(drop.Gates) != 1 || drop.Gates[0].Interface != "eth0" || drop.By != "policy" {
			t.Errorf("%s: %+v", v.url, drop)
		}
	}
	await(t, "the counts are told", func() bool {
		one, two := page.status(t).Drops, gate.status(t).Drops
		return one.Wanted != nil && *one.Wanted == 1 && two.Enforced != nil && *two.Enforced == 1
	})
	var removed web.Drop
	if code := gate.ask(t, "DELETE", "drops/"+drop.ID, `{"reason":"a customer"}`, &removed); code != 200 || removed.State != "removed" {
		t.Errorf("remove: %d %+v", code, removed)
	}
	for _, v := range []*viewed{page, gate} {
		await(t, "the drop is gone from "+v.url, func() bool { return len(v.drops(t).Drops) == 0 })
	}
	block.awaitValue(t, 0, "weir_gate_drops_enforced")

	var wrong struct{ Error, Guard string }
	if code := page.ask(t, "POST", "drops", `{"target":"10.9.0.1","for":"1h","reason":"me"}`, &wrong); code != 409 || wrong.Guard != "own_address" {
		t.Errorf("own address: %d %+v", code, wrong)
	}
	for _, body := range []string{
		`{"target":"<b>","for":"1h","reason":"r"}`, `{"target":"203.0.113.7","for":"never","reason":"r"}`, `{"target":"203.0.113.7","for":"1h"}`,
		`{"target":"203.0.113.7","for":"1h","reason":"r","action":"shadow"}`, `{"target":"203.0.113.7","for":"1h","reason":"r","action":"limit"}`,
	} {
		if code := page.ask(t, "POST", "drops", body, &wrong); code != 400 || strings.Contains(wrong.Error, "<b>") {
			t.Errorf("%s: %d %+v", body, code, wrong)
		}
	}
	if code := page.ask(t, "DELETE", "drops/00000000000000aa", "", &wrong); code != 404 {
		t.Errorf("a drop that there is not: %d %+v", code, wrong)
	}
	if code := gate.ask(t, "POST", "drops", `{"target":"203.0.113.7","for":"1h","reason":"by hand"}`, &drop); code != 201 || !strings.HasPrefix(drop.By, "page@") {
		t.Errorf("add: %d %+v", code, drop)
	}
	await(t, "it is in force", func() bool {
		list := page.drops(t)
		return len(list.Drops) == 1 && list.Drops[0].ID == drop.ID && list.Drops[0].State == "applied"
	})
	if code := page.ask(t, "POST", "drops/"+drop.ID+"/approve", "", &wrong); code != 409 {
		t.Errorf("approve what is not pending: %d %+v", code, wrong)
	}

	_ = sense.Process.Signal(syscall.SIGHUP)
	await(t, "the configuration was read again", func() bool { return strings.Contains(sense.err.String(), "was read again") })
	runIn(t, o.far, "weir", "bans", "panic", "--reason", "nobody can log in", "--state", state, "--config", o.config)
	for _, v := range []*viewed{page, gate} {
		await(t, "the panic shows on "+v.url, func() bool {
			p := v.status(t).Panic
			return p != nil && p.Reason == "nobody can log in" && p.By != ""
		})
	}
	if code := sense.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("weir sense ends with %d: %s", code, sense.err.String())
	}
	if gate.status(t).Mode != "block" {
		t.Error("the gate's page has gone with its sensor")
	}
	again := o.weir(t, 9470, words...)
	await(t, "the scan is on the page after a restart", func() bool { b := page.first(t, "scan"); return b != nil && b.ID == a.ID })
	for _, w := range []*served{again, block} {
		if code := w.end(t, syscall.SIGTERM); code != 0 {
			t.Errorf("it ends with %d: %s", code, w.err.String())
		}
	}
	o.configure(t, "gate: {mode: nftables}\nweb: {listen: 127.0.0.1:9480}\n") // a sensor's usual place, as it was asked for
	moved := &served{spawn(t, o.far, "weir", "block", "-i", "eth0", "--config", o.config, "--state", state), o.far, 9471}
	await(t, "the gate's page is where it was asked for", func() bool { return strings.Contains(moved.err.String(), "url=http://127.0.0.1:9480/ ") })
	if code := moved.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("it ends with %d: %s", code, moved.err.String())
	}
}

// TestPageElsewhere serves a page to another host: over TLS, and to who has the token.
func TestPageElsewhere(t *testing.T) {
	t.Parallel()
	o := newOutpost(t, "")
	cert, key := filepath.Join(o.dir, "cert.pem"), filepath.Join(o.dir, "key.pem")
	borrowed := httptest.NewTLSServer(nil) // for its certificate
	defer borrowed.Close()
	private, err := x509.MarshalPKCS8PrivateKey(borrowed.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: borrowed.Certificate().Raw}, key: {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o.configure(t, fmt.Sprintf("web: {listen: '10.9.0.1:9480', certificate: %s, key: %s, names: [example.com]}\n", cert, key))
	s := sense(t, o.far, "-i", "eth0", "--config", o.config)
	v := viewing(t, o.near, 9480, s.state)
	v.url = "https://example.com:9480/api/v1/"
	dial := func(_ context.Context, network, _ string) (net.Conn, error) {
		return dialer{o.near}.Dial(network, "10.9.0.1:9480")
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(borrowed.Certificate())
	v.client.Transport = &http.Transport{DialContext: dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: trusted}}
	if st := v.status(t); st.Mode != "sense" || !st.Changes {
		t.Errorf("%+v", st)
	}
	var drop web.Drop
	if code := v.ask(t, "POST", "drops", `{"target":"203.0.113.7","for":"1h","reason":"r"}`, &drop); code != 201 || !strings.HasPrefix(drop.By, "page 10.9.0.2@") {
		t.Errorf("add: %d %+v", code, drop)
	}
	v.token = "another"
	var wrong struct{ Error string }
	if code := v.ask(t, "GET", "status", "", &wrong); code != 401 || wrong.Error == "" {
		t.Errorf("with a wrong token: %d %+v", code, wrong)
	}
	r, err := v.client.Get("https://example.com:9480/")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if text, err := io.ReadAll(r.Body); r.StatusCode != 200 || err != nil || !strings.Contains(string(text), "<html") {
		t.Errorf("the page: %s %v", r.Status, err)
	}
	s.stop(t)
}

// TestReadToken makes a token once, and refuses what is none.
func TestReadToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "web.token")
	if _, err := readToken(file, false); err == nil {
		t.Error("there is none")
	}
	first, err := readToken(file, true)
	if err != nil || len(first) < 40 {
		t.Fatalf("%q %v", first, err)
	}
	again, err := readToken(file, true)
	if err != nil || again != first {
		t.Errorf("%q %v, want %q", again, err, first)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	for want, text := range map[string][]byte{"holds no token": []byte("short\n"), "no token (one line": []byte("two words that are long"), "is no small file": bytes.Repeat([]byte("x"), 5000)} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readToken(file, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	if err := errors.Join(os.WriteFile(file, []byte(first), 0o600), os.Chmod(file, 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := readToken(file, true); err == nil || !strings.Contains(err.Error(), "chmod 0600") {
		t.Errorf("for everybody: %v", err)
	}
}
