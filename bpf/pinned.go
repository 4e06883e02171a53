//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// Pinned are the interfaces of this network namespace for which a gate is pinned, whoever pinned it.
func Pinned(pins string) []string {
	suffix := pinName("")
	var names []string
	for _, dir := range pinnedFolders(pins, "*") {
		if name, ok := strings.CutSuffix(filepath.Base(dir), suffix); ok {
			names = append(names, strings.ReplaceAll(name, "%", "."))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Unpin takes off the gates that are pinned for an interface, of every version and place, and tells whether there were any. It needs
// CAP_BPF and CAP_NET_ADMIN only; Detach finds those that are not pinned, too.
func Unpin(iface, pins string) bool { return unpinAll(pins, iface) }

// pinnedFolders are the folders of pins whose last element matches, of every version and place.
func pinnedFolders(asked, match string) (dirs []string) {
	for _, root := range []string{asked, systemPins, ownPins} {
		if root != "" && isBPF(root) {
			found, _ := filepath.Glob(filepath.Join(root, "weir", "*", match))
			dirs = append(dirs, found...)
		}
	}
	return dirs
}

// ClearPinned ends all drops, services and signatures of the gates that are pinned for an interface, whether or not their process
// lives: from the first step on all passes. Gates of another layout are detached. It returns how many gates there were.
func ClearPinned(iface, pins string) (n int, err error) {
	for _, dir := range pinnedFolders(pins, pinName(iface)) {
		n++
		if filepath.Base(filepath.Dir(dir)) != layoutVersion {
			unpin(dir)
			continue
		}
		if e := clearFolder(dir); e != nil {
			err = errors.Join(err, fmt.Errorf("%s: clearing its gate: %w", iface, e))
		}
	}
	return n, err
}

func clearFolder(dir string) error {
	return errors.Join(
		pinnedMap(dir, gateMapControl, clearFlags),
		pinnedMap(dir, gateMapHosts4, clearKeys[[4]byte]), pinnedMap(dir, gateMapHosts6, clearKeys[gateHost6]),
		pinnedMap(dir, gateMapNets4, clearKeys[gateNet4]), pinnedMap(dir, gateMapNets6, clearKeys[gateNet6]),
		pinnedMap(dir, gateMapServices, clearKeys[gateService]),
		pinnedMap(dir, gateMapSignedBy, clearSigned),
	)
}

func pinnedMap(dir, name string, f func(*ebpf.Map) error) error {
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return explain(name, err)
	}
	defer m.Close()
	if err := f(m); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// clearFlags says that no table holds anything.
func clearFlags(m *ebpf.Map) error {
	var c gateControl
	if err := m.Lookup(uint32(0), &c); err != nil {
		return err
	}
	c.Tables &= uint32(gateTableTABLE_NEVER | gateTableTABLE_REHEARSE)
	return m.Put(uint32(0), &c)
}

func clearKeys[K comparable](m *ebpf.Map) error {
	t := table[K]{name: "entries", m: m}
	var keys []K
	err := t.each(func(k K, _ *gateEntry) bool { keys = append(keys, k); return true })
	if err == nil {
		_, err = t.remove(&slots{}, keys)
	}
	return err
}

func clearSigned(outer *ebpf.Map) error {
	var id ebpf.MapID
	if err := outer.Lookup(uint32(0), &id); err != nil {
		return err
	}
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return err
	}
	defer m.Close()
	return m.Put(uint32(0), &gateSignatures{})
}
