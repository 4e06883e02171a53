package analyzers

import (
	"fmt"
	"math"

	"weir/analyzers/baseline"
	"weir/analyzers/tally"
)

// webSecond is what happened at a web service in one second.
type webSecond struct {
	requests, answers uint32
	client, server    uint32 // errors: 401, 403 and 404; 5xx
	most              uint32 // of client, of one source
	first, last       int64
}

// webService is what is told of a web service.
type webService struct {
	surge, spike webAlarm
	since        int64  // ns, first seen
	knows        uint16 // methods
	requests     uint32 // a second, about
}

// webAlarm is one of a service's two alarms.
type webAlarm struct {
	told
	crossing baseline.Crossing
}

func (s *webService) weight() uint64 {
	if s.surge.emitted != 0 || s.spike.emitted != 0 {
		return 1 << 40
	}
	return uint64(s.requests)
}

// perSecond adds what a client did to its service's second.
func (h *HTTP) perSecond(w *tally.Web, c *webClient) {
	s := h.second.add(serviceOf(&w.Key))
	if s == nil {
		return
	}
	errs := w.S401 + w.S403 + w.S404
	s.requests += w.Requests
	s.answers += w.Responses
	s.client += errs
	s.server += w.Status[5]
	if c != nil {
		c.errors += errs
		s.most = max(s.most, c.errors)
	}
	if s.first == 0 {
		s.first = w.First
	}
	s.last = w.Last
}

// errors are those that a service is said to have: not what one client alone asks for.
func (s *webSecond) errors() float64 {
	if uint64(s.most)*100 >= uint64(s.client)*loginShare {
		return float64(s.server)
	}
	return float64(s.server) + float64(s.client)
}

// judgeSecond judges a service's second that is over, and has the baseline learn it.
func (h *HTTP) judgeSecond(second int64, k *tally.PairKey, s *webSecond) {
	at := second * 1e9
	v := h.services.at(k, h.now, loginFresh)
	if v == nil {
		return
	}
	v.requests = v.requests/2 + s.requests/2
	set := h.site.Baseline.Config()

	requests := h.site.Baseline.Series(serviceBaseline(k, baseline.MeasureRequests), h.now)
	normal := requests.Normal(at)
	over := float64(s.requests) >= h.cfg.RequestsPerSecond && normal.Exceeds(float64(s.requests), set.Z, h.cfg.Multiplier)
	if h.crosses(&v.spike, second, over, uint64(s.requests), s, set) {
		h.reportSpike(k, v, s, normal)
	}
	h.learn(requests, &v.spike, at, float64(s.requests), h.cfg.RequestsPerSecond)

	errs := h.site.Baseline.Series(serviceBaseline(k, baseline.MeasureErrors), h.now)
	normal = errs.Normal(at)
	count := s.errors()
	over = count >= h.cfg.ErrorsPerSecond && normal.Exceeds(count, set.Z, h.cfg.Surge)
	h.learn(errs, &v.surge, at, count, h.cfg.ErrorsPerSecond)

	shares := h.site.Baseline.Series(serviceBaseline(k, baseline.MeasureErrorShare), h.now)
	share := shares.Normal(at)
	over = over && s.answers > 0 && surged(count/float64(s.answers), share, set.Z, h.cfg.Surge)
	if h.crosses(&v.surge, second, over, uint64(count), s, set) {
		h.reportSurge(k, v, s, normal, share)
	}
	if v.surge.alarmed() {
		shares.Freeze(at)
	} else if s.answers > 0 {
		shares = h.site.Baseline.Series(serviceBaseline(k, baseline.MeasureErrorShare), h.now)
		shares.Thaw(at)
		shares.LearnRatio(at, count, float64(s.answers))
	}
}

// surged reports whether a share of errors is out of what is normal: so many standard deviations above its mean, and so many
// times as much, or half of what was free of errors.
func surged(share float64, n baseline.Normal, z, multiple float64) bool {
	mean, stddev, samples := n.Expected()
	return samples > 0 && share-mean > z*stddev && share >= min(multiple*mean, (1+mean)/2)
}

