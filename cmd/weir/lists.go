package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"weir/sensor/host"
)

// Bounds of a list that is fetched.
const (
	fetchTime  = 30 * time.Second
	fetchBytes = 64 << 20
	filesEvery = 5 * time.Second // that files of lists and origins are looked at for changes
)

// mirrors fetches the prefix lists that have a URL, and keeps what each last gave: in memory, and with a folder there, so that a sensor
// starts while a mirror is away. What a mirror gives is taken as it is: it is to be the operator's own. Safe for concurrent use.
type mirrors struct {
	mu    sync.Mutex
	dir   string // "": nothing is kept on disk
	known map[string]*mirrored
}

type mirrored struct {
	body           []byte
	etag, modified string
	asked          time.Time
	failed         error // of the newest attempt
}

// listMirrors are those of this process.
var listMirrors = &mirrors{known: map[string]*mirrored{}}

// keep has copies written to a folder.
func (m *mirrors) keep(dir string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dir = dir
}

// read is what a URL gave, at most so long ago; or before, with the error that it gave now.
func (m *mirrors) read(url string, age time.Duration) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	have := m.known[url]
	if have != nil && time.Since(have.asked) < age {
		return have.body, have.failed
	}
	got, err := fetch(url, have)
	if err == nil {
		m.known[url] = got
		if m.dir != "" && (have == nil || !bytes.Equal(have.body, got.body)) {
			err = m.save(url, got.body)
		}
		return got.body, err
	}
	if have == nil && m.dir != "" {
		if body, lost := os.ReadFile(m.file(url)); lost == nil {
			have = &mirrored{body: body}
		}
	}
	if have == nil {
		return nil, err
	}
	have.asked, have.failed = time.Now(), err
	m.known[url] = have
	return have.body, err
}

func (m *mirrors) file(url string) string {
	sum := sha256.Sum256([]byte(url))
	return filepath.Join(m.dir, hex.EncodeToString(sum[:8]))
}

func (m *mirrors) save(url string, body []byte) error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	return host.WriteFile(m.file(url), body)
}

// fetch gets a URL, unless it is what we have.
func fetch(url string, have *mirrored) (*mirrored, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "weir/"+version)
	if have != nil && have.etag != "" {
		r.Header.Set("If-None-Match", have.etag)
	} else if have != nil && have.modified != "" {
		r.Header.Set("If-Modified-Since", have.modified)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusNotModified && have != nil {
		same := *have
		same.asked, same.failed = time.Now(), nil
		return &same, nil
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, answer.Status)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, fetchBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	if len(body) > fetchBytes {
		return nil, fmt.Errorf("%s: more than %d MiB", url, fetchBytes>>20)
	}
	return &mirrored{body, answer.Header.Get("ETag"), answer.Header.Get("Last-Modified"), time.Now(), nil}, nil
}

// watchLists reads the networks again when a file of theirs changes or a URL may have, until ctx ends. What cannot be read changes nothing.
func (p *protected) watchLists(ctx context.Context) {
	tick := time.NewTicker(filesEvery)
	defer tick.Stop()
	seen := p.listState()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := p.listState()
		if now == seen {
			continue
		}
		seen = now
		if err := p.reread(); err != nil {
			p.log.Error("lists or origins have changed and cannot be read; those before stay", "error", err)
		}
	}
}

// listState changes when a file or a list of a URL does.
func (p *protected) listState() string {
	p.mu.Lock()
	settings := p.config
	p.mu.Unlock()
	var state bytes.Buffer
	files := append([]string(nil), settings.Networks.Origins...)
	for _, l := range settings.Networks.Lists {
		if l.File != "" {
			files = append(files, l.File)
			continue
		}
		body, err := listMirrors.read(l.URL, settings.Networks.Refresh)
		if err != nil {
			p.log.Warn("a list cannot be fetched; the last one that came stays", "list", l.Name, "error", err)
		}
		fmt.Fprintf(&state, "%s %x\n", l.URL, sha256.Sum256(body))
	}
	for _, name := range files {
		info, err := os.Stat(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // it is being replaced
		}
		if err == nil {
			fmt.Fprintf(&state, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
		}
	}
	return state.String()
}

// reread goes on with the lists and origins as they are now.
func (p *protected) reread() error {
	p.mu.Lock()
	settings := p.config
	p.mu.Unlock()
	networks, err := settings.readNetworks()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.config != settings { // another configuration came, with lists of its own
		return nil
	}
	p.configured = networks
	p.tell()
	p.log.Info("lists or origins have changed and were read again")
	return nil
}
