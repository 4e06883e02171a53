package alert

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// form is one of the two foreign forms, and what an object of it must hold.
type form struct {
	name   string
	append func(*Alert, []byte) ([]byte, error)
	check  func(a *Alert, object map[string]any) error
}

var forms = []form{{"ECS", (*Alert).AppendECS, checkECS}, {"EVE", (*Alert).AppendEVE, checkEVE}}

// convert makes the line of a form and checks that it is one line, one JSON object and what the schema asks for.
func convert(t interface{ Fatalf(string, ...any) }, f form, a *Alert) map[string]any {
	line, err := f.append(a, []byte("before"))
	if err != nil || !bytes.HasPrefix(line, []byte("before")) || bytes.IndexByte(line, '\n') != len(line)-1 {
		t.Fatalf("%s: %v: %q", f.name, err, line)
	}
	d := json.NewDecoder(bytes.NewReader(line[len("before"):]))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil || d.More() {
		t.Fatalf("%s: %v: %s", f.name, err, line)
	}
	if err := f.check(a, object); err != nil {
		t.Fatalf("%s: %v: %s", f.name, err, line)
	}
	return object
}

// golden are the alerts of all golden cases.
func goldens(t testing.TB) (all []*Alert) {
	files, err := filepath.Glob("../../pcaps/*/*/want.jsonl")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d golden cases, %v", len(files), err)
	}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		alerts, err := Read(f)
		f.Close()
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, alerts...)
	}
	return all
}

// TestForms converts the alerts of all golden cases. Every kind in them has a rule of its own, and so has every kind that
// docs/alerts.md lists.
func TestForms(t *testing.T) {
	kinds := map[string]bool{}
	for _, a := range goldens(t) {
		for _, f := range forms {
			convert(t, f, a)
		}
		kinds[a.Analyzer+"."+a.Kind] = true
	}
	for _, kind := range Kinds() {
		if !kinds[kind] {
			t.Errorf("%s has a rule and no golden case", kind)
		}
		delete(kinds, kind)
	}
	if len(kinds) > 0 {
		t.Errorf("no rule for %q", slices.Sorted(maps.Keys(kinds)))
	}
}

// TestRulesNeverChange holds the published numbers: add lines, change none.
func TestRulesNeverChange(t *testing.T) {
	want := map[string]int{
		"scan.": 1900100, "scan.vertical": 1900101, "scan.horizontal": 1900102, "scan.strobe": 1900103, "scan.block": 1900104,
		"scan.null": 1900105, "scan.fin": 1900106, "scan.xmas": 1900107, "scan.ack": 1900108, "scan.maimon": 1900109,
		"scan.udp": 1900110, "scan.icmp_sweep": 1900111, "scan.arp_sweep": 1900112, "scan.distributed": 1900113,
		"flood.": 1900200, "flood.syn": 1900201, "flood.udp": 1900202, "flood.icmp": 1900203, "flood.fragment": 1900204,
		"flood.ack": 1900205, "flood.rst": 1900206, "flood.connection": 1900207, "flood.amplification": 1900208,
		"flood.slow": 1900209, "flood.multi": 1900210, "fingerprint.": 1900300, "fingerprint.tool": 1900301,
		"fingerprint.cluster": 1900302, "fingerprint.mismatch": 1900303, "fingerprint.rotation": 1900304,
		"bruteforce.": 1900400, "bruteforce.password": 1900401, "bruteforce.stuffing": 1900402, "bruteforce.web_login": 1900403,
		"http.": 1900500, "http.errors": 1900501, "http.methods": 1900502, "http.probing": 1900503, "http.agents": 1900504, "http.spike": 1900505,
		"fingerprint.new": 1900305,
		"dns.":            1900600, "dns.tunnel": 1900601, "dns.nxdomain": 1900602,
		"tunnel.": 1900610, "tunnel.icmp": 1900611,
		"exfil.": 1900620, "exfil.volume": 1900621, "exfil.slow": 1900622, "exfil.origin": 1900623,
		"beacon.": 1900630, "beacon.beacon": 1900631,
		"rate.": 1900640, "rate.spike": 1900641, "rate.drop": 1900642, "rate.source_spike": 1900643, "rate.sustained": 1900644,
		"change.": 1900650, "change.new_service": 1900651, "change.new_peer": 1900652, "change.silent_service": 1900653,
		"latency.": 1900660, "latency.rtt": 1900661, "latency.retransmission": 1900662,
		"weird.": 1900670, "weird.arp_conflict": 1900671, "weird.arp_storm": 1900672, "weird.rogue_dhcp": 1900673, "weird.rogue_router": 1900674, "weird.land": 1900675, "weird.teardrop": 1900676, "weird.bad_flags": 1900677, "weird.martian": 1900678, "weird.ttl": 1900679, "weird.private_source": 1900680, "weird.split_handshake": 1900681, "weird.overlap": 1900682,
		"incident.": 1900900, "incident.campaign": 1900901, "incident.compromise": 1900902, "incident.crowd": 1900903,
	}
	seen := map[int]string{anyRule: ""}
	for analyzer, kinds := range rules {
		for kind, r := range kinds {
			name := analyzer + "." + kind
			if r.id != want[name] {
				t.Errorf("%s has %d, want %d", name, r.id, want[name])
			}
			if other, twice := seen[r.id]; twice {
				t.Errorf("%s and %s share %d", name, other, r.id)
			}
			seen[r.id] = name
			delete(want, name)
		}
	}
	if len(want) > 0 {
		t.Errorf("gone: %v", want)
	}
	doc, err := os.ReadFile("../../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	for id, name := range seen {
		if name != "" && !strings.HasSuffix(name, ".") && !strings.Contains(string(doc), strconv.Itoa(id)) {
			t.Errorf("docs/alerts.md does not say that %s is %d", name, id)
		}
	}
}

