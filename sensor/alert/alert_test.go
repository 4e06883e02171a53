package alert

import (
	"encoding/json"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"weir/analyzers"
	"weir/analyzers/tally"
)

const second = int64(1e9)

// base is 2023-11-14T22:13:20Z.
const base = 1_700_000_000 * second

func finding() *analyzers.Finding {
	return &analyzers.Finding{
		Analyzer: "scan", Kind: "vertical", Time: base + second,
		Subject: analyzers.Party{Prefix: netip.MustParsePrefix("192.0.2.1/32")},
		Victim:  analyzers.Party{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Port: 22, Proto: 6},
		Score:   72, MaxScore: 69, Confidence: 90, Count: 12, First: base + 1, Last: base + second - 5, Quiet: 60 * second,
		Why: []analyzers.Measure{
			{Name: "failed_contacts", Value: 12, Unit: "contacts", Threshold: 9, Window: 300 * second},
			{Name: "rate", Value: 2.5},
			{Name: "likelihood", Value: 1.0 / 3, Unit: "1", Threshold: 2, Baseline: &analyzers.Baseline{Mean: 1e6, Stddev: 0.5, N: 60}},
		},
		Summary: "192.0.2.1 tried 12 ports & <more>.", Attack: []string{"T1046"}, Notes: []string{"sample only"},
		Signature: &analyzers.Signature{Fields: []analyzers.Field{{Name: "protocol", Value: "tcp"}}, Attack: 0.9, Normal: 0.01, NAttack: 200, NNormal: 100},
	}
}

