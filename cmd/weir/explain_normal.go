package main

import (
	"fmt"
	"strconv"

	"weir/sensor/alert"
)

// curveRule is where the baseline keeps what a measure was compared with: the key without its measure, and the measure.
type curveRule struct {
	of      func(a *alert.Alert, m *alert.Measure) []string // keys in words, without the measure; none if there is no such party
	measure string                                          // baseline.Measure
}

// Numbers by which analyzers tell their own keys from those of others.
const (
	numHTTP   = " #1"
	numPosts  = " #1"
	numExfil  = " #6649958"
	numInside = " #1" // of latency
	numOthers = " #2"
)

// curveRules are the measures with a curve, by analyzer, kind and measure.
var curveRules = map[string]curveRule{
	"flood.syn half_open":                  {ofService(""), "half_open"},
	"flood.udp packets":                    {ofVictim(" #2"), "packets"},
	"flood.icmp packets":                   {ofVictim(" #3"), "packets"},
	"flood.ack packets":                    {ofVictim(" #4"), "packets"},
	"flood.rst packets":                    {ofVictim(" #5"), "packets"},
	"rate.spike connections":               {ofParty, "connections"},
	"rate.spike packets":                   {ofParty, "packets"},
	"rate.spike bits":                      {ofParty, "bytes"},
	"rate.drop packets":                    {ofParty, "packets"},
	"rate.source_spike source_connections": {ofService(""), "connections"},
	"rate.source_spike source_requests":    {ofService(""), "requests"},
	"rate.source_spike source_packets":     {ofService(""), "packets"},
	"rate.source_spike source_bits":        {ofService(""), "answers"},
	"rate.sustained requests":              {ofWindow, "requests"},
	"rate.sustained targets":               {ofWindow, "targets"},
	"rate.sustained answer_bytes":          {ofWindow, "bytes_out"},
	"latency.rtt handshake":                {ofServices, "rtt"},
	"latency.retransmission retransmitted": {ofServices, "retrans"},
	"http.spike requests":                  {ofService(numHTTP), "requests"},
	"http.errors errors":                   {ofService(numHTTP), "errors"},
	"http.errors error_share":              {ofService(numHTTP), "error_share"},
	"http.probing missing_paths":           {ofService(numHTTP), "failures"},
	"bruteforce.password tries":            {ofPair, "short_sessions"},
	"bruteforce.stuffing tries":            {ofWindow, "short_sessions"},
	"bruteforce.web_login posts":           {ofService(numPosts), "short_sessions"},
	"exfil.volume bytes_up":                {ofHost, "bytes_out"},
	"exfil.slow bytes_up":                  {ofHost, "bytes_out"},
	"exfil.origin bytes_up":                {ofHost, "bytes_out"},
}

// normalsOf are the keys of the series and distributions that an alert was judged by, as 'weir baseline show' lists them.
func normalsOf(a *alert.Alert) (names []string) {
	for i := range a.Why {
		m := &a.Why[i]
		rule, ok := curveRules[a.Analyzer+"."+a.Kind+" "+m.Name]
		if !ok || a.Analyzer == "flood" && m.Baseline == nil { // by its floor, which needs no baseline
			continue
		}
		for _, key := range rule.of(a, m) {
			names = append(names, key+" "+rule.measure)
		}
	}
	return names
}

// ofParty is the victim, else the subject where that is an origin, else the link.
func ofParty(a *alert.Alert, _ *alert.Measure) []string {
	switch p := a.Victim; {
	case p != nil && p.IP.IsValid() && p.Port != 0:
		return []string{serviceWords(p)}
	case p != nil && p.IP.IsValid():
		return []string{"host " + p.IP.String()}
	case p != nil && p.Prefix.IsValid():
		return []string{"prefix " + p.Prefix.String()}
	}
	switch p := a.Subject; {
	case p != nil && p.ASN != 0:
		return []string{"asn AS" + strconv.FormatUint(uint64(p.ASN), 10)}
	case p != nil && p.Country != "":
		return []string{"country " + p.Country}
	}
	return []string{"link"}
}

func serviceWords(p *alert.Party) string {
	return fmt.Sprintf("service %v %s/%d", p.IP, p.Protocol, p.Port)
}

// ofService is the victim's service, under an analyzer's own number.
func ofService(num string) func(*alert.Alert, *alert.Measure) []string {
	return func(a *alert.Alert, _ *alert.Measure) []string {
		if p := a.Victim; p != nil && p.IP.IsValid() && p.Port != 0 {
			return []string{serviceWords(p) + num}
		}
		return nil
	}
}

// ofWindow is the victim's service or the link, over the measure's window in seconds.
func ofWindow(a *alert.Alert, m *alert.Measure) []string {
	num := fmt.Sprintf(" #%.0f", m.Window)
	if keys := ofService(num)(a, m); keys != nil {
		return keys
	}
	return []string{"link" + num}
}

// ofServices is the victim's service, or the lots of inside and of outside ones.
func ofServices(a *alert.Alert, m *alert.Measure) []string {
	if keys := ofService("")(a, m); keys != nil {
		return keys
	}
	return []string{"link" + numInside, "link" + numOthers}
}

// ofPair is a client at the victim's service.
func ofPair(a *alert.Alert, _ *alert.Measure) []string {
	if a.Subject == nil || a.Victim == nil || !a.Subject.IP.IsValid() || !a.Victim.IP.IsValid() {
		return nil
	}
	return []string{fmt.Sprintf("service_peer %v >%v %s/%d", a.Victim.IP, a.Subject.IP, a.Victim.Protocol, a.Victim.Port)}
}

// ofVictim is the victim's host, under an analyzer's own number.
func ofVictim(num string) func(*alert.Alert, *alert.Measure) []string {
	return func(a *alert.Alert, _ *alert.Measure) []string {
		if a.Victim == nil || !a.Victim.IP.IsValid() {
			return nil
		}
		return []string{"host " + a.Victim.IP.String() + num}
	}
}

// ofHost is the inside host that sent.
func ofHost(a *alert.Alert, _ *alert.Measure) []string {
	if a.Subject == nil || !a.Subject.IP.IsValid() {
		return nil
	}
	return []string{"host " + a.Subject.IP.String() + numExfil}
}
