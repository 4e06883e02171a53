package enforce

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/analyzers/context"
	"weir/sensor/alert"
	"weir/sensor/policy"
)

// desk is an enforcer that works step by step at a clock of its own.
type desk struct {
	*Enforcer
	t    testing.TB
	fake *fakeTable
	now  time.Time
	told []Receipt
	o    Options
}

func newDesk(t testing.TB, change func(*Options)) *desk {
	t.Helper()
	d := &desk{t: t, fake: newFake(), now: time.Now()}
	d.o = Options{
		Config: Defaults(), Table: d.fake, Guards: testGuards(t), Host: "here", Interface: "eth9", Log: quiet(),
		Report: func(r Receipt) { d.told = append(d.told, r) }, Now: func() time.Time { return d.now },
	}
	if change != nil {
		change(&d.o)
	}
	d.open()
	t.Cleanup(func() { d.saver.Wait() }) // its folder goes after
	return d
}

func (d *desk) open() {
	d.t.Helper()
	var err error
	if d.Enforcer, err = New(d.o); err != nil {
		d.t.Fatal(err)
	}
	d.step(d.reconcile)
}

// restart ends in order and begins anew on the same kernel.
func (d *desk) restart() {
	d.t.Helper()
	if err := d.finish(); err != nil {
		d.t.Fatal(err)
	}
	d.open()
}

func (d *desk) take(in ...Instruction) {
	d.Take(in)
	if d.step(d.apply) {
		d.step(d.reconcile)
	}
}

func (d *desk) drops(list ...*policy.Drop) {
	d.t.Helper()
	for _, p := range list {
		d.take(instruct(d.t, p))
	}
}

// whole gives a whole read of these.
func (d *desk) whole(list ...*policy.Drop) {
	d.t.Helper()
	d.Begin()
	for _, p := range list {
		d.Take([]Instruction{instruct(d.t, p)})
	}
	d.Whole()
	d.take()
}

// receipts are the states and guards that were told since the last call.
func (d *desk) receipts() string {
	var b strings.Builder
	for _, r := range d.told {
		fmt.Fprintf(&b, "%s %s %s,", r.State, r.Guard, r.Key)
	}
	d.told = nil
	return strings.TrimSuffix(b.String(), ",")
}

func (d *desk) expect(receipts string, wanted, enforced int) {
	d.t.Helper()
	if got := d.receipts(); got != receipts {
		d.t.Errorf("receipts %q, want %q", got, receipts)
	}
	if s := d.Status(); s.Wanted != wanted || s.Enforced != enforced || len(d.fake.held) != enforced {
		d.t.Errorf("wanted %d, enforced %d, in the kernel %d; want %d and %d: %+v", s.Wanted, s.Enforced, len(d.fake.held), wanted, enforced, s)
	}
}

