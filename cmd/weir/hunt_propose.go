package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"weir/analyzers/hunt"
)

// proposedFor is how long a proposed rule lasts: what is expected for longer is looked at again.
const proposedFor = 30 * 24 * time.Hour

// maxProposed bounds the rules.
const maxProposed = 100

// analyzerOf is which analyzer tells of what a feature measures.
var analyzerOf = map[string]string{
	"sent": "exfil", "sent_to_received": "exfil", "largest": "exfil", "rate": "rate", "packets_sent": "rate", "received": "rate", "packets_received": "rate",
	"source_services": "scan", "source_failed": "scan", "failed": "scan", "failures": "scan", "services": "scan", "targets": "scan", "unanswered": "scan", "refused": "scan",
	"source_attempts": "bruteforce", "short": "bruteforce", "pause": "beacon", "pause_spread": "beacon", "odd_flags": "weird", "icmp": "tunnel", "other": "tunnel",
}

// proposal is mute rules for the outliers and odd groups that are listed, as a piece of a configuration.
func (r *huntReport) proposal(now time.Time) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# weir hunt: rules for what it found, if that is expected. A rule silences an analyzer for these addresses until its end:\n")
	fmt.Fprintf(&out, "# look at each, say in its reason what it is, and take out the rest. Check with 'weir check', compare with 'weir diff'.\n")
	until := now.Add(proposedFor).UTC().Format(time.DateOnly)
	seen := map[string]bool{}
	var rules []string
	add := func(subject, object string, why []hunt.Reason, text string) {
		from, err := netip.ParseAddr(subject)
		if err != nil || len(rules) == maxProposed {
			return
		}
		rule := fmt.Sprintf("analyzer: %s, subject: [%q]", r.analyzer(why), from.WithZone("").String())
		if to, err := netip.ParseAddr(object); err == nil {
			rule += fmt.Sprintf(", victim: [%q]", to.WithZone("").String())
		}
		if seen[rule] {
			return
		}
		seen[rule] = true
		rules = append(rules, fmt.Sprintf("  # %s\n  - {%s, reason: \"weir hunt found it unusual; say here why it is expected\", until: %s}\n", comment(text), rule, until))
	}
	for i := range r.Stories {
		o := &r.Stories[i]
		add(o.Row.Subject, o.Row.Object, o.Why, fmt.Sprintf("outlier %d: %s; %s", o.Rank, describeRow(&o.Row), reasonsOf(o.Why)))
	}
	for i, c := range r.rare() {
		if i < r.cmd.Top && c.TopShare > 0.5 {
			add(c.Top, "", c.Why, fmt.Sprintf("odd group of %d: %s", c.Rows, c.Text))
		}
	}
	if len(rules) == 0 {
		fmt.Fprintf(&out, "# Nothing that was found has an address.\n")
		return out.Bytes()
	}
	fmt.Fprintf(&out, "mutes:\n%s", strings.Join(rules, ""))
	return out.Bytes()
}

// analyzer is the one that tells of what sets a row apart.
func (r *huntReport) analyzer(why []hunt.Reason) string {
	if r.rows.requests != nil {
		return "http"
	}
	for _, one := range why {
		if name := analyzerOf[one.Feature]; name != "" {
			return name
		}
	}
	return "change"
}

func reasonsOf(why []hunt.Reason) string {
	var all []string
	for _, one := range why {
		all = append(all, one.Text)
	}
	return strings.Join(all, "; ")
}

// comment is text that stays within a YAML comment.
func comment(s string) string { return fit(printable(s), 300) }
