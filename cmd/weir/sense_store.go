package main

import (
	"cmp"
	"fmt"
	"path/filepath"

	"weir/decode/conn"
	"weir/sensor/alert"
	"weir/sensor/store"
)

// keeping is what a sensor keeps on disk. A nil one keeps nothing.
type keeping struct {
	cfg   store.Config
	store *store.Store
}

// storeFolder is where the store is, by the configuration and the state folder.
func storeFolder(cfg *store.Config, state string) string {
	return cmp.Or(cfg.Folder, filepath.Join(state, "store"))
}

// noStore says that there is none where one was to be read.
func noStore(folder string) error {
	return fmt.Errorf("there is no store in %s: 'weir sense' and 'weir run' make it (--state, or --config with store.folder, tells where)", folder)
}

// openStore opens the store in the state folder.
func (s *sensing) openStore() error {
	cfg := s.settings.Store
	if !cfg.Flows && !cfg.Alerts && !cfg.Evidence {
		return nil
	}
	kept, err := store.Open(cfg, storeFolder(&cfg, s.state.Dir()), s.seldom)
	if err != nil {
		return err
	}
	s.store = &keeping{cfg, kept}
	return nil
}

// folders are those that are written into.
func (k *keeping) folders() []string {
	if k == nil {
		return nil
	}
	return []string{k.store.Folder()}
}

// flows tells whether connections are kept.
func (k *keeping) flows() bool { return k != nil && k.cfg.Flows }

// flow keeps a connection at its end, alert a revision with its line of JSON. On the judge's goroutine: they never wait.
func (k *keeping) flow(r *conn.Record) {
	if k.flows() {
		k.store.Flow(r)
	}
}

func (k *keeping) alert(a *alert.Alert, line []byte) {
	if k != nil && k.cfg.Alerts {
		k.store.Alert(a, line)
	}
}

// close writes what is not on disk yet.
func (k *keeping) close() error {
	if k == nil {
		return nil
	}
	return k.store.Close()
}
