package bus

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
)

func publicKey(t testing.TB) string {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func TestKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "keys")
	empty, err := OpenKeys(dir, false)
	if err != nil || empty.Own() != "" || len(empty.List()) != 0 {
		t.Fatal(err)
	}
	if _, err := Sign(empty, "s", "k", nil); err == nil || !strings.Contains(err.Error(), "no own key in "+dir) {
		t.Error(err)
	}
	k, err := OpenKeys(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	own := k.Own()
	if empty.Own() != own || own == "" {
		t.Error("not seen by who had the folder open:", empty.Own())
	}
	for name, want := range map[string]os.FileMode{"": 0o700 | os.ModeDir, "weir.nk": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	a, b := publicKey(t), publicKey(t)
	for _, test := range []struct{ public, name, want string }{
		{a, "edge 2", ""},
		{b, "zürich", ""},
		{a, "edge 3", ""}, // renamed
		{own, "x", "is the own key"},
		{a, "", "has no name"},
		{a, "own", "means the own key"},
		{a, "a\nb", "cannot be printed"},
		{a, "\xff", "cannot be printed"},
		{a, " a", "spaces around"},
		{a, strings.Repeat("a", 65), "65 bytes"},
		{"", "x", `"" is not a public key`},
		{a[:55] + "A", "x", "is not a public key"},
		{"A" + a[1:], "x", "is not a public key"},
		{"SU" + strings.Repeat("A", 56), "x", "secret seed"},
	} {
		if err := k.Trust(test.public, test.name); (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%+v: %v", test, err)
		}
	}
	if name, ok := empty.Trusted(a); !ok || name != "edge 3" {
		t.Error(name, ok)
	}
	if got, want := fmt.Sprint(k.List()), fmt.Sprint([]TrustedKey{{own, "own", true}, {a, "edge 3", false}, {b, "zürich", false}}); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if err := k.Distrust(a); err != nil {
		t.Error(err)
	}
	if err := k.Distrust(a); err == nil || !strings.Contains(err.Error(), "is not trusted") {
		t.Error(err)
	}
	if err := k.Distrust(own); err == nil || !strings.Contains(err.Error(), "weir keys new") {
		t.Error(err)
	}
	if _, ok := empty.Trusted(a); ok {
		t.Error("still trusted")
	}

	signed, err := Sign(k, "s", "k", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // within a second
		if public, err := k.New(); err != nil || public == own || empty.Own() != public {
			t.Error(public, err)
		}
	}
	if _, signer, err := Verify(k, "s", "k", signed); !errors.Is(err, ErrUntrusted) || signer != own {
		t.Error(signer, err)
	}
	if err := k.Trust(own, "before"); err != nil {
		t.Error(err)
	}
	if _, _, err := Verify(k, "s", "k", signed); err != nil {
		t.Error(err)
	}
	old, _ := filepath.Glob(filepath.Join(dir, "weir.nk.old-*"))
	if len(old) != 2 {
		t.Error(old)
	}
	for _, path := range old {
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Error(info.Mode(), err)
		}
	}
}

