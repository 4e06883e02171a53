package rehearsal

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"weir/analyzers"
	netcontext "weir/analyzers/context"
	"weir/analyzers/tally"
	"weir/decode/conn"
	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/capture"
	"weir/sensor/traffic/truth"
)

// judged replays a capture with the defaults and the site's networks, and compares the alerts with what is true in it.
func judged(t *testing.T, b []byte, f *truth.File) (*truth.Score, []*alert.Alert) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.pcap")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	var networks netcontext.Config
	for _, p := range Inside {
		networks.Inside = append(networks.Inside, netcontext.Prefix{Prefix: p})
	}
	for _, a := range f.Site.TrustedProxies {
		networks.TrustedProxies = append(networks.TrustedProxies, netcontext.Prefix{Prefix: netip.PrefixFrom(a, a.BitLen())})
	}
	for _, a := range f.Site.KnownDestinations {
		networks.KnownDestinations = append(networks.KnownDestinations, netcontext.Prefix{Prefix: netip.PrefixFrom(a, a.BitLen())})
	}
	site := analyzers.NewSite(netcontext.New(networks, nil, nil), nil)
	compared := truth.NewComparison(f, 0)
	var all []*alert.Alert
	engine, err := sensor.New(sensor.Config{
		Conn: conn.Defaults(), Tally: tally.Defaults(), Alert: alert.Defaults(), Analyzers: analyzers.All(analyzers.Defaults(), site), Site: site,
		Openings: sensor.Openings{Proxies: func(a netip.Addr) bool { return slices.Contains(f.Site.TrustedProxies, a) }},
	}, sensor.Sinks{Alert: func(a *alert.Alert) {
		one := *a
		compared.Add(&one)
		all = append(all, &one)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	src := capture.Files([]string{path}, false)
	defer src.Close()
	sum, err := engine.Replay(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	if sum.Link.Packets == 0 {
		t.Fatal("nothing was read")
	}
	return compared.Score(), all
}

// alone makes a capture of one recipe, and of one frame a minute later.
func alone(t *testing.T, k *recipe, seed uint64) ([]byte, *truth.File) {
	t.Helper()
	var b bytes.Buffer
	g := newGenerator(&b, Config{Seed: seed, Start: DefaultStart, Length: 7 * 24 * time.Hour, Rate: 1})
	a, err := g.place(rand.New(rand.NewPCG(seed, 3)), k, g.start+int64(36*time.Hour), 1)
	if err != nil || a == nil {
		t.Fatalf("%s: %v, %v", k.capture, a, err)
	}
	g.queue.runUntil(g.end)
	g.out.arp(int64(a.truth.Last)+int64(time.Minute), 1, g.workstations[0], g.gateway) // time goes on
	if err := g.out.out.Flush(); err != nil {
		t.Fatal(err)
	}
	f := g.truth([]*attack{a})
	return b.Bytes(), &f
}

// TestAttacks finds each attack alone, with its new addresses and its new time, and nothing false beside it: rewriting took away
// nothing that it is known by.
func TestAttacks(t *testing.T) {
	for i := range recipes {
		k := recipes[i]
		if k.only != "" { // what is judged by a host's own history needs it
			k.only, k.stretch = "", 0
		}
		t.Run(k.capture, func(t *testing.T) {
			t.Parallel()
			b, f := alone(t, &k, uint64(i))
			score, all := judged(t, b, f)
			if score.Found != 1 || score.False != 0 {
				t.Errorf("found %d, false %d; truth %+v %v on %v", score.Found, score.False, f.Attacks[0], f.Attacks[0].Subject, f.Attacks[0].Victim)
				for _, a := range all {
					t.Logf("%s %s %s by %v on %v: %s", a.Severity, a.Analyzer, a.Kind, a.Subject, a.Victim, a.Summary)
				}
			}
		})
	}
}

// TestRewrite holds that a frame is as right or as wrong as it was before, that no address of the lab is left in its headers, and
// that nothing but addresses, what is computed of them and checksums has changed.
func TestRewrite(t *testing.T) {
	for i := range recipes {
		k := &recipes[i]
		old, err := k.frames()
		if err != nil {
			t.Fatal(err)
		}
		b, _ := alone(t, k, uint64(i))
		now := framesOf(t, b)
		if n := len(old); n > 2000 { // enough of a flood
			old, now = old[:2000], now[:min(2000, len(now))]
		}
		j := 0
		for _, f := range old {
			if src, dst := ends(f.data); labLine.Contains(src) || labLine.Contains(dst) {
				continue // dropped
			}
			if j == len(now) {
				break
			}
			g := now[j]
			j++
			if g.wire < f.wire || len(g.data) < len(f.data) {
				t.Fatalf("%s: a frame of %d bytes became one of %d", k.capture, f.wire, g.wire)
			}
			if whole(f) && (wrong(f) == "") != (wrong(g) == "") {
				t.Fatalf("%s: %q became %q\n% x\n% x", k.capture, wrong(f), wrong(g), f.data, g.data)
			}
			for _, a := range addresses(ends(g.data)) {
				if slices.ContainsFunc(labOutside[:2], func(p netip.Prefix) bool { return p.Contains(a) }) || labInside.Contains(a) {
					t.Fatalf("%s: %s is left", k.capture, a)
				}
			}
			if n := changed(f.data, g.data); n > 12+8+2+2+4+4+2+32 {
				t.Fatalf("%s: %d bytes changed\n% x\n% x", k.capture, n, f.data, g.data)
			}
		}
		if j < 8 {
			t.Errorf("%s: %d frames compared", k.capture, j)
		}
	}
}

// whole tells frames that are not cut: the checksum of what is cut cannot be known.
func whole(f frame) bool { return len(f.data) == f.wire }

func addresses(list ...netip.Addr) []netip.Addr { return list }

func changed(a, b []byte) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

// TestMarks holds what tools compute of addresses: masscan's IP identification and Mirai's sequence number.
func TestMarks(t *testing.T) {
	for name, marked := range map[string]func(ip, tcp []byte) bool{
		"scan/masscan-horizontal": func(ip, tcp []byte) bool {
			return binary.BigEndian.Uint16(ip[4:]) == uint16(binary.BigEndian.Uint32(ip[16:])^uint32(binary.BigEndian.Uint16(tcp[2:]))^binary.BigEndian.Uint32(tcp[4:]))
		},
		"scan/mirai-like": func(ip, tcp []byte) bool { return bytes.Equal(tcp[4:8], ip[16:20]) },
	} {
		i := slices.IndexFunc(recipes, func(k recipe) bool { return k.capture == name })
		b, f := alone(t, &recipes[i], 4)
		n := 0
		for _, frame := range framesOf(t, b) {
			p := frame.data[ethernetHeader:]
			src, _ := ends(frame.data)
			if src != f.Attacks[0].Subject.IP || p[9] != protoTCP || p[20+13] != flagSYN {
				continue
			}
			if n++; !marked(p, p[20:]) {
				t.Fatalf("%s: a SYN without the mark: % x", name, p)
			}
		}
		if n < 90 {
			t.Errorf("%s: %d SYNs", name, n)
		}
	}
}

// TestSilent holds that an hour of work and two of the night without attacks raise nothing of severity medium or more.
func TestSilent(t *testing.T) {
	for name, cfg := range map[string]Config{
		"work":  {Seed: 77, Start: morning, Length: time.Hour, Rate: 1},
		"night": {Seed: 78, Start: DefaultStart.Add(3*time.Hour + 30*time.Minute), Length: time.Hour, Rate: 1},
	} {
		t.Run(name, func(t *testing.T) {
			b, made := write(t, cfg)
			score, all := judged(t, b, &made.Truth)
			if score.False > 0 {
				t.Errorf("%d false alerts", score.False)
			}
			for _, a := range all {
				if a.State == alert.Closed {
					t.Logf("%s %s %s by %v on %v: %s", a.Severity, a.Analyzer, a.Kind, a.Subject, a.Victim, a.Summary)
				}
			}
		})
	}
}

// TestDeck holds that each analyzer comes before any comes again, each kind likewise, and that a week of thirty attacks has them
// so, with what needs a day to compare with after that day.
func TestDeck(t *testing.T) {
	kinds := map[string]bool{}
	analyzers := map[string]bool{}
	for _, k := range recipes {
		kinds[k.analyzer+"."+k.kind], analyzers[k.analyzer] = true, true
	}
	list := deck(rand.New(rand.NewPCG(1, 3)))
	first := map[string]bool{}
	for i, k := range list {
		one := recipes[k[0]]
		if first[one.analyzer] = true; i < len(analyzers) && len(first) != i+1 {
			t.Errorf("%s comes again as number %d of %d analyzers", one.analyzer, i+1, len(analyzers))
		}
		delete(kinds, one.analyzer+"."+one.kind)
	}
	if len(kinds) != 0 {
		t.Errorf("%v do not come", kinds)
	}

	g := newGenerator(io.Discard, Config{Seed: 6, Start: DefaultStart, Length: 7 * 24 * time.Hour, Attacks: 30, Rate: 1})
	placed, err := g.attacks()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, a := range placed {
		name := a.recipe.analyzer + "." + a.recipe.kind
		if seen[name] {
			t.Errorf("%s comes twice", name)
		}
		seen[name] = true
		delete(analyzers, a.recipe.analyzer)
		if a.recipe.learned && a.begin < g.start+int64(33*time.Hour) {
			t.Errorf("%s comes after %s", name, time.Duration(a.begin-g.start))
		}
	}
	if len(analyzers) != 0 {
		t.Errorf("%v do not come in a week", analyzers)
	}
}

// TestRecipes holds the table to what its readers take for granted.
func TestRecipes(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range recipes {
		if seen[k.capture] {
			t.Errorf("%s: twice", k.capture)
		}
		seen[k.capture] = true
		if k.analyzer == "" || k.kind == "" || k.tool == "" || k.subject+k.victim == "" && k.parties == nil {
			t.Errorf("%s: analyzer, kind, tool, and a subject, a victim or parties are needed", k.capture)
		}
		for _, s := range []string{k.subject, k.victim} {
			if p := parseParty(s); p != nil && fmt.Sprint(p) != s { // panics if it is none
				t.Errorf("%s: %q is read as %s", k.capture, s, p)
			}
		}
		for _, p := range k.parties {
			if netip.MustParsePrefix(p).Masked().String() != p {
				t.Errorf("%s: party %q", k.capture, p)
			}
		}
	}
}
