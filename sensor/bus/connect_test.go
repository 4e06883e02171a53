package bus

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		change func(*Config)
		want   string // part of the error
	}{
		{func(c *Config) {}, ""},
		{func(c *Config) { c.Listen = "127.0.0.1:0" }, ""},
		{func(c *Config) { c.Listen = "[::1]:4222" }, ""},
		{func(c *Config) { c.Listen = "localhost:4222" }, ""},
		{func(c *Config) { c.Listen = "0.0.0.0:4222" }, "give certificate and key"},
		{func(c *Config) { c.Listen = "192.0.2.1:4222" }, "give certificate and key"},
		{func(c *Config) { c.Listen = "[::]:4222" }, "give certificate and key"},
		{func(c *Config) { c.Listen = "0.0.0.0:4222"; c.Certificate, c.Key = "a", "b" }, ""},
		{func(c *Config) { c.Listen = ":4222" }, "is not an IP address"},
		{func(c *Config) { c.Listen = "4222" }, "must be an address and port"},
		{func(c *Config) { c.Listen = "127.0.0.1:99999" }, "port"},
		{func(c *Config) { c.Certificate = "a" }, "belong together"},
		{func(c *Config) { c.Credentials = "a" }, "servers of your own"},
		{func(c *Config) { c.Replicas = 3 }, "the server inside is alone"},
		{func(c *Config) { c.Replicas = 2 }, "1, 3 or 5"},
		{func(c *Config) { c.Flows = "yes" }, "auto, on or off"},
		{func(c *Config) { c.Flows = "on" }, "store_mib"},
		{func(c *Config) { c.Flows = "on"; c.Streams.Flows.MaxMiB = 100 }, ""},
		{func(c *Config) { c.StoreMiB = 100 }, "raise it to 2304"},
		{func(c *Config) { c.OutboxMiB = 0 }, "outbox_mib"},
		{func(c *Config) { c.Sync = -1 }, "sync"},
		{func(c *Config) { c.Sync = 0 }, ""},
		{func(c *Config) { c.Streams.Drops.MaxAge = time.Minute }, "streams: drops: max_age"},
		{func(c *Config) { c.Streams.Alerts.MaxMiB = 0 }, "streams: alerts: max_mib"},
		{func(c *Config) { c.Servers = []string{"nats://a:1", "tls://b"} }, ""},
		{func(c *Config) { c.Servers = []string{"a:4222"} }, "is not a URL"},
		{func(c *Config) { c.Servers = []string{"http://user:secret@a:4222"} }, `"http://a:4222" is not a URL`},
		{func(c *Config) { c.Servers = []string{"nats://a"}; c.Credentials, c.NKey = "a", "b" }, "leave one out"},
		{func(c *Config) { c.Servers = []string{"nats://a"}; c.Replicas, c.StoreMiB = 3, 0 }, ""},
	} {
		c := Defaults()
		test.change(&c)
		err := c.Check()
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%+v: %v, want %q", c, err, test.want)
		}
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 { // and again, with the token that is there
		b := open(t, embedded(), dir)
		for name, want := range map[string]os.FileMode{"nats": 0o700 | os.ModeDir, "nats.token": 0o600, "nats.url": 0o600, "outbox": 0o700 | os.ModeDir, "outbox/cursor": 0o600} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil || info.Mode() != want {
				t.Errorf("%s: %v, %v", name, info.Mode(), err)
			}
		}
		url, err := os.ReadFile(filepath.Join(dir, "nats.url"))
		if err != nil {
			t.Fatal(err)
		}
		token, err := os.ReadFile(filepath.Join(dir, "nats.token"))
		if err != nil || !strings.Contains(string(url), "://"+strings.TrimSpace(string(token))+"@127.0.0.1:") {
			t.Errorf("%s %s, %v", url, token, err)
		}
		nc, err := nats.Connect(strings.TrimSpace(string(url)))
		if err != nil {
			t.Error(err)
		}
		nc.Close()
		bare := redact(strings.TrimSpace(string(url)))
		if nc, err := nats.Connect(bare); err == nil {
			t.Error("connected without the token")
			nc.Close()
		}
		closeBus(t, b)
		if i == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "nats.token"), []byte("short"), 0o644); err != nil {
			t.Fatal(err)
		}
		closeBus(t, open(t, embedded(), dir))
		if kept, _ := filepath.Glob(filepath.Join(dir, "nats.token.corrupt-*")); len(kept) != 1 {
			t.Errorf("kept %q", kept)
		}
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for address, want := range map[string]string{l.Addr().String(): l.Addr().String() + " is in use", "127.1.2.3:1": ""} {
		cfg := Defaults()
		cfg.Listen = address
		b, err := Open(context.Background(), cfg, Identity{"s", "s"}, t.TempDir(), logTo(t))
		if b != nil {
			closeBus(t, b)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "nats.listen") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// certificates makes an authority, and certificates of it for a server on loopback and a client, as files.
func certificates(t *testing.T) (ca, cert, key string, pool *x509.CertPool, pair tls.Certificate) {
	t.Helper()
	dir := t.TempDir()
	file := func(name, kind string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	make := func(serial int64, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprint("weir test ", serial)},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		}
		if parent == nil {
			parent, by = c, key
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		return c, key
	}
	authority, by := make(1, nil, nil)
	leaf, own := make(2, authority, by)
	der, err := x509.MarshalECPrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	ca, cert, key = file("ca.pem", "CERTIFICATE", authority.Raw), file("cert.pem", "CERTIFICATE", leaf.Raw), file("key.pem", "EC PRIVATE KEY", der)
	pool = x509.NewCertPool()
	pool.AddCert(authority)
	if pair, err = tls.LoadX509KeyPair(cert, key); err != nil {
		t.Fatal(err)
	}
	return ca, cert, key, pool, pair
}

func userKey(t *testing.T, dir string) (public, seedFile string, pair nkeys.KeyPair) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	seedFile = filepath.Join(dir, public+".nk")
	if err := os.WriteFile(seedFile, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	return public, seedFile, pair
}

// roundTrip publishes an alert and reads it back.
func roundTrip(t *testing.T, cfg Config) {
	t.Helper()
	b := open(t, cfg, t.TempDir())
	until(t, "ready", 10*time.Second, func() bool { return b.Ready() == nil })
	if err := b.Alert("scan", "high", "x.1", []byte("{}")); err != nil {
		t.Error(err)
	}
	until(t, "published", 10*time.Second, published(b, Alert, 1))
	n := 0
	opt := FollowOptions{Since: time.Now().Add(-time.Minute)}
	if err := Follow(within(t, 10*time.Second), cfg, "site.one", "", opt, func(string, []byte) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("followed %d, %v", n, err)
	}
	closeBus(t, b)
}

// refused checks that a configuration that the server refuses is said so, and that the bus recovers when mend is called.
func refused(t *testing.T, cfg Config, want string, mend func()) {
	t.Helper()
	b := open(t, cfg, t.TempDir())
	until(t, "an error that names the cause", 10*time.Second, func() bool {
		err := b.Ready()
		return err != nil && strings.Contains(err.Error(), want)
	})
	t.Log(b.Ready())
	time.Sleep(time.Second) // the client gives up at the second refusal, unless told not to
	if mend != nil {
		mend()
		until(t, "ready once mended", 20*time.Second, func() bool { return b.Ready() == nil })
	}
	if err := b.Close(within(t, 5*time.Second)); err != nil {
		t.Error(err)
	}
	err := Follow(within(t, 10*time.Second), cfg, "site.one", "", FollowOptions{Since: time.Now()}, func(string, []byte) error { return nil })
	if mend == nil && (err == nil || strings.Contains(err.Error(), "\n")) {
		t.Errorf("follow: %v", err)
	}
}

func TestTLSAndNKey(t *testing.T) {
	t.Parallel()
	ca, cert, key, pool, pair := certificates(t)
	dir := t.TempDir()
	public, seed, _ := userKey(t, dir)
	_, other, _ := userKey(t, dir)
	s := run(t, func(o *server.Options) {
		o.TLS, o.TLSVerify, o.TLSTimeout = true, true, 2
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12}
		o.Nkeys = []*server.NkeyUser{{Nkey: public}}
	})
	good := outside("tls://" + s.Addr().String())
	good.CA, good.Certificate, good.Key, good.NKey = ca, cert, key, seed
	roundTrip(t, good)

	bad := good
	bad.NKey = other
	refused(t, bad, "the server refuses us", nil)
	bad = good
	bad.CA = ""
	refused(t, bad, "certificate", nil)
	bad = good
	bad.Certificate, bad.Key = "", ""
	refused(t, bad, "not connected", nil)
	bad = good
	bad.NKey = filepath.Join(dir, "missing")
	if _, err := Open(context.Background(), bad, Identity{"s", "s"}, t.TempDir(), logTo(t)); err == nil || !strings.Contains(err.Error(), "nats: open "+bad.NKey) {
		t.Error(err)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	operator, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	operatorPublic, _ := operator.PublicKey()
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	accountPublic, _ := account.PublicKey()
	claims := jwt.NewAccountClaims(accountPublic)
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	accountToken, err := claims.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(accountPublic, accountToken); err != nil {
		t.Fatal(err)
	}
	userPublic, _, user := userKey(t, dir)
	seed, _ := user.Seed()
	userToken, err := jwt.NewUserClaims(userPublic).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := jwt.FormatUserConfig(userToken, seed)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "sensor.creds")
	if err := os.WriteFile(path, creds, 0o600); err != nil {
		t.Fatal(err)
	}
	op := jwt.NewOperatorClaims(operatorPublic)
	opToken, err := op.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	if op, err = jwt.DecodeOperatorClaims(opToken); err != nil {
		t.Fatal(err)
	}
	system, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	systemPublic, _ := system.PublicKey()
	systemToken, err := jwt.NewAccountClaims(systemPublic).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	if err := resolver.Store(systemPublic, systemToken); err != nil {
		t.Fatal(err)
	}
	s := run(t, func(o *server.Options) {
		o.TrustedOperators, o.AccountResolver, o.SystemAccount = []*jwt.OperatorClaims{op}, resolver, systemPublic
	})
	cfg := outside(s.ClientURL())
	cfg.Credentials = path
	roundTrip(t, cfg)

	stranger, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := jwt.NewUserClaims(userPublic).Encode(stranger)
	if err != nil {
		t.Fatal(err)
	}
	bad, err := jwt.FormatUserConfig(wrong, seed)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Credentials = filepath.Join(dir, "changing.creds")
	if err := os.WriteFile(cfg.Credentials, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, cfg, "the server refuses us", func() {
		if err := os.WriteFile(cfg.Credentials, creds, 0o600); err != nil {
			t.Fatal(err)
		}
	})
}