// TestForm holds the published form: every field of the design, in its order. The id was computed by hashlib.
func TestForm(t *testing.T) {
	want := `{"schema":"weir.alert/1","id":"c9bf2aa7e3cc2edd","rev":1,"state":"open","time":"2023-11-14T22:13:21.000000000Z",` +
		`"sensor":"replay","analyzer":"scan","kind":"vertical","severity":"medium","score":72,"confidence":90,` +
		`"subject":{"ip":"192.0.2.1","return_path":"unproven"},"victim":{"prefix":"198.51.100.0/24","port":22,"protocol":"tcp"},` +
		`"count":12,"first":"2023-11-14T22:13:20.000000001Z","last":"2023-11-14T22:13:20.999999995Z",` +
		`"why":[{"measure":"failed_contacts","value":12,"unit":"contacts","threshold":9,"window":300},{"measure":"rate","value":2.5},` +
		`{"measure":"likelihood","value":0.333333,"unit":"1","threshold":2,"baseline":{"mean":1000000,"stddev":0.5,"n":60}}],` +
		`"summary":"192.0.2.1 tried 12 ports & <more>.","notes":["sample only"],"attack":["T1046"],` +
		`"signature":{"fields":[{"name":"protocol","value":"tcp"}],"attack":0.9,"normal":0.01,"n_attack":200,"n_normal":100},` +
		`"loss":{"ratio":0.1,"one_way":true,"causes":{"half_open":3,"kernel":10}},"config":"c0ffee"}` + "\n"
	m := New(Config{Hash: "c0ffee"})
	link := &tally.Link{Packets: 90}
	link.Loss[tally.LossKernel], link.Loss[tally.LossHalfOpen] = 10, 3
	m.Observe(link, true, finding().Time)
	m.Add(finding())
	got := lines(t, func(emit func(*Alert)) { m.Advance(base+second, emit) })
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	read, err := Read(strings.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := read[0].AppendLine(nil); err != nil || string(again) != want {
		t.Errorf("read and written again: %v\n%s", err, again)
	}
}

// TestEveryFieldIsInTheDesign lists the fields that design.md names, and those that it does not.
func TestEveryFieldIsInTheDesign(t *testing.T) {
	design := "schema id rev state time sensor analyzer kind severity score confidence subject victim count first last why summary " +
		"notes attack community_id signature loss config evidence action blocked incident muted" // notes, signature and the last three are ours
	if got := strings.Join(fieldNames, " "); got != design {
		t.Errorf("fields %s\nwant   %s", got, design)
	}
}

// lines collects what f emits as JSON lines.
func lines(t testing.TB, f func(emit func(*Alert))) string {
	var b []byte
	f(func(a *Alert) {
		var err error
		if b, err = a.AppendLine(b); err != nil {
			t.Fatal(err)
		}
	})
	return string(b)
}

func TestSeverityOf(t *testing.T) {
	for _, c := range []struct {
		score, limit int
		want         Severity
	}{
		{0, 0, Info},
		{24, 0, Info},
		{25, 0, Low},
		{49, 0, Low},
		{50, 0, Medium},
		{69, 0, Medium},
		{70, 0, High},
		{89, 0, High},
		{90, 0, Critical},
		{100, 0, Critical},
		{100, 69, Medium},
		{100, 100, Critical},
		{30, 69, Low},
		{-5, 0, Info},
		{1000, 0, Critical},
	} {
		if got := SeverityOf(c.score, c.limit); got != c.want {
			t.Errorf("score %d capped at %d is %v, want %v", c.score, c.limit, got, c.want)
		}
	}
}

func TestNumbersFitJSON(t *testing.T) {
	for v, want := range map[float64]float64{
		math.Inf(1): math.MaxFloat64, math.Inf(-1): -math.MaxFloat64, 1234567: 1234567, 1234567.8: 1234570,
		0.1 + 0.2: 0.3, 1e300: 1e300, -2.5: -2.5, 1 << 53: 1 << 53,
	} {
		got := round(v)
		if got != want {
			t.Errorf("%v is rounded to %v, want %v", v, got, want)
		}
		if _, err := json.Marshal(got); err != nil {
			t.Error(err)
		}
	}
	if round(math.NaN()) != 0 {
		t.Error("NaN stays")
	}
}

func TestRoundTrip(t *testing.T) {
	a := Alert{
		Schema: Schema, ID: "0123456789abcdef", Rev: 3, State: Closed, Time: Time(base + 7), Sensor: "s", Analyzer: "flood", Kind: "syn",
		Severity: Critical, Score: 95, Confidence: 80, Subject: &Party{Prefix: netip.MustParsePrefix("2001:db8::/64"), ASN: 64500, Country: "DE", ReturnPath: "proven"},
		Victim: &Party{IP: netip.MustParseAddr("2001:db8::1"), Port: 443, Protocol: "tcp"}, Count: math.MaxUint64, First: Time(base), Last: Time(base + 5),
		Why: []Measure{{Name: "m", Value: 0.25, Unit: "1", Baseline: &Baseline{1, 2, 3}, Window: 0.1}}, Summary: "\x01\"\\ <é>", Attack: []string{"T1498"},
		CommunityID: "1:abc=", Signature: &Signature{Fields: []Field{{"ttl_min", "60"}}}, Loss: Loss{Ratio: 0.5, Causes: map[string]uint64{"kernel": 1}},
		Config: "c", Evidence: &Evidence{"f", "00"}, Action: &Action{Drop: "d"},
	}
	line, err := a.AppendLine(nil)
	if err != nil {
		t.Fatal(err)
	}
	read, err := Read(strings.NewReader(string(line) + "\n\n" + string(line)))
	if err != nil || len(read) != 2 || !reflect.DeepEqual(*read[0], a) {
		t.Errorf("got %+v, %v\nwant %+v", read, err, a)
	}
}

func TestPartyString(t *testing.T) {
	for want, p := range map[string]Party{
		"192.0.2.1":            {IP: netip.MustParseAddr("192.0.2.1")},
		"192.0.2.1:53/udp":     {IP: netip.MustParseAddr("192.0.2.1"), Port: 53, Protocol: "udp"},
		"[2001:db8::1]:80/tcp": {IP: netip.MustParseAddr("2001:db8::1"), Port: 80, Protocol: "tcp"},
		"10.0.0.0/8":           {Prefix: netip.MustParsePrefix("10.0.0.0/8")},
	} {
		if got := p.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
