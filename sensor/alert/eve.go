package alert

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// rule is what a kind is called where alerts are made by numbered rules.
type rule struct {
	id        int    // EVE's signature_id: never changes, never used again
	transport string // where the parties do not say it; IANA keyword in lower case, none if it may be several
	title     string
}

// Signature ids are 1900000 to 1900999, within the range that is for local use (sidallocation.org: 1000000–1999999) and far
// from where local rules begin. A hundred for each of the first analyzers, ten for the later ones; the first of them, and 1900000
// for analyzers, is for kinds that are not listed.
const anyRule = 1900000

var rules = map[string]map[string]rule{
	"scan": {
		"":            {1900100, "", "scan"},
		"vertical":    {1900101, "", "many ports of one host"},
		"horizontal":  {1900102, "", "one port of many hosts"},
		"strobe":      {1900103, "", "few ports of many hosts"},
		"block":       {1900104, "", "many ports of many hosts"},
		"null":        {1900105, "tcp", "probes without flags"},
		"fin":         {1900106, "tcp", "FIN probes"},
		"xmas":        {1900107, "tcp", "FIN, PSH and URG probes"},
		"ack":         {1900108, "tcp", "ACK probes"},
		"maimon":      {1900109, "tcp", "FIN and ACK probes"},
		"udp":         {1900110, "udp", "UDP probes"},
		"icmp_sweep":  {1900111, "icmp", "echo requests to many hosts"},
		"arp_sweep":   {1900112, "", "ARP requests for many hosts"},
		"distributed": {1900113, "", "many sources divide one network"},
	},
	"flood": {
		"":              {1900200, "", "flood"},
		"syn":           {1900201, "tcp", "handshakes without the completing ACK"},
		"udp":           {1900202, "udp", "UDP without answers"},
		"icmp":          {1900203, "icmp", "ICMP without answers"},
		"fragment":      {1900204, "", "fragments"},
		"ack":           {1900205, "tcp", "ACKs outside of any connection"},
		"rst":           {1900206, "tcp", "RSTs outside of any connection"},
		"connection":    {1900207, "tcp", "completed handshakes"},
		"amplification": {1900208, "udp", "answers that nobody asked for"},
		"slow":          {1900209, "tcp", "many connections that hardly move"},
		"multi":         {1900210, "", "several floods at one victim"},
	},
	"incident": {
		"":           {1900900, "", "incident"},
		"campaign":   {1900901, "", "several stages of one subject"},
		"compromise": {1900902, "", "a host was attacked and then acted"},
		"crowd":      {1900903, "", "many subjects alike against one victim"},
	},
	"fingerprint": {
		"":     {1900300, "", "fingerprint"},
		"tool": {1900301, "tcp", "SYN of a scanning tool"},

		"cluster":  {1900302, "", "one rare print of many sources"},
		"mismatch": {1900303, "tcp", "a User-Agent of another system than the SYN's"},
		"rotation": {1900304, "", "one client behind many addresses"},
		"new":      {1900305, "", "a client print that a protected service never saw"},
	},
	"bruteforce": {
		"":          {1900400, "tcp", "guessed credentials"},
		"password":  {1900401, "tcp", "one source guesses credentials"},
		"stuffing":  {1900402, "tcp", "many sources guess credentials"},
		"web_login": {1900403, "tcp", "credentials guessed over HTTP"},
	},
	"http": {
		"":        {1900500, "tcp", "odd behaviour at a web service"},
		"errors":  {1900501, "tcp", "a surge of errors"},
		"methods": {1900502, "tcp", "methods that the service does not know"},
		"probing": {1900503, "tcp", "many paths that are not there"},
		"agents":  {1900504, "tcp", "odd User-Agents"},
		"spike":   {1900505, "tcp", "a spike of requests"},
	},
	"dns": {
		"":         {1900600, "", "odd names"},
		"tunnel":   {1900601, "", "data in names below one domain"},
		"nxdomain": {1900602, "", "many names that do not exist"},
	},
	"tunnel": {
		"":     {1900610, "", "tunnel"},
		"icmp": {1900611, "icmp", "data in echoes"},
	},
	"exfil": {
		"":       {1900620, "", "data leaves"},
		"volume": {1900621, "", "far more than usual to a place that is not known"},
		"slow":   {1900622, "", "far more in a day than usual"},
		"origin": {1900623, "", "far more than usual to one country or system"},
	},
	"beacon": {
		"":       {1900630, "", "calls by the clock"},
		"beacon": {1900631, "", "regular calls to one place"},
	},
	"rate": {
		"":             {1900640, "", "rate"},
		"spike":        {1900641, "", "far above what is normal"},
		"drop":         {1900642, "", "far below what is normal"},
		"source_spike": {1900643, "", "one source far above the others"},
		"sustained":    {1900644, "", "one source that goes on and on"},
	},
	"change": {
		"":               {1900650, "", "change"},
		"new_service":    {1900651, "", "a service that was not there"},
		"new_peer":       {1900652, "", "a server calls a place that is new"},
		"silent_service": {1900653, "", "a service has gone silent"},
	},
	"latency": {
		"":               {1900660, "tcp", "latency"},
		"rtt":            {1900661, "tcp", "handshakes take longer"},
		"retransmission": {1900662, "tcp", "more is sent again"},
	},
	"weird": {
		"":                {1900670, "", "oddity"},
		"arp_conflict":    {1900671, "", "one address, two hardware addresses"},
		"arp_storm":       {1900672, "", "a storm of gratuitous ARP"},
		"rogue_dhcp":      {1900673, "udp", "a DHCP server that is new"},
		"rogue_router":    {1900674, "ipv6-icmp", "a router advertises that is new"},
		"land":            {1900675, "", "from itself to itself"},
		"teardrop":        {1900676, "", "overlapping fragments"},
		"bad_flags":       {1900677, "tcp", "flags that no system sends"},
		"martian":         {1900678, "", "a source that cannot be"},
		"ttl":             {1900679, "", "the hop limit changed within a connection"},
		"private_source":  {1900680, "", "a private source from outside"},
		"split_handshake": {1900681, "tcp", "a SYN answered by a SYN"},
		"overlap":         {1900682, "tcp", "segments sent again with other bounds"},
	},
}

