package bus

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nkeys"
)

// Files of a folder of keys.
const (
	seedFile    = "weir.nk" // the own seed
	trustedFile = "trusted" // whose signatures count besides: lines "<public key> <name>"
)

const (
	maxTrusted     = 256
	maxTrustedFile = 64 << 10
	maxKeyName     = 64       // bytes
	maxBody        = 64 << 10 // bytes that can be signed
	maxSigned      = 8 * maxBody
	ownName        = "own"
	signedSchema   = "weir.signed/1"
)

// What is wrong with a signed value.
var (
	ErrUnsigned  = errors.New("it is not signed")
	ErrForged    = errors.New("its signature does not fit: it was changed, or signed for another key or site")
	ErrUntrusted = errors.New("its signer is not trusted")
)

// Keys is a folder with an own Ed25519 key (an nkey, kind user) and a list of those that are trusted. Its files are read
// again when they change. Its methods may be called from any goroutine; a nil Keys has no own key and trusts nobody.
type Keys struct {
	dir string

	mu         sync.Mutex
	own        nkeys.KeyPair // nil: none
	ownPublic  string
	ownErr     error
	ownStamp   stamp
	trusted    map[string]string // public key to name
	trustedErr error
	listStamp  stamp
}

// TrustedKey is a key whose signatures count.
type TrustedKey struct {
	Public, Name string
	Own          bool
}

// stamp tells whether a file changed.
type stamp struct {
	info   os.FileInfo // nil: there is none
	looked time.Time
}

// settled is how old a file must be for a change within the grain of the file system's clock to be seen.
const settled = 100 * time.Millisecond

// OpenKeys opens the folder dir (0700), which need not be there. With make, it is made, and an own key in it if there is none.
func OpenKeys(dir string, make bool) (*Keys, error) {
	k := &Keys{dir: dir}
	if make {
		if err := k.makeFolder(); err != nil {
			return nil, err
		}
	}
	if err := private(dir, 0o077, "700"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("keys: %w", err)
	}
	if err := k.Err(); err != nil {
		return nil, err
	}
	if make && k.Own() == "" {
		if _, err := k.New(); err != nil {
			return nil, err
		}
	}
	return k, nil
}

func (k *Keys) makeFolder() error {
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	return nil
}

// private tells whether a file's mode has bits that it must not have.
func private(path string, not os.FileMode, mend string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&not != 0 {
		return fmt.Errorf("%s has mode %04o, so that others may touch it: chmod %s %s", path, info.Mode().Perm(), mend, path)
	}
	return nil
}