// learn has the baseline learn a second, unless there is an alarm.
func (h *HTTP) learn(s *baseline.Series, a *webAlarm, at int64, value, floor float64) {
	if a.alarmed() {
		s.Freeze(at)
		return
	}
	s.Thaw(at)
	s.LearnBelow(at, value, floor)
}

// crosses notes a second of an alarm, and reports whether it is to be told.
func (h *HTTP) crosses(a *webAlarm, second int64, over bool, n uint64, s *webSecond, set baseline.Config) bool {
	a.rest(a.last != 0 && h.now-a.last > int64(h.cfg.Quiet), h.now, int64(h.cfg.Quiet))
	a.crossing.Add(second, over)
	if !over {
		return false
	}
	if a.first == 0 {
		a.first = s.first
	}
	a.last = s.last
	a.total += n
	return a.emitted != 0 || a.crossing.Met(set.Need, set.Of)
}

// limitOf is what a value has to exceed.
func limitOf(n baseline.Normal, z, multiple, floor float64) (limit float64, b *Baseline) {
	mean, stddev, samples := n.Expected()
	return math.Max(floor, math.Max(multiple*mean, mean+z*stddev)), &Baseline{Mean: mean, Stddev: stddev, N: samples}
}

// scoreRate is the score of a value above a limit.
func scoreRate(value, limit float64) int {
	return min(loginScore+int(loginDouble*math.Log2(math.Max(value/limit, 1))), loginLimit)
}

// rate appends a measure by the second with its baseline.
func (h *HTTP) rate(name string, value float64, unit string, limit float64, b *Baseline) {
	h.f.Why = append(h.f.Why, Measure{Name: name, Value: value, Unit: unit, Threshold: limit, Baseline: b, Window: 1e9})
}

func (h *HTTP) reportSpike(k *tally.PairKey, v *webService, s *webSecond, n baseline.Normal) {
	set := h.site.Baseline.Config()
	limit, b := limitOf(n, set.Z, h.cfg.Multiplier, h.cfg.RequestsPerSecond)
	t := &v.spike.told
	t.emitted, t.score = h.now, max(t.score, scoreRate(float64(s.requests), limit))
	f := h.finding("spike", t, scoreRate(float64(s.requests), limit))
	f.Victim, f.Attack = server(k), []string{"T1499.002"}
	h.rate("requests", float64(s.requests), "requests/s", limit, b)
	f.Summary = fmt.Sprintf("%s got %d HTTP requests in a second; %.1f are usual", where(k), s.requests, b.Mean)
	h.done()
}

func (h *HTTP) reportSurge(k *tally.PairKey, v *webService, s *webSecond, n, share baseline.Normal) {
	set := h.site.Baseline.Config()
	limit, b := limitOf(n, set.Z, h.cfg.Surge, h.cfg.ErrorsPerSecond)
	t := &v.surge.told
	count := s.errors()
	t.emitted, t.score = h.now, max(t.score, scoreRate(count, limit))
	f := h.finding("errors", t, scoreRate(count, limit))
	f.Victim, f.Attack = server(k), []string{"T1499.004", "T1190"}
	h.rate("errors", count, "answers/s", limit, b)
	mean, stddev, samples := share.Expected()
	h.rate("error_share", 100*count/float64(s.answers), "%", 100*math.Min(h.cfg.Surge*mean, (1+mean)/2),
		&Baseline{Mean: 100 * mean, Stddev: 100 * stddev, N: samples})
	h.rate("server_errors", float64(s.server), "answers/s", 0, nil)
	f.Summary = fmt.Sprintf("%s answered %.0f of %d requests in a second by errors (%d by 5xx); %.1f a second are usual",
		where(k), count, s.answers, s.server, b.Mean)
	h.done()
}
