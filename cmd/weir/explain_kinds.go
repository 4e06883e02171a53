package main

import (
	"math"
	"slices"
	"strings"

	"weir/sensor/alert"
)

// kindRule is how a kind of alert is scored.
type kindRule struct {
	cap    int      // the highest of the kind
	words  string   // how the score comes about
	base   float64  // where the score is by measures: at the threshold,
	step   float64  // more for each
	factor float64  // above it
	by     []string // by the strongest of these measures; of several kinds in one, by the end of their names
}

// alertKinds are the kinds as the analyzers document them.
var alertKinds = map[string]kindRule{
	"scan.vertical":    scanRule(69, ""),
	"scan.horizontal":  scanRule(69, ""),
	"scan.strobe":      scanRule(69, ""),
	"scan.block":       scanRule(69, ""),
	"scan.null":        scanRule(69, "; 10 for flags that no stack sends"),
	"scan.fin":         scanRule(69, "; 10 for flags that no stack sends"),
	"scan.xmas":        scanRule(69, "; 10 for flags that no stack sends"),
	"scan.ack":         scanRule(60, ""),
	"scan.maimon":      scanRule(60, ""),
	"scan.udp":         scanRule(69, ""),
	"scan.icmp_sweep":  scanRule(69, ""),
	"scan.arp_sweep":   {cap: 60, words: "25 and one for each silent host above the threshold; from twice as many on 50 and 6 for each doubling"},
	"scan.distributed": {69, "55 at the threshold, 6 more for each doubling of the sources", 55, 6, 2, []string{"sources"}},

	"flood.syn":           floodRule(100, "half_open", "repeated_syns"),
	"flood.udp":           floodRule(100, "packets", "bits"),
	"flood.icmp":          floodRule(89, "packets", "bits"),
	"flood.ack":           floodRule(100, "packets", "bits"),
	"flood.rst":           floodRule(89, "packets", "bits"),
	"flood.fragment":      floodRule(89, "packets", "bits"),
	"flood.connection":    floodRule(89, "completed"),
	"flood.amplification": floodRule(100, "packets", "bits"),
	"flood.slow":          floodRule(89, "slow_connections"),
	"flood.multi":         floodRule(100, "_half_open", "_repeated_syns", "_packets", "_bits", "_completed", "_slow_connections"),

	"fingerprint.tool":     {cap: 60, words: "30, 5 more for each doubling of the distinct targets tried with the print or mark: 16 make it medium"},
	"fingerprint.cluster":  {60, "50 at the threshold, 5 more for each doubling of the sources", 50, 5, 2, []string{"sources"}},
	"fingerprint.rotation": {60, "50 at the threshold, 5 more for each doubling of the addresses", 50, 5, 2, []string{"sources"}},
	"fingerprint.mismatch": {cap: 45, words: "35 at the threshold, 5 more for each doubling of the requests; low, because proxies look so"},
	"fingerprint.new":      {cap: 60, words: "50, because the service is listed in fingerprint.protect; 45 for a User-Agent, which changes with each version"},

	"bruteforce.password":  {cap: 69, words: "50 at the threshold, 5 more for each doubling of the tries; 45 at most for inside programs by the clock or in the first day"},
	"bruteforce.stuffing":  {69, "50 at the threshold, 5 more for each doubling of the sources", 50, 5, 2, []string{"sources"}},
	"bruteforce.web_login": {cap: 69, words: "50 at the threshold, 5 more for each doubling; 45 at most for inside programs by the clock or in the first day"},

	"http.probing": {cap: 69, words: "50 at the threshold, 5 more for each doubling of the missing paths; 45 at most for an inside source in the first day"},
	"http.agents":  {cap: 60, words: "of many sources 50 to 60, of one source 45 at most: 5 more for each doubling"},
	"http.methods": {cap: 45, words: "30 at the threshold, 5 more for each doubling; low, because a method is no attack"},
	"http.errors":  {69, "50 at the limit, 5 more for each doubling of the errors", 50, 5, 2, []string{"errors"}},
	"http.spike":   {69, "50 at the limit, 5 more for each doubling of the requests", 50, 5, 2, []string{"requests"}},

	"dns.tunnel": {cap: 89, words: "50; 10 more each for types that carry data, for names of 40 characters, for ten times the rate and for answers longer than " +
		"questions; 5 for an entropy of 3.5 bits; 15 less where four in five answers are errors; 45 at most where many clients ask so"},
	"dns.nxdomain": {69, "55 at the threshold, 5 more for each doubling of the missing domains; 40 at most if they look like words", 55, 5, 2, []string{"missing_domains"}},
	"tunnel.icmp":  {cap: 89, words: "75; 5 more each for eight sizes, for 64 kB and for more than one sign; 55 for signs that a monitor may have"},

	"exfil.volume":  exfilRule,
	"exfil.slow":    exfilRule,
	"exfil.origin":  exfilRule,
	"beacon.beacon": {cap: 69, words: "50 at the least beacon score, 65 at a beacon score of 1; 45 at most for keep-alives, monitors, and services that programs poll"},

	"rate.spike":        {69, "50 at the limit, 10 more for each doubling of the strongest measure; volume alone 49 at most", 50, 10, 2, []string{"connections", "packets", "bits"}},
	"rate.source_spike": {69, "50 at the limit, 10 more for each doubling of the strongest measure; volume alone 49 at most", 50, 10, 2, []string{"source_connections", "source_requests", "source_packets", "source_bits"}},
	"rate.sustained":    {69, "50 at the limit, 10 more for each doubling of the strongest measure", 50, 10, 2, []string{"requests", "targets", "answer_bytes"}},
	"rate.drop":         {cap: 49, words: "40, and up to 9 more the longer it lasts; low, because silence is no attack"},

	"latency.rtt":            {49, "30 at the limit, 10 more for each doubling; low", 30, 10, 2, []string{"handshake"}},
	"latency.retransmission": {49, "30 at the limit, 10 more for each doubling; low", 30, 10, 2, []string{"retransmitted"}},

	"change.new_service":    {cap: 49, words: "35; 20 (info) if only the inside has reached it"},
	"change.new_peer":       {cap: 49, words: "30; 45 if a list names the peer"},
	"change.silent_service": {cap: 49, words: "30; 45 if it is still asked and does not answer"},

	"weird.land":            oddRule(69, 40, 10),
	"weird.teardrop":        oddRule(69, 40, 10),
	"weird.bad_flags":       oddRule(60, 30, 20),
	"weird.martian":         oddRule(60, 30, 100),
	"weird.private_source":  oddRule(60, 30, 50),
	"weird.split_handshake": oddRule(60, 30, 10),
	"weird.ttl":             {cap: 35, words: "20 (info); 30 from ten times the threshold"},
	"weird.overlap":         {cap: 24, words: "20 (info): a changed MTU looks the same"},
	"weird.arp_conflict":    {cap: 69, words: "30; 55 and more if the address changes hands again and again, as while it is poisoned"},
	"weird.arp_storm":       {cap: 69, words: "35; 55 if it lasts"},
	"weird.rogue_dhcp":      {cap: 69, words: "by whether the site's servers are known, and how often it answered"},
	"incident.campaign":     {cap: 100, words: incidentWords},
	"incident.compromise":   {cap: 100, words: incidentWords},
	"incident.crowd":        {cap: 100, words: "the strongest of its alerts: many who do the same at once are one stage"},

	"weird.rogue_router": {cap: 69, words: "by whether the site's routers are known, and how often it advertised itself"},
}

