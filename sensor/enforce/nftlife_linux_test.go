package enforce

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/sensor/policy"
)

func nftSome() []*policy.Drop {
	canary := nftSource(policy.DropAll, "198.51.100.8")
	canary.Canary = nftEnd(30 * time.Second)
	return []*policy.Drop{
		nftSource(policy.DropAll, "198.51.100.7"), canary, nftSource(policy.DropNew, "2001:db8:7::7"), nftSource(policy.LimitNew, "203.0.113.0/24"),
		nftShadow(nftSource(policy.DropAll, "2001:db8:8::/64")), nftServiceDrop("192.0.2.1", "tcp", 443, 200), nftServiceDrop("2001:db8::1", "icmpv6", 0, 9),
		nftSign("192.0.2.1", "protocol", "udp", "src_port", "53"), nftShadow(nftSign("2001:db8::1", "protocol", "tcp", "tcp_flags", "syn,ack")),
	}
}

func nftWantEntries(t testing.TB, table Table, drops []*policy.Drop) {
	t.Helper()
	got := nftRead(t, table)
	wrong := 0
	for _, d := range drops {
		if got[d.Key()].Entry != EntryOf(d) {
			if wrong++; wrong < 5 {
				t.Errorf("read %+v, want %+v", got[d.Key()].Entry, EntryOf(d))
			}
		}
	}
	if len(got) != len(drops) || wrong > 0 {
		t.Errorf("%d entries, %d of them wrong, want %d", len(got), wrong, len(drops))
	}
}

// TestNftExpiry holds that drops end in the kernel when nobody is there any more.
func TestNftExpiry(t *testing.T) {
	t.Parallel()
	nftBoth(t, func(t *testing.T, l *nftLab, cfg nftConfig) {
		table := l.open(cfg, false)
		drops := []*policy.Drop{nftSource(policy.DropAll, "198.51.100.7"), nftSign("192.0.2.1", "protocol", "udp")}
		for _, d := range drops {
			d.Until = nftEnd(3 * time.Second)
		}
		nftPut(t, table, drops...)
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}
		frames := nftFrames(nftTCP("198.51.100.7", nftSYN), nftUDP("198.51.100.9"))
		l.wantPassed("survives", 0, frames...)
		time.Sleep(time.Until(time.Unix(drops[0].Until, 0)) + 200*time.Millisecond)
		l.wantPassed("after the end", 2, frames...)
		if s := l.nft("list", "ruleset"); strings.Contains(s, "198.51.100.7") {
			t.Errorf("the element is still there:\n%s", s)
		}
		late := l.open(cfg, false)
		if errs := late.Put(drops[:1]); len(errs) != 1 {
			t.Errorf("a drop whose end is past was put: %v", errs)
		}
	})
}

// TestNftAdopt holds that another process takes over what is there, hits included, and replaces what was made otherwise.
func TestNftAdopt(t *testing.T) {
	nftBoth(t, func(t *testing.T, l *nftLab, cfg nftConfig) {
		first := l.open(cfg, false)
		drops := nftSome()
		nftPut(t, first, drops...)
		frame := nftTCP("198.51.100.7", nftSYN).frame()
		l.wantPassed("first", 0, frame, frame)
		nftWantEntries(t, first, drops)
		before := l.nft("list", "ruleset")
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		second := l.open(cfg, false)
		nftWantEntries(t, second, drops)
		if h := nftRead(t, second)[drops[0].Key()]; h.Packets != 2 {
			t.Errorf("hits are now %+v", h)
		}
		l.wantPassed("second", 0, frame)
		if h := nftRead(t, second)[drops[0].Key()]; h.Packets != 3 || time.Since(time.Unix(0, h.Last)) > 5*time.Second {
			t.Errorf("hits are now %+v", h)
		}
		if a, b := nftShape(before), nftShape(l.nft("list", "ruleset")); a != b {
			t.Errorf("the ruleset was\n%s\nand is\n%s", a, b)
		}
		drops[0].Until += 30
		drops[0].Action = policy.DropNew
		for _, second.destroy = range []bool{second.destroy, false} {
			last := nftRead(t, second)[drops[0].Key()].Last
			nftPut(t, second, drops[0]) // another action and end: the hits go on
			if h := nftRead(t, second)[drops[0].Key()]; h.Packets != 3 || h.Last != last || h.Entry != EntryOf(drops[0]) {
				t.Errorf("changed: %+v", h)
			}
			drops[0].Until++
			drops[0].Action = policy.DropAll
		}
		nftPut(t, second, drops[0])
		nftWantEntries(t, second, drops)

		nftInside(t, l.ns, func() error {
			other, err := openNftables(cfg, l.at, false, slog.New(slog.DiscardHandler))
			if err == nil {
				_ = other.Close()
				t.Error("two processes have the gate of one interface")
			}
			return nil
		})
		if err := second.Close(); err != nil {
			t.Fatal(err)
		}
		third := l.open(cfg, true) // a rehearsal is another table
		nftWantEntries(t, third, nil)
		if err := third.Close(); err != nil {
			t.Fatal(err)
		}
		cfg.Survive, cfg.prerouting = false, !cfg.prerouting
		fourth := l.open(cfg, false)
		nftPut(t, fourth, drops...)
		if n := strings.Count(l.nft("list", "tables"), "weir_"); n != 1 {
			t.Errorf("%d tables of ours", n)
		}
		if err := fourth.Close(); err != nil {
			t.Fatal(err)
		}
		if s := l.nft("list", "tables"); strings.Contains(s, "weir_") {
			t.Errorf("left:\n%s", s)
		}
	})
}