func TestInstructions(t *testing.T) {
	d := newDesk(t, nil)
	first := drop("10.8.0.2", time.Hour)
	d.drops(first)
	d.expect("applied  address.10.8.0.2", 1, 1)
	d.drops(first)
	d.expect("", 1, 1)

	bad := func(guard string) Instruction {
		return Instruction{Key: "address.10.8.0.2", Err: errors.New("no"), Guard: guard}
	}
	d.take(bad(""), bad("forged"), bad("untrusted"))
	d.expect("refused unsigned address.10.8.0.2,refused forged address.10.8.0.2,refused untrusted address.10.8.0.2", 1, 1)
	d.take(bad("untrusted"))
	d.expect("", 1, 1)
	d.take(Instruction{Key: "address.10.8.0.2", Deleted: true})
	d.expect("refused bare_delete address.10.8.0.2", 1, 1)
	d.drops(first) // it is back
	d.take(Instruction{Key: "address.10.8.0.2", Deleted: true})
	d.expect("refused bare_delete address.10.8.0.2", 1, 1)

	longer := changed(first, func(p *policy.Drop) { p.Until += 600 })
	d.drops(longer)
	d.expect("applied  address.10.8.0.2", 1, 1)
	if got := d.fake.held["address.10.8.0.2"].Until; got != longer.Until {
		t.Errorf("until %d, want %d", got, longer.Until)
	}
	d.drops(first)
	other := *longer
	other.Until += 600
	d.drops(&other)
	d.expect("refused replayed address.10.8.0.2,refused replayed address.10.8.0.2", 1, 1)

	moved := instruct(t, changed(first, func(*policy.Drop) {}))
	moved.Key = "address.10.8.0.4"
	huge := Instruction{Key: "address.10.8.0.5", Body: bytes.Repeat([]byte(" "), maxBody+1)}
	d.take(moved, Instruction{Key: "address.10.8.0.6", Body: []byte("{}")}, huge)
	d.expect("refused malformed address.10.8.0.4,refused malformed address.10.8.0.6,refused malformed address.10.8.0.5", 1, 1)

	gone := changed(longer, func(p *policy.Drop) { p.State = policy.Removed; p.Guard = "hand" })
	d.drops(gone)
	d.expect("removed hand address.10.8.0.2", 0, 0)
	d.drops(longer)
	d.expect("refused replayed address.10.8.0.2", 0, 0)
	d.take(Instruction{Key: "address.10.8.0.2", Deleted: true}, Instruction{Key: "address.10.8.0.8", Deleted: true}) // garbage
	d.expect("", 0, 0)
	past := drop("10.8.0.3", time.Hour)
	past.Created -= 7200
	past.Until -= 7200
	d.drops(past)
	d.expect("refused expired address.10.8.0.3", 0, 0)
}

func TestGuardsAtTheMapWrite(t *testing.T) {
	everybody := func(p netip.Prefix) *policy.Drop {
		d := drop("10.8.0.2", time.Hour)
		d.Scope, d.IP, d.Prefix = policy.ScopePrefix, netip.Addr{}, p
		named(d)
		return d
	}
	d := newDesk(t, nil)
	d.drops(drop("10.8.0.9", time.Hour), everybody(netip.MustParsePrefix("0.0.0.0/0")), everybody(netip.MustParsePrefix("::/0")),
		drop("127.0.0.1", time.Hour))
	d.expect("refused never_list address.10.8.0.9,refused prefix_too_wide prefix.0.0.0.0_0,"+
		"refused prefix_too_wide prefix.00000000000000000000000000000000_0,refused special_range address.127.0.0.1", 4, 0)

	d.drops(drop("10.8.0.2", time.Hour))
	d.expect("applied  address.10.8.0.2", 5, 1)
	cfg := policy.Defaults()
	cfg.AllowPrivate = true
	host := context.New(context.Config{}, nil, nil)
	for _, c := range []struct {
		guard string
		host  context.Host
	}{
		{"own_address", context.Host{Addresses: []netip.Addr{netip.MustParseAddr("10.8.0.2")}}},
		{"gateway", context.Host{Gateways: []netip.Addr{netip.MustParseAddr("10.8.0.2")}}},
		{"resolver", context.Host{Resolvers: []netip.Addr{netip.MustParseAddr("10.8.0.2")}}},
		{"nats_server", context.Host{NATSServers: []netip.Addr{netip.MustParseAddr("10.8.0.2")}}},
		{"ssh_peer", context.Host{SSHPeers: []netip.Addr{netip.MustParseAddr("10.8.0.2")}}},
	} {
		never := []netip.Prefix{netip.MustParsePrefix("10.8.0.2/32")}
		d.Guard(policy.NewGuards(cfg, host.WithHost(c.host)), never)
		d.take()
		if got := d.receipts(); !strings.Contains(got, "refused "+c.guard+" address.10.8.0.2") || len(d.fake.held) != 1 || len(d.fake.never) != 1 {
			t.Errorf("%s: %q, kernel %v, never %v", c.guard, got, d.fake.held, d.fake.never)
		}
		d.Guard(testGuards(t), nil)
		d.take()
		d.expect2("applied  address.10.8.0.2", 1)
	}
}