// incidentWords say how an alert about alerts is scored.
const incidentWords = "the strongest of its alerts, 10 more for each further stage of the attack, 5 where addresses may be forged; without any proven " +
	"return path no graver than the gravest of them"

// unusualFlood is a flood below the floor, which is none for others.
var unusualFlood = kindRule{
	69, "below the floor, and not normal for this victim: 50 at the limit, 10 more for each doubling", 50, 10, 2, []string{"half_open", "packets"},
}

// ruleOf is how an alert is scored; false if this version does not know.
func ruleOf(a *alert.Alert) (kindRule, bool) {
	if a.Analyzer == "flood" && len(a.Why) > 0 && a.Why[0].Baseline != nil {
		return unusualFlood, true
	}
	r, known := alertKinds[a.Analyzer+"."+a.Kind]
	return r, known
}

var exfilRule = kindRule{
	89, "75 at what was needed, 4 more for each doubling; 55 at most if nearly as much came back, 45 for peer-to-peer and during warm-up", 75, 4, 2,
	[]string{"bytes_up"},
}

func scanRule(limit int, more string) kindRule {
	return kindRule{cap: limit, words: "50 where the test is met, 6 more for each doubling of the distinct failed contacts over those that it needs" +
		"; 5 for a tool's marks on half of the contacts" + more + "; 60 at most without failures, 40 or 45 for what is likely to be benign"}
}

func floodRule(limit int, by ...string) kindRule {
	return kindRule{limit, "60 at the floor, 20 more for each factor of ten above it", 60, 20, 10, by}
}

func oddRule(limit, once, often int) kindRule {
	return kindRule{cap: limit, words: number(float64(once)) + "; 55 from " + number(float64(often)) +
		" on, 5 more for each doubling, unless another finding tells of the same"}
}

// score is the measure that decides the score, and what it makes; false where the score is not of one measure.
func (r *kindRule) score(a *alert.Alert) (by *alert.Measure, points int, ok bool) {
	for i := range a.Why {
		m := &a.Why[i]
		if !slices.ContainsFunc(r.by, func(name string) bool {
			return m.Name == name || name[0] == '_' && strings.HasSuffix(m.Name, name)
		}) || m.Threshold <= 0 || m.Value < m.Threshold {
			continue
		}
		if n := r.points(a, m); by == nil || n > points {
			by, points = m, n
		}
	}
	return by, points, by != nil
}

// volumes are measures of rate that make no more than low by themselves.
var volumes = []string{"packets", "bits", "source_packets", "source_bits"}

// points is what one measure makes.
func (r *kindRule) points(a *alert.Alert, m *alert.Measure) int {
	const rounding = 1e-6 // of the published numbers
	steps := math.Log(m.Value/m.Threshold) / math.Log(r.factor)
	limit := r.cap
	if a.Analyzer == "rate" && slices.Contains(volumes, m.Name) {
		limit = 49
	}
	return int(min(r.base+math.Floor(r.step*steps+rounding), float64(limit)))
}
