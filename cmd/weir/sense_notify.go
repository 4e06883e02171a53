package main

import (
	"path/filepath"

	"weir/sensor/alert"
	"weir/sensor/bus"
	"weir/sensor/notify"
	"weir/sensor/policy"
)

// notifyFolder is where a state folder keeps what people are not told yet.
const notifyFolder = "notify"

// notices are the messages to people. Nil ones tell nobody.
type notices struct{ *notify.Notifier }

// openNotices opens the queues of messages in the state folder.
func (s *sensing) openNotices(id bus.Identity) error {
	n, err := notify.Open(s.settings.Notify, notify.Options{
		Dir: filepath.Join(s.state.Dir(), notifyFolder), Site: id.Site, Sensor: id.Sensor, Version: version, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.notices = &notices{n}
	s.decider.mu.Lock()
	defer s.decider.mu.Unlock()
	s.decider.told = s.notices.decision
	return nil
}

// alert takes in a revision. On the judge's goroutine: it never waits.
func (n *notices) alert(a *alert.Alert) {
	if n != nil {
		n.Alert(a)
	}
}

// decision takes in what was decided about a drop. It never waits. An extension is no news; and that the policy could not answer an alert
// stands in the alert.
func (n *notices) decision(d policy.Decision) {
	if told := told(d); told != nil {
		n.Drop(told)
	}
}

// told is a decision as people are told it; nil: they are not.
func told(d policy.Decision) *notify.Drop {
	if r := d.Refusal; r != nil {
		if r.Alert != "" {
			return nil
		}
		return &notify.Drop{What: notify.Refused, Time: r.Time, Target: r.Subject, Summary: r.Sentence, Guard: r.Guard, By: r.By, ID: r.Drop}
	}
	drop := d.Drop
	out := &notify.Drop{
		Time: alert.Time(now()), ID: drop.ID, Target: targetOf(drop), Reason: drop.Reason, Summary: drop.Summary, Seconds: float64(drop.Until - drop.Created),
		Action: drop.Effect().String(), Guard: drop.Guard, By: drop.By, Alert: drop.Alert, Rehearsed: drop.Action == policy.Shadow,
	}
	switch drop.State {
	case policy.Requested:
		if drop.Extended > 0 {
			return nil
		}
		out.What = notify.Banned
	case policy.Pending:
		out.What = notify.Pending
	case policy.Removed:
		out.What = notify.Unbanned
	case policy.Expired:
		out.What = notify.Expired
	default:
		return nil
	}
	if out.What == notify.Unbanned || out.What == notify.Expired {
		out.Seconds = max(0, float64(now()/1e9-drop.Created))
	}
	return out
}

// reconfigure goes on with other channels.
func (n *notices) reconfigure(cfg notify.Config) error {
	if n == nil {
		return nil
	}
	return n.Reconfigure(cfg)
}

// noticed is what metrics show of messages to people.
type noticed struct {
	Channels []notify.ChannelStats
	Missed   uint64
}

func (n *notices) stats() noticed {
	channels, missed := n.Stats()
	return noticed{channels, missed}
}

// close keeps what is not sent yet.
func (n *notices) close() error {
	if n == nil {
		return nil
	}
	return n.Close()
}