// expect2 is expect where other drops may be told of, too.
func (d *desk) expect2(receipt string, enforced int) {
	d.t.Helper()
	if got := d.receipts(); !strings.Contains(got, receipt) || len(d.fake.held) != enforced {
		d.t.Errorf("%q, and %d in the kernel", got, len(d.fake.held))
	}
}

func TestCaps(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.Caps = Caps{Drops: 30, PerSecond: 2} })
	for i := range 25 {
		d.drops(drop(fmt.Sprintf("10.9.0.%d", i+1), time.Hour))
	}
	if s := d.Status(); s.Enforced != 20 || s.Refused["cap_rate"] != 5 || s.Wanted != 25 {
		t.Errorf("%+v", s)
	}
	d.now = d.now.Add(time.Second)
	d.step(d.reconcile)
	if s := d.Status(); s.Enforced != 22 || s.Refused["cap_rate"] != 3 {
		t.Errorf("a second later: %+v", s)
	}
	d.now = d.now.Add(10 * time.Second)
	for i := range 10 {
		d.drops(drop(fmt.Sprintf("10.9.1.%d", i+1), time.Hour))
	}
	d.step(d.reconcile)
	if s := d.Status(); s.Enforced != 30 || s.Refused["cap_total"] != 5 || len(d.fake.held) != 30 {
		t.Errorf("full: %+v", s)
	}
	if d.told[len(d.told)-1].Guard != "cap_total" {
		t.Errorf("%+v", d.told[len(d.told)-1])
	}
	d.receipts()
	d.step(d.reconcile)
	d.expect("", 35, 30) // told once
	one := drop("10.9.0.1", time.Hour)
	d.drops(changed(one, func(p *policy.Drop) { p.State = policy.Removed }))
	d.now = d.now.Add(time.Second)
	d.step(d.reconcile)
	if s := d.Status(); s.Enforced != 30 || s.Refused["cap_total"] != 4 {
		t.Errorf("one went: %+v", s)
	}
}

func TestFirstWholeReadIsExempt(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.Caps = Caps{Drops: 500, PerSecond: 1} })
	var list []*policy.Drop
	for i := range 200 {
		list = append(list, drop(fmt.Sprintf("10.9.0.%d", i+1), time.Hour))
	}
	d.whole(list...)
	if s := d.Status(); s.Enforced != 200 {
		t.Errorf("%+v", s)
	}
}

func TestMissingOnTheBus(t *testing.T) {
	d := newDesk(t, nil)
	a, b := drop("10.8.0.2", time.Hour), drop("10.8.0.3", time.Hour)
	d.whole(a, b)
	d.whole(a)
	if s := d.Status(); s.Missing != 1 || s.Enforced != 2 {
		t.Errorf("%+v", s)
	}
	d.whole()
	if s := d.Status(); s.Missing != 2 || s.Enforced != 2 {
		t.Errorf("%+v", s)
	}
	d.whole(a, b)
	if s := d.Status(); s.Missing != 0 {
		t.Errorf("%+v", s)
	}
	d.now = d.now.Add(3 * time.Minute)
	if s := d.Status(); s.Stale.IsZero() || s.Enforced != 2 {
		t.Errorf("bus gone: %+v", s)
	}
	d.now = d.now.Add(time.Hour)
	d.step(d.reconcile)
	if s := d.Status(); s.Enforced != 0 || s.Wanted != 0 || s.Known != 0 || s.Expired != 2 {
		t.Errorf("an hour later: %+v", s)
	}
}