const hostile = "\x00\x1b]0;x\x07\r\n\"\\}],{ \u2028\u202e\xff\xfe</script>%s"

// drawAlert draws alerts with what is odd, wrong and hostile in every field.
func drawAlert(r *rapid.T) *Alert {
	text := func(name string) string {
		return rapid.OneOf(rapid.SampledFrom([]string{"", "scan", "udp", "icmp", "icmpv6", "tcp", hostile, "255"}), rapid.String()).Draw(r, name)
	}
	texts := func(name string) []string { return rapid.SliceOfN(rapid.Just(text(name)), 0, 3).Draw(r, name) }
	float := func(name string) float64 {
		return rapid.SampledFrom([]float64{0, 1, -1, 0.1, 1e19, 1e300, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64}).Draw(r, name)
	}
	at := func(name string) Time {
		return Time(rapid.OneOf(rapid.SampledFrom([]int64{0, math.MinInt64, math.MaxInt64, base}), rapid.Int64()).Draw(r, name))
	}
	count := func(name string) uint64 {
		return rapid.SampledFrom([]uint64{0, 1, math.MaxInt64 + 1, math.MaxUint64}).Draw(r, name)
	}
	party := func(name string) *Party {
		p := &Party{
			Port: uint16(rapid.IntRange(0, 65535).Draw(r, name)), Protocol: text(name), ASN: uint32(count(name)), Country: text(name), ReturnPath: text(name),
		}
		switch rapid.IntRange(0, 6).Draw(r, name) {
		case 0:
			return nil
		case 1:
			p.IP = netip.MustParseAddr("192.0.2.1")
		case 2:
			p.IP = netip.MustParseAddr("fe80::1").WithZone("eth0" + hostile)
		case 3:
			p.IP = netip.MustParseAddr("::ffff:192.0.2.1")
		case 4:
			p.Prefix = netip.MustParsePrefix("198.51.100.77/24")
		case 5:
			p.Prefix = netip.MustParsePrefix("2001:db8::/32")
		}
		return p
	}
	a := &Alert{
		Schema: Schema, ID: rapid.SampledFrom([]string{"", "ffffffffffffffff", "0123456789abcdef", hostile}).Draw(r, "id"), Rev: rapid.Int().Draw(r, "rev"),
		State: State(rapid.IntRange(0, int(StateCount)-1).Draw(r, "state")), Severity: Severity(rapid.IntRange(0, int(SeverityCount)-1).Draw(r, "severity")),
		Time: at("time"), First: at("first"), Last: at("last"), Sensor: text("sensor"), Analyzer: text("analyzer"), Kind: text("kind"), Score: rapid.Int().Draw(r, "score"),
		Confidence: rapid.Int().Draw(r, "confidence"), Subject: party("subject"), Victim: party("victim"), Count: count("count"), Summary: text("summary"),
		Notes: texts("notes"), Attack: texts("attack"), CommunityID: text("community"), Config: text("config"), Loss: Loss{Ratio: float("ratio")},
	}
	for range rapid.IntRange(0, 3).Draw(r, "why") {
		m := Measure{Name: text("measure"), Value: float("value"), Unit: text("unit"), Threshold: float("threshold"), Window: float("window")}
		if rapid.Bool().Draw(r, "baseline") {
			m.Baseline = &Baseline{float("mean"), float("stddev"), count("n")}
		}
		a.Why = append(a.Why, m)
	}
	if rapid.Bool().Draw(r, "rest") {
		a.Signature = &Signature{Fields: []Field{{text("field"), text("value")}}, Attack: float("attack")}
		a.Evidence, a.Action = &Evidence{text("file"), text("sha")}, &Action{text("drop"), text("effect"), text("guard")}
		a.Loss.Causes = map[string]uint64{text("cause"): count("lost")}
	}
	return a
}

// TestFormsOfAnything converts alerts with anything in any field.
func TestFormsOfAnything(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a := drawAlert(r)
		for _, f := range forms {
			convert(r, f, a)
		}
	})
}

// FuzzForms converts whatever reads as an alert.
func FuzzForms(f *testing.F) {
	for i, a := range goldens(f) {
		if i%20 == 0 {
			line, err := a.AppendLine(nil)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(line)
		}
	}
	f.Add([]byte(`{"schema":"weir.alert/1","subject":{"ip":"fe80::1%\u001b"},"victim":{"prefix":"::/0"},"state":"closed","severity":"info"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var a Alert
		if json.Unmarshal(line, &a) != nil {
			return
		}
		for _, f := range forms {
			convert(t, f, &a)
		}
	})
}

// flatten lists the leaves of a JSON object by their dotted names; the items of a list share a name.
func flatten(prefix string, v any, leaf func(name string, v any, list bool) error) error {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if err := flatten(strings.TrimPrefix(prefix+"."+name, "."), member, leaf); err != nil {
				return err
			}
		}
		return nil
	case []any:
		for _, item := range v {
			if _, object := item.(map[string]any); object {
				return fmt.Errorf("%s is a list of objects", prefix)
			}
			if err := leaf(prefix, item, true); err != nil {
				return err
			}
		}
		return nil
	}
	return leaf(prefix, v, false)
}

// isInteger tells whether a JSON number is a whole one of 64 bits with a sign.
func isInteger(v any) bool {
	n, is := v.(json.Number)
	if !is {
		return false
	}
	_, err := n.Int64()
	return err == nil
}
