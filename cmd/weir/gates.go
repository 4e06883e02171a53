package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	network "weir/analyzers/context"
	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/bus"
	"weir/sensor/enforce"
	"weir/sensor/host"
	"weir/sensor/policy"
)

// gates are those of the interfaces of this process, and their way to the bus: wanted drops come in; receipts, hits and samples go
// out.
type gates struct {
	log     *slog.Logger
	seldom  *slog.Logger
	bus     *bus.Bus
	id      bus.Identity
	sample  int
	every   time.Duration // between two looks at a table
	started time.Time
	all     []*gateAt
	report  func(*gateReport)                 // besides the bus; may be nil
	told    func(*enforce.Receipt, time.Time) // likewise
	before  enforce.Total                     // what was dropped under earlier processes

	mu      sync.Mutex
	samples []gateSample
	lost    uint64 // samples
	batch   []enforce.Instruction
	whole   bool // the bucket is being read

	unreported atomic.Uint64 // all that was lost
}

// gateAt is that of one interface.
type gateAt struct {
	name     string
	table    enforce.Table
	enforcer *enforce.Enforcer
}

// Bounds of a report: with 300 bytes each it stays below what NATS takes by default, 1 MiB.
const (
	reportEvery   = time.Second
	reportDrops   = 2000
	reportSamples = 500
)

// openGates takes the gates of interfaces. dir is a folder of this process' alone; rehearse counts only, whatever is asked for, until the end of the process; policy.shadow does as long as it is set.
func openGates(settings *config, interfaces []string, dir string, rehearse bool, p *protected, b *bus.Bus, id bus.Identity, log *slog.Logger) (g *gates, err error) {
	g = &gates{log: log, seldom: host.Limited(log, time.Minute), bus: b, id: id, sample: settings.Gate.Sample, every: settings.Gate.Every, started: time.Now()}
	for _, name := range interfaces {
		if err = g.open(settings, name, dir, rehearse); err != nil {
			return nil, errors.Join(err, g.close())
		}
	}
	g.before = g.dropped()
	p.follow(func(cfg policy.Config, n *network.Networks) {
		for _, one := range g.all {
			one.enforcer.Rehearse(rehearse || cfg.Shadow)
			one.enforcer.Guard(policy.NewGuards(cfg, n), spared(n))
		}
	})
	return g, nil
}

func (g *gates) open(settings *config, name, dir string, rehearse bool) error {
	table, warnings, err := enforce.Open(settings.Gate, name, rehearse, g.log)
	if err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	one := &gateAt{name: name, table: table}
	g.all = append(g.all, one)
	for _, w := range warnings {
		g.log.Warn("gate: "+w, "interface", name)
	}
	own := filepath.Join(dir, bus.Token(name))
	if err := os.MkdirAll(own, 0o700); err != nil {
		return err
	}
	one.enforcer, err = enforce.New(enforce.Options{
		Config: settings.Gate, Table: table, Rehearse: rehearse || settings.Policy.Shadow, Guards: policy.NewGuards(settings.Policy, network.New(network.Config{}, nil, nil)),
		Caps: enforce.Caps{Drops: settings.Policy.MaxDrops, PerSecond: settings.Policy.MaxPerSecond},
		Dir:  own, Panic: filepath.Join(dir, enforce.PanicFile), Host: g.id.Sensor, Interface: name, Report: g.receipt, Log: g.log,
	})
	return err
}

