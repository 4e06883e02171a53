package sensor

import "weir/analyzers/baseline"

const (
	saveTicks = 600  // a minute of event time
	saveStep  = 2000 // entries that a tick saves: 2 to 10 ms
)

// saving makes the saved form of the baseline, a part a tick, so that no tick waits for it.
type saving struct {
	form *baseline.Saving // nil: none is being made
	at   int64            // tick in which the last one began
}

// save goes on with saving after a tick was judged.
func (j *judge) save(tick int64) {
	if j.e.sinks.Baseline == nil || j.e.cfg.Site == nil {
		return
	}
	s := &j.saving
	if s.form == nil {
		if s.at == 0 {
			s.at = tick
		}
		if tick-s.at < saveTicks {
			return
		}
		s.form, s.at = j.e.cfg.Site.Baseline.Save(nil), tick
	}
	if s.form.Step(saveStep) {
		j.e.sinks.Baseline(s.form.Bytes())
		s.form = nil
	}
}
