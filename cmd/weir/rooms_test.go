package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rooms is who may import whom, of our own packages. A package may also import what those it names import.
var rooms = map[string][]string{
	"decode":                {},
	"decode/filter":         {"decode"},
	"decode/hello":          {},
	"decode/slab":           {},
	"decode/conn":           {"decode", "decode/slab"},
	"analyzers/fingerprint": {"decode", "decode/hello"},
	"analyzers/tally":       {"decode", "decode/conn", "decode/slab", "decode/hello", "analyzers/fingerprint"},
	"analyzers/baseline":    {},
	"analyzers/context":     {},
	"analyzers": {
		"decode", "decode/filter", "decode/hello", "decode/conn", "analyzers/fingerprint", "analyzers/tally",
		"analyzers/baseline", "analyzers/context",
	},
	"analyzers/hunt":           {"decode", "decode/conn"},
	"bpf":                      {},
	"sensor/capture":           {"decode", "decode/filter"},
	"sensor/traffic":           {},
	"sensor/traffic/truth":     {"sensor/alert"},
	"sensor/traffic/rehearsal": {"pcaps", "sensor/alert", "sensor/traffic/truth"},
	"pcaps":                    {},
	"pcaps/origins":            {},
	"sensor/alert":             {"analyzers", "analyzers/context"},
	"sensor/policy":            {"sensor/alert", "analyzers/context"},
	"sensor/bus":               {},
	"sensor/host":              {},
	"sensor/doctor":            {"decode", "decode/filter", "decode/conn", "sensor/capture"},
	"sensor/enforce":           {"sensor/policy", "bpf"},
	"sensor/store":             {"decode/conn", "sensor/alert"},
	"sensor/notify":            {"sensor/alert"},
	"sensor/web":               {"sensor/alert", "sensor/policy"},
	"sensor":                   {"analyzers", "sensor/capture", "sensor/alert"},
}

// TestRooms holds the arrows between packages: data flows from decode to cmd, and nothing points back.
func TestRooms(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "weir/...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], "weir/")
		if strings.HasPrefix(pkg, "cmd/") {
			continue
		}
		if _, ok := rooms[pkg]; !ok {
			t.Errorf("%s: no room of this name in the design", pkg)
			continue
		}
		seen++
		for _, imp := range words[1:] {
			if own, ok := strings.CutPrefix(imp, "weir/"); ok && !mayImport(pkg, own) {
				t.Errorf("%s imports %s", pkg, own)
			}
		}
	}
	if seen < 8 {
		t.Errorf("go list named only %d packages", seen)
	}
}

// mayImport tells whether a room reaches another over the rooms it names.
func mayImport(pkg, imp string) bool {
	return slices.ContainsFunc(rooms[pkg], func(r string) bool { return r == imp || mayImport(r, imp) })
}
