package alert

import (
	"strings"
	"testing"

	"weir/analyzers"
	"weir/analyzers/context"
)

// TestNamed puts operators' names into sentences.
func TestNamed(t *testing.T) {
	site := analyzers.NewSite(context.New(context.Config{Names: map[string]string{
		"203.0.113.9": "office-vpn", "10.20.0.0/24": "lab, floor 2", "2001:db8::/32": "six", "10.20.0.22": "bastion",
	}}, nil, nil), nil)
	m := New(Config{})
	m.SetSite(site)
	for _, c := range []struct{ sentence, want string }{
		{"203.0.113.9 had 21 sessions with 10.20.0.22:22, 20 of them alike", "203.0.113.9 (office-vpn) had 21 sessions with 10.20.0.22:22 (bastion), 20 of them alike"},
		{"198.51.100.7 went on.", "198.51.100.7 went on."},
		{"203.0.113.9 and 203.0.113.9 again", "203.0.113.9 (office-vpn) and 203.0.113.9 again"},
		{"to 10.20.0.0/24; from [2001:db8::1]:443/tcp.", "to 10.20.0.0/24 (lab, floor 2); from [2001:db8::1]:443/tcp (six)."},
		{"by several (10.20.0.22)", "by several (10.20.0.22 (bastion))"},
		{"2001:db8:: and 2001:db8::1: both", "2001:db8:: (six) and 2001:db8::1 (six): both"},
		{"at 1.5 packets, 100 % of 10.20.0.22/tcp", "at 1.5 packets, 100 % of 10.20.0.22/tcp"},
		{"", ""},
	} {
		if got := m.named(c.sentence); got != c.want {
			t.Errorf("%q\n   is %q\n want %q", c.sentence, got, c.want)
		}
	}
	many := strings.Repeat("10.20.0.1 10.20.0.2 10.20.0.3 10.20.0.4 10.20.0.5 ", 100)
	if n := strings.Count(m.named(many), "(lab"); n != maxNamed {
		t.Errorf("%d names in a sentence", n)
	}
	if got := New(Config{}).named("203.0.113.9"); got != "203.0.113.9" {
		t.Errorf("without a site: %q", got)
	}
}