func TestPanic(t *testing.T) {
	dir := t.TempDir()
	d := newDesk(t, func(o *Options) { o.Dir = dir })
	a, b := drop("10.8.0.2", time.Hour), drop("10.8.0.3", time.Hour)
	d.drops(a, b)
	d.receipts()
	panics := func(held bool) Instruction {
		body, err := appendLine(nil, &Panic{Schema: PanicSchema, Held: held, By: "alice", Generation: generation(), Reason: "too much"})
		if err != nil {
			t.Fatal(err)
		}
		return Instruction{Key: PanicKey, Body: body}
	}
	held := panics(true)
	d.take(held)
	d.expect("removed panic ", 0, 0)
	if s := d.Status(); s.Held == nil || s.Held.By != "alice" || d.fake.cleared != 1 {
		t.Errorf("%+v", s)
	}
	c := drop("10.8.0.4", time.Hour)
	d.drops(c, a)
	d.expect("refused panic address.10.8.0.4", 1, 0)
	d.restart()
	if s := d.Status(); s.Held == nil || s.Enforced != 0 || d.fake.puts != 2 {
		t.Errorf("after a restart: %+v", s)
	}
	d.receipts()
	d.fake.held["address.10.8.0.7"] = Held{Entry: Entry{Key: "address.10.8.0.7", Until: 1 << 33}}
	d.step(d.reconcile)
	d.expect("", 1, 0)
	d.take(Instruction{Key: PanicKey, Err: errors.New("unsigned")})
	d.expect("refused unsigned panic", 1, 0)
	d.take(panics(false))
	d.expect("applied  address.10.8.0.4", 1, 1)
	d.drops(a, b)
	d.take(held) // of before
	d.expect("refused replayed panic", 1, 1)
	d.take(panics(false)) // again, which changes nothing
	d.expect("", 1, 1)
	d.drops(changed(a, func(*policy.Drop) {}))
	d.expect("applied  address.10.8.0.2", 2, 2)

	// By file, as the command line writes it without a bus.
	if err := WritePanic(filepath.Join(dir, PanicFile), Panic{Held: true, By: "bob", Generation: generation()}); err != nil {
		t.Fatal(err)
	}
	if d.step(d.look) {
		d.step(d.reconcile)
	}
	d.expect("removed panic ", 0, 0)
	if err := os.WriteFile(filepath.Join(dir, PanicFile), nil, 0o600); err != nil { // touched
		t.Fatal(err)
	}
	if p, err := Panicked(filepath.Join(dir, PanicFile)); p == nil || !p.Held || err == nil {
		t.Errorf("a touched file: %+v, %v", p, err)
	}
}

// TestRehearsal: what is only counted is said to be, also after a restart and when the rehearsal ends while it runs.
func TestRehearsal(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.Rehearse, o.Dir = true, t.TempDir() })
	a := drop("10.8.0.2", time.Hour)
	is := func(shadow int) {
		t.Helper()
		if s := d.Status(); s.Enforced != 1 || s.Shadow != shadow || d.fake.held[a.Key()].Shadow != (shadow == 1) {
			t.Errorf("%d in force, %d in shadow; the kernel has %+v", s.Enforced, s.Shadow, d.fake.held)
		}
	}
	d.drops(a)
	is(1)
	if len(d.told) != 1 || !strings.Contains(d.told[0].Sentence, "only counted") {
		t.Errorf("told %+v", d.told)
	}
	h := d.fake.held[a.Key()]
	h.Packets, h.Bytes, h.Last = 3, 300, d.now.UnixNano()
	d.fake.held[a.Key()] = h
	d.step(d.reconcile)
	if hits := d.Hits(); len(hits) != 1 || hits[0].Action != policy.Shadow {
		t.Errorf("hits %+v", hits)
	}
	d.restart()
	is(1)
	if n := d.Status().DriftTotal.Sum(); n != 0 {
		t.Errorf("drift %d", n)
	}
	d.Rehearse(false)
	d.take()
	is(0)
	d.Rehearse(true)
	d.take()
	is(1)
}

