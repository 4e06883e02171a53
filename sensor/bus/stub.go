package bus

import (
	"context"
	"errors"
	"time"
)

var errStub = errors.New("bus: not built yet")

// ErrUnsigned and its siblings say why a value is not to be believed.
var (
	ErrUnsigned  = errors.New("it is not signed")
	ErrForged    = errors.New("its signature does not fit")
	ErrUntrusted = errors.New("its signer is not trusted")
	ErrReplayed  = errors.New("it is a replay, or stale")
)

// Keys is a folder of keys.
type Keys struct{}

// TrustedKey is one that is trusted.
type TrustedKey struct {
	Public, Name string
	Own          bool
}

// OpenKeys opens a folder of keys.
func OpenKeys(dir string, make bool) (*Keys, error) { return nil, errStub }

// Own returns the public key.
func (k *Keys) Own() string { return "" }

// New makes a new own key.
func (k *Keys) New() (public string, err error) { return "", errStub }

// Trust adds a key.
func (k *Keys) Trust(public, name string) error { return errStub }

// Distrust removes a key.
func (k *Keys) Distrust(public string) error { return errStub }

// Trusted reports whether a key is trusted.
func (k *Keys) Trusted(public string) (name string, ok bool) { return "", false }

// List lists the trusted keys, the own one first.
func (k *Keys) List() []TrustedKey { return nil }

// Err tells what is wrong with the files now.
func (k *Keys) Err() error { return errStub }

// Sign signs.
func Sign(k *Keys, site, key string, body []byte) ([]byte, error) { return nil, errStub }

// Verify verifies.
func Verify(k *Keys, site, key string, value []byte) (body []byte, signer string, err error) {
	return nil, "", errStub
}

// State is the bucket of a site.
type State struct{}

// Signed is an entry of the bucket.
type Signed struct {
	Key          string
	Body         []byte
	Signer, Name string
	Revision     uint64
	Deleted      bool
	Err          error
}

// State returns the bucket.
func (b *Bus) State(k *Keys) *State { return &State{} }

// Put signs and writes.
func (s *State) Put(ctx context.Context, key string, body []byte) error { return errStub }

// Purge removes.
func (s *State) Purge(ctx context.Context, key string) error { return errStub }

// Read reads all.
func (s *State) Read(ctx context.Context, each func(Signed)) error { return errStub }

// Watch watches. It returns nil when ctx ends.
func (s *State) Watch(ctx context.Context, begin func(), each func(Signed), whole func(complete bool)) error {
	return errStub
}

// Drop publishes an event of a drop.
func (b *Bus) Drop(event, msgID string, payload []byte) error { return errStub }

// Gate publishes a gate's report.
func (b *Bus) Gate(payload []byte) {}

// Gates calls each with all reports of the site until ctx ends. It blocks.
func (b *Bus) Gates(ctx context.Context, each func(sensor string, payload []byte)) { <-ctx.Done() }

// Serve answers commands until ctx ends. It blocks.
func (b *Bus) Serve(ctx context.Context, k *Keys, command, group string, f func(signer, name string, body []byte) [][]byte) {
	<-ctx.Done()
}

// Client is a connection of the command line.
type Client struct{}

// Reply is an answer.
type Reply struct {
	From string
	Body []byte
	Err  string
}

// Dial connects.
func Dial(ctx context.Context, cfg Config, site, dir, name string, k *Keys) (*Client, error) {
	return nil, errStub
}

// State returns the bucket.
func (c *Client) State() *State { return &State{} }

// Ask asks.
func (c *Client) Ask(ctx context.Context, command string, body []byte, wait time.Duration) ([]Reply, error) {
	return nil, errStub
}

// Drops reads the events of drops.
func (c *Client) Drops(ctx context.Context, since time.Time, follow bool, each func(subject string, payload []byte) error) error {
	return errStub
}

// Drop publishes an event and waits for the server.
func (c *Client) Drop(event, msgID string, payload []byte) error { return errStub }

// Close closes the connection.
func (c *Client) Close() {}
