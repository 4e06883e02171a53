package web

import (
	"encoding/json"
	"strings"

	"weir/sensor/alert"
)

// Bounds of what is remembered of alerts.
const (
	maxAlerts    = 5000
	maxRevisions = 8        // of one alert: the first and the last ones
	maxText      = 24 << 20 // bytes of all revisions
)

// kept are the last alerts with their revisions, by when they last changed: those that were told live before those of the past, which
// come when some live ones may be there already. When there are too many, the one goes that has not changed for longest, open or not;
// of an alert with many revisions those between the first and the last seven. The caller locks.
type kept struct {
	byID           map[string]*story
	newest, oldest *story
	past           *story // newest of the past
	bytes          int
}

// story is an alert with its revisions.
type story struct {
	newer, older *story // neighbours in kept
	id           string
	past         bool   // no revision was told live
	seq          uint64 // of its last revision; falls from newest to oldest
	rev          int    // highest
	analyzer     string
	severity     alert.Severity
	state        alert.State
	find         string // what a search looks through, in lower case
	revisions    []json.RawMessage
	omitted      int // revisions that had to go
}

func newKept() *kept { return &kept{byID: map[string]*story{}} }

// put takes in a revision, told live or of the past. False: it is not kept, as it is known, older than what is known, or the
// oldest when there is no room.
func (k *kept) put(a *alert.Alert, text json.RawMessage, seq uint64, past bool) bool {
	s := k.byID[a.ID]
	switch {
	case s == nil:
		s = &story{id: a.ID}
		k.byID[a.ID] = s
	case a.Rev <= s.rev, past && !s.past:
		return false
	default:
		k.unlink(s)
	}
	s.past, s.seq, s.rev = past, seq, a.Rev
	s.analyzer, s.severity, s.state, s.find = a.Analyzer, a.Severity, a.State, searchable(a)
	if len(s.revisions) == maxRevisions {
		k.bytes -= len(s.revisions[1])
		s.revisions = append(s.revisions[:1], s.revisions[2:]...)
		s.omitted++
	}
	s.revisions = append(s.revisions, text)
	k.bytes += len(text)
	k.link(s)
	for len(k.byID) > maxAlerts || k.bytes > maxText && k.newest != k.oldest {
		o := k.oldest
		if k.drop(o); o == s {
			return false
		}
	}
	return true
}

// link puts a story before all others, one of the past before the others of the past.
func (k *kept) link(s *story) {
	s.newer, s.older = nil, k.newest
	if s.past {
		if s.newer, s.older = k.oldest, k.past; k.past != nil {
			s.newer = k.past.newer
		}
		k.past = s
	}
	if s.newer != nil {
		s.newer.older = s
	} else {
		k.newest = s
	}
	if s.older != nil {
		s.older.newer = s
	} else {
		k.oldest = s
	}
}

func (k *kept) unlink(s *story) {
	if k.past == s {
		k.past = s.older
	}
	if s.newer != nil {
		s.newer.older = s.older
	} else {
		k.newest = s.older
	}
	if s.older != nil {
		s.older.newer = s.newer
	} else {
		k.oldest = s.newer
	}
}

func (k *kept) drop(s *story) {
	k.unlink(s)
	delete(k.byID, s.id)
	for _, r := range s.revisions {
		k.bytes -= len(r)
	}
}

// last is the newest revision.
func (s *story) last() json.RawMessage { return s.revisions[len(s.revisions)-1] }

// question is which alerts are asked for.
type question struct {
	limit    int
	before   uint64 // only those whose last change was before it; 0: all
	least    alert.Severity
	analyzer string       // "": all
	state    *alert.State // nil: all
	words    []string     // all of them are somewhere in it; lower case
}

// list are the alerts that match, the newest first, and whether there are more.
func (k *kept) list(q *question) (all []*story, more bool) {
	for s := k.newest; s != nil; s = s.older {
		if q.before != 0 && s.seq >= q.before || !q.takes(s) {
			continue
		}
		if len(all) == q.limit {
			return all, true
		}
		all = append(all, s)
	}
	return all, false
}

func (q *question) takes(s *story) bool {
	if s.severity < q.least || q.analyzer != "" && s.analyzer != q.analyzer || q.state != nil && s.state != *q.state {
		return false
	}
	for _, w := range q.words {
		if !strings.Contains(s.find, w) {
			return false
		}
	}
	return true
}

// searchable is what a search finds an alert by.
func searchable(a *alert.Alert) string {
	words := []string{a.ID, a.Analyzer + "." + a.Kind, a.Severity.String(), a.Sensor, a.Incident, a.CommunityID, a.Summary}
	for _, p := range []*alert.Party{a.Subject, a.Victim} {
		if p != nil {
			words = append(words, p.String(), p.Name, p.Service, p.Country)
			words = append(words, p.Lists...)
		}
	}
	words = append(words, a.Attack...)
	return strings.ToLower(strings.ToValidUTF8(strings.Join(words, " "), ""))
}