// A drop by a clock an hour ahead of the panic's ends with it all the same, and does not come back.
func TestPanicByAClockBehind(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.Dir = t.TempDir() })
	a := drop("10.8.0.2", time.Hour)
	a.Generation += 3600e6
	d.drops(a)
	d.receipts()
	p := Panic{Schema: PanicSchema, By: "alice", Generation: generation()}
	d.Hold(p)
	d.take()
	d.expect("removed panic ", 0, 0)
	p.Generation++
	d.Release(p)
	d.take()
	d.restart()
	d.whole(a)
	d.expect("", 0, 0)
	d.drops(changed(a, func(b *policy.Drop) { b.Generation = a.Generation + 1 }))
	d.expect("applied  address.10.8.0.2", 1, 1)
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	d := newDesk(t, func(o *Options) { o.Dir = dir })
	a, b, c := drop("10.8.0.2", time.Hour), drop("10.8.0.3", time.Hour), drop("10.8.0.4", 10*time.Second)
	d.drops(a, b, c, changed(b, func(p *policy.Drop) { p.State = policy.Removed }))
	d.receipts()
	d.fake.held["address.10.8.0.7"] = Held{Entry: Entry{Key: "address.10.8.0.7", Until: 1 << 33}} // while it is away
	h := d.fake.held["address.10.8.0.2"]
	h.Packets = 100
	d.fake.held["address.10.8.0.2"] = h
	d.now = d.now.Add(20 * time.Second)
	d.restart()
	if _, kept := d.fake.held["address.10.8.0.7"]; !kept {
		t.Error("what an earlier process may have put there, and not saved, is gone before the bus was read")
	}
	d.whole(a)
	d.step(d.reconcile)
	d.expect("expired  address.10.8.0.4", 1, 1)
	if s := d.Status(); s.Adopted != 1 || s.Alien != 2 || s.DriftTotal.Sum() != 0 || d.fake.puts != 3 {
		t.Errorf("%+v, %d puts", s, d.fake.puts)
	}
	if hits := d.Hits(); len(hits) != 0 {
		t.Errorf("what the process before counted is told again: %+v", hits)
	}
	d.drops(b)
	d.expect("refused replayed address.10.8.0.3", 1, 1)

	clear(d.fake.held) // the machine was booted
	d.restart()
	d.expect("", 1, 1)
}

func TestDamagedState(t *testing.T) {
	dir := t.TempDir()
	d := newDesk(t, func(o *Options) { o.Dir = dir })
	a := drop("10.8.0.2", time.Hour)
	d.drops(a)
	if err := d.finish(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "known.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{
		"empty": nil, "cut": b[:len(b)-10], "line lost": b[:bytes.IndexByte(b, '\n')+1], "twice": append(bytes.Clone(b), b[bytes.IndexByte(b, '\n')+1:]...),
		"other": []byte("hello\n"), "schema": bytes.Replace(b, []byte(KnownSchema), []byte("weir.known/9"), 1),
	} {
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		d.open()
		if s := d.Status(); s.Known != 0 || len(d.fake.held) != 1 {
			t.Errorf("%s: %+v", name, s)
		}
		aside, _ := filepath.Glob(path + ".bad-*")
		if _, err := os.Stat(path); len(aside) != 1 || err == nil {
			t.Errorf("%s: aside %v, %v", name, aside, err)
		}
		for _, f := range aside {
			os.Remove(f)
		}
		d.whole(a)
		d.step(d.reconcile)
		if s := d.Status(); s.Enforced != 1 || len(d.fake.held) != 1 {
			t.Errorf("%s, then the bus: %+v", name, s)
		}
	}
}