// nftShape is a listing without what changes with time.
func nftShape(s string) string {
	s = nftNumbers.ReplaceAllString(s, "")
	var lines []string
	for line := range strings.Lines(s) {
		if !strings.Contains(line, "expires") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// TestNftCanary holds that during the canary the entry reads as asked for, and after it as what it is, until it is put again.
func TestNftCanary(t *testing.T) {
	l := newNftLab(t)
	table := l.open(nftTestConfig(), false)
	d := nftSource(policy.DropAll, "198.51.100.7")
	d.Canary = nftEnd(2 * time.Second)
	nftPut(t, table, d)
	nftWantEntries(t, table, []*policy.Drop{d})
	ack := nftTCP("198.51.100.7", nftACK).frame()
	l.wantPassed("canary", 1, ack)
	time.Sleep(time.Until(time.Unix(d.Canary, 0)) + 50*time.Millisecond)
	l.wantPassed("canary, over", 1, ack)
	if h := nftRead(t, table)[d.Key()]; h.Action != policy.DropNew {
		t.Errorf("after the canary it reads %+v", h)
	}
	nftPut(t, table, d)
	nftWantEntries(t, table, []*policy.Drop{d})
	l.wantPassed("put again", 0, ack)
}

// TestNftMend holds that what somebody breaks is noticed, made anew and said.
func TestNftMend(t *testing.T) {
	nftBoth(t, func(t *testing.T, l *nftLab, cfg nftConfig) {
		table := l.open(cfg, false)
		if err := table.Never([]netip.Prefix{netip.MustParsePrefix("198.51.100.9/32")}); err != nil {
			t.Fatal(err)
		}
		drops := []*policy.Drop{nftSource(policy.DropAll, "198.51.100.0/24")}
		frames := nftFrames(nftTCP("198.51.100.7", nftSYN), nftTCP("198.51.100.9", nftSYN))
		family := map[bool]string{false: "netdev", true: "inet"}[cfg.prerouting]
		ours := family + " weir_" + l.at
		mend := func(what string, want bool) {
			t.Helper()
			if anew, err := table.Mend(); anew != want || err != nil {
				t.Fatalf("%s: Mend says %v, %v", what, anew, err)
			}
			if want {
				nftWantEntries(t, table, nil)
				nftPut(t, table, drops...)
			}
			l.wantPassed(what, 1, frames...)
		}
		nftPut(t, table, drops...)
		mend("nothing", false)
		for _, broken := range []string{
			"delete table " + ours, "flush chain " + ours + " judge", "flush chain " + ours + " source4",
			"add rule " + ours + " ipv4 accept", "flush table " + ours,
		} {
			l.nft(strings.Fields(broken)...)
			mend(broken, true)
			mend("after it", false)
		}
		l.run("ip", "-n", l.ns, "link", "del", l.at)
		if anew, err := table.Mend(); anew || err == nil {
			t.Errorf("without the interface: %v, %v", anew, err)
		}
		l.cable()
		l.nft("delete", "table", "netdev", "nfuser")
		l.nft("delete", "table", "inet", "nfuser")
		l.in(l.ns, "nft", fmt.Sprintf(nftUserTables, l.at))
		if cfg.prerouting {
			mend("interface is back", false)
		} else {
			mend("interface is back", true)
		}
		totals, err := table.Totals()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range totals {
			if c.Verdict == "drop" && c.Reason == "prefix" && c.Packets < 7 {
				t.Errorf("totals did not go on: %+v", c)
			}
		}
	})
}

// TestNftForeign holds that what somebody puts into our table is told, and can be deleted.
func TestNftForeign(t *testing.T) {
	l := newNftLab(t)
	table := l.open(nftTestConfig(), false)
	nftPut(t, table, nftSome()...)
	ours := "netdev weir_" + l.at
	l.nft(strings.Fields("add element " + ours + " drop4_32 { 198.51.100.77 timeout 1h }")...)
	l.nft(strings.Fields("add element " + ours + " service4 { 192.0.2.1 . tcp . 80 }")...)
	l.nft(strings.Fields("add rule " + ours + " signature4 udp dport 99 drop")...)
	got := nftRead(t, table)
	if h := got["address.198.51.100.77"]; h.Action != policy.DropAll || h.Until < nftEnd(59*time.Minute) || h.Until > nftEnd(61*time.Minute) {
		t.Errorf("element: %+v", h)
	}
	if h := got["service.192.0.2.1.tcp.80"]; h.Action != policy.Limit || h.Until != nftForever {
		t.Errorf("service: %+v", h)
	}
	var keys []string
	for key := range got {
		if !slices.ContainsFunc(nftSome(), func(d *policy.Drop) bool { return d.Key() == key }) {
			keys = append(keys, key)
		}
	}
	if len(keys) != 3 {
		t.Errorf("foreign: %v", keys)
	}
	if anew, err := table.Mend(); anew || err != nil {
		t.Errorf("Mend: %v, %v", anew, err)
	}
	if err := table.Delete(append(keys, "address.192.0.2.200")); err != nil {
		t.Fatal(err)
	}
	if got := nftRead(t, table); len(got) != len(nftSome()) {
		t.Errorf("left: %v", slices.Sorted(maps.Keys(got)))
	}
}

// TestNftClear holds that a panic ends all, even where the table was changed, and without an agent.
func TestNftClear(t *testing.T) {
	nftBoth(t, func(t *testing.T, l *nftLab, cfg nftConfig) {
		table := l.open(cfg, false)
		frames := nftFrames(nftTCP("198.51.100.7", nftSYN), nftUDP("198.51.100.9").with(func(p *nftPacket) { p.sport = 53 }))
		ours := map[bool]string{false: "netdev", true: "inet"}[cfg.prerouting] + " weir_" + l.at
		for _, clearing := range []struct {
			name  string
			spoil []string
			f     func() error
		}{
			{"table", nil, table.Clear},
			{"broken table", strings.Fields("flush chain " + ours + " source4"), func() error {
				l.nft(strings.Fields("delete set " + ours + " drop4_32")...)
				return table.Clear()
			}},
			{"deleted table", strings.Fields("delete table " + ours), table.Clear},
			{"without an agent", nil, func() (err error) {
				nftInside(t, l.ns, func() error { _, err = clearNftables(l.at); return nil })
				return err
			}},
		} {
			if _, err := table.Mend(); err != nil {
				t.Fatal(err)
			}
			nftPut(t, table, nftSome()...)
			l.wantPassed("before", 0, frames...)
			if clearing.spoil != nil {
				l.nft(clearing.spoil...)
			}
			if err := clearing.f(); err != nil {
				t.Errorf("%s: %v", clearing.name, err)
			}
			l.wantPassed(clearing.name, 2, frames...)
			if _, err := table.Mend(); err != nil {
				t.Fatal(err)
			}
			nftWantEntries(t, table, nil)
		}
		nftInside(t, l.ns, func() error { _, err := detachNftables(""); return err })
		if s := l.nft("list", "tables"); strings.Contains(s, "weir_") {
			t.Errorf("left:\n%s", s)
		}
	})
}

// TestNftRefusals holds that what nftables cannot do, or has no room for, is refused by key and not done by halves.
func TestNftRefusals(t *testing.T) {
	l := newNftLab(t)
	cfg := nftTestConfig()
	cfg.Hosts4 = 2
	table := l.open(cfg, false)
	for _, d := range []*policy.Drop{
		nftSign("192.0.2.1", "protocol", "tcp", "tcp_options", "0a1b2c3d"),
		nftSign("192.0.2.1", "dst_port", "80"),
		nftSign("192.0.2.1", "protocol", "icmp", "dst_port", "80"),
		nftSign("192.0.2.1", "protocol", "udp", "tcp_flags", "syn"),
		nftSign("192.0.2.1", "payload", "00"),
		nftSign("2001:db8::1", "protocol", "udp", "length", "39"),
		nftServiceDrop("192.0.2.1", "icmp", 8, 1),
		nftServiceDrop("192.0.2.1", "nonsense", 0, 1),
	} {
		if errs := table.Put([]*policy.Drop{d}); errs[d.Key()] == nil {
			t.Errorf("%+v was put", d)
		} else {
			t.Log(errs[d.Key()])
		}
	}
	three := []*policy.Drop{nftSource(policy.DropAll, "198.51.100.1"), nftSource(policy.DropNew, "198.51.100.2"), nftSource(policy.DropAll, "198.51.100.3")}
	if errs := table.Put(three); len(errs) != 1 {
		t.Errorf("three into two: %v", errs)
	}
	if got := nftRead(t, table); len(got) != 2 {
		t.Errorf("in force: %v", got)
	}
	for i := range nftSignatures + 1 {
		d := nftSign("192.0.2.1", "protocol", "udp", "src_port", fmt.Sprint(1000+i))
		if errs := table.Put([]*policy.Drop{d}); (len(errs) > 0) != (i == nftSignatures) {
			t.Errorf("signature %d: %v", i, errs)
		}
	}
	for _, c := range table.Counts() {
		if want := map[string]int{"hosts4": 2, "signatures": nftSignatures}[c.Kind]; c.Used != want {
			t.Errorf("%+v, want %d", c, want)
		}
	}
	var err error
	nftInside(t, l.ns, func() error {
		_, err = openNftables(cfg, "nfnone", false, slog.New(slog.NewTextHandler(io.Discard, nil)))
		return nil
	})
	if err == nil {
		t.Error("an interface that is not there was opened")
	}
}

// TestNftLoad puts, changes, reads and deletes 20,000 drops, as kernels before 6.3 have it, too. Times are logged.
func TestNftLoad(t *testing.T) {
	for _, destroy := range []bool{true, false} {
		t.Run(fmt.Sprintf("destroy=%v", destroy), func(t *testing.T) {
			l := newNftLab(t)
			table := l.open(nftTestConfig(), false)
			table.destroy = table.destroy && destroy
			nftFill(t, table, 20_000)
		})
	}
}

func nftFill(t testing.TB, table *nftTable, n int) {
	drops := make([]*policy.Drop, n)
	keys := make([]string, n)
	for i := range drops {
		drops[i] = nftSource(policy.DropAll, fmt.Sprintf("100.%d.%d.%d", i>>16, i>>8&255, i&255))
		drops[i].Until = nftEnd(time.Hour)
		keys[i] = drops[i].Key()
	}
	took := func(what string, f func()) {
		begin := time.Now()
		f()
		t.Logf("%d drops: %s in %v", n, what, time.Since(begin).Round(time.Millisecond))
	}
	took("put", func() { nftPut(t, table, drops...) })
	took("read", func() { nftWantEntries(t, table, drops) })
	for _, d := range drops {
		d.Until += 60
	}
	took("changed", func() { nftPut(t, table, drops...) })
	nftWantEntries(t, table, drops)
	took("deleted", func() {
		if err := table.Delete(keys[:n/2]); err != nil {
			t.Error(err)
		}
	})
	nftWantEntries(t, table, drops[n/2:])
	took("cleared", func() {
		if err := table.Clear(); err != nil {
			t.Error(err)
		}
	})
	nftWantEntries(t, table, nil)
}

// TestNftNeverMended holds that a never-list that somebody changed is written again, and one that nobody changed is not.
func TestNftNeverMended(t *testing.T) {
	l := newNftLab(t)
	table := l.open(nftTestConfig(), false)
	if err := table.Never([]netip.Prefix{netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("198.51.100.9/32"), netip.MustParsePrefix("ff00::/8")}); err != nil {
		t.Fatal(err)
	}
	nftPut(t, table, nftSource(policy.DropAll, "198.51.100.9"), nftSource(policy.DropAll, "198.51.100.7"))
	ours := "netdev weir_" + l.at
	for _, change := range []string{"flush set " + ours + " never4", "add element " + ours + " never4 { 198.51.100.7 }", "add element " + ours + " never6 { 2001:db8::/32 }", ""} {
		if change != "" {
			l.nft(strings.Fields(change)...)
		}
		before, _ := table.generation()
		if anew, err := table.Mend(); anew || err != nil {
			t.Fatal(anew, err)
		}
		if after, _ := table.generation(); (after != before) != (change != "") {
			t.Errorf("%q: generation %d, then %d", change, before, after)
		}
		l.wantPassed("listed, "+change, 1, nftTCP("198.51.100.9", nftSYN).frame())
		l.wantPassed("not listed, "+change, 0, nftTCP("198.51.100.7", nftSYN).frame())
	}
}

// TestNftTools holds with hping3 what TestNftActions holds frame by frame: who is dropped is cut off, and a neighbour on the
// same cable loses nothing. Counters are read meanwhile.
func TestNftTools(t *testing.T) {
	t.Parallel()
	nftBoth(t, func(t *testing.T, l *nftLab, cfg nftConfig) {
		if _, err := exec.LookPath("hping3"); err != nil {
			leaveOut(t, "hping3 is not installed")
		}
		table := l.open(cfg, false)
		l.run("ip", "-n", l.far, "addr", "add", "192.0.2.2/24", "dev", "nfi1")
		l.run("ip", "-n", l.far, "addr", "add", "192.0.2.3/24", "dev", "nfi1")
		tool := func(loss string, args ...string) {
			t.Helper()
			want := regexp.MustCompile(" " + loss + "% packet loss")
			for tries := 1; ; tries++ {
				out, _ := exec.Command("ip", append([]string{"netns", "exec", l.far, "timeout", "20"}, args...)...).CombinedOutput()
				if want.Match(out) {
					return
				}
				if tries == 4 || loss == "100" { // the tool waits a second for answers, which a loaded machine may need; what is dropped stays so
					t.Errorf("%v: want %q in\n%s", args, want, out)
					return
				}
			}
		}
		ping := func(from, loss string) {
			t.Helper()
			tool(loss, "hping3", "-q", "-1", "-a", from, "-c", "20", "-i", "u1000", "192.0.2.1")
		}
		syns := func(loss string) {
			t.Helper()
			tool(loss, "hping3", "-q", "-S", "-p", "80", "-a", "192.0.2.2", "-c", "40", "-i", "u1000", "192.0.2.1")
		}
		done, ended := make(chan struct{}), make(chan error)
		go func() {
			var err error
			for open := true; open && err == nil; {
				select {
				case <-done:
					open = false
				case <-time.After(time.Millisecond):
					_, err = table.Totals()
				}
			}
			ended <- err
		}()
		ping("192.0.2.2", "0")
		syns("0")
		for _, c := range []struct {
			action     policy.Action
			ping, syns string
		}{{policy.DropAll, "100", "100"}, {policy.DropNew, "0", "100"}, {policy.LimitNew, "0", "8[0-9]"}} {
			d := nftSource(c.action, "192.0.2.2")
			nftPut(t, table, d)
			syns(c.syns)
			ping("192.0.2.2", c.ping)
			ping("192.0.2.3", "0")
			if err := table.Delete([]string{d.Key()}); err != nil {
				t.Error(err)
			}
		}
		ping("192.0.2.2", "0")
		close(done)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