// run enforces until ctx ends.
func (g *gates) run(ctx context.Context, state *bus.State, keys *bus.Keys) {
	var work sync.WaitGroup
	for _, one := range g.all {
		work.Go(func() {
			if err := one.enforcer.Run(ctx); err != nil {
				g.log.Error("the gate is not looked after any more", "interface", one.name, "error", err)
			}
		})
		if s, ok := one.table.(enforce.Sampler); ok && g.sample > 0 {
			work.Go(func() {
				if err := s.Samples(ctx, g.take); err != nil {
					g.log.Warn("dropped packets are counted, but not sampled", "interface", one.name, "error", err)
				}
			})
		}
	}
	work.Go(func() {
		if err := state.Watch(ctx, g.begin, g.see, g.seen); err != nil {
			g.log.Error("wanted drops are not read any more", "error", err)
		}
	})
	work.Go(func() { g.bus.Serve(ctx, keys, commandEnforced, "", g.answer) })
	work.Go(func() { g.tell(ctx) })
	work.Wait()
}

// begin, see and seen take in the bucket of wanted drops: all of it at each look, and changes as they come.
func (g *gates) begin() {
	g.whole, g.batch = true, nil
	for _, one := range g.all {
		one.enforcer.Begin()
	}
}

func (g *gates) see(s bus.Signed) {
	signer := s.Name
	if signer == "" {
		signer = s.Signer
	}
	g.batch = append(g.batch, enforce.Instruction{
		Key: s.Key, Body: s.Body, Err: s.Err, Guard: signatureGuard(s.Err), Deleted: s.Deleted, Signer: signer,
	})
	if !g.whole || len(g.batch) >= 1024 {
		g.hand()
	}
}

// signatureGuard is the guard that refuses what is not to be believed.
func signatureGuard(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, bus.ErrForged):
		return "forged"
	case errors.Is(err, bus.ErrUntrusted):
		return "untrusted"
	}
	return "unsigned"
}

func (g *gates) seen(complete bool) {
	g.hand()
	g.whole = false
	if complete {
		for _, one := range g.all {
			one.enforcer.Whole()
		}
	}
}

func (g *gates) hand() {
	for _, one := range g.all {
		one.enforcer.Take(g.batch)
	}
	g.batch = nil
}

// receipt publishes what became of a drop.
func (g *gates) receipt(r enforce.Receipt) {
	if g.told != nil {
		g.told(&r, time.Now())
	}
	line, err := r.AppendLine(nil)
	if err == nil {
		err = g.bus.Drop(r.State, receiptID(&r), line[:len(line)-1])
	}
	if err != nil {
		g.seldom.Error("a receipt is not safe on disk", "drop", r.Drop, "error", err)
	}
	level := slog.LevelInfo
	if r.State == enforce.ReceiptRefused {
		level = slog.LevelWarn
	}
	g.log.Log(context.Background(), level, "gate: "+r.Sentence, "drop", r.Drop, "interface", r.Interface)
}

// receiptID is what NATS knows a receipt by, sent twice or not. Of one look at the bucket many may come, at one time and of no drop; and
// the same drop may be refused, applied and refused again.
func receiptID(r *enforce.Receipt) string {
	return fmt.Sprintf("%s.%s.%d.%s.%s.%s.%s.%d", r.Enforcer, r.Interface, int64(r.Time), r.State, r.Guard, r.Key, r.Drop, r.Generation)
}

// gateSchema is the version of the message that tells what a gate dropped.
const gateSchema = "weir.gate/1"

// gateReport is what the gates of a process dropped since the message before: each second in which they did. docs/drops.md describes
// it.
type gateReport struct {
	Schema  string       `json:"schema"`
	Time    alert.Time   `json:"time"`
	Sensor  string       `json:"sensor"`
	Drops   []gateHit    `json:"drops"` // those that were met
	Samples []gateSample `json:"samples"`
	Lost    uint64       `json:"lost,omitempty"` // drops and samples that did not fit
}

type gateHit struct {
	Drop    string          `json:"drop"`
	Alert   string          `json:"alert,omitempty"`
	Source  netip.Prefix    `json:"source,omitzero"`
	Service *policy.Service `json:"service,omitempty"`
	Shadow  bool            `json:"shadow,omitempty"`
	Packets uint64          `json:"packets"`
	Bytes   uint64          `json:"bytes"`
	Last    alert.Time      `json:"last"`
}

