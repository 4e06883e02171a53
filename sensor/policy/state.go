package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"weir/analyzers/context"
)

// StateSchema is the version of the form of a policy's state.
const StateSchema = "weir.policy/1"

// savedState is all that a policy remembers. Times in ns are event time.
type savedState struct {
	Schema     string        `json:"schema"`
	Now        int64         `json:"now"` // ns
	Generation uint64        `json:"generation"`
	Held       *Hold         `json:"held,omitempty"`
	Drops      []savedDrop   `json:"drops,omitempty"`   // in order of keys
	Strikes    []savedStrike `json:"strikes,omitempty"` // in order of sources
	Peers      []savedPeer   `json:"peers,omitempty"`   // longest silent first
	Recent     []int64       `json:"recent,omitempty"`  // ns
}

type savedDrop struct {
	Drop    *Drop `json:"drop"`
	Since   int64 `json:"since"`
	LastHit int64 `json:"last_hit,omitempty"`
}

type savedStrike struct {
	Source netip.Prefix `json:"source"`
	N      int          `json:"n"`
	Last   int64        `json:"last"` // unix seconds
}

type savedPeer struct {
	IP    netip.Addr `json:"ip"`
	First int64      `json:"first"`
	Last  int64      `json:"last"`
}

// Saved is what a policy remembered at one moment.
type Saved struct{ state savedState }

// Saved copies the state: drops, strikes, peers, generation and panic. With full tables of default size it takes 40 ms.
func (p *Policy) Saved() *Saved {
	s := savedState{Schema: StateSchema, Now: p.now, Generation: p.generation, Held: p.held, Recent: slices.Clone(p.recent)}
	for _, d := range p.Drops() {
		e := p.drops[d.Key()]
		s.Drops = append(s.Drops, savedDrop{d, e.since, e.lastHit})
	}
	for _, t := range p.strikes.table.AllSorted() {
		s.Strikes = append(s.Strikes, savedStrike{t.source, t.n, t.last})
	}
	for q := p.peers.oldest; q != nil; q = q.next {
		s.Peers = append(s.Peers, savedPeer{q.ip, q.first, q.last})
	}
	return &Saved{s}
}

// AppendJSON appends the state as one line of JSON, newline included. It touches nothing of the policy, which may go on meanwhile.
// With full tables of default size it has some 20 MB and takes half a second.
func (s *Saved) AppendJSON(b []byte) ([]byte, error) { return appendLine(b, &s.state) }

// AppendJSON appends the state as one line of JSON: Saved and Saved.AppendJSON.
func (p *Policy) AppendJSON(b []byte) ([]byte, error) { return p.Saved().AppendJSON(b) }

// Load makes a policy of its saved state, settings and networks, at event time now. A state that is damaged is an error, and
// nothing of it is used. Sound drops that the guards forbid now, or that have ended, are removed: the decisions say so. What
// exceeds the limits of smaller settings goes as it would have.
func Load(b []byte, cfg Config, networks *context.Networks, now int64) (*Policy, []Decision, error) {
	s := new(savedState)
	if err := decodeStrict(b, s); err != nil {
		return nil, nil, fmt.Errorf("policy state: %w", err)
	}
	if err := s.check(); err != nil {
		return nil, nil, fmt.Errorf("policy state: %w", err)
	}
	p := New(cfg, networks)
	p.now, p.generation, p.held = max(s.Now, p.now), s.Generation, s.Held
	if now > 0 && p.now > now+int64(clockBack) {
		p.now = now // the clock was wrong then: what is said to be in the future does not hold us up
	}
	for _, t := range s.Strikes {
		p.strikes.put(&strike{source: t.Source, n: t.N, last: min(t.Last, p.unix())})
	}
	for _, q := range s.Peers {
		p.newPeer(&peer{ip: q.IP, first: min(q.First, p.now), last: min(q.Last, p.now)})
	}
	for _, t := range s.Recent {
		p.recent = append(p.recent, min(t, p.now))
	}
	out := p.restore(s.Drops)
	return p, append(out, p.Advance(now)...), nil
}

// clockBack is how far a clock may have been set back without its saved times being doubted: a minute, in ns.
const clockBack = 60e9