func TestFailures(t *testing.T) {
	d := newDesk(t, nil)
	d.fake.room = 1
	d.drops(drop("10.8.0.2", time.Hour), drop("10.8.0.3", time.Hour))
	d.expect("applied  address.10.8.0.2,refused  address.10.8.0.3", 2, 1)
	if s := d.Status(); s.Failed != 1 || !strings.Contains(s.Error, "1 of 1 drops are not in force: the fake kernel says no") {
		t.Errorf("%+v", s)
	}
	d.fake.room = 2
	d.step(d.reconcile)
	d.expect("applied  address.10.8.0.3", 2, 2)
	if s := d.Status(); s.Error != "" {
		t.Errorf("%+v", s)
	}
	d.fake.off = true
	d.step(d.reconcile)
	if s := d.Status(); s.Attached || s.Error == "" {
		t.Errorf("%+v", s)
	}
	d.fake.off = false
	d.step(d.reconcile)
	if s := d.Status(); !s.Attached || s.Error != "" {
		t.Errorf("%+v", s)
	}
	delete(d.fake.held, "address.10.8.0.2")
	d.fake.held["address.10.8.0.7"] = Held{Entry: Entry{Key: "address.10.8.0.7", Until: 1 << 33}}
	h := d.fake.held["address.10.8.0.3"]
	h.Shadow = true
	d.fake.held["address.10.8.0.3"] = h
	d.step(d.reconcile)
	d.expect("", 2, 2)
	if s := d.Status(); s.Drift.Missing != 1 || s.Drift.Foreign != 1 || s.Drift.Changed != 1 || d.fake.held["address.10.8.0.3"].Shadow {
		t.Errorf("%+v", s.Drift)
	}
}

func TestHits(t *testing.T) {
	d := newDesk(t, nil)
	a := drop("10.8.0.2", time.Hour)
	a.Alert = "0123456789abcdef"
	d.drops(a)
	hit := func(packets uint64) {
		h := d.fake.held["address.10.8.0.2"]
		h.Packets, h.Bytes, h.Last = packets, packets*100, int64(alert.Time(packets))
		d.fake.held["address.10.8.0.2"] = h
		d.step(d.reconcile)
	}
	hit(10)
	hit(15)
	if h := d.Hits(); len(h) != 1 || h[0].Packets != 15 || h[0].Bytes != 1500 || h[0].ID != a.ID || h[0].Alert != a.Alert || h[0].Last != 15 {
		t.Errorf("%+v", h)
	}
	hit(15)
	if h := d.Hits(); len(h) != 0 {
		t.Errorf("%+v", h)
	}
	hit(4) // the entry was made anew meanwhile
	if h := d.Hits(); len(h) != 1 || h[0].Packets != 4 {
		t.Errorf("%+v", h)
	}
	d.List(func(_ *policy.Drop, s State) {
		if s.Packets != 19 || s.State != "applied" {
			t.Errorf("%+v", s)
		}
	})
	h := d.fake.held["address.10.8.0.2"] // and what meets it after the last reading, before it is removed
	h.Packets, h.Bytes = 10, 1000
	d.fake.held["address.10.8.0.2"] = h
	d.told = nil
	d.drops(changed(a, func(p *policy.Drop) { p.State = policy.Removed }))
	if h := d.Hits(); len(h) != 1 || h[0].Packets != 6 {
		t.Errorf("%+v", h)
	}
	if len(d.told) != 1 || !strings.Contains(d.told[0].Sentence, "25 packets") {
		t.Errorf("%+v", d.told)
	}
}

func TestBounds(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.Caps = Caps{Drops: 10, PerSecond: 1000} })
	most := d.maxKnown()
	d.Begin()
	for i := range most + 500 {
		p := drop(netip.AddrFrom4([4]byte{11, 0, byte(i >> 8), byte(i)}).String(), time.Hour)
		p.State = policy.Removed
		d.drops(p)
		d.take(Instruction{Key: fmt.Sprintf("address.%d", i), Err: errors.New("unsigned")})
	}
	s := d.Status()
	if s.Known > most || s.Forgotten == 0 || len(d.bad) > maxBad || s.Refusals["unsigned"] != uint64(most+500) || len(d.told) > maxBad {
		t.Errorf("%+v; %d bad, %d told", s, len(d.bad), len(d.told))
	}
	d.told = nil
	for i := range most + 500 {
		d.drops(drop(netip.AddrFrom4([4]byte{12, 0, byte(i >> 8), byte(i)}).String(), time.Hour))
	}
	if s := d.Status(); s.Known > most || s.Enforced != 10 || s.Refusals["cap_total"] == 0 {
		t.Errorf("%+v", s)
	}
}