// Own returns the own public key ("U…"), or "" if there is none.
func (k *Keys) Own() string {
	if k == nil {
		return ""
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	return k.ownPublic
}

// Err tells what is wrong with the files now, with file and line. What is readable of the list counts meanwhile, the rest
// does not.
func (k *Keys) Err() error {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	if k.ownErr != nil && k.trustedErr != nil {
		return fmt.Errorf("%w; %w", k.ownErr, k.trustedErr)
	}
	return errors.Join(k.ownErr, k.trustedErr)
}

// New makes a new own key. The seed before is kept as weir.nk.old-<unix time>; what it signed counts only where it is trusted.
func (k *Keys) New() (public string, err error) {
	if k == nil {
		return "", errors.New("keys: there is no folder")
	}
	if err := k.makeFolder(); err != nil {
		return "", err
	}
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", fmt.Errorf("keys: %w", err)
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	if err != nil {
		return "", fmt.Errorf("keys: %w", err)
	}
	if public, err = pair.PublicKey(); err != nil {
		return "", fmt.Errorf("keys: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	path := filepath.Join(k.dir, seedFile)
	for at := time.Now().Unix(); ; at++ {
		err := os.Link(path, fmt.Sprintf("%s.old-%d", path, at))
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			break
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("keys: the seed before cannot be kept: %w", err)
		}
	}
	if err := writeFile(path, string(seed)+"\n"); err != nil {
		return "", fmt.Errorf("keys: %w", err)
	}
	k.refresh()
	return public, k.ownErr
}

// Trust lets the signatures of a key count, under a name. A key that is trusted already is renamed.
func (k *Keys) Trust(public, name string) error {
	if k == nil {
		return errors.New("keys: there is no folder")
	}
	switch err := checkTrusted(public, name); {
	case err != nil:
		return fmt.Errorf("keys: %w", err)
	case public == k.Own():
		return fmt.Errorf("keys: %s is the own key, which is trusted anyway", public)
	}
	return k.edit(func(lines []string, trusted map[string]string) ([]string, error) {
		if _, known := trusted[public]; known {
			lines = without(lines, public)
		} else if len(trusted) >= maxTrusted {
			return nil, fmt.Errorf("%d keys are trusted, the most there can be: take one out first", len(trusted))
		}
		return append(lines, public+" "+name), nil
	})
}

// Distrust takes a key from the list.
func (k *Keys) Distrust(public string) error {
	switch {
	case k == nil:
		return errors.New("keys: there is no folder")
	case public == k.Own():
		return fmt.Errorf("keys: %s is the own key: a new one takes its place (weir keys new)", public)
	}
	return k.edit(func(lines []string, trusted map[string]string) ([]string, error) {
		if _, known := trusted[public]; !known {
			return nil, fmt.Errorf("%q is not trusted", public)
		}
		return without(lines, public), nil
	})
}

// edit changes the list's lines; those that it does not mean to change stay as they are.
func (k *Keys) edit(change func(lines []string, trusted map[string]string) ([]string, error)) error {
	if err := k.makeFolder(); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	if k.trustedErr != nil {
		return k.trustedErr
	}
	path := filepath.Join(k.dir, trustedFile)
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keys: %w", err)
	}
	var lines []string
	if text := strings.TrimRight(string(b), "\n"); text != "" {
		lines = strings.Split(text, "\n")
	}
	if lines, err = change(lines, k.trusted); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	text := strings.Join(append(lines, ""), "\n")
	if len(text) > maxTrustedFile {
		return fmt.Errorf("keys: %s would be larger than %d bytes", path, maxTrustedFile)
	}
	if err := writeFile(path, text); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	k.refresh()
	return k.trustedErr
}

func without(lines []string, public string) []string {
	return slices.DeleteFunc(lines, func(line string) bool {
		fields := strings.Fields(line)
		return len(fields) > 0 && fields[0] == public
	})
}

// Trusted reports whether signatures of a key count, and the name of its owner; the own key's is "own".
func (k *Keys) Trusted(public string) (name string, ok bool) {
	if k == nil {
		return "", false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	if public != "" && public == k.ownPublic {
		return ownName, true
	}
	name, ok = k.trusted[public]
	return name, ok
}

// List returns the own key, and then those that are trusted besides, by name.
func (k *Keys) List() []TrustedKey {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	var all []TrustedKey
	for public, name := range k.trusted {
		if public != k.ownPublic {
			all = append(all, TrustedKey{Public: public, Name: name})
		}
	}
	slices.SortFunc(all, func(a, b TrustedKey) int { return strings.Compare(a.Name+" "+a.Public, b.Name+" "+b.Public) })
	if k.ownPublic != "" {
		all = slices.Insert(all, 0, TrustedKey{Public: k.ownPublic, Name: ownName, Own: true})
	}
	return all
}

// refresh reads again what changed.
func (k *Keys) refresh() {
	if path := filepath.Join(k.dir, seedFile); k.ownStamp.changed(path) {
		pair, public, err := readSeed(path)
		if k.ownErr = err; errors.Is(err, fs.ErrNotExist) {
			k.ownErr = nil
		}
		k.own, k.ownPublic = pair, public
	}
	if path := filepath.Join(k.dir, trustedFile); k.listStamp.changed(path) {
		k.trusted, k.trustedErr = readTrusted(path)
	}
}

// changed reports whether a file may be another than when this was asked last.
func (s *stamp) changed(path string) bool {
	before := *s
	info, err := os.Stat(path)
	now := time.Now()
	if err != nil && errors.Is(err, fs.ErrNotExist) {
		*s = stamp{nil, now}
		return before.looked.IsZero() || before.info != nil
	}
	if err != nil { // reading it will say so, each time
		*s = stamp{}
		return true
	}
	*s = stamp{info, now}
	return before.info == nil || !os.SameFile(before.info, info) || before.info.Size() != info.Size() ||
		before.info.Mode() != info.Mode() || !before.info.ModTime().Equal(info.ModTime()) ||
		before.looked.Sub(info.ModTime()) < settled
}

func readSeed(path string) (nkeys.KeyPair, string, error) {
	if err := private(path, 0o077, "600"); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w (and weir keys new, if others may have read it)", err)
		}
		return nil, "", fmt.Errorf("keys: %w", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, "", fmt.Errorf("keys: %w", err)
	}
	pair, err := nkeys.FromSeed(bytes.TrimSpace(b))
	if err != nil {
		return nil, "", fmt.Errorf("keys: %s holds no seed (%w): put a copy of it back, or move it away and make a new one with weir keys new", path, err)
	}
	public, err := pair.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		return nil, "", fmt.Errorf("keys: %s holds a seed of another kind than user (SU…): move it away and make one with weir keys new", path)
	}
	return pair, public, nil
}

