package main

import (
	"math"
	"reflect"
	"strings"
	"time"

	"weir/analyzers"
)

// knob is a threshold that tune may propose.
type knob struct {
	path  string   // in the section analyzers: "flood.syn_per_second"
	of    []string // whose threshold it is: "flood.syn half_open", analyzer, kind and measure
	least float64  // what is never gone below,
	why   string   // because
	unit  string
	value func(f *analyzers.Finding, m *analyzers.Measure, setting float64) float64 // in units of the setting; nil: the measure's
}

// knobs are the thresholds that compare one number with one setting. Others stay: multiples of a baseline and its z (the floor
// beside them silences the same alerts and blinds less), the walk's probabilities (they are no counts), beacons (a regular service
// is silenced by networks.known_destinations), and what a site has to list.
var knobs = []knob{
	{
		path: "scan.hosts", least: 15, why: "a browser opens a page from a dozen hosts", unit: "hosts",
		of: []string{"scan.horizontal distinct_hosts", "scan.strobe distinct_hosts", "scan.block distinct_hosts", "scan.icmp_sweep distinct_hosts"},
	},
	{
		path: "scan.ports", least: 20, why: "a client of a domain controller needs 16 system ports", unit: "ports",
		of: []string{"scan.vertical distinct_ports", "scan.block distinct_ports"},
	},
	{
		path: "flood.syn_per_second", least: 100, why: "a backlog of 4,096 holds 65 unfinished handshakes/s that Linux retries for 63 s", unit: "handshakes/s", value: ofFloor,
		of: []string{"flood.syn half_open", "flood.multi syn_half_open"},
	},
	{
		path: "flood.connections_per_second", least: 200, why: "a page's parts come over a hundred connections at once", unit: "connections/s", value: ofFloor,
		of: []string{"flood.connection completed", "flood.multi connection_completed"},
	},
	{
		path: "flood.packets_per_second", least: 2000, why: "a video stream that nobody acknowledges has 1,000", unit: "packets/s", value: ofFloor,
		of: ofFloods("packets", "udp", "icmp", "ack", "rst", "fragment"),
	},
	{
		path: "flood.bits_per_second", least: 20e6, why: "a video stream that nobody acknowledges has 10 Mbit/s", unit: "bits/s", value: ofFloor,
		of: ofFloods("bits", "udp", "icmp", "ack", "rst", "fragment"),
	},
	{
		path: "flood.amplification_per_second", least: 50, why: "late answers come in bursts when a resolver is slow", unit: "packets/s", value: ofFloor,
		of: ofFloods("packets", "amplification"),
	},
	{
		path: "flood.amplification_bits_per_second", least: 1e6, why: "a hundred late answers of full size are as much", unit: "bits/s", value: ofFloor,
		of: ofFloods("bits", "amplification"),
	},
	{
		path: "flood.slow_connections", least: 25, why: "a tenth of the 256 that Apache's prefork module serves at once", unit: "connections", value: ofFloor,
		of: []string{"flood.slow slow_connections", "flood.multi slow_slow_connections"},
	},
	{
		path: "fingerprint.cluster", least: 10, why: "the machines of one office may share a rare print", unit: "sources", value: byRatio,
		of: []string{"fingerprint.cluster sources", "fingerprint.rotation sources"},
	},
	{
		path: "bruteforce.tries", least: 12, why: "people mistype ten times, and servers lock out after 3 to 10", unit: "tries", value: byRatio,
		of: []string{"bruteforce.password tries", "bruteforce.web_login denied"},
	},
	{path: "bruteforce.posts", least: 30, why: "a chat or a form that saves itself posts every ten seconds", unit: "POSTs", of: []string{"bruteforce.web_login posts"}},
	{
		path: "bruteforce.stuffing_sources", least: 10, why: "ten people may log in within five minutes", unit: "sources", value: byRatio,
		of: []string{"bruteforce.stuffing sources"},
	},
	{path: "http.missing", least: 15, why: "a moved site leaves its visitors with a dozen dead links", unit: "paths", of: []string{"http.probing missing_paths"}},
	{path: "http.methods", least: 5, why: "a DAV client's look at one folder is three requests", unit: "requests", of: []string{"http.methods requests"}},
	{path: "http.agents_each", least: 6, why: "a household has as many devices", unit: "User-Agents", of: []string{"http.agents agents"}},
	{path: "http.sources", least: 10, why: "a rare device may be what one office has", unit: "sources", value: byRatio, of: []string{"http.agents sources"}},
	{path: "http.errors_per_second", least: 2, why: "one page may have two dead links", unit: "answers/s", of: []string{"http.errors errors"}},
	{path: "http.requests_per_second", least: 20, why: "one browser asks for the parts of a page at once", unit: "requests/s", of: []string{"http.spike requests"}},
	{path: "dns.rate", least: 0.5, why: "reputation services of mail and virus scanners have some tenths", unit: "bytes/s", of: []string{"dns.tunnel information"}},
	{path: "dns.nxdomains", least: 15, why: "a browser with a search list asks for a dozen that are not there", unit: "domains", of: []string{"dns.nxdomain missing_domains"}},
	{path: "tunnel.packets", least: 15, why: "a dozen pings of different programs are as many contents", unit: "contents", of: []string{"tunnel.icmp distinct_payloads"}},
	{
		path: "exfil.volume", least: 5e6, why: "one mail with an attachment is as much", unit: "bytes", value: inWarmUp,
		of: []string{"exfil.volume bytes_up", "exfil.origin bytes_up"},
	},
	{path: "exfil.day", least: 25e6, why: "a day's telemetry of one program is some megabytes", unit: "bytes", of: []string{"exfil.slow bytes_up"}},
	{path: "rate.connections_per_second", least: 10, why: "one browser opens six to a host", unit: "connections/s", value: ofParts, of: []string{"rate.spike connections"}},
	{path: "rate.packets_per_second", least: 500, why: "one download at 5 Mbit/s has as many", unit: "packets/s", value: ofParts, of: []string{"rate.spike packets"}},
	{path: "rate.bits_per_second", least: 5e6, why: "one download", unit: "bits/s", value: ofParts, of: []string{"rate.spike bits"}},
	{path: "rate.source_connections_per_second", least: 6, why: "one browser opens six to a host", unit: "connections/s", of: []string{"rate.source_spike source_connections"}},
	{path: "rate.source_requests_per_second", least: 10, why: "one browser asks for the parts of a page at once", unit: "requests/s", of: []string{"rate.source_spike source_requests"}},
	{path: "rate.source_packets_per_second", least: 500, why: "one download at 5 Mbit/s has as many", unit: "packets/s", of: []string{"rate.source_spike source_packets"}},
	{path: "rate.source_bits_per_second", least: 5e6, why: "one download", unit: "bits/s", of: []string{"rate.source_spike source_bits"}},
	{path: "rate.sustained_requests", least: 150, why: "one reader of a site in five minutes", unit: "requests", value: ofHours, of: []string{"rate.sustained requests"}},
	{path: "rate.sustained_targets", least: 75, why: "one reader of a site in five minutes", unit: "targets", value: ofHours, of: []string{"rate.sustained targets"}},
	{path: "rate.sustained_bytes", least: 2e6, why: "one page with its pictures", unit: "bytes", value: ofHours, of: []string{"rate.sustained answer_bytes"}},
	{
		path: "latency.rtt", least: float64(20 * time.Millisecond), why: "wireless links vary by as much", of: []string{"latency.rtt handshake"},
		value: func(_ *analyzers.Finding, m *analyzers.Measure, _ float64) float64 {
			if m.Baseline == nil {
				return 0
			}
			return (m.Value - m.Baseline.Mean) * 1e6 // ms
		},
	},
	{path: "latency.retransmissions", least: 2, why: "a wireless link loses as much", unit: "%", of: []string{"latency.retransmission retransmitted"}},
}

