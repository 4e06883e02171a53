package alert

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// ecsFields are the types of the fields that we use: type, and "[]" where the schema's normalize says array. Taken from
// ecs_flat of the npm package @elastic/ecs 9.4.0, which elastic/ecs-typescript makes of elastic/ecs (generated/ecs/ecs_flat.yml).
var ecsFields = map[string]string{
	"@timestamp": "date", "message": "match_only_text", "ecs.version": "keyword",
	"event.kind": "keyword", "event.category": "keyword[]", "event.type": "keyword[]", "event.module": "keyword", "event.dataset": "keyword",
	"event.id": "keyword", "event.action": "keyword", "event.severity": "long", "event.risk_score": "float", "event.start": "date", "event.end": "date",
	"rule.id": "keyword", "rule.name": "keyword", "rule.category": "keyword", "rule.ruleset": "keyword", "rule.description": "keyword",
	"observer.name": "keyword", "observer.type": "keyword", "observer.vendor": "keyword", "observer.product": "keyword",
	"source.address": "keyword", "source.ip": "ip", "source.port": "long", "source.as.number": "long", "source.geo.country_iso_code": "keyword",
	"destination.address": "keyword", "destination.ip": "ip", "destination.port": "long", "destination.as.number": "long",
	"destination.geo.country_iso_code": "keyword",
	"network.type":                     "keyword", "network.transport": "keyword", "network.community_id": "keyword", "related.ip": "ip[]",
	"threat.framework": "keyword", "threat.technique.id": "keyword[]", "threat.technique.subtechnique.id": "keyword[]",
}

// ecsRequired are the fields with required: true in the schema (the first two), and those that an alert needs to be found and
// read in Kibana.
var ecsRequired = []string{
	"@timestamp", "ecs.version",
	"message", "event.kind", "event.category", "event.type", "event.id", "event.action", "event.severity", "event.risk_score", "event.start",
	"event.end", "rule.id", "rule.name", "observer.name", "observer.type", "weir.id", "weir.rev", "weir.state", "weir.severity", "weir.count",
}

// ecsAllowed are the schema's allowed_values; of event.type those that it expects of both of our categories.
var ecsAllowed = map[string][]string{
	"event.kind":     {"alert", "asset", "enrichment", "event", "metric", "state", "pipeline_error", "signal"},
	"event.category": {"intrusion_detection", "network"},
	"event.type":     {"allowed", "denied", "info"},
}

func checkECS(a *Alert, object map[string]any) error {
	seen := map[string]bool{}
	weir, _ := object["weir"].(map[string]any)
	for name := range weir {
		seen["weir."+name] = true
	}
	if err := indexable(weir); err != nil {
		return err
	}
	delete(object, "weir")
	defer func() { object["weir"] = weir }()
	err := flatten("", object, func(name string, v any, list bool) error {
		seen[name] = true
		kind, isList := strings.CutSuffix(ecsFields[name], "[]")
		if kind == "" {
			return fmt.Errorf("%s is no field of the schema", name)
		}
		if isList != list {
			return fmt.Errorf("%s: a list is %v, want %v", name, list, isList)
		}
		if values := ecsAllowed[name]; values != nil && !slices.Contains(values, v.(string)) {
			return fmt.Errorf("%s is %v, which is not allowed", name, v)
		}
		return ecsType(name, kind, v)
	})
	for _, name := range ecsRequired {
		if err == nil && !seen[name] {
			err = fmt.Errorf("%s is missing", name)
		}
	}
	if party := a.Victim; err == nil && party != nil && party.IP.IsValid() != seen["destination.ip"] {
		err = fmt.Errorf("destination.ip is there: %v, of %s", seen["destination.ip"], party)
	}
	return err
}

// ecsType checks a value as Elasticsearch would before it indexes it.
func ecsType(name, kind string, v any) (err error) {
	ok := false
	text, isText := v.(string)
	switch kind {
	case "keyword", "match_only_text":
		ok = isText
	case "long":
		ok = isInteger(v)
	case "float":
		_, ok = v.(json.Number)
	case "date":
		_, err = time.Parse(time.RFC3339Nano, text)
		ok = isText
	case "ip":
		var ip netip.Addr
		ip, err = netip.ParseAddr(text)
		ok = isText && ip.Zone() == ""
	}
	if !ok || err != nil {
		return fmt.Errorf("%s: %v is no %s", name, v, kind)
	}
	return nil
}

