package main

import "testing"

// TestLocate finds what messages mean in a file, where the same names stand in several sections.
func TestLocate(t *testing.T) {
	const text = `# a comment
memory_mib: 512
connections:
  connections: 524288
  half_open: 3
analyzers:
  scan:
    keep: 1s
    sources: 7
    benign: 0.3
  fingerprint: {sources: 5, keep: 2s}
tally: &tally
  sources: 9
nats:
  listen: 0.0.0.0:4222
  streams:
    drops:
      max_mib: 0
    alerts:
      max_age: 5m
alerts:
  max_open: 0
capture:
`
	for message, want := range map[string]place{
		"memory_mib is 512: the tables need 600 at least; raise it or shrink connections, tally or analyzers": {2, 1},
		"connections: half_open is 3, must be 64 to 5":                                                        {5, 3},
		"connections: connections is 3, must be 64 to 5":                                                      {4, 3},
		"scan: sources must be from 8 to 1048576":                                                             {9, 5},
		"scan: window must be at least 1s and keep at least window":                                           {8, 5},
		"scan: need 0 < scanner < benign < 1":                                                                 {10, 5},
		"fingerprint: sources must be from 8 to 1048576":                                                      {11, 17},
		"tally: sources is 9, must be 1 to 5":                                                                 {13, 3},
		"tally: contacts is 9, must be 1 to 5":                                                                {12, 1}, // not in the file: the section
		"nats: streams: alerts: max_age is 5m0s, must be 1h or more":                                          {20, 7},
		"nats: streams: drops: max_mib is 0, must be 1 to 5":                                                  {18, 7},
		`nats: listen is "0.0.0.0:4222", which others can reach: give ... `:                                   {15, 3},
		"alerts: max_open is 0, must be 1 to 1000000":                                                         {22, 3},
		"capture: snaplen is 5, must be 96 to 65535, or 0":                                                    {23, 1},
		"flood: max_victims is 0, must be 1 to 5":                                                             {},
		"":                            {},
		"more than one YAML document": {},
		"log: the alerts of scan have no sources": {},
	} {
		if got := locate([]byte(text), message); got != want {
			t.Errorf("%q is at %v, want %v", message, got, want)
		}
	}
	for _, text := range []string{"", "- 1\n- 2\n", "{{{", "scan", "scan: {"} {
		if got := locate([]byte(text), "scan: keep is 0"); got != (place{}) && text != "scan: {" {
			t.Errorf("%q: %v", text, got)
		}
	}
}