// ofFloods are measures of kinds of flood, alone and as part of several.
func ofFloods(measure string, kinds ...string) (all []string) {
	for _, kind := range kinds {
		all = append(all, "flood."+kind+" "+measure, "flood.multi "+kind+"_"+measure)
	}
	return all
}

// ofFloor is byRatio for floods: those below the floor are compared with a baseline.
func ofFloor(f *analyzers.Finding, m *analyzers.Measure, setting float64) float64 {
	if m.Baseline != nil {
		return 0
	}
	return byRatio(f, m, setting)
}

// byRatio is for thresholds that are a multiple of the setting in some cases: one-way ports, what is not known yet.
func byRatio(_ *analyzers.Finding, m *analyzers.Measure, setting float64) float64 {
	return m.Value / m.Threshold * setting
}

// ofParts: the floors of a prefix, a country and the link are five times those of their parts.
func ofParts(f *analyzers.Finding, m *analyzers.Measure, _ float64) float64 {
	if v := f.Victim.Prefix; v.IsValid() && v.IsSingleIP() || f.Subject.ASN != 0 {
		return m.Value
	}
	return m.Value / 5
}

// ofHours: the floors of an hour are four times those of five minutes.
func ofHours(_ *analyzers.Finding, m *analyzers.Measure, _ float64) float64 {
	if m.Window > int64(10*time.Minute) {
		return m.Value / 4
	}
	return m.Value
}

// inWarmUp: ten times the volume is needed while a host's usual one is not known.
func inWarmUp(_ *analyzers.Finding, m *analyzers.Measure, _ float64) float64 {
	if m.Baseline == nil {
		return m.Value / 10
	}
	return m.Value
}

// place is the knob's field of the settings; invalid if there is none.
func (k *knob) place(c *analyzers.Config) reflect.Value {
	v := reflect.ValueOf(c).Elem()
	for _, name := range strings.Split(k.path, ".") {
		v = v.FieldByNameFunc(func(field string) bool {
			f, _ := v.Type().FieldByName(field)
			tag, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			return tag == name
		})
		if !v.IsValid() {
			return v
		}
	}
	return v
}

// get is the setting; durations are in ns.
func (k *knob) get(c *analyzers.Config) float64 {
	switch v := k.place(c); v.Kind() {
	case reflect.Float64:
		return v.Float()
	case reflect.Uint64:
		return float64(v.Uint())
	default:
		return float64(v.Int())
	}
}

// set changes the setting.
func (k *knob) set(c *analyzers.Config, to float64) {
	switch v := k.place(c); v.Kind() {
	case reflect.Float64:
		v.SetFloat(to)
	case reflect.Uint64:
		v.SetUint(uint64(to))
	default:
		v.SetInt(int64(to))
	}
}

// text is a value as the configuration has it.
func (k *knob) text(c *analyzers.Config, v float64) string {
	if k.place(c).Type() == reflect.TypeFor[time.Duration]() {
		return time.Duration(v).Round(10 * time.Microsecond).String()
	}
	if v == math.Trunc(v) {
		return strings.ReplaceAll(number(v), ",", "")
	}
	return number(v)
}

// roundUp is a value with two digits, not below it; whole where the setting is.
func (k *knob) roundUp(c *analyzers.Config, v float64) float64 {
	if v <= 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(v))-1)
	if k.place(c).Kind() != reflect.Float64 {
		unit = max(unit, 1)
	}
	const slack = 1e-9 // of the division
	up := math.Ceil(v/unit-slack) * unit
	return math.Round(up*1e6) / 1e6
}