// Kinds lists all kinds that this version knows, as "scan.vertical", sorted.
func Kinds() (names []string) {
	for analyzer, kinds := range rules {
		for kind := range kinds {
			if kind != "" {
				names = append(names, analyzer+"."+kind)
			}
		}
	}
	slices.Sort(names)
	return names
}

func (a *Alert) rule() rule {
	kinds, known := rules[a.Analyzer]
	if !known {
		return rule{id: anyRule, title: "alert"}
	}
	if r, known := kinds[a.Kind]; known {
		return r
	}
	return kinds[""]
}

// transport is the IANA keyword of the protocol in lower case; "" if there is none or several.
func (a *Alert) transport() string {
	for _, p := range []*Party{a.Victim, a.Subject} {
		if p == nil {
			continue
		}
		switch p.Protocol {
		case "tcp", "udp", "icmp", "sctp", "udplite":
			return p.Protocol
		case "icmpv6":
			return "ipv6-icmp"
		}
	}
	if t := a.rule().transport; t != "icmp" || !a.over6() {
		return t
	}
	return "ipv6-icmp"
}

// over6 tells whether the parties have IPv6 addresses.
func (a *Alert) over6() bool {
	for _, p := range []*Party{a.Victim, a.Subject} {
		if addr := p.first(); addr.IsValid() {
			return addr.Is6() && !addr.Is4In6()
		}
	}
	return false
}

// first is the address of a party, or the first of its prefix, without a zone; the zero Addr if it names nobody.
func (p *Party) first() netip.Addr {
	switch {
	case p == nil:
		return netip.Addr{}
	case p.IP.IsValid():
		return p.IP.WithZone("")
	}
	return p.Prefix.Masked().Addr()
}

// eve is an alert event of Suricata's eve.json, after etc/schema.json and src/output-json-alert.c of Suricata 8.
type eve struct {
	Timestamp   string     `json:"timestamp"`
	FlowID      uint64     `json:"flow_id,omitempty"`
	EventType   string     `json:"event_type"`
	SrcIP       netip.Addr `json:"src_ip"`
	SrcPort     uint16     `json:"src_port,omitempty"`
	DestIP      netip.Addr `json:"dest_ip"`
	DestPort    uint16     `json:"dest_port,omitempty"`
	Proto       string     `json:"proto,omitempty"`
	CommunityID string     `json:"community_id,omitempty"`
	Host        string     `json:"host,omitempty"`
	Alert       eveAlert   `json:"alert"`
}

type eveAlert struct {
	Action      string              `json:"action"`
	GID         int                 `json:"gid"`
	SignatureID int                 `json:"signature_id"`
	Rev         int                 `json:"rev"`
	Signature   string              `json:"signature"`
	Category    string              `json:"category"`
	Severity    int                 `json:"severity"`
	Metadata    map[string][]string `json:"metadata"` // the one object of the schema that may hold more
}

// eveTime is Suricata's form of a time: microseconds, and the zone without a colon.
const eveTime = "2006-01-02T15:04:05.000000-0700"

// eveSeverities are priorities, 1 the highest of 4. Those of classification.config go for classes, not for strength.
var eveSeverities = [SeverityCount]int{Info: 4, Low: 3, Medium: 2, High: 1, Critical: 1}

// eveCategories are descriptions of etc/classification.config.
var eveCategories = map[string]string{
	"scan": "Detection of a Network Scan", "fingerprint": "Detection of a Network Scan", "flood": "Detection of a Denial of Service Attack",
}

var eveProtocols = map[string]string{
	"tcp": "TCP", "udp": "UDP", "icmp": "ICMP", "ipv6-icmp": "IPv6-ICMP", "sctp": "SCTP", "udplite": "UDPLite",
}