type gateSample struct {
	Frame  []byte     `json:"frame"` // from its Ethernet header on
	Length int        `json:"length"`
	Time   alert.Time `json:"time"`
	Weight uint64     `json:"weight"` // how many frames it stands for
}

// parseReport reads the report of a gate elsewhere.
func parseReport(payload []byte) (*gateReport, error) {
	r := new(gateReport)
	if err := json.Unmarshal(payload, r); err != nil {
		return nil, err
	}
	if r.Schema != gateSchema {
		return nil, fmt.Errorf("schema %q, want %q", r.Schema, gateSchema)
	}
	r.Drops, r.Samples = r.Drops[:min(len(r.Drops), reportDrops)], r.Samples[:min(len(r.Samples), reportSamples)]
	return r, nil
}

// take keeps the sample of a dropped frame for the next report.
func (g *gates) take(frame []byte, length int, at time.Time, verdict string) {
	if verdict == "shadow" {
		return // the sensor sees those itself
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.samples) >= reportSamples {
		g.lost++
		return
	}
	g.samples = append(g.samples, gateSample{append([]byte(nil), frame...), length, alert.Time(at.UnixNano()), uint64(g.sample)})
}

// tell reports what was dropped.
func (g *gates) tell(ctx context.Context) {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-tick.C:
			r := g.since(at)
			if len(r.Drops) == 0 && len(r.Samples) == 0 {
				continue
			}
			if g.report != nil {
				g.report(r)
			}
			if text, err := json.Marshal(r); err == nil {
				g.bus.Gate(text)
			}
		}
	}
}

// since is what was dropped since the last report.
func (g *gates) since(at time.Time) *gateReport {
	r := &gateReport{Schema: gateSchema, Time: alert.Time(at.UnixNano()), Sensor: g.id.Sensor, Drops: []gateHit{}, Samples: []gateSample{}}
	g.mu.Lock()
	if g.samples != nil {
		r.Samples, g.samples = g.samples, nil
	}
	r.Lost, g.lost = g.lost, 0
	g.mu.Unlock()
	for _, one := range g.all {
		for _, h := range one.enforcer.Hits() {
			if len(r.Drops) >= reportDrops {
				r.Lost++
				continue
			}
			r.Drops = append(r.Drops, gateHit{h.ID, h.Alert, h.Source, h.Service, h.Action == policy.Shadow, h.Packets, h.Bytes, alert.Time(h.Last)})
		}
	}
	g.unreported.Add(r.Lost)
	return r
}

// engine is the report as the engine takes it.
func (r *gateReport) engine() *sensor.GateReport {
	out := &sensor.GateReport{Time: int64(r.Time)}
	for i := range r.Drops {
		h := &r.Drops[i]
		d := sensor.GateDrop{
			ID: h.Drop, Alert: h.Alert, Source: h.Source, Shadow: h.Shadow, Packets: h.Packets, Bytes: h.Bytes, Last: int64(h.Last),
		}
		if s := h.Service; s != nil {
			d.Victim, d.Port, d.Proto = s.Prefix, s.Port, protocolNumber(s.Protocol)
			if s.IP.IsValid() {
				d.Victim = network.Single(s.IP)
			}
		}
		out.Drops = append(out.Drops, d)
	}
	for i := range r.Samples {
		s := &r.Samples[i]
		out.Samples = append(out.Samples, sensor.GateSample{Frame: s.Frame, WireLen: s.Length, Time: int64(s.Time), Weight: s.Weight})
	}
	return out
}

// protocolNumber is IANA's, 0 for those without a name here.
func protocolNumber(name string) uint8 {
	switch name {
	case "tcp":
		return 6
	case "udp":
		return 17
	case "icmp":
		return 1
	case "icmpv6":
		return 58
	case "sctp":
		return 132
	}
	return 0
}

