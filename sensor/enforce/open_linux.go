package enforce

import (
	"errors"
	"fmt"
	"log/slog"
	"net"

	"weir/bpf"
)

// Open opens the table of an interface, and tells what is less than was asked for. A rehearsal counts only, whatever the drops say.
//
// Mode auto takes XDP, and nftables where the kernel or the process cannot. A foreign XDP program at the interface is an error
// (*bpf.ForeignError): it is neither displaced nor passed by in silence. What an earlier process in another mode left at the interface is
// taken off: nobody would look after its drops.
func Open(cfg Config, iface string, rehearse bool, log *slog.Logger) (Table, []string, error) {
	if err := cfg.Check(); err != nil {
		return nil, nil, err
	}
	t, warnings, err := openMode(cfg, iface, rehearse, log)
	if err != nil {
		return nil, nil, err
	}
	other := false
	if t.Name() == string(ModeNFTables) {
		other = bpf.Unpin(iface, cfg.Pins)
	} else {
		n, err := detachNftables(iface)
		if other = n > 0; other && err != nil {
			return nil, nil, errors.Join(fmt.Errorf("%s: drops by nftables that an earlier run left cannot be taken off: %w", iface, err), t.Close())
		}
	}
	if other {
		warnings = append(warnings, "drops that an earlier run in another mode left in force are taken off; what is wanted of them comes again")
	}
	return t, warnings, nil
}

func openMode(cfg Config, iface string, rehearse bool, log *slog.Logger) (Table, []string, error) {
	switch cfg.Mode {
	case ModeNFTables:
		return openNFTables(cfg, iface, rehearse, log)
	case ModeTCX:
		return openGate(cfg, iface, bpf.ModeTCX, rehearse)
	}
	t, warnings, err := openGate(cfg, iface, bpf.ModeXDP, rehearse)
	var lacks *bpf.UnsupportedError
	if cfg.Mode == ModeXDP || !errors.As(err, &lacks) {
		return t, warnings, err
	}
	t, warnings, other := openNFTables(cfg, iface, rehearse, log)
	if other != nil {
		return nil, nil, fmt.Errorf("neither XDP nor nftables: %w", errors.Join(err, other))
	}
	return t, append([]string{fmt.Sprintf("drops by nftables, which is slower: %v", err)}, warnings...), nil
}

// ClearAll ends all drops at an interface ("": at all of this network namespace), whether or not an agent runs: those of pinned
// gates, and our tables of nftables. It tells which it cleared, as "eth0 (nftables)". What an agent holds without pins it cannot reach, and
// an agent that does not know of a panic puts its own again.
func ClearAll(iface, pins string) (cleared []string, err error) {
	names := []string{iface}
	if iface == "" {
		names = bpf.Pinned(pins)
	}
	for _, name := range names {
		n, wrong := bpf.ClearPinned(name, pins)
		if err = errors.Join(err, wrong); n > 0 && wrong == nil {
			cleared = append(cleared, name+" (XDP or tcx)")
		}
	}
	tables, wrong := clearNftables(iface)
	return append(cleared, tables...), errors.Join(err, wrong)
}

// Detach takes gates off an interface ("": off all that have pinned ones), with their pins, and removes our tables of nftables.
func Detach(iface, pins string) error {
	names := []string{iface}
	if iface == "" {
		names = bpf.Pinned(pins)
	}
	var wrong error
	for _, name := range names {
		_, err := bpf.Detach(name, pins)
		if _, gone := net.InterfaceByName(name); gone != nil && iface == "" {
			continue // an interface that is not there any more, and now its pins neither
		}
		wrong = errors.Join(wrong, err)
	}
	_, err := detachNftables(iface)
	return errors.Join(wrong, err)
}

func openNFTables(cfg Config, iface string, rehearse bool, log *slog.Logger) (Table, []string, error) {
	t, err := openNftables(nftConfig{
		Survive: cfg.Survive, Hosts4: cfg.Hosts4, Hosts6: cfg.Hosts6, Prefixes: cfg.Prefixes, Services: cfg.Services,
		Peers: cfg.Peers, PeerAge: cfg.PeerAge, PeerNew: cfg.PeerNew, PeerRate: cfg.PeerRate,
	}, iface, rehearse, log)
	return t, nil, err
}