// AppendEVE appends the revision as an alert event of Suricata's eve.json, newline included.
//
// The subject is the source, the victim the destination. Consumers index both as addresses and group by them, so both are
// always there: of a prefix its first address, of nobody the unspecified address (0.0.0.0 or ::). What EVE has no place for
// stands in alert.metadata, as lists of strings. flow_id is the same for all revisions of an alert and below 2^53.
func (a *Alert) AppendEVE(b []byte) ([]byte, error) {
	r := a.rule()
	src, dest := a.Subject.first(), a.Victim.first()
	nobody := netip.IPv4Unspecified()
	if a.over6() {
		nobody = netip.IPv6Unspecified()
	}
	e := eve{
		Timestamp: time.Unix(0, int64(a.Time)).UTC().Format(eveTime), EventType: "alert", FlowID: a.flowID(),
		SrcIP: cmp.Or(src, nobody), DestIP: cmp.Or(dest, nobody), Proto: eveProtocols[a.transport()],
		CommunityID: a.CommunityID, Host: a.Sensor,
		Alert: eveAlert{
			Action: "allowed", GID: 1, SignatureID: r.id, Rev: 1, Signature: fmt.Sprintf("weir %s %s: %s", a.Analyzer, a.Kind, r.title),
			Category: cmp.Or(eveCategories[a.Analyzer], "Misc activity"), Severity: eveSeverities[a.Severity], Metadata: a.eveMetadata(),
		},
	}
	if a.Subject != nil {
		e.SrcPort = a.Subject.Port
	}
	if a.Victim != nil {
		e.DestPort = a.Victim.Port
	}
	if a.dropped() {
		e.Alert.Action = "blocked"
	}
	return appendJSON(b, &e)
}

// dropped tells whether the gate was told to drop for the alert, not only to rehearse it, or did.
func (a *Alert) dropped() bool {
	asked := a.Action != nil && a.Action.Drop != "" && a.Action.Effect != "shadow" && a.Action.Effect != "pending"
	return asked || a.Blocked != nil
}

// flowID is made of the first 52 bits of the identity: a JavaScript number holds it.
func (a *Alert) flowID() uint64 {
	id, err := strconv.ParseUint(a.ID, 16, 64)
	if err != nil {
		return 0
	}
	return id >> 12
}

func (a *Alert) eveMetadata() map[string][]string {
	m := map[string][]string{
		"weir_id": {a.ID}, "weir_rev": {strconv.Itoa(a.Rev)}, "weir_state": {a.State.String()}, "weir_severity": {a.Severity.String()},
		"weir_score": {strconv.Itoa(a.Score)}, "weir_confidence": {strconv.Itoa(a.Confidence)}, "weir_count": {strconv.FormatUint(a.Count, 10)},
		"weir_first": {a.First.String()}, "weir_last": {a.Last.String()}, "weir_summary": {a.Summary},
		"weir_loss_ratio": {number(a.Loss.Ratio)},
	}
	more := func(name string, values ...string) {
		if len(values) > 0 {
			m[name] = values
		}
	}
	for name, p := range map[string]*Party{"weir_subject": a.Subject, "weir_victim": a.Victim} {
		if p.first().IsValid() {
			more(name, p.String())
		}
	}
	if a.Subject != nil && a.Subject.ReturnPath != "" {
		more("weir_return_path", a.Subject.ReturnPath)
	}
	more("mitre_technique_id", a.Attack...)
	more("weir_notes", a.Notes...)
	var why, fields []string
	for i := range a.Why {
		why = append(why, a.Why[i].String())
	}
	more("weir_why", why...)
	if a.Signature != nil {
		for _, f := range a.Signature.Fields {
			fields = append(fields, f.Name+"="+f.Value)
		}
	}
	more("weir_signature", fields...)
	if a.Evidence != nil {
		more("weir_evidence", a.Evidence.File)
	}
	if a.Action != nil && a.Action.Guard != "" {
		more("weir_guard", a.Action.Guard)
	}
	if b := a.Blocked; b != nil {
		more("weir_blocked_packets", strconv.FormatUint(b.Packets, 10))
		more("weir_blocked_bytes", strconv.FormatUint(b.Bytes, 10))
	}
	if a.Incident != "" {
		more("weir_incident", a.Incident)
	}
	if a.Muted != nil {
		more("weir_muted", a.Muted.Reason)
	}
	if a.Config != "" {
		more("weir_config", a.Config)
	}
	return m
}

// String is the measure in words: "half_open=682 handshakes/s (threshold 500)".
func (m *Measure) String() string {
	s := m.Name + "=" + number(m.Value)
	if m.Unit != "" {
		s += " " + m.Unit
	}
	if m.Threshold != 0 {
		s += " (threshold " + number(m.Threshold) + ")"
	}
	if m.Alert != "" {
		s += " (alert " + m.Alert + ")"
	}
	return s
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
