package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

// TestConfigFile holds deploy/weir.yaml to what it says: every setting, and its default.
func TestConfigFile(t *testing.T) {
	text, err := os.ReadFile("../../deploy/weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var fromFile config // zero: a setting that the file leaves out stays zero
	if err := fromFile.parse(text); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(defaults(), fromFile); diff != "" {
		t.Errorf("deploy/weir.yaml differs from the defaults (-defaults +file):\n%s", diff)
	}
	all, err := yaml.Marshal(defaults())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(keys(t, all), keys(t, text)); diff != "" {
		t.Errorf("deploy/weir.yaml has other settings than the program (-program +file):\n%s", diff)
	}
}

// keys returns the settings' names, nested, with their values struck out.
func keys(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := yaml.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	var strike func(m map[string]any)
	strike = func(m map[string]any) {
		for k, v := range m {
			if inner, ok := v.(map[string]any); ok {
				strike(inner)
			} else {
				m[k] = nil
			}
		}
	}
	strike(m)
	return m
}

// TestConfigErrors shows that mistakes are told with their place, and not passed over.
func TestConfigErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", "alerts:\n  max_opened: 3\n", ":2:3: "},
		{"repeated key", "memory_mib: 512\nmemory_mib: 600\n", ":2:1: "},
		{"wrong type", "analyzers:\n  scan:\n    hosts: many\n", ":3:12: "},
		{"bad duration", "connections:\n  udp_idle: 5 parsecs\n", ":2:13: "},
		{"second document", "memory_mib: 512\n---\nmemory_mib: 600\n", "more than one YAML document"},
		{"out of range", "analyzers:\n  scan:\n    benign: 1.5\n", "benign"},
		{"tables above the limit", "memory_mib: 100\n", "memory_mib is 100"},
		{"tally above the limit", "tally:\n  contacts: 67108864\n", "memory_mib is 1152"},
		{"scan above the limit", "analyzers:\n  scan:\n    sources: 1048576\n", "memory_mib is 1152"},
		{"flood above the limit", "analyzers:\n  flood:\n    max_victims: 1048576\n", "memory_mib is 1152"},
		{"no YAML", "{{{", ":1:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "weir.yaml")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := readConfig(path)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want the file and %q in it", err, c.want)
			}
		})
	}
}

// TestConfigEmpty shows that what a file leaves out has its default, however little is left.
func TestConfigEmpty(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "connections:\n  # udp_idle: 1m\n", "analyzers:\n  scan:\n", "memory_mib:\n"} {
		c := defaults()
		if err := c.parse([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(defaults(), c); diff != "" {
			t.Errorf("%q changes the defaults:\n%s", text, diff)
		}
	}
	if c, err := readConfig(""); err != nil || !cmp.Equal(c, defaults()) {
		t.Errorf("no file: %v", err)
	}
}
