package policy

import "testing"

// TestStrikesTable: who goes first, and who counts as a sibling.
func TestStrikesTable(t *testing.T) {
	const hour, day = 3600, 86400
	s := newStrikes(4)
	now := begin / second
	s.add(prefix("192.0.2.1/32"), now, day)
	s.add(prefix("192.0.2.2/32"), now+1, day)
	s.add(prefix("192.0.2.1/32"), now+2, day)
	s.add(prefix("192.0.2.3/32"), now+3, day)
	s.add(prefix("192.0.2.64/26"), now+4, day)
	for _, c := range []struct {
		p    string
		now  int64
		want int
	}{
		{"192.0.2.0/24", now + 5, 3}, // a prefix is no sibling
		{"192.0.2.0/31", now + 5, 1},
		{"192.0.2.0/24", now + day + 1, 2}, // one strike of each is forgiven, the last came later
		{"192.0.2.0/24", now + day + 4, 1},
		{"192.0.2.0/24", now + 2*day + 4, 0},
		{"198.51.100.0/24", now, 0},
	} {
		if got := s.siblings(prefix(c.p), c.now, day); got != c.want {
			t.Errorf("%s after %d h: %d siblings, want %d", c.p, (c.now-now)/hour, got, c.want)
		}
	}
	// Fewest strikes go first, and of these the oldest: .2 before .3, and .1 stays though it is older.
	for i, want := range []string{"192.0.2.2/32", "192.0.2.3/32", "192.0.2.64/26"} {
		p := prefix([]string{"203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32"}[i])
		s.add(p, now+10, day)
		if _, ok := s.table.Get(prefix(want)); ok {
			t.Errorf("%s is still there", want)
		}
	}
	if _, ok := s.table.Get(prefix("192.0.2.1/32")); !ok || s.forgotten != 3 || s.table.Size() != 4 {
		t.Errorf("the one with two strikes is gone, or %d of %d forgotten", s.forgotten, s.table.Size())
	}
	s.forgive(prefix("192.0.2.1/32"))
	s.forgive(prefix("203.0.113.1/32"))
	s.forgive(prefix("203.0.113.1/32"))
	if s.table.Size() != 3 || len(s.order.list) != 3 {
		t.Errorf("%d and %d left", s.table.Size(), len(s.order.list))
	}
}