// indexable tells whether Elasticsearch's dynamic mapping takes all numbers: whole ones are long, others float.
func indexable(v any) error {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if name == "signature" || name == "ratio" { // shares
				continue
			}
			if err := indexable(member); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	case []any:
		for _, item := range v {
			if err := indexable(item); err != nil {
				return err
			}
		}
	case json.Number:
		whole := !strings.ContainsAny(v.String(), ".eE")
		if f, err := v.Float64(); err != nil || whole && !isInteger(v) || math.Abs(f) > math.MaxFloat32 {
			return fmt.Errorf("%v cannot be indexed", v)
		}
	}
	return nil
}

// TestECS holds the form of one alert.
func TestECS(t *testing.T) {
	want := `{"@timestamp":"2023-11-14T22:13:21.000000000Z","message":"192.0.2.1 tried 12 ports & <more>.","ecs":{"version":"9.4.0"},` +
		`"event":{"kind":"alert","category":["intrusion_detection","network"],"type":["info"],"module":"weir","dataset":"weir.alert",` +
		`"id":"c9bf2aa7e3cc2edd.1","action":"scan.vertical","severity":2,"risk_score":72,` +
		`"start":"2023-11-14T22:13:20.000000001Z","end":"2023-11-14T22:13:20.999999995Z"},` +
		`"rule":{"id":"1900101","name":"scan.vertical","category":"scan","ruleset":"weir","description":"many ports of one host"},` +
		`"observer":{"name":"replay","type":"ids","vendor":"weir","product":"weir"},` +
		`"source":{"address":"192.0.2.1","ip":"192.0.2.1"},"destination":{"address":"198.51.100.0/24","port":22},` +
		`"network":{"type":"ipv4","transport":"tcp"},"related":{"ip":["192.0.2.1"]},` +
		`"threat":{"framework":"MITRE ATT&CK","technique":{"id":["T1046","T1595"],"subtechnique":{"id":["T1595.001"]}}},` +
		`"weir":{"schema":"weir.alert/1","id":"c9bf2aa7e3cc2edd","rev":1,"state":"open","severity":"medium","confidence":90,` +
		`"subject":{"ip":"192.0.2.1","return_path":"unproven"},"victim":{"prefix":"198.51.100.0/24","port":22,"protocol":"tcp"},"count":12,` +
		`"why":[{"measure":"failed_contacts","value":12,"unit":"contacts","threshold":9,"window":300},{"measure":"rate","value":2.5},` +
		`{"measure":"likelihood","value":0.333333,"unit":"1","threshold":2,"baseline":{"mean":1000000,"stddev":0.5,"n":60}}],` +
		`"notes":["sample only"],"signature":{"fields":[{"name":"protocol","value":"tcp"}],"attack":0.9,"normal":0.01,"n_attack":200,"n_normal":100},` +
		`"loss":{"ratio":0},"config":"c0ffee"}}` + "\n"
	a := example(t)
	if got, err := a.AppendECS(nil); err != nil || string(got) != want {
		t.Errorf("%v\ngot  %swant %s", err, got, want)
	}
	a.Action = &Action{Drop: "d1"}
	if event := convert(t, forms[0], a)["event"].(map[string]any); fmt.Sprint(event["type"]) != "[denied]" {
		t.Errorf("a dropped one has type %v", event["type"])
	}
}

// example is an alert of the finding that TestForm takes, too.
func example(t *testing.T) *Alert {
	t.Helper()
	f := finding()
	f.Attack = []string{"T1046", "T1595.001"}
	var alerts []*Alert
	m := New(Config{Hash: "c0ffee"})
	m.Add(f)
	m.Advance(base+second, func(a *Alert) { alerts = append(alerts, a) })
	if len(alerts) != 1 {
		t.Fatalf("%d alerts", len(alerts))
	}
	return alerts[0]
}

// TestECSParties: of prefixes and nobody there are no addresses, of IPv6 no zones.
func TestECSParties(t *testing.T) {
	for want, p := range map[string]*Party{
		"<nil>":                   nil,
		"map[address:10.0.0.0/8]": {Prefix: netip.MustParsePrefix("10.0.0.0/8")},
		"map[address:fe80::1%eth0 ip:fe80::1 port:5]":            {IP: netip.MustParseAddr("fe80::1%eth0"), Port: 5},
		"map[address:10.0.0.1 as:map[number:64500] ip:10.0.0.1]": {IP: netip.MustParseAddr("10.0.0.1"), ASN: 64500},
		"map[address:::1 geo:map[country_iso_code:DE] ip:::1]":   {IP: netip.MustParseAddr("::1"), Country: "DE"},
	} {
		if got := fmt.Sprint(convert(t, forms[0], &Alert{Subject: p})["source"]); got != want {
			t.Errorf("%v: source is %s, want %s", p, got, want)
		}
	}
}