func TestKeysRefused(t *testing.T) {
	a, b := publicKey(t), publicKey(t)
	many := ""
	for range maxTrusted + 1 {
		many += publicKey(t) + " x\n"
	}
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	accountSeed, err := account.Seed()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, file, text string
		mode             os.FileMode
		want             string // part of the error
		trusted          bool   // a, nevertheless
	}{
		{"comments", "trusted", "# ours\n\n" + a + "\tx y\n  " + b + "   z  \n", 0o600, "", true},
		{"no newline", "trusted", a + " x", 0o644, "", true},
		{"windows", "trusted", a + " x\r\n", 0o600, "", true},
		{"no name", "trusted", "# ours\n" + a + " x\n" + b + "\n", 0o600, "trusted:3: the key has no name", true},
		{"no key", "trusted", "edge " + b + "\n" + a + " x\n", 0o600, `trusted:1: "edge" is not a public key`, true},
		{"twice", "trusted", a + " x\n" + a + " y\n", 0o600, "trusted:2: " + a + " is listed twice", true},
		{"binary", "trusted", "\xff\xfe\x00\n", 0o600, "trusted:1: ", false},
		{"many", "trusted", many, 0o600, "trusted:257: more than 256 keys", false},
		{"large", "trusted", a + " x\n" + strings.Repeat("#\n", 40_000), 0o600, "are more than 65536", false},
		{"writable", "trusted", a + " x\n", 0o666, "chmod 600", false},
		{"readable seed", "weir.nk", "", 0o644, "so that others may touch it: chmod 600", false},
		{"no seed", "weir.nk", "junk\n", 0o600, "holds no seed", false},
		{"empty seed", "weir.nk", "\n", 0o600, "holds no seed", false},
		{"account", "weir.nk", string(accountSeed), 0o600, "another kind than user", false},
		{"folder", "", "", 0o755, "chmod 700", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "keys")
			k, err := OpenKeys(dir, true)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, test.file)
			if test.text != "" {
				if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(path, test.mode); err != nil {
				t.Fatal(err)
			}
			_, err = OpenKeys(dir, false)
			if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path)) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if _, ok := k.Trusted(a); ok != test.trusted { // of who had it open
				t.Error(ok)
			}
			if err := k.Err(); test.file != "" && (err == nil) != (test.want == "") {
				t.Error(err)
			}
			if _, err := Sign(k, "s", "k", nil); (err == nil) == (test.file == "weir.nk") {
				t.Error(err)
			}
			if test.file == "trusted" && test.want != "" {
				if err := k.Trust(publicKey(t), "new"); err == nil { // a list that is not understood is not written
					t.Error("changed")
				}
			}
		})
	}
}