// addPeers lets who completed a connection pass service limits.
func (g *gates) addPeers(peers []netip.Addr) {
	for _, one := range g.all {
		if t, ok := one.table.(enforce.Peers); ok {
			if err := t.AddPeers(peers); err != nil {
				g.seldom.Warn("known peers cannot be told to the gate", "interface", one.name, "error", err)
			}
		}
	}
}

// observed is what the metrics see of the gates.
func (g *gates) observed(o *observed) {
	o.Gates, o.Alive, o.Unreported = g.status, g.alive, g.unreported.Load
}

// status is how each gate stands.
func (g *gates) status() (all []enforce.Status) {
	for _, one := range g.all {
		all = append(all, one.enforcer.Status())
	}
	return all
}

// alive tells which gate was not looked after for long.
func (g *gates) alive(now time.Time) error {
	for _, one := range g.all {
		s := one.enforcer.Status()
		since := s.Reconciled
		if since.IsZero() {
			since = g.started
		}
		if stood := now.Sub(since); stood > stuckAfter+max(g.every, 20*s.Took) {
			return fmt.Errorf("the gate of %s was not looked after for %v", one.name, stood.Round(time.Second))
		}
	}
	return nil
}

// answer tells what the gates do about each drop.
func (g *gates) answer(_, _ string, _ []byte) [][]byte {
	var all []enforced
	for _, one := range g.all {
		one.enforcer.List(func(d *policy.Drop, s enforce.State) {
			all = append(all, enforced{
				Enforcer: g.id.Sensor, Interface: one.name, Table: one.table.Name(), Drop: d.ID, Key: d.Key(), Generation: d.Generation,
				Action: d.Action, Would: d.Would, State: s.State, Guard: s.Guard, Error: s.Error, Packets: s.Packets, Bytes: s.Bytes,
				Last: alert.Time(s.Last), Until: d.Until, Missing: s.Missing,
			})
		})
		one.enforcer.Wrong(func(key, guard string) {
			all = append(all, enforced{
				Enforcer: g.id.Sensor, Interface: one.name, Table: one.table.Name(), Key: key, State: "refused", Guard: guard,
			})
		})
	}
	parts, err := replyParts(all)
	if err != nil {
		g.seldom.Error("what is enforced cannot be listed", "error", err)
	}
	return parts
}

// dropped is what the gates dropped, or limited, since this process began.
func (g *gates) dropped() enforce.Total {
	sum := enforce.Total{}
	for _, one := range g.all {
		t := g.droppedAt(one)
		sum.Packets += t.Packets
		sum.Bytes += t.Bytes
	}
	sum.Packets -= min(sum.Packets, g.before.Packets)
	sum.Bytes -= min(sum.Bytes, g.before.Bytes)
	return sum
}

// droppedAt is all that a gate dropped, or limited.
func (g *gates) droppedAt(one *gateAt) (sum enforce.Total) {
	totals, err := one.table.Totals()
	if err != nil {
		g.seldom.Warn("what the gate dropped cannot be read", "interface", one.name, "error", err)
	}
	for _, t := range totals {
		if t.Verdict == "drop" || t.Verdict == "limit" {
			sum.Packets += t.Packets
			sum.Bytes += t.Bytes
		}
	}
	return sum
}

// gated is how many packets were dropped before the sensor saw them.
func (g *gates) gated(iface string) uint64 {
	for _, one := range g.all {
		if one.name == iface && one.table.Name() == string(enforce.ModeXDP) {
			return g.droppedAt(one).Packets
		}
	}
	return 0
}

// names are the interfaces.
func (g *gates) names() string {
	var all []string
	for _, one := range g.all {
		all = append(all, one.name)
	}
	return strings.Join(all, ", ")
}

// close lets go of the gates. What survives by the configuration stays in force.
func (g *gates) close() (err error) {
	for _, one := range g.all {
		err = errors.Join(err, one.table.Close())
	}
	return err
}