// Back is the policy once the clock was set back by more than a minute, and p itself if it was not: else all alerts would be of the
// past until the clock has caught up. What it remembers goes on as Load would have it, and p is not to be used any more. Decisions
// as of Load.
func (p *Policy) Back(now int64) (*Policy, []Decision, error) {
	if p.now <= now+clockBack {
		return p, nil, nil
	}
	b, err := p.AppendJSON(nil)
	if err != nil {
		return p, nil, err
	}
	q, out, err := Load(b, p.cfg, p.networks, now)
	if err != nil {
		return p, nil, err
	}
	q.stats, q.strikes.forgotten, q.peers.evicted = p.stats, p.strikes.forgotten, p.peers.evicted
	return q, out, nil
}

// restore takes saved drops that still pass the standing guards. Those that ended meanwhile end with Advance.
func (p *Policy) restore(saved []savedDrop) (out []Decision) {
	g := Guards{p.cfg, p.networks}
	for _, t := range saved {
		p.put(t.Drop, min(t.Since, p.now))
		e := p.drops[t.Drop.Key()]
		e.lastHit = min(t.LastHit, p.now)
		guard, why := g.check(t.Drop, p.unix())
		switch {
		case p.held != nil:
			guard, why = "panic", "panic"
		case len(p.drops) > p.cfg.MaxDrops:
			guard, why = "cap_total", fmt.Sprintf("%d drops are the most", p.cfg.MaxDrops)
		}
		if guard != "" && guard != "expired" {
			out = append(out, p.remove(e, Removed, guard, ByPolicy, why))
		}
	}
	return out
}

// check tells what is wrong with a state.
func (s *savedState) check() error {
	switch {
	case s.Schema != StateSchema:
		return fmt.Errorf("schema %q, want %q", clip(s.Schema, maxName), StateSchema)
	case s.Generation > maxGeneration:
		return fmt.Errorf("generation %d, at most %d", s.Generation, uint64(maxGeneration))
	case s.Held != nil && (s.Held.By == "" || len(s.Held.By) > maxName || s.Held.Since < 0 || s.Held.Since > maxUnix):
		return errors.New("held: by is missing or too long, or since is no time")
	case !slices.IsSorted(s.Recent) || len(s.Recent) > maxPerSecond:
		return errors.New("recent: not in order of time, or too many")
	}
	return errors.Join(s.checkDrops(), s.checkStrikes(), s.checkPeers())
}

func (s *savedState) checkDrops() error {
	keys, ids := map[string]bool{}, map[string]bool{}
	for i, t := range s.Drops {
		if t.Drop == nil {
			return fmt.Errorf("drops: number %d is none", i+1)
		}
		if err := t.Drop.Check(); err != nil {
			return fmt.Errorf("drops: number %d: %w", i+1, err)
		}
		key := t.Drop.Key()
		switch {
		case keys[key] || ids[t.Drop.ID]:
			return fmt.Errorf("drops: number %d: its key %s or id is there twice", i+1, key)
		case t.Drop.State != Requested && t.Drop.State != Pending:
			return fmt.Errorf("drops: number %d is %q, which is not kept", i+1, t.Drop.State)
		case t.Drop.Generation > s.Generation:
			return fmt.Errorf("drops: number %d has generation %d, above the last, %d", i+1, t.Drop.Generation, s.Generation)
		case t.LastHit < 0:
			return fmt.Errorf("drops: number %d was hit before 1970", i+1)
		}
		keys[key], ids[t.Drop.ID] = true, true
	}
	return nil
}

func (s *savedState) checkStrikes() error {
	seen := map[netip.Prefix]bool{}
	for i, t := range s.Strikes {
		if !t.Source.IsValid() || t.Source != context.Native(t.Source) || seen[t.Source] || t.N < 1 || t.N > maxStrike {
			return fmt.Errorf("strikes: number %d is none, or there twice", i+1)
		}
		seen[t.Source] = true
	}
	return nil
}

func (s *savedState) checkPeers() error {
	seen := map[netip.Addr]bool{}
	last := int64(0)
	for i, q := range s.Peers {
		if !q.IP.IsValid() || q.IP != q.IP.Unmap().WithZone("") || seen[q.IP] || q.First > q.Last || q.Last < last {
			return fmt.Errorf("peers: number %d is none, there twice, or out of order", i+1)
		}
		seen[q.IP], last = true, q.Last
	}
	return nil
}
