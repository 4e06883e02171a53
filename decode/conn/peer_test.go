package conn

import "testing"

// TestPeers: who proves its return path is told at once, and for as long as its connection carries packets; so are those of
// connections that began out of sight, once both sides sent payload. Who only asks, or answers, is not.
func TestPeers(t *testing.T) {
	const open = "c S 100 0 0; s S. 900 101 0; c . 101 901 0"
	const minutes = 20
	for _, c := range []struct {
		name, script string
		peer         string
		again        string // a segment each minute
		times        [2]int // how often it is told in 20 minutes
	}{
		{"idle", open, "10.0.0.1", "", [2]int{1, 3}},
		{"long", open, "10.0.0.1", "c P. 101 901 5", [2]int{7, 10}},
		{"three times", open + "; " + open + "; " + open, "10.0.0.1", "", [2]int{1, 3}},
		{"half open", "c S 100 0 0; s S. 900 101 0", "", "", [2]int{}},
		{"wrong acknowledgement", "c S 100 0 0; s S. 900 101 0; c . 101 77 0", "", "c . 101 77 0", [2]int{}},
		{"refused", "c S 100 0 0; s R. 0 101 0", "", "", [2]int{}},
		{"closed", open + "; c F. 101 901 0; s F. 901 102 0; c . 102 902 0", "10.0.0.1", "", [2]int{1, 1}},
		{"stray and refused", "c . 101 901 0; s R 901 0 0", "", "c . 101 901 0", [2]int{}},
		{"stray payload", "c P. 101 901 5; s R 901 0 0", "", "c P. 101 901 5", [2]int{}},
		{"began before", "c P. 101 901 5; s P. 901 106 7", "10.0.0.1", "c P. 106 908 5", [2]int{6, 10}},
	} {
		p := newTape(t)
		p.segments(c.script)
		for range minutes {
			if c.again != "" {
				p.segments(c.again)
			}
			p.wait(60_000)
		}
		told := p.out.Peers
		for _, o := range told {
			if got := o.Addr.Netip(o.Ver).String(); got != c.peer {
				t.Errorf("%s: told %s, want %q", c.name, got, c.peer)
			}
		}
		if n := len(told); n < c.times[0] || n > c.times[1] {
			t.Errorf("%s: told %d times in %d minutes, want %v", c.name, n, minutes, c.times)
		}
	}
}
