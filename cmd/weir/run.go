package main

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"

	"weir/sensor/bus"
	"weir/sensor/host"
)

type runCmd struct {
	senseCmd `embed:""`
	DryRun   bool `help:"Rehearse: decide and count everything, drop nothing."`
}

// Help is the long form of --help.
func (*runCmd) Help() string {
	return `Sensor and gate in one process, for an edge host: what 'weir sense' finds on the interfaces is answered by the policy, and dropped
by XDP (else nftables) before this host's network stack sees it. docs/gate.md tells how it works, docs/drops.md what is dropped, for
how long, and what never is; the start prints the addresses that never are. Begin with --dry-run, and look at 'weir bans list'.

It needs CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON, and CAP_SYS_ADMIN to mount a bpffs where there is none.

Examples:
  sudo weir run -i eth0 --dry-run
  sudo weir run -i eth0
  sudo weir bans list            what is dropped, and why
  sudo weir bans panic           drop nothing any more, at once
  sudo weir block --detach -i eth0   take the gate off, also without a running weir

Drops survive the end of this process and lapse by themselves (gate.survive). SIGINT and SIGTERM end it as they end 'weir sense'.`
}

// Run watches and enforces until it is told to stop.
func (c *runCmd) Run(ctx context.Context, std *streams) error { return c.run(ctx, std, c) }

// keysFolder is where a state folder keeps keys, blockFolder where it keeps what the gates remember.
const (
	keysFolder  = "keys"
	blockFolder = "block"
)

// gateCapabilities are what gates need once they stand: to write their tables, and to attach again where an interface comes back.
var gateCapabilities = []string{"CAP_BPF", "CAP_NET_ADMIN"}

// pinFolders are where the gates' pins may be.
func pinFolders(settings *config) []string {
	folders := []string{"/sys/fs/bpf", "/run/weir"}
	if settings.Gate.Pins != "" {
		folders = append(folders, settings.Gate.Pins)
	}
	return folders
}

// openPolicy makes what decides about drops, and the gates if they are here.
func (s *sensing) openPolicy(id bus.Identity) (err error) {
	if s.protect, err = newProtected(&s.settings, s.log); err != nil {
		return err
	}
	if s.keys, err = bus.OpenKeys(filepath.Join(s.state.Dir(), keysFolder), true); err != nil {
		return err
	}
	if s.decider, err = newDecider(s.protect, s.bus, s.bus.State(s.keys), s.state.Dir(), s.log); err != nil {
		return err
	}
	s.peers = make(chan []netip.Addr, 64)
	if s.gate == nil {
		return nil
	}
	if s.blocks, err = host.OpenState(filepath.Join(s.state.Dir(), blockFolder)); err != nil {
		return err
	}
	s.gates, err = openGates(&s.settings, s.cmd.Interface, s.blocks.Dir(), s.gate.DryRun, s.protect, s.bus, id, s.log)
	if err != nil {
		return err
	}
	s.gates.report = s.blocked
	if s.settings.Policy.Shadow {
		fmt.Fprintln(s.std.err, "rehearsal: nothing is dropped; 'weir bans list' shows what would be")
	}
	for _, line := range s.protect.lines() {
		fmt.Fprintln(s.std.err, "never dropped:", printable(line))
	}
	return nil
}

// startPolicy begins to decide, and to enforce if the gates are here, until ctx ends.
func (s *sensing) startPolicy(ctx context.Context) {
	begin := func(f func(context.Context)) { s.beside.Go(func() { f(ctx) }) }
	begin(s.protect.watch)
	begin(s.decider.run)
	begin(s.decider.follow)
	begin(func(ctx context.Context) { s.decider.serve(ctx, s.keys) })
	begin(s.known)
	begin(func(ctx context.Context) { s.bus.Gates(ctx, s.reported) })
	if s.gates != nil {
		begin(func(ctx context.Context) { s.gates.run(ctx, s.bus.State(s.keys), s.keys) })
	}
}

// blocked takes in what the gates of this process dropped.
func (s *sensing) blocked(r *gateReport) {
	for i := range r.Drops {
		s.decider.hit(r.Drops[i].Drop, int64(r.Drops[i].Last))
	}
	if run := s.run.Load(); run != nil {
		run.engine.Gate(r.engine())
	}
}

// reported takes in what a gate elsewhere dropped.
func (s *sensing) reported(from string, payload []byte) {
	if s.gates != nil && from == s.gates.id.Sensor {
		return
	}
	r, err := parseReport(payload)
	if err != nil {
		s.seldom.Warn("the report of a gate is not understood", "sensor", from, "error", err)
		return
	}
	s.blocked(r)
}

// established takes in who completed connections. On the judge's goroutine.
func (s *sensing) established(peers []netip.Addr) {
	s.decider.established(peers)
	if s.gates == nil {
		return
	}
	select {
	case s.peers <- append([]netip.Addr(nil), peers...):
	default: // the kernel learns of them by itself if they talk to this host
	}
}

// known tells the gates who completed connections.
func (s *sensing) known(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case peers := <-s.peers:
			s.gates.addPeers(peers)
		}
	}
}
