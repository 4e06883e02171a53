package filter

import (
	"errors"
	"strings"
	"testing"
)

func TestParseErrors(t *testing.T) {
	cases := []struct {
		expr string
		col  int
		want string // part of the message
	}{
		{"tpc", 1, `did you mean "tcp"?`},
		{"tcp and prot 80", 9, `did you mean "port"?`},
		{"udp or hots 10.0.0.1", 8, `did you mean "host"?`},
		{"frobnicate", 1, `unknown word "frobnicate"`},
		{"", 0, ""},
		{"tcp and", 8, "ends where a condition is expected"},
		{"tcp udp", 5, `expected "and" or "or" before "udp"`},
		{"(tcp", 1, `"(" without ")"`},
		{"tcp)", 4, `")" without "("`},
		{"()", 2, `expected a condition, found`},
		{"and tcp", 1, `expected a condition, found "and"`},
		{"port", 5, `"port" needs a value`},
		{"port http", 6, `"http" is no port`},
		{"port 65536", 6, "is no port"},
		{"port -1", 6, "is a range"},
		{"port 1-2", 6, "write portrange 1-2"},
		{"portrange 80", 11, "is no range"},
		{"host example.org", 6, "names are not looked up"},
		{"host 10.0.0.0/8", 6, "write net 10.0.0.0/8"},
		{"host fe80::1%eth0", 6, "is no address"},
		{"net 10.1", 5, "is no address"},
		{"net 10.1.2.3/8", 5, "write 10.0.0.0/8"},
		{"net 10.0.0.0/33", 5, "is no network"},
		{"icmp port 80", 11, `"icmp" has no ports`},
		{"tcp host 10.0.0.1", 10, "write tcp and host 10.0.0.1"},
		{"ip host ::1", 9, `is no address of "ip"`},
		{"ip6 net 10.0.0.0/8", 9, `is no address of "ip6"`},
		{"arp host ::1", 10, `is no address of "arp"`},
		{"vlan 4096", 6, "is no VLAN id"},
		{"tcp & udp", 5, `"&"`},
		{"port 80 or 10.0.0.1", 12, "is no port"},
		{"80", 1, "is no address"},
		{"src", 4, `"host" needs a value`},
		{"src tcp", 5, "is no address"},
		{strings.Repeat("!", MaxDepth+1) + "tcp", MaxDepth + 1, "nested deeper"},
		{strings.Repeat("(", MaxDepth+1), MaxDepth + 1, "nested deeper"},
		{strings.Repeat(" ", MaxLength+1), MaxLength + 1, "longer than"},
	}
	for _, c := range cases {
		_, err := Parse(c.expr)
		if c.want == "" {
			if err != nil {
				t.Errorf("%q: %v", c.expr, err)
			}
			continue
		}
		var e *Error
		if !errors.As(err, &e) || e.Col != c.col || !strings.Contains(e.Msg, c.want) {
			t.Errorf("%q: got %v, want column %d and %q", c.expr, err, c.col, c.want)
		}
	}
}

// An expression of the greatest length, of the shortest words, fits the program's jumps.
func TestParseLongest(t *testing.T) {
	f, err := Parse(strings.Repeat("ip||", MaxLength/4-1) + "ip6")
	if err != nil || len(f.prog) != MaxLength/4 {
		t.Fatalf("%d tests, %v", len(f.prog), err)
	}
	for i, step := range f.prog {
		if step.onTrue >= 0 && int(step.onTrue) <= i || step.onFalse >= 0 && int(step.onFalse) <= i {
			t.Fatalf("test %d jumps back", i)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"tcp and port 80", "not (src net 10.0.0.0/8 || dst host ::1) && !vlan 7", "udp dst portrange 1-1024 or 2000-3000",
		"ip6 and icmp6 or arp host 10.0.0.1 and 10.0.0.2", "sctp src or dst port 5", "vlan", "((((", "net ::/0", "port 1 or 1.2.3.4",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		parsed, err := Parse(expr)
		var e *Error
		if err != nil {
			if !errors.As(err, &e) || e.Col < 1 || e.Col > len(expr)+1 || e.Msg == "" {
				t.Fatalf("%q: bad error %v", expr, err)
			}
			return
		}
		for _, link := range compiled {
			ins, err := parsed.BPF(link, 0)
			if err != nil {
				if !errors.Is(err, ErrTooLong) {
					t.Fatal(err)
				}
				continue
			}
			for _, frame := range [][]byte{nil, make([]byte, 20), make([]byte, 80)} {
				runBPF(t, ins, frame)
			}
		}
	})
}
