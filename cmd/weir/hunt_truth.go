package main

import (
	"cmp"
	"fmt"
	"net/netip"

	"weir/analyzers/context"
	"weir/analyzers/hunt"
	"weir/sensor/traffic/truth"
)

// huntScore is how what was found compares with what is true.
type huntScore struct {
	Rows     int          `json:"rows"`
	Attack   int          `json:"attack_rows"`    // that belong to an attack
	Noise    int          `json:"outliers"`       // and of these
	Hit      int          `json:"outliers_right"` // that belong to an attack
	Odd      int          `json:"odd"`            // outliers, and rows of odd groups
	OddHit   int          `json:"odd_right"`
	Top      int          `json:"top"` // outliers that are listed
	TopHit   int          `json:"top_right"`
	Attacks  int          `json:"attacks"`           // that rows belong to
	Found    int          `json:"attacks_found"`     // by an outlier or an odd group that is mostly theirs
	TopFound int          `json:"attacks_found_top"` // of these, by what is listed
	Of       []huntAttack `json:"by_attack"`
}

// huntAttack is what became of one attack.
type huntAttack struct {
	ID    string `json:"id"`
	Kind  string `json:"kind"`
	Rows  int    `json:"rows"`
	Noise int    `json:"outliers"`
	Odd   int    `json:"odd"`
	Rank  int    `json:"best_rank,omitempty"`
	Group bool   `json:"group,omitempty"`
}

// compare holds what was found against a truth.
func (c *huntCmd) compare(r *huntReport, std *streams) (*huntScore, error) {
	f, err := readLines(c.Truth, std, truth.Read)
	if err != nil {
		return nil, err
	}
	at := make([]int32, r.Rows) // one more than the attack of a row
	for i := range at {
		at[i] = attackOf(r.rows.input.Row(i), f.Attacks, c.By == "host")
	}
	s := &huntScore{Rows: r.Rows, Noise: r.Noise, Top: len(r.Stories)}
	s.Of = make([]huntAttack, len(f.Attacks))
	inGroup := map[int32]map[int32]int{} // by label: rows by attack
	rare := map[int32]*hunt.Cluster{}
	for _, group := range r.rare() {
		rare[group.Label], inGroup[group.Label] = group, map[int32]int{}
	}
	for i, a := range at {
		label := r.Labels[i]
		odd := label == hunt.Noise || rare[label] != nil
		if odd {
			s.Odd++
		}
		if a == 0 {
			continue
		}
		of := &s.Of[a-1]
		s.Attack++
		of.Rows++
		if label == hunt.Noise {
			s.Hit++
			of.Noise++
		} else if odd {
			of.Odd++
			inGroup[label][a]++
		}
		if odd {
			s.OddHit++
		}
	}
	for i := range r.Outliers {
		o := &r.Outliers[i]
		if a := at[o.Index]; a != 0 {
			if of := &s.Of[a-1]; of.Rank == 0 {
				of.Rank = o.Rank
			}
		}
	}
	told := map[int32]bool{} // attacks that a listed story is of
	for i := range r.Stories {
		if a := at[r.Stories[i].Index]; a != 0 {
			s.TopHit++
			told[a] = true
		}
	}
	listed := map[int32]bool{}
	for _, group := range r.rare()[:min(c.Top, len(r.rare()))] {
		listed[group.Label] = true
	}
	for label, attacks := range inGroup {
		for a, n := range attacks {
			if 2*n > rare[label].Rows && listed[label] {
				s.Of[a-1].Group = true
			}
		}
	}
	kept := s.Of[:0]
	for i := range s.Of {
		of := s.Of[i]
		if of.Rows == 0 {
			continue
		}
		of.ID, of.Kind = f.Attacks[i].ID, f.Attacks[i].Analyzer+"."+f.Attacks[i].Kind
		s.Attacks++
		if of.Rank > 0 || of.Group {
			s.Found++
		}
		if told[int32(i+1)] || of.Group {
			s.TopFound++
		}
		kept = append(kept, of)
	}
	s.Of = kept
	return s, nil
}

// attackOf is one more than the attack that a row belongs to; 0: none.
func attackOf(row hunt.Row, all []truth.Attack, hours bool) int32 {
	first, last := row.Time, row.Time
	if hours {
		last += 3600e9 - 1
	}
	subject, _ := netip.ParseAddr(row.Subject)
	object, _ := netip.ParseAddr(row.Object)
	const early = int64(1e9) // a connection may begin before what is told of it
	for i := range all {
		a := &all[i]
		if last < int64(a.First)-early || first > int64(a.Last)+early {
			continue
		}
		by, on := takesPart(subject, a, true), takesPart(object, a, false)
		back, forth := takesPart(object, a, true), takesPart(subject, a, false)
		switch {
		case hours && (by || a.Subject == nil && len(a.Parties) == 0 && forth),
			!hours && by && (on || a.Victim == nil || row.Object == ""),
			!hours && back && (forth || a.Victim == nil), // it was met from the other side
			!hours && a.Subject == nil && len(a.Parties) == 0 && on:
			return int32(i + 1)
		}
	}
	return 0
}

// takesPart tells whether an address is one of an attack's offenders, or of its victims.
func takesPart(ip netip.Addr, a *truth.Attack, offender bool) bool {
	if !ip.IsValid() {
		return false
	}
	party := a.Victim
	if offender {
		party = a.Subject
		for _, p := range a.Parties {
			if p.Contains(ip) {
				return true
			}
		}
	}
	if party == nil {
		return false
	}
	p := context.Native(party.Prefix)
	return party.IP == ip || p.IsValid() && p.Contains(ip)
}

// lines tell the comparison in words.
func (s *huntScore) lines() (lines []string) {
	if s == nil {
		return nil
	}
	share := func(n, of int) string {
		return fmt.Sprintf("%s (%d of %d)", percent(float64(n)/float64(cmp.Or(of, 1))), n, of)
	}
	lines = append(lines,
		fmt.Sprintf("truth: %d of %d rows belong to %d attacks", s.Attack, s.Rows, s.Attacks),
		fmt.Sprintf("outliers: precision %s, recall %s", share(s.Hit, s.Noise), share(s.Hit, s.Attack)),
		fmt.Sprintf("outliers and odd groups: precision %s, recall %s", share(s.OddHit, s.Odd), share(s.OddHit, s.Attack)),
		fmt.Sprintf("the %d outliers that are listed: precision %s", s.Top, share(s.TopHit, s.Top)),
		fmt.Sprintf("attacks with an outlier or an odd group of their own: %s; of these among what is listed: %s", share(s.Found, s.Attacks), share(s.TopFound, s.Attacks)))
	for _, of := range s.Of {
		where := "not found"
		if of.Rank > 0 {
			where = fmt.Sprintf("best rank %d", of.Rank)
		}
		if of.Group {
			where += ", an odd group"
		}
		lines = append(lines, fmt.Sprintf("  %s %s: %d rows, %d outliers, %d in odd groups; %s", of.ID, of.Kind, of.Rows, of.Noise, of.Odd, where))
	}
	return lines
}
