package web

// seriesSeconds is how much of the link's history is kept: an hour.
const seriesSeconds = 3600

// series are the last points, by time. The caller locks.
type series struct {
	ring []Point // the oldest at next, once it is full
	next int
}

// add takes in a point. Time that went back, or ahead by more than is kept, begins anew; a second that is known is replaced.
func (s *series) add(p Point) {
	if last := s.last(); last != nil {
		switch {
		case p.Time == last.Time:
			*last = p
			return
		case p.Time < last.Time, p.Time-last.Time > seriesSeconds:
			s.ring, s.next = s.ring[:0], 0
		}
	}
	if len(s.ring) < seriesSeconds {
		s.ring = append(s.ring, p)
		return
	}
	s.ring[s.next] = p
	s.next = (s.next + 1) % seriesSeconds
}

func (s *series) last() *Point {
	if len(s.ring) == 0 {
		return nil
	}
	return &s.ring[(s.next+len(s.ring)-1)%len(s.ring)]
}

// since are the points of the last seconds, the oldest first.
func (s *series) since(seconds int64) []Point {
	out := []Point{}
	last := s.last()
	for i := range s.ring {
		if p := s.ring[(s.next+i)%len(s.ring)]; p.Time > last.Time-seconds {
			out = append(out, p)
		}
	}
	return out
}
