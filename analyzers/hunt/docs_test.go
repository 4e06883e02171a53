package hunt

import (
	"os"
	"strings"
	"testing"
)

// TestFeaturesDocumented holds that docs/hunt.md names every feature.
func TestFeaturesDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/hunt.md")
	if err != nil {
		t.Fatal(err)
	}
	for title, in := range map[string]Input{
		"| connections | |": NewConnections(1), "| hosts by hour (": &Hosts{}, "| requests | |": NewRequests(1), "| clients by hour (": &Clients{},
	} {
		_, section, is := strings.Cut(string(text), title)
		section, _, _ = strings.Cut(section, "\n\n")
		for _, f := range in.Features() {
			if !is || !strings.Contains(section, "`"+f.Name+"`") {
				t.Errorf("%s: %s is not in docs/hunt.md", in.Of(), f.Name)
			}
		}
	}
}
