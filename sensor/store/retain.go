package store

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Reason is why a file was removed.
type Reason uint8

// Reasons.
const (
	RemovedAge   Reason = iota // it was kept as long as its kind is
	RemovedBytes               // all files together took more than max_mib
	RemovedDisk                // the disk had less than free_mib
	ReasonCount
)

var reasonNames = [ReasonCount]string{"age", "bytes", "disk"}

// String is the name of the reason in metrics.
func (r Reason) String() string { return reasonNames[r] }

// stored is a finished file.
type stored struct {
	path  string // below the root, with slashes
	kind  Kind
	begun time.Time // evidence: when it was changed
	size  int64
}

// list finds all finished files, the oldest first. What the store did not name is not among them.
func list(root string) (all []stored, err error) {
	err = walk(root, func(name string, e fs.DirEntry) error {
		k, ok := kindOf(name)
		begun, named := begunAt(name)
		if !ok || !e.Type().IsRegular() || !named && !evidenceName.MatchString(name) {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // it was removed meanwhile
		}
		if !named {
			begun = info.ModTime()
		}
		all = append(all, stored{name, k, begun, info.Size()})
		return nil
	})
	slices.SortFunc(all, func(a, b stored) int {
		return cmp.Or(a.begun.Compare(b.begun), cmp.Compare(a.path, b.path))
	})
	return all, err
}

// walk visits the folders of the store's kinds, each before what is in it; what is there no longer is passed over.
func walk(root string, visit func(name string, e fs.DirEntry) error) error {
	for _, kind := range kindNames {
		err := filepath.WalkDir(filepath.Join(root, kind), func(path string, e fs.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			name, relErr := filepath.Rel(root, path)
			if err = cmp.Or(err, relErr); err != nil {
				return err
			}
			return visit(filepath.ToSlash(name), e)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tidy removes what a crash left unfinished.
func (s *Store) tidy() error {
	return walk(s.root, func(name string, e fs.DirEntry) error {
		if !e.Type().IsRegular() || !tempName.MatchString(name) {
			return nil
		}
		s.stats.Strays++
		return os.Remove(filepath.Join(s.root, name))
	})
}

// age is how long files of a kind are kept.
func (c *Config) age(k Kind) time.Duration {
	switch k {
	case Alerts:
		return c.AlertsAge
	case Evidence:
		return c.EvidenceAge
	}
	return c.FlowsAge
}

// retain removes what is too old, and then the oldest of all kinds while there is too much of them or too little room on the disk.
func (s *Store) retain(now time.Time) {
	all, err := list(s.root)
	free, err2 := freeBytes(s.root)
	if err = cmp.Or(err, err2); err != nil {
		s.failed(err)
		return
	}
	total := uint64(0)
	for i := range all {
		total += uint64(all[i].size)
	}
	limit, floor := uint64(s.cfg.MaxMiB)<<20, uint64(s.cfg.FreeMiB)<<20+2*reserve
	var kept [KindCount]struct{ files, bytes uint64 }
	for _, f := range all {
		var why Reason
		switch size := uint64(f.size); {
		case now.Sub(f.begun) > s.cfg.age(f.kind):
			why = RemovedAge
		case total > limit:
			why = RemovedBytes
		case free < floor:
			why = RemovedDisk
		default:
			kept[f.kind].files++
			kept[f.kind].bytes += size
			continue
		}
		if s.remove(f, why) {
			total -= uint64(f.size)
			free += uint64(f.size)
		}
	}
	s.count(func(st *Stats) {
		for k := range st.Kinds {
			st.Kinds[k].Files, st.Kinds[k].Bytes = kept[k].files, kept[k].bytes
		}
	})
}

// remove deletes a file, and its folders if nothing else is in them.
func (s *Store) remove(f stored, why Reason) bool {
	err := os.Remove(filepath.Join(s.root, f.path))
	if err != nil && !os.IsNotExist(err) {
		s.count(func(st *Stats) { st.Errors++ })
		s.log.Error("a file of the store cannot be removed", "file", f.path, "error", err)
		return false
	}
	s.count(func(st *Stats) { st.Kinds[f.kind].Removed[why]++ })
	for dir := filepath.Dir(f.path); folderName.MatchString(filepath.ToSlash(dir)); dir = filepath.Dir(dir) {
		if os.Remove(filepath.Join(s.root, dir)) != nil { // it is not empty
			break
		}
	}
	return true
}