// A change that leaves size and, to the grain of the clock, time as they were.
func TestKeysChanged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	k, err := OpenKeys(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "trusted")
	for i := range 200 {
		a := publicKey(t)
		if err := os.WriteFile(path, []byte(a+" x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, ok := k.Trusted(a); !ok {
			t.Fatal("not seen", i)
		}
	}
	last := k.List()[1].Public
	time.Sleep(settled + 10*time.Millisecond)
	for range 2 {
		if _, ok := k.Trusted(last); !ok {
			t.Fatal("forgotten")
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, ok := k.Trusted(last); ok || k.Err() != nil {
		t.Error("still trusted", k.Err())
	}
}

// The signed form, checked by what crypto/ed25519 says of it.
func TestSigned(t *testing.T) {
	k := keys(t)
	body := []byte("{\"a\":\"<&>ü\u2028\x00\n\"}")
	value, err := Sign(k, "site.one", "src.v4.c0000201", body)
	if err != nil {
		t.Fatal(err)
	}
	var form struct{ Schema, Key, Sig, Body string }
	if err := json.Unmarshal(value, &form); err != nil || form.Schema != "weir.signed/1" || form.Key != k.Own() || form.Body != string(body) {
		t.Fatalf("%s, %v", value, err)
	}
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(form.Key)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := base64.RawURLEncoding.DecodeString(form.Sig)
	if err != nil {
		t.Fatal(err)
	}
	text := "weir.signed/1\nsite_2Eone\nsrc.v4.c0000201\n" + string(body)
	if !ed25519.Verify(raw[1:33], []byte(text), sig) { // prefix, key, CRC-16
		t.Error("ed25519 says no")
	}
	got, signer, err := Verify(k, "site.one", "src.v4.c0000201", value)
	if err != nil || signer != k.Own() || !bytes.Equal(got, body) {
		t.Errorf("%q, %s, %v", got, signer, err)
	}
	change := func(from, to string) []byte { return bytes.Replace(value, []byte(from), []byte(to), 1) }
	for _, test := range []struct {
		name, site, key string
		value           []byte
		want            error
	}{
		{"another site", "site.two", "src.v4.c0000201", value, ErrForged},
		{"another key", "site.one", "src.v4.c0000202", value, ErrForged},
		{"key and body shifted", "site.one", "src.v4.c0000201\n", value, ErrForged},
		{"changed", "site.one", "src.v4.c0000201", change("ü", "u"), ErrForged},
		{"another's key", "site.one", "src.v4.c0000201", change(k.Own(), publicKey(t)), ErrForged},
		{"no signature", "site.one", "src.v4.c0000201", change(form.Sig, ""), ErrForged},
		{"short signature", "site.one", "src.v4.c0000201", change(form.Sig, form.Sig[:8]), ErrForged},
		{"another schema", "site.one", "src.v4.c0000201", change("signed/1", "signed/2"), ErrUnsigned},
		{"bad key", "site.one", "src.v4.c0000201", change(k.Own(), "U"), ErrUnsigned},
		{"more behind", "site.one", "src.v4.c0000201", append(bytes.Clone(value), "{}"...), ErrUnsigned},
		{"cut", "site.one", "src.v4.c0000201", value[:len(value)-1], ErrUnsigned},
		{"nothing", "site.one", "src.v4.c0000201", nil, ErrUnsigned},
		{"too much", "site.one", "src.v4.c0000201", append(bytes.Clone(value), make([]byte, maxSigned)...), ErrUnsigned},
	} {
		if body, _, err := Verify(k, test.site, test.key, test.value); !errors.Is(err, test.want) || body != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if _, signer, err := Verify(keys(t), "site.one", "src.v4.c0000201", value); !errors.Is(err, ErrUntrusted) || signer != k.Own() {
		t.Error(signer, err)
	}
	if _, _, err := Verify(nil, "site.one", "src.v4.c0000201", value); !errors.Is(err, ErrUntrusted) {
		t.Error(err)
	}
	if _, err := Sign(k, "s", "k", []byte("\xff")); err == nil {
		t.Error("signed what is not UTF-8")
	}
	if _, err := Sign(k, "s", "k", make([]byte, maxBody+1)); err == nil {
		t.Error("signed too much")
	}
	worst := bytes.Repeat([]byte{0}, maxBody) // six bytes each
	value, err = Sign(k, "s", "k", worst)
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := Verify(k, "s", "k", value); err != nil || !bytes.Equal(got, worst) {
		t.Error(err)
	}
}

func FuzzVerify(f *testing.F) {
	k := keys(f)
	value, err := Sign(k, "s", "k", []byte(`{"a":1}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Add([]byte(`{"schema":"weir.signed/1","key":"U","sig":"","body":""}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, b []byte) {
		body, signer, err := Verify(k, "s", "k", b)
		if err == nil && (string(body) != `{"a":1}` || signer != k.Own()) { // nothing else was ever signed
			t.Errorf("%q by %s", body, signer)
		}
		if err != nil && !errors.Is(err, ErrUnsigned) && !errors.Is(err, ErrForged) && !errors.Is(err, ErrUntrusted) {
			t.Error(err)
		}
	})
}

func FuzzTrusted(f *testing.F) {
	public := publicKey(f)
	f.Add([]byte("# ours\n" + public + " edge-2\n"))
	f.Add([]byte(public + "\n" + public + " a\n" + public + " b\r\n\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		trusted, err := parseTrusted("trusted", b)
		if len(trusted) > maxTrusted {
			t.Errorf("%d keys", len(trusted))
		}
		again := ""
		for public, name := range trusted {
			if checkTrusted(public, name) != nil || !bytes.Contains(b, []byte(public)) {
				t.Errorf("%q %q", public, name)
			}
			again += public + " " + name + "\n"
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q", err)
		}
		back, err := parseTrusted("trusted", []byte(again))
		if err != nil || len(back) != len(trusted) {
			t.Errorf("%q: %v, %v", again, back, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	k := keys(b)
	value, err := Sign(k, "s", "k", []byte(strings.Repeat("x", 1000)))
	if err != nil {
		b.Fatal(err)
	}
	time.Sleep(settled)
	for b.Loop() {
		if _, _, err := Verify(k, "s", "k", value); err != nil {
			b.Fatal(err)
		}
	}
}