// The server inside, open to others, with TLS.
func TestEmbeddedTLS(t *testing.T) {
	ca, cert, key, _, _ := certificates(t)
	cfg := embedded()
	cfg.Listen = "0.0.0.0:0"
	cfg.Certificate, cfg.Key = cert, key
	cfg.CA, _, _, _, _ = certificates(t) // whom to trust concerns who connects from outside
	dir := t.TempDir()
	b := open(t, cfg, dir)
	if err := b.Ready(); err != nil {
		t.Error(err)
	}
	if err := b.Alert("scan", "high", "x.1", []byte("{}")); err != nil {
		t.Error(err)
	}
	until(t, "published", 5*time.Second, published(b, Alert, 1))
	url, err := os.ReadFile(filepath.Join(dir, "nats.url"))
	if err != nil || !strings.HasPrefix(string(url), "tls://") {
		t.Errorf("%s, %v", url, err)
	}
	cfg.CA = ca
	n := 0
	err = Follow(within(t, 10*time.Second), cfg, "site.one", dir, FollowOptions{Since: time.Now().Add(-time.Minute)}, func(string, []byte) error { n++; return nil })
	if err != nil || n != 1 {
		t.Errorf("followed %d, %v", n, err)
	}
	closeBus(t, b)
}

func TestStreamsUntouched(t *testing.T) {
	s := run(t, nil)
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	before, err := js.CreateStream(within(t, 5*time.Second), jetstream.StreamConfig{
		Name: "WEIR_ALERTS_site_2Eone", Subjects: []string{"weir.v1.site_2Eone.*.alert.>"}, MaxAge: 24 * time.Hour, MaxBytes: 5 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, outside(s.ClientURL()), t.TempDir())
	until(t, "open", 10*time.Second, b.open.Load)
	err = b.Ready()
	want := "nats: stream WEIR_ALERTS_site_2Eone: max_age is 24h0m0s, configured 8760h; max_bytes is 5242880, configured 1073741824; " +
		"duplicate_window is 2m0s, configured 10m0s; it was left as it is, to change it: " +
		"nats stream edit WEIR_ALERTS_site_2Eone --max-age=8760h --max-bytes=1073741824 --dupe-window=10m0s"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
	if err := b.Alert("scan", "high", "x.1", []byte("{}")); err != nil {
		t.Error(err)
	}
	until(t, "published all the same", 10*time.Second, published(b, Alert, 1))
	after, err := js.Stream(within(t, 5*time.Second), "WEIR_ALERTS_site_2Eone")
	if err != nil {
		t.Fatal(err)
	}
	if h, w := fmt.Sprint(after.CachedInfo().Config), fmt.Sprint(before.CachedInfo().Config); h != w {
		t.Errorf("was changed from %s to %s", w, h)
	}
	// Those that were missing are as configured.
	drops, err := js.Stream(within(t, 5*time.Second), "WEIR_DROPS_site_2Eone")
	if err != nil {
		t.Fatal(err)
	}
	if c := drops.CachedInfo().Config; c.MaxAge != 8760*time.Hour || c.MaxBytes != 1<<30 || c.Discard != jetstream.DiscardOld {
		t.Errorf("%+v", c)
	}
	// A stream that is deleted underway comes back.
	if err := js.DeleteStream(within(t, 5*time.Second), "WEIR_ALERTS_site_2Eone"); err != nil {
		t.Fatal(err)
	}
	if err := b.Alert("scan", "high", "x.2", []byte("{}")); err != nil {
		t.Error(err)
	}
	until(t, "published to a new stream", 10*time.Second, published(b, Alert, 2))
	until(t, "ready", 10*time.Second, func() bool { return b.Ready() == nil })
	closeBus(t, b)
}

func TestStreamsRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*server.Options)
		cfg    func(*Config)
		want   string
	}{
		{"replicas", nil, func(c *Config) { c.Replicas = 3 }, "set nats.replicas to 1"},
		{"storage", func(o *server.Options) { o.JetStreamMaxStore = 1 << 20 }, func(c *Config) {}, "lower nats.streams.*.max_mib"},
		{"jetstream", func(o *server.Options) { o.JetStream = false }, func(c *Config) {}, "enable JetStream"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := run(t, test.change)
			cfg := outside(s.ClientURL())
			test.cfg(&cfg)
			b := open(t, cfg, t.TempDir())
			until(t, "open", 10*time.Second, b.open.Load)
			if err := b.Ready(); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Error(err)
			}
			if err := b.Alert("scan", "high", "x.1", []byte("{}")); err != nil {
				t.Error(err)
			}
			begin := b.Stats().Kinds[Alert].Retried
			time.Sleep(2 * time.Second)
			if n := b.Stats().Kinds[Alert].Retried - begin; n > 20 {
				t.Errorf("tried %d times in two seconds", n)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			if err := b.Close(ctx); err == nil {
				t.Error("nothing left?")
			}
		})
	}
}
