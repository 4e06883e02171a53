package alert

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// eveFields are the types of the fields that we use, from etc/schema.json of Suricata 8, which allows no
// other field but in alert.metadata. The items of alert.metadata's lists are strings there.
var eveFields = map[string]string{
	"timestamp": "string", "event_type": "string", "flow_id": "integer", "src_ip": "string", "src_port": "integer", "dest_ip": "string",
	"dest_port": "integer", "proto": "string", "community_id": "string", "host": "string",
	"alert.action": "string", "alert.gid": "integer", "alert.signature_id": "integer", "alert.rev": "integer", "alert.signature": "string",
	"alert.category": "string", "alert.severity": "integer",
}

// eveRequired are the schema's required fields (the first two), and what src/output-json-alert.c writes for each alert that is
// of an IP packet, less ports and protocol, which ICMP packets and fragments do not have.
var eveRequired = []string{
	"timestamp", "event_type",
	"src_ip", "dest_ip", "alert.action", "alert.gid", "alert.signature_id", "alert.rev", "alert.signature", "alert.category", "alert.severity",
	"alert.metadata.weir_id", "alert.metadata.weir_rev", "alert.metadata.weir_state",
}

// eveTimestamp is the schema's pattern, with Suricata's six digits (src/util-time.c, CreateIsoTimeString).
var eveTimestamp = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}\+0000$`)

// eveClasses are descriptions of etc/classification.config.
var eveClasses = []string{"Detection of a Network Scan", "Detection of a Denial of Service Attack", "Misc activity"}

// eveProtos are names of src/util-proto-name.c.
var eveProtos = []string{"TCP", "UDP", "ICMP", "IPv6-ICMP", "SCTP", "UDPLite"}

func checkEVE(a *Alert, object map[string]any) error {
	seen := map[string]any{}
	err := flatten("", object, func(name string, v any, list bool) error {
		seen[name] = v
		if strings.HasPrefix(name, "alert.metadata.") {
			if _, text := v.(string); !text || !list {
				return fmt.Errorf("%s is no list of strings", name)
			}
			return nil
		}
		_, text := v.(string)
		switch kind := eveFields[name]; {
		case list, kind == "string" && !text, kind == "integer" && !isInteger(v), kind == "":
			return fmt.Errorf("%s: %v, want one value of type %q", name, v, kind)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range eveRequired {
		if seen[name] == nil {
			return fmt.Errorf("%s is missing", name)
		}
	}
	for _, name := range []string{"src_ip", "dest_ip"} {
		if ip, err := netip.ParseAddr(seen[name].(string)); err != nil || ip.Zone() != "" {
			return fmt.Errorf("%s is no address", name)
		}
	}
	proto, _ := seen["proto"].(string)
	switch {
	case !eveTimestamp.MatchString(seen["timestamp"].(string)):
		return fmt.Errorf("timestamp %s", seen["timestamp"])
	case seen["event_type"] != "alert":
		return fmt.Errorf("event_type %s", seen["event_type"])
	case !slices.Contains([]string{"1", "2", "3", "4"}, fmt.Sprint(seen["alert.severity"])):
		return fmt.Errorf("severity %s", seen["alert.severity"])
	case seen["alert.action"] != "allowed" && seen["alert.action"] != "blocked":
		return fmt.Errorf("action %s", seen["alert.action"])
	case !slices.Contains(eveClasses, seen["alert.category"].(string)):
		return fmt.Errorf("category %s", seen["alert.category"])
	case proto != "" && !slices.Contains(eveProtos, proto):
		return fmt.Errorf("proto %s", proto)
	case a.Analyzer == "scan" && a.Kind == "xmas" && proto == "":
		return fmt.Errorf("no proto")
	}
	return nil
}

// TestEVE holds the form of one alert.
func TestEVE(t *testing.T) {
	want := `{"timestamp":"2023-11-14T22:13:21.000000+0000","flow_id":3549166265318594,"event_type":"alert","src_ip":"192.0.2.1",` +
		`"dest_ip":"198.51.100.0","dest_port":22,"proto":"TCP","host":"replay",` +
		`"alert":{"action":"allowed","gid":1,"signature_id":1900101,"rev":1,"signature":"weir scan vertical: many ports of one host",` +
		`"category":"Detection of a Network Scan","severity":2,"metadata":{` +
		`"mitre_technique_id":["T1046","T1595.001"],"weir_confidence":["90"],"weir_config":["c0ffee"],"weir_count":["12"],` +
		`"weir_first":["2023-11-14T22:13:20.000000001Z"],"weir_id":["c9bf2aa7e3cc2edd"],"weir_last":["2023-11-14T22:13:20.999999995Z"],` +
		`"weir_loss_ratio":["0"],"weir_notes":["sample only"],"weir_return_path":["unproven"],"weir_rev":["1"],"weir_score":["72"],` +
		`"weir_severity":["medium"],"weir_signature":["protocol=tcp"],"weir_state":["open"],"weir_subject":["192.0.2.1"],` +
		`"weir_summary":["192.0.2.1 tried 12 ports & <more>."],"weir_victim":["198.51.100.0/24:22/tcp"],` +
		`"weir_why":["failed_contacts=12 contacts (threshold 9)","rate=2.5","likelihood=0.333333 1 (threshold 2)"]}}}` + "\n"
	a := example(t)
	if got, err := a.AppendEVE(nil); err != nil || string(got) != want {
		t.Errorf("%v\ngot  %swant %s", err, got, want)
	}
	a.Action = &Action{Drop: "d1"}
	if alert := convert(t, forms[1], a)["alert"].(map[string]any); alert["action"] != "blocked" {
		t.Errorf("a dropped one is %v", alert["action"])
	}
	for _, effect := range []string{"shadow", "pending"} {
		a.Action.Effect = effect
		if alert := convert(t, forms[1], a)["alert"].(map[string]any); alert["action"] != "allowed" {
			t.Errorf("one in %s is %v", effect, alert["action"])
		}
	}
}

// TestEVEParties: both addresses are always there.
func TestEVEParties(t *testing.T) {
	one, six := &Party{IP: netip.MustParseAddr("192.0.2.1")}, &Party{IP: netip.MustParseAddr("2001:db8::1")}
	for want, a := range map[string]*Alert{
		"0.0.0.0 192.0.2.1":        {Victim: one},
		"192.0.2.1 0.0.0.0":        {Subject: one},
		":: 2001:db8::1":           {Victim: six},
		"2001:db8::1 ::":           {Subject: six},
		"0.0.0.0 0.0.0.0":          {},
		"192.0.2.1 198.51.100.0":   {Subject: one, Victim: &Party{Prefix: netip.MustParsePrefix("198.51.100.9/24")}},
		"2001:db8:5:: 2001:db8::1": {Subject: &Party{Prefix: netip.MustParsePrefix("2001:db8:5::/64")}, Victim: six},
		"fe80::1 ::":               {Subject: &Party{IP: netip.MustParseAddr("fe80::1%eth0")}},
	} {
		e := convert(t, forms[1], a)
		if got := fmt.Sprint(e["src_ip"], " ", e["dest_ip"]); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestTransport names the protocol by the parties, then by the kind.
func TestTransport(t *testing.T) {
	six := &Party{IP: netip.MustParseAddr("2001:db8::1")}
	for i, c := range []struct {
		a    Alert
		want string
	}{
		{Alert{Analyzer: "scan", Kind: "vertical"}, ""},
		{Alert{Analyzer: "scan", Kind: "fin"}, "tcp"},
		{Alert{Analyzer: "scan", Kind: "icmp_sweep"}, "icmp"},
		{Alert{Analyzer: "flood", Kind: "icmp", Victim: six}, "ipv6-icmp"},
		{Alert{Analyzer: "flood", Kind: "fragment", Victim: six}, ""},
		{Alert{Analyzer: "scan", Kind: "horizontal", Victim: &Party{Protocol: "sctp"}}, "sctp"},
		{Alert{Victim: &Party{Protocol: "icmpv6"}}, "ipv6-icmp"},
		{Alert{Subject: &Party{Protocol: "udp"}, Victim: six}, "udp"},
		{Alert{Victim: &Party{Protocol: "47"}}, ""},
	} {
		if got := c.a.transport(); got != c.want {
			t.Errorf("%d: %q, want %q", i, got, c.want)
		}
	}
}
