package main

import "strings"

// meaning is what a measure of an alert is.
type meaning struct {
	text string
	most bool // the threshold is the most that it may be
}

// measureMeanings are the measures of all analyzers. A measure that means something else in one kind stands with the kind.
var measureMeanings = map[string]map[string]meaning{
	"scan": {
		"failed_contacts":      {text: "first contacts with an address and port that were refused or stayed silent; retries add nothing"},
		"refused_contacts":     {text: "of these, answered by RST or ICMP unreachable"},
		"silent_contacts":      {text: "of these, without an answer within 5 s"},
		"answered_contacts":    {text: "first contacts that were answered: they count for the source"},
		"unknown_contacts":     {text: "first contacts whose outcome was lost: they count neither way"},
		"tried_contacts":       {text: "first contacts in the window, whatever came of them"},
		"log_likelihood_ratio": {text: "the walk: a failure adds ln((1-scanner)/(1-benign)), a success takes ln(benign/scanner) off; a scanner is at ln(detect/false_alarm)"},
		"distinct_hosts":       {text: "different addresses among the targets"},
		"distinct_ports":       {text: "different ports among the targets"},
		"system_ports":         {text: "different ports below 1024 among them: few clients need many"},
		"rate":                 {text: "first contacts a second over the evidence"},
		"marked_contacts":      {text: "contacts whose headers carry a scanning tool's mark or print"},
		"loss_ratio":           {text: "share of packets that the sensor lost of late: a lost answer looks like silence"},
		"sources":              {text: "scanning sources of one tool at one network, whose targets do not repeat each other's"},
		"failed_targets":       {text: "different addresses and ports that the sources together tried in vain"},
		"distinct_share":       {text: "share of the targets that no other source tried: they divide them, where decoys repeat each other's"},
		"silent_targets":       {text: "hosts that were asked for by ARP and did not answer"},
		"answered_targets":     {text: "hosts that were asked for by ARP and answered"},
	},
	"flood": {
		"half_open":         {text: "handshakes begun at the victim and not completed by the source's ACK"},
		"half_open_share":   {text: "their share of all handshakes: a service that completes the rest is still working"},
		"syn_cusum":         {text: "cumulative sum of SYNs beyond SYN-ACKs (CUSUM): finds what creeps up below the floor"},
		"repeated_syns":     {text: "SYNs again and again from the same ports, which open nothing new"},
		"packets":           {text: "packets of the kind at the victim: of udp and fragment those without answers, of ack and rst those outside of any connection, of amplification those nobody asked for"},
		"bits":              {text: "the same in bits"},
		"completed":         {text: "handshakes that were completed"},
		"slow_connections":  {text: "connections of the service that move less than 100 bytes/s for 30 s"},
		"parts_above_floor": {text: "parts of the victim that cross the floor by themselves: with more of them the whole is the victim", most: true},
		"sources":           {text: "estimate of the senders of late"},
		"sampled_sources":   {text: "different sources in the sample of headers"},
		"sources_seen_once": {text: "share of them with a single packet in the sample: many are a sign of forged addresses"},
		"source_entropy":    {text: "entropy of the sources in the sample, of 0 (one) to 1 (all alike): forged addresses are near 1"},
		"distinct_ttls":     {text: "different hop limits in the sample: forged ones are many, or one"},
		"sample":            {text: "headers that were sampled"},
		"z":                 {text: "below the floor: standard deviations above what is normal for this victim; the threshold is baseline.z"},
		"seconds_over":      {text: "below the floor: seconds of the last few that were above the limit (k of n; baseline.need, baseline.of)"},
	},
	"fingerprint": {
		"print_attempts":         {text: "SYNs whose header fields are a scanning tool's print"},
		"print_contacts":         {text: "first contacts by such SYNs"},
		"marked_contacts":        {text: "first contacts that carry a tool's mark (ZMap's IP id, masscan's and Mirai's sequence numbers)"},
		"contacts":               {text: "all first contacts of the source: half must carry the mark"},
		"sources":                {text: "estimate of the sources with this print at the service; the threshold is also a multiple of what is usual"},
		"usual_share":            {text: "share of the service's sources that have the print at other times", most: true},
		"connections_per_source": {text: "connections with the print, for each source"},
		"gap_mean":               {text: "mean time between them: one client's pace shows through many addresses"},
		"mismatches":             {text: "requests whose User-Agent claims another system than the SYN shows"},
		"others":                 {text: "the same share among the service's other requests", most: true},
		"known_for":              {text: "how long the prints of the protected service were learned before this one came"},
	},
	"bruteforce": {
		"tries":            {text: "short sessions with the login service in the window"},
		"tries_usual":      {text: "how many the baseline expects of this source"},
		"alike":            {text: "share of them with much the same bytes both ways, as wrong passwords have"},
		"client_payload":   {text: "bytes that the client sends in such a session"},
		"server_payload":   {text: "bytes that the server answers in such a session"},
		"sources":          {text: "estimate of the sources with tries at the service"},
		"tries_per_source": {text: "tries of each of them: few, to stay below the limit of one source", most: true},
		"one_print":        {text: "share of the tries with one print of the client: one tool"},
		"new_sources":      {text: "share of the tries from sources that the service did not know"},
		"denied":           {text: "HTTP answers of 401 or 403 to the source"},
		"denied_share":     {text: "share of these in all answers to it"},
		"posts":            {text: "POSTs of the source"},
		"redirects":        {text: "answers of 3xx to them, as login forms give to a wrong password"},
		"paths":            {text: "different paths that were asked for: a form is few", most: true},
	},
	"http": {
		"missing_paths":       {text: "estimate of different paths that were answered by 404 or 410"},
		"missing_share":       {text: "share of such answers in all to the source"},
		"agents":              {text: "estimate of different User-Agents of the source"},
		"agents_each_second":  {text: "share of requests with a User-Agent that the source had not used in that second: a page's parts come with one"},
		"requests":            {text: "requests to the service"},
		"sources":             {text: "estimate of the sources with this User-Agent at the service"},
		"usual_share":         {text: "share of the service's sources that have it at other times", most: true},
		"requests_per_source": {text: "requests with it, for each source"},
		"errors":              {text: "answers of 401, 403, 404 and 5xx in a second"},
		"error_share":         {text: "their share of all answers"},
		"server_errors":       {text: "of these, 5xx: the service's own"},
	},
	"dns": {
		"information":     {text: "bytes a second that the distinct names below the domain could carry, over an hour"},
		"distinct_names":  {text: "different names asked below the domain"},
		"queries":         {text: "questions below the domain"},
		"mean_length":     {text: "mean length of what stands before the domain"},
		"entropy":         {text: "bits a character of it: random letters have 4 and more, words 3"},
		"data_types":      {text: "share of questions for types that carry data (TXT, NULL, …)"},
		"rare_types":      {text: "share of questions for types that are seldom asked (CNAME, MX, SRV, KEY, ANY)"},
		"errors":          {text: "share of answers that are errors"},
		"mean_question":   {text: "mean size of a question"},
		"mean_answer":     {text: "mean size of an answer: a tunnel's are longer than its questions"},
		"missing_domains": {text: "estimate of different registered domains that do not exist"},
		"random_domains":  {text: "of these, those that look generated"},
		"domains":         {text: "different registered domains asked for in all"},
	},
	"tunnel": {
		"requests":          {text: "echo requests in the window"},
		"replies":           {text: "echo replies in the window"},
		"distinct_payloads": {text: "estimate of different contents: ping sends the same again and again, and gets it back"},
		"distinct_sizes":    {text: "different payload sizes"},
		"mean_request":      {text: "mean payload of a request"},
		"mean_reply":        {text: "mean payload of a reply: an honest one is the request's"},
	},
	"exfil": {
		"bytes_up":                  {text: "bytes that the host sent there; the threshold is the floor or a multiple of what it usually sends, whichever is more"},
		"up_down_ratio":             {text: "bytes sent for each byte that came back: a call or a sync is near 1"},
		"unknown_bulk_destinations": {text: "unknown destinations that got a megabyte of the host today: many are peer-to-peer", most: true},
		"addresses":                 {text: "destinations in that autonomous system or country"},
	},
	"beacon": {
		"contacts":            {text: "answered connections, or bursts after a second's pause in one that is open"},
		"beacon_score":        {text: "mean of the next two, of evenness and of duration, each from 0 to 1"},
		"interval_regularity": {text: "mean of 1-|Bowley skewness| and 1-MAD/median of the times between contacts"},
		"size_regularity":     {text: "the same of the bytes that each contact sent"},
		"histogram_evenness":  {text: "1 - coefficient of variation of the contacts over equal spans of the time watched"},
		"duration":            {text: "time watched as a share of what counts in full"},
		"interval_median":     {text: "median time between contacts"},
		"interval_deviation":  {text: "median deviation from it"},
		"inside_clients":      {text: "inside hosts that speak to the server's network: with this many it is taken for usual", most: true},
	},
	"rate": {
		"connections":        {text: "connections a second: TCP completed, else answered"},
		"packets":            {text: "packets a second, both ways; of a drop the threshold is what it stays below"},
		"bits":               {text: "bits a second, both ways"},
		"packets_low":        {text: "seconds of the last that were below the limit"},
		"source_connections": {text: "connections a second of the source at the service, against the service's other sources"},
		"source_requests":    {text: "HTTP requests a second, likewise"},
		"source_packets":     {text: "packets a second over ten seconds, likewise"},
		"source_bits":        {text: "bits a second of answers to the source over ten seconds, likewise"},
		"sources":            {text: "sources that the service has had: fewer make no distribution"},
		"requests":           {text: "requests of the source in the window; where they cannot be read, connections and bursts"},
		"targets":            {text: "different paths, or hosts and ports, in the window"},
		"answer_bytes":       {text: "bytes of answers in the window"},
		"busy_slots":         {text: "parts of the window in which the source did something: it lasts"},
	},
	"change": {
		"clients":          {text: "clients that the new service has had"},
		"memory":           {text: "how long the sensor has known this network: what is older is not new"},
		"outside_networks": {text: "outside networks that the server has spoken to: with more it is not judged", most: true},
		"silent":           {text: "how long there was no answer"},
		"answered_slots":   {text: "ten-second parts of the ten minutes before in which it answered"},
		"asked":            {text: "packets to it since"},
	},
	"latency": {
		"handshake":     {text: "mean time from a SYN to the ACK of its SYN-ACK"},
		"retransmitted": {text: "share of TCP packets with payload that were seen before"},
		"clients":       {text: "different clients with such handshakes: one client may only be far away"},
	},
	"incident": {
		"subjects":       {text: "different sources that began the same at this victim within a minute"},
		"stages":         {text: "stages of an attack, by ATT&CK technique: reconnaissance, credentials, control, theft"},
		"strongest":      {text: "score of the strongest alert, as far as its severity allows"},
		"raise":          {text: "what the further stages add"},
		"further_alerts": {text: "alerts that belong to it and found no room in the list"},
	},
	"weird": {
		"mac_changes":     {text: "times that the address was claimed by another MAC than before"},
		"gratuitous_arp":  {text: "announcements by ARP that nobody asked for, in a second"},
		"seconds_over":    {text: "seconds of the last minute that were above the threshold"},
		"repeated":        {text: "the same, against what makes it medium"},
		"named":           {text: "addresses that do it and are named; further ones are told as one"},
		"answers":         {text: "answers or advertisements of a server or router that is not one of the site's"},
		"land":            {text: "packets whose source and destination are the same"},
		"teardrop":        {text: "fragments that overlap others of their datagram"},
		"bad_flags":       {text: "packets with TCP flags that no stack sends"},
		"martian":         {text: "packets from sources that cannot be"},
		"private_source":  {text: "contacts from private addresses that are not of the site"},
		"split_handshake": {text: "SYNs in answer to SYNs"},
		"ttl":             {text: "packets with another hop limit than their connection began with"},
		"overlap":         {text: "segments sent again with other bounds"},
	},
}

// sharedMeasures go with another measure, by the end of their name.
var sharedMeasures = []struct {
	suffix string
	meaning
}{
	{"_z", meaning{text: "standard deviations above the mean; the threshold is baseline.z"}},
	{"_over", meaning{text: "seconds or samples of the last few that were above the limit (k of n; baseline.need, baseline.of)"}},
}

// meaningOf says what a measure is. Measures of flood.multi begin with the kind that they are of.
func meaningOf(analyzer, kind, measure string) (meaning, bool) {
	known := measureMeanings[analyzer]
	if m, ok := known[measure]; ok {
		return m, true
	}
	for _, s := range sharedMeasures {
		if base, ok := strings.CutSuffix(measure, s.suffix); ok && known[base].text != "" {
			return s.meaning, true
		}
	}
	if analyzer == "incident" && strings.Contains(measure, ".") {
		return meaning{text: "an alert that is part of it, with its score as far as its severity allows"}, true
	}
	if _, of, ok := strings.Cut(measure, "_"); ok && analyzer == "flood" && kind == "multi" {
		m, ok := known[of]
		return m, ok
	}
	return meaning{}, false
}
