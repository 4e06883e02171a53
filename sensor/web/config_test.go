package web

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestConfig holds what can be and what cannot: above all, nobody elsewhere is served without TLS.
func TestConfig(t *testing.T) {
	pair := func(listen string) Config { return Config{Listen: listen, Certificate: "c", Key: "k"} }
	for _, c := range []Config{
		Defaults(),
		{},
		{Listen: "auto"},
		{Listen: "localhost:0"},
		{Listen: "[::1]:9480"},
		{Listen: "127.0.0.3:80"},
		{Listen: "[::ffff:127.0.0.1]:80"},
		pair("0.0.0.0:443"),
		pair("[::]:443"), pair("192.0.2.1:443"), pair("127.0.0.1:443"),
		{Names: []string{"weir.example.org", "a_b", "192.0.2.1", "2001:db8::1"}},
	} {
		if err := c.Check(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for want, c := range map[string]Config{
		`web: listen is "0.0.0.0:9480", which others can reach: give certificate and key, or listen on 127.0.0.1`: {Listen: "0.0.0.0:9480"},
		`web: listen is "[::]:9480", which others can reach`:                                                      {Listen: "[::]:9480"},
		`web: listen is "192.0.2.1:9480", which others can reach`:                                                 {Listen: "192.0.2.1:9480"},
		`web: listen is "9480", must be an address and a port`:                                                    {Listen: "9480"},
		`web: listen is "Auto", must be an address and a port, as in 127.0.0.1:9480, or auto, or empty`:           {Listen: "Auto"},
		`web: listen is "127.0.0.1:99999", must be an address and a port`:                                         {Listen: "127.0.0.1:99999"},
		`web: listen is "weir.example.org:1": "weir.example.org" is not an IP address`:                            {Listen: "weir.example.org:1"},
		`web: listen is ":9480": "" is not an IP address`:                                                         {Listen: ":9480"},
		`web: certificate and key belong together: give both or none`:                                             {Listen: "127.0.0.1:1", Certificate: "c"},
		`web: names: "a:1" is no host name`:                                                                       {Names: []string{"a:1"}},
		`web: names: "" is no host name`:                                                                          {Names: []string{""}},
		`web: 65 names are too many`:                                                                              {Names: make([]string, 65)},
	} {
		if err := c.Check(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
	secure, open := pair("0.0.0.0:1"), Defaults()
	if len(secure.Files()) != 2 || len(open.Files()) != 0 {
		t.Error("the files are not those that are read")
	}
}

// certify writes a certificate of a name, with its key.
func certify(t *testing.T, cert, key, name string) *x509.Certificate {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, secret.Public(), secret)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{key: {Type: "PRIVATE KEY", Bytes: private}, cert: {Type: "CERTIFICATE", Bytes: der}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestTLS serves to others: over TLS 1.2 or later, nothing but the page's files without the token, by the names it has.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	made := certify(t, cert, key, "weir.example.org")
	h := newHouse(t, func(o *Options) {
		o.Config = Config{Listen: "0.0.0.0:0", Certificate: cert, Key: key, Names: []string{"weir.example.org"}}
	}).open(t)
	trust := func(c *x509.Certificate, most uint16) {
		h.client.CloseIdleConnections()
		pool := x509.NewCertPool()
		pool.AddCert(c)
		h.client.Transport = &http.Transport{
			DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: most},
		}
	}
	trust(made, tls.VersionTLS13)
	for _, c := range []struct {
		path    string
		headers []string
		want    int
	}{
		{"/", nil, 200},
		{"/page/index.html", []string{"Host: weir.example.org"}, 200},
		{"/", []string{"Host: localhost.example"}, 403},
		{"/api/v1/status", nil, 401},
		{"/api/v1/alerts", nil, 401},
		{"/api/v1/events", nil, 401},
		{"/api/v1/alerts/00000000000000aa/evidence", nil, 401},
		{"/api/v1/status", []string{withToken}, 200},
		{"/api/v1/status", []string{withToken, "Host: weir.example.org:8443", "Origin: https://weir.example.org:8443"}, 200},
		{"/api/v1/status", []string{withToken, "Host: weir.example.org:8443", "Origin: http://weir.example.org:8443"}, 403},
	} {
		r, text := h.ask(t, http.MethodGet, c.path, "", c.headers...)
		if r.StatusCode != c.want || r.ProtoMajor != 1 {
			t.Errorf("%s %q: %s %s %s", c.path, c.headers, r.Proto, r.Status, text)
		}
		guarded(t, c.path, r)
	}
	plain := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if r, err := plain.Get(strings.Replace(h.url, "https", "http", 1)); err != nil || r.StatusCode != 400 {
		t.Errorf("without TLS: %v %v", r, err)
	} else {
		r.Body.Close()
	}
	trust(made, tls.VersionTLS11)
	if r, err := h.client.Do(h.request(t, http.MethodGet, "/", "")); err == nil {
		r.Body.Close()
		t.Error("TLS 1.1 is served")
	}

	next := certify(t, cert, key, "weir.example.org") // renewed
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(cert, later, later); err != nil {
		t.Fatal(err)
	}
	trust(next, tls.VersionTLS13)
	if r, err := h.client.Do(h.request(t, http.MethodGet, "/", "")); err == nil {
		r.Body.Close()
		t.Error("the test cannot tell the certificates apart, or the files are read all the time")
	}
	h.pair.mu.Lock()
	h.pair.looked = time.Time{} // a minute passes
	h.pair.mu.Unlock()
	if r, text := h.ask(t, http.MethodGet, "/", ""); r.StatusCode != 200 {
		t.Errorf("with the renewed certificate: %s %s", r.Status, text)
	}
	if err := os.WriteFile(cert, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.pair.mu.Lock()
	h.pair.looked = time.Time{}
	h.pair.mu.Unlock()
	if r, text := h.ask(t, http.MethodGet, "/", ""); r.StatusCode != 200 {
		t.Errorf("with a broken file: %s %s", r.Status, text)
	}
	if _, err := New(h.opt); err == nil || !strings.HasPrefix(err.Error(), "web: certificate and key: ") {
		t.Errorf("a start with a broken file: %v", err)
	}
}