// readTrusted reads a list. With an error, what it returns is what was readable.
func readTrusted(path string) (map[string]string, error) {
	switch err := private(path, 0o022, "600"); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("keys: %w; until then nobody in it is trusted", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	trusted, err := parseTrusted(path, b)
	if err != nil {
		err = fmt.Errorf("keys: %w", err)
	}
	return trusted, err
}

// parseTrusted reads the lines of a list: a public key and a name; empty ones and those that begin with # are skipped. The
// error is of the first line that cannot be; the others count.
func parseTrusted(path string, b []byte) (map[string]string, error) {
	if len(b) > maxTrustedFile {
		return nil, fmt.Errorf("%s: %d bytes are more than %d: nobody in it is trusted", path, len(b), maxTrustedFile)
	}
	trusted := map[string]string{}
	var first error
	number := 0
	for line := range strings.Lines(string(b)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		public := strings.Fields(line)[0]
		name := strings.TrimSpace(line[len(public):])
		err := checkTrusted(public, name)
		if _, twice := trusted[public]; err == nil && twice {
			err = fmt.Errorf("%s is listed twice", public)
		}
		if err == nil && len(trusted) >= maxTrusted {
			err = fmt.Errorf("more than %d keys", maxTrusted)
		}
		if err == nil {
			trusted[public] = name
		} else if first == nil {
			first = fmt.Errorf("%s:%d: %w", path, number, err)
		}
	}
	return trusted, first
}

// checkTrusted tells what is wrong with an entry of the list.
func checkTrusted(public, name string) error {
	switch {
	case strings.HasPrefix(public, "SU"):
		return errors.New("this is a secret seed: take it out and give the public key (U…) that belongs to it")
	case !nkeys.IsValidPublicUserKey(public):
		return fmt.Errorf("%q is not a public key: a U and 55 more letters and digits, as weir keys list prints it", shorten(public))
	case name == "":
		return errors.New("the key has no name: give whose it is, as in: U… edge-2")
	case len(name) > maxKeyName:
		return fmt.Errorf("the name has %d bytes, more than %d", len(name), maxKeyName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) || strings.TrimSpace(name) != name:
		return fmt.Errorf("the name %q has characters that cannot be printed, or spaces around it", name)
	case name == ownName:
		return fmt.Errorf("the name %q means the own key: give another", name)
	}
	return nil
}

func shorten(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}

// signed is a value with its signature. What is signed is the schema, the token of the site, the key that the value is written
// to (or the command it is), each with a newline behind it, and the body.
type signed struct {
	Schema string `json:"schema"`
	Key    string `json:"key"` // public key of the signer
	Sig    string `json:"sig"` // base64url without padding
	Body   string `json:"body"`
}

func signedText(site, key string, body []byte) []byte {
	text := make([]byte, 0, len(signedSchema)+len(site)+len(key)+len(body)+16)
	text = append(append(text, signedSchema...), '\n')
	text = append(append(text, Token(site)...), '\n')
	text = append(append(text, key...), '\n')
	return append(text, body...)
}

// Sign returns the signed form of a body (UTF-8, at most 64 KiB) for a site and a key of its bucket, or a command of it.
func Sign(k *Keys, site, key string, body []byte) ([]byte, error) {
	switch {
	case len(body) > maxBody:
		return nil, fmt.Errorf("keys: %d bytes are more than can be signed (%d)", len(body), maxBody)
	case !utf8.Valid(body):
		return nil, errors.New("keys: what is to be signed is not UTF-8")
	case strings.Contains(key, "\n"):
		return nil, fmt.Errorf("keys: %q cannot be a key", key)
	case k == nil:
		return nil, errors.New("keys: there is no own key to sign with: make one with weir keys new")
	}
	k.mu.Lock()
	k.refresh()
	pair, public, err := k.own, k.ownPublic, k.ownErr
	k.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if pair == nil {
		return nil, fmt.Errorf("keys: there is no own key in %s to sign with: make one with weir keys new", k.dir)
	}
	sig, err := pair.Sign(signedText(site, key, body))
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	if err := out.Encode(signed{signedSchema, public, base64.RawURLEncoding.EncodeToString(sig), string(body)}); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Verify returns the body of a signed form and the public key of its signer. The error is or wraps ErrUnsigned, ErrForged or
// ErrUntrusted; with ErrUntrusted the signature fits, and signer is whose it is.
func Verify(k *Keys, site, key string, value []byte) (body []byte, signer string, err error) {
	v, err := parseSigned(value)
	if err != nil {
		return nil, "", err
	}
	if err := v.check(site, key); err != nil {
		return nil, "", err
	}
	if _, ok := k.Trusted(v.Key); !ok {
		return nil, v.Key, untrusted(v.Key)
	}
	return []byte(v.Body), v.Key, nil
}

func untrusted(public string) error {
	return fmt.Errorf("%w: %s (weir keys trust)", ErrUntrusted, public)
}

func parseSigned(value []byte) (*signed, error) {
	if len(value) > maxSigned {
		return nil, fmt.Errorf("%w: %d bytes are too many", ErrUnsigned, len(value))
	}
	v := &signed{}
	if err := json.Unmarshal(value, v); err != nil || v.Schema != signedSchema || len(v.Body) > maxBody {
		return nil, ErrUnsigned
	}
	return v, nil
}

// check tells whether the signature fits.
func (v *signed) check(site, key string) error {
	if !nkeys.IsValidPublicUserKey(v.Key) {
		return fmt.Errorf("%w: %q is no public key", ErrUnsigned, shorten(v.Key))
	}
	pair, err := nkeys.FromPublicKey(v.Key)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsigned, err)
	}
	sig, err := base64.RawURLEncoding.Strict().DecodeString(v.Sig)
	if err != nil || strings.Contains(key, "\n") || pair.Verify(signedText(site, key, []byte(v.Body)), sig) != nil {
		return ErrForged
	}
	return nil
}
