package analyzers

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"weir/analyzers/tally"
)

// scoreOf is the score of n events where threshold of them are evidence.
func scoreOf(n, threshold int) int {
	return min(loginScore+int(loginDouble*math.Log2(float64(max(n, threshold))/float64(threshold))), 100)
}

// client and server are the parties of a pair.
func client(k *tally.PairKey) Party {
	ip := k.Client.Netip(k.Ver)
	return Party{Prefix: netip.PrefixFrom(ip, ip.BitLen())}
}

func server(k *tally.PairKey) Party {
	ip := k.Server.Netip(k.Ver)
	return Party{Prefix: netip.PrefixFrom(ip, ip.BitLen()), Port: k.Port, Proto: k.Proto}
}

// where is a service in words.
func where(k *tally.PairKey) string {
	return netip.AddrPortFrom(k.Server.Netip(k.Ver), k.Port).String()
}

// within is a duration in words.
func within(ns int64) string {
	return time.Duration(ns).Round(max(time.Duration(ns)/100, time.Millisecond).Truncate(time.Millisecond)).String()
}

// confidenceOf is the share of packets that were seen, in percent.
func confidenceOf(v *View) int { return int(max(100-100*v.Loss(), 10)) }

// finding begins a finding about an entry.
func (a *Bruteforce) finding(kind string, t *told, score int) *Finding {
	a.f = Finding{
		Analyzer: a.Name(), Kind: kind, Time: a.now, Score: score, MaxScore: loginLimit, Confidence: confidenceOf(&a.view),
		Count: t.total, Total: true, First: t.first, Last: t.last, Quiet: int64(a.cfg.Quiet), Why: a.why[:0],
	}
	t.emitted, t.score, t.news = a.now, max(t.score, score), false
	return &a.f
}

// add appends a measure over the window.
func (a *Bruteforce) add(name string, value float64, unit string, threshold float64) {
	a.f.Why = append(a.f.Why, Measure{Name: name, Value: value, Unit: unit, Threshold: threshold, Window: int64(a.cfg.Window)})
}

// opening notes what makes a service that is none of Ports one of logins.
func (a *Bruteforce) opening(k *tally.PairKey) {
	if !a.watched[k.Port] {
		a.f.Notes = append(a.f.Notes, noteOpening)
	}
}

// done emits the finding.
func (a *Bruteforce) done() {
	a.why = a.f.Why
	a.emit(&a.f)
}

const noteOpening = "a login service by what its connections open with, SSH: its port is none of bruteforce.ports"

const noteHeaders = "judged by the number, size and pace of sessions: headers do not tell a wrong password from a right one"

// reportTries emits a finding of kind password.
func (a *Bruteforce) reportTries(k *tally.PairKey, t *loginTries, score int, usual float64, hours uint64) {
	f := a.finding("password", &t.told, score)
	f.Subject, f.Victim = client(k), server(k)
	f.Subject.ReturnPath = k.Proto == protoTCP && t.span.sum[tryOpened] > 0
	f.Attack = []string{"T1110"}
	f.Notes = append(f.Notes, noteHeaders)
	a.opening(k)
	if score <= loginLow {
		if t.byClock() {
			f.Notes = append(f.Notes, fmt.Sprintf("by the clock, one every %s: low, because checks by programs look so",
				within(int64(t.pace.mean())*1e6)))
		} else {
			f.Notes = append(f.Notes, "low, because the sensor has not watched this network for a day: programs log in so")
		}
	}
	sum := &t.span.sum
	a.add("tries", float64(sum[tryAll]), "short sessions", float64(a.cfg.Tries))
	a.add("alike", 100*float64(sum[tryAlike])/float64(max(sum[tryAll], 1)), "%", loginShare)
	a.add("client_payload", float64(t.like.size[0]), "bytes", 0)
	a.add("server_payload", float64(t.like.size[1]), "bytes", 0)
	if hours > 0 {
		a.add("tries_usual", usual, "short sessions", 0)
		f.Why[0].Baseline = &Baseline{Mean: usual, N: hours}
		f.Why[0].Threshold = max(f.Why[0].Threshold, a.cfg.Multiplier*usual)
	}
	f.Summary = fmt.Sprintf("%s had %d short sessions with the login service %s, %d of them alike (%d bytes asked, %d answered) within the last %s; "+
		"%d since %s ago", f.Subject.Prefix.Addr(), sum[tryAll], where(k), sum[tryAlike], t.like.size[0], t.like.size[1],
		a.cfg.Window, t.total, within(max(t.last-t.first, 0)))
	a.done()
}
