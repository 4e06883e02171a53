package notify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"weir/sensor/alert"
)

// Digest counts events. Its size is bounded, whatever comes.
type Digest struct {
	Events   uint64     `json:"events"`
	Opened   uint64     `json:"opened,omitempty"` // alerts
	Raised   uint64     `json:"raised,omitempty"`
	Ended    uint64     `json:"ended,omitempty"`
	Banned   uint64     `json:"banned,omitempty"` // drops
	Pending  uint64     `json:"pending,omitempty"`
	Unbanned uint64     `json:"unbanned,omitempty"` // expired ones too
	Refused  uint64     `json:"refused,omitempty"`
	Kinds    []Kind     `json:"kinds,omitempty"`    // of alerts; the most severe first, then the most
	Subjects []Frequent `json:"subjects,omitempty"` // of opened alerts; the most first
	Victims  []Frequent `json:"victims,omitempty"`
	First    alert.Time `json:"first,omitempty"`
	Last     alert.Time `json:"last,omitempty"`
}

// Kind counts the alerts of a kind and severity.
type Kind struct {
	Kind     string         `json:"kind"`
	Severity alert.Severity `json:"severity"`
	Opened   uint64         `json:"opened"` // or raised to this severity
	Ended    uint64         `json:"ended,omitempty"`
}

// Frequent is a name that was met often: at most N times, and at least N-Over.
type Frequent struct {
	Name string `json:"name"`
	N    uint64 `json:"n"`
	Over uint64 `json:"over,omitempty"`
}

// Bounds of a digest. There are some 60 kinds of alerts.
const (
	maxKinds    = 80
	maxFrequent = 40
)

// otherKind stands for kinds beyond the bound.
const otherKind = "other"

// add counts an event; first: it is the first that this channel hears of an alert.
func (d *Digest) add(e *Event, first bool) {
	d.Events++
	if d.First == 0 || e.Time < d.First {
		d.First = e.Time
	}
	d.Last = max(d.Last, e.Time)
	switch e.What {
	case Opened, Raised:
		if first {
			d.Opened++
			d.Subjects = frequent(d.Subjects, e.Subject)
			d.Victims = frequent(d.Victims, e.Victim)
		} else {
			d.Raised++
		}
		d.kind(e).Opened++
	case Ended:
		d.Ended++
		d.kind(e).Ended++
	case Banned:
		d.Banned++
	case Pending:
		d.Pending++
	case Unbanned, Expired:
		d.Unbanned++
	case Refused:
		d.Refused++
	}
}

// kind is the row of an event. The pointer is valid until the next call.
func (d *Digest) kind(e *Event) *Kind {
	name := e.Kind
	if len(d.Kinds) >= maxKinds && !slices.ContainsFunc(d.Kinds, func(k Kind) bool { return k.Kind == name && k.Severity == e.Severity }) {
		name = otherKind
	}
	for i := range d.Kinds {
		if k := &d.Kinds[i]; k.Kind == name && k.Severity == e.Severity {
			return k
		}
	}
	d.Kinds = append(d.Kinds, Kind{Kind: name, Severity: e.Severity})
	return &d.Kinds[len(d.Kinds)-1]
}

// frequent counts a name among the most frequent (space-saving: Metwally, Agrawal and El Abbadi 2005): when the list is full, the name
// takes the place of the least, and its count as the error.
func frequent(list []Frequent, name string) []Frequent {
	if name == "" {
		return list
	}
	least := -1
	for i := range list {
		if list[i].Name == name {
			list[i].N++
			return list
		}
		if least < 0 || list[i].N < list[least].N {
			least = i
		}
	}
	if len(list) < maxFrequent {
		return append(list, Frequent{Name: name, N: 1})
	}
	n := list[least].N
	list[least] = Frequent{Name: name, N: n + 1, Over: n}
	return list
}

// Shown of a digest in a message.
const (
	shownKinds    = 12
	shownFrequent = 5
)

// shown is what a message shows of a digest: sorted, and the names of which it is certain that they were met twice or more.
func (d *Digest) shown() *Digest {
	out := *d
	out.Kinds = slices.SortedStableFunc(slices.Values(d.Kinds), func(a, b Kind) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(b.Opened+b.Ended, a.Opened+a.Ended), cmp.Compare(a.Kind, b.Kind))
	})
	if len(out.Kinds) > shownKinds {
		rest := Kind{Kind: otherKind, Severity: out.Kinds[shownKinds-1].Severity}
		for _, k := range out.Kinds[shownKinds-1:] {
			rest.Opened, rest.Ended = rest.Opened+k.Opened, rest.Ended+k.Ended
		}
		out.Kinds = append(slices.Clone(out.Kinds[:shownKinds-1]), rest)
	}
	out.Subjects, out.Victims = topOf(d.Subjects), topOf(d.Victims)
	return &out
}

func topOf(list []Frequent) []Frequent {
	top := slices.SortedStableFunc(slices.Values(list), func(a, b Frequent) int {
		return cmp.Or(cmp.Compare(b.N-b.Over, a.N-a.Over), cmp.Compare(b.N, a.N), strings.Compare(a.Name, b.Name))
	})
	top = top[:min(len(top), shownFrequent)]
	if i := slices.IndexFunc(top, func(f Frequent) bool { return f.N-f.Over < 2 }); i >= 0 && len(list) > shownFrequent {
		top = top[:i] // a list of names that were met once each says nothing
	}
	return top
}

// String is "10000 alerts opened, 12 ended, 3 drops".
func (d *Digest) String() string {
	var parts []string
	for _, c := range []struct {
		n         uint64
		one, many string
	}{
		{d.Opened, "alert opened", "alerts opened"},
		{d.Raised, "raised", "raised"},
		{d.Ended, "ended", "ended"},
		{d.Banned, "drop", "drops"},
		{d.Pending, "drop waits for approval", "drops wait for approval"},
		{d.Unbanned, "drop ended", "drops ended"},
		{d.Refused, "drop refused", "drops refused"},
	} {
		if c.n == 1 {
			parts = append(parts, "1 "+c.one)
		} else if c.n > 1 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.many))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}
