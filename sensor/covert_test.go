package sensor

import (
	"context"
	"net/netip"
	"path/filepath"
	"testing"

	"weir/analyzers"
	networks "weir/analyzers/context"
	"weir/sensor/alert"
	"weir/sensor/capture"
)

// TestCorpusCovert holds what others recorded of tunnels and of malware that calls home to what it is. Where nothing is to be
// found, the capture itself is the reason.
func TestCorpusCovert(t *testing.T) {
	dir := corpus(t)
	for _, c := range []struct {
		file, kind, subject, victim string
		why                         string // nothing is found
	}{
		{"attack-tunnel/ndpi__dns-tunnel-iodine.pcap", "dns tunnel", "10.0.2.30", "", ""},
		{"attack-tunnel/ndpi__dns_exfiltration.pcap", "dns tunnel", "192.168.220.56", "", ""},
		{"attack-tunnel/ndpi__icmp-tunnel.pcap", "tunnel icmp", "192.168.154.131", "192.168.154.132", ""},
		{
			"attack-c2/zeek__merlinc2_Zeek_example.pcapng", "", "", "",
			"one QUIC connection of 184 s in which the client speaks 14 times; from 75 s on eight of these are QUIC's own keep-alives of " +
				"67 bytes each 15 s, as every idle HTTP/3 connection of a browser has them. Below 20 contacts, and below any duration",
		},
		{
			"attack-c2/ndpi__emotet.pcap", "", "", "",
			"six connections of four hosts to five servers within two months, no pair of which spoke more than twice: downloads and one mail",
		},
		{"attack-c2/ndpi__trickbot.pcap", "", "", "", "one connection of 8 s that fetches 59 kB"},
	} {
		t.Run(filepath.Base(c.file), func(t *testing.T) {
			out, _, err := replay(t, 1, nil, filepath.Join(dir, c.file))
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, a := range parse(t, out) {
				kind := a.Analyzer + " " + a.Kind
				switch {
				case a.Severity < alert.Medium:
				case kind == c.kind && name(a.Subject) == c.subject && name(a.Victim) == c.victim:
					found = true
				case covert[a.Analyzer]:
					t.Errorf("%s by %q on %q: %s", kind, name(a.Subject), name(a.Victim), a.Summary)
				}
			}
			if found != (c.kind != "") {
				t.Errorf("%s by %s: found %v", c.kind, c.subject, found)
			}
		})
	}
}

// covert are the analyzers that look for what hides.
var covert = map[string]bool{"dns": true, "tunnel": true, "exfil": true, "beacon": true}

// TestKnownDestinations: the upload and the beacon of the cases are nothing where the site says that it knows their target.
func TestKnownDestinations(t *testing.T) {
	for i, in := range []string{"beacon/jitter", "exfil/slow", "exfil/curl-upload"} {
		if i > 0 && testing.Short() {
			break
		}
		cfg := config(1)
		site := analyzers.NewSite(networks.New(networks.Config{
			KnownDestinations: []networks.Prefix{{Prefix: netip.MustParsePrefix(flooder + "/32")}},
		}, nil, nil), nil)
		cfg.Site, cfg.Analyzers = site, analyzers.All(analyzers.Defaults(), site)
		e, err := New(cfg, Sinks{Alert: func(a *alert.Alert) {
			if covert[a.Analyzer] {
				t.Errorf("%s: %s %s: %s", in, a.Analyzer, a.Kind, a.Summary)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		src := capture.Files([]string{"../pcaps/" + in + "/in.pcap.zst"}, false)
		if sum, err := e.Replay(context.Background(), src); err != nil || sum.Link.Packets == 0 {
			t.Errorf("%s: %v", in, err)
		}
		src.Close()
		e.Close()
	}
}
