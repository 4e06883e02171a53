package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weir/sensor/alert"
	"weir/sensor/bus"
)

type alertsCmd struct {
	State    string   `placeholder:"DIR" default:"/var/lib/weir" type:"path" help:"State folder of the sensor on this machine (default: ${default})."`
	Config   string   `placeholder:"FILE" help:"Configuration (YAML) with the section nats."`
	NATS     []string `name:"nats" placeholder:"URL" help:"Servers to read from, in place of those of the configuration."`
	Site     string   `placeholder:"NAME" help:"Site whose sensors to listen to (default: that of the configuration)."`
	Since    string   `placeholder:"WHEN" help:"Begin in the past: a duration (90s, 1h, 7d) or a time (2026-11-20T23:00:00Z). Without it: new alerts only."`
	Follow   bool     `short:"f" negatable:"" default:"true" help:"Wait for more (on by default). --no-follow prints what there is and ends."`
	Kind     []string `placeholder:"KIND" help:"Only these: an analyzer (scan), a kind (vertical) or both (scan.vertical). Repeatable."`
	Severity string   `enum:"info,low,medium,high,critical" default:"info" help:"The least severity: ${enum}."`
	Subject  []string `placeholder:"WHERE" help:"Only of these offenders: an address, a network, list:NAME, AS64500 or country:DE. Repeatable."`
	Victim   []string `placeholder:"WHERE" help:"Only on these victims."`
	Network  []string `placeholder:"WHERE" help:"Only with one of these as offender or victim."`
	Incident string   `placeholder:"ID" help:"Only this incident, and the alerts that name it."`
	Muted    bool     `help:"Show alerts that a rule mutes, too."`
	Format   string   `enum:"auto,table,jsonl,ecs,eve" default:"auto" help:"table, jsonl, ecs (Elastic Common Schema), eve (Suricata's eve.json), or auto: a table on a terminal, jsonl otherwise."`
	Quiet    bool     `short:"q" help:"Do not say at the end how much was shown."`
}

// Help is the long form of --help.
func (*alertsCmd) Help() string {
	return `Examples:
  weir alerts
  weir alerts --since 1h --severity medium
  weir alerts --since 7d --no-follow --kind scan --kind flood.syn | jq -r .summary
  weir alerts --since 1d --network country:DE --network 192.0.2.0/24
  weir alerts --nats tls://nats.example.org --site north --format ecs

Every revision of an alert is shown once: open, update (its severity rose), closed. JSON lines come through as the sensor wrote
them. Ctrl-C ends it with exit code 0.`
}

// Run follows alerts until it is interrupted or nobody reads what it prints.
func (c *alertsCmd) Run(ctx context.Context, std *streams) error {
	settings, err := readConfig(c.Config)
	if err != nil {
		return err
	}
	opt, err := c.options(time.Now())
	if err != nil {
		return usageError{err}
	}
	v := &viewer{least: severityNamed(c.Severity), show: newRevisionWriter(c.Format, std.out), err: std.err}
	if v.kinds, err = parseKinds(c.Kind); err != nil {
		return usageError{err}
	}
	if v.places, err = parsePlaces(c.Subject, c.Victim, c.Network); err != nil {
		return usageError{err}
	}
	v.incident, v.muted = c.Incident, c.Muted
	opt.Analyzer = onlyAnalyzer(v.kinds)
	cfg, site := c.bus(&settings)
	if err := cfg.Check(); err != nil {
		return usageError{err}
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	gone := whenUnread(reading, std.out, stop)
	err = bus.Follow(reading, cfg, site, c.State, opt, v.take)
	stop()
	if <-gone || errors.Is(err, syscall.EPIPE) {
		return nil
	}
	if err == nil && !c.Quiet {
		fmt.Fprintln(std.err, v.told())
	}
	return err
}

// bus is where to read, and whose alerts.
func (c *alertsCmd) bus(settings *config) (cfg bus.Config, site string) {
	cfg = settings.NATS
	if len(c.NATS) > 0 {
		cfg.Servers = c.NATS
	}
	return cfg, cmp.Or(c.Site, settings.Site)
}

// options are what the server can choose by; now is the wall clock.
func (c *alertsCmd) options(now time.Time) (bus.FollowOptions, error) {
	opt := bus.FollowOptions{Follow: c.Follow}
	for s := severityNamed(c.Severity); c.Severity != "info" && s < alert.SeverityCount; s++ {
		opt.Severities = append(opt.Severities, s.String())
	}
	switch {
	case c.Since != "":
		since, err := parseSince(c.Since, now)
		opt.Since = since
		return opt, err
	case !c.Follow:
		opt.Since = time.Unix(0, 1) // all there is
	}
	return opt, nil
}

// parseSince reads a duration before now or a time. Days, which Go's durations do not have, have 24 hours.
func parseSince(s string, now time.Time) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		var d time.Duration
		if days, is := strings.CutSuffix(s, "d"); is {
			var n uint64
			n, err = strconv.ParseUint(days, 10, 16)
			d = time.Duration(n) * 24 * time.Hour
		} else {
			d, err = time.ParseDuration(s)
		}
		t = now.Add(-d)
	}
	switch {
	case err != nil:
		return t, fmt.Errorf("--since: %q is neither a duration like 90s, 1h or 7d nor a time like 2026-11-20T23:00:00Z", s)
	case t.After(now):
		return t, fmt.Errorf("--since: %s is in the future", s)
	}
	return t, nil
}

func severityNamed(name string) (s alert.Severity) {
	_ = s.UnmarshalText([]byte(name)) // kong knows the names
	return s
}

// kind is one that was asked for; "" is any.
type kind struct{ analyzer, kind string }

// parseKinds reads the values of --kind. A word that is nobody's name is a mistake: it would wait for ever.
func parseKinds(words []string) (kinds []kind, err error) {
	for _, word := range words {
		var found kind
		for _, name := range alert.Kinds() {
			switch a, k, _ := strings.Cut(name, "."); word {
			case name:
				found = kind{a, k}
			case a:
				found = kind{analyzer: a}
			case k:
				found = kind{kind: k}
			}
		}
		if found == (kind{}) {
			return nil, fmt.Errorf("--kind: nothing is called %q; there are %s", word, strings.Join(alert.Kinds(), ", "))
		}
		kinds = append(kinds, found)
	}
	return kinds, nil
}

// onlyAnalyzer is the one that all kinds belong to; "" if there is none.
func onlyAnalyzer(kinds []kind) string {
	for _, k := range kinds {
		if k.analyzer != kinds[0].analyzer {
			return ""
		}
	}
	if len(kinds) == 0 {
		return ""
	}
	return kinds[0].analyzer
}

// viewer shows each revision that was asked for once.
type viewer struct {
	kinds    []kind // none: all
	least    alert.Severity
	places   [3][]alert.Place // of the subject, the victim, either; none: anywhere
	incident string           // "": with and without
	muted    bool             // are shown, too
	show     func(a *alert.Alert, payload []byte) error
	err      io.Writer
	seen     revisions
	shown    [alert.StateCount]uint64
	strange  uint64 // messages that are no alerts
}

// take shows the alert of a message. A message that is none was not written by a sensor of this version: the first is told,
// all are counted. Fields that a newer sensor has added are none of our business.
func (v *viewer) take(subject string, payload []byte) error {
	var a alert.Alert
	err := json.Unmarshal(payload, &a)
	if err == nil && a.Schema != alert.Schema {
		err = fmt.Errorf("schema %q, want %q", a.Schema, alert.Schema)
	}
	id, notHex := strconv.ParseUint(a.ID, 16, 64)
	if err == nil && notHex != nil {
		err = fmt.Errorf("id %q is no hexadecimal number", a.ID)
	}
	if err != nil {
		if v.strange++; v.strange == 1 {
			fmt.Fprintf(v.err, "weir: a message on %s is no alert that this version can read: %s\n", printable(subject), printable(err.Error()))
		}
		return nil
	}
	if !v.wanted(&a) || !v.seen.add(revision{id, a.Rev}) {
		return nil
	}
	v.shown[a.State]++
	return v.show(&a, payload)
}

func (v *viewer) wanted(a *alert.Alert) bool {
	if a.Severity < v.least || a.Muted != nil && !v.muted || v.incident != "" && a.ID != v.incident && a.Incident != v.incident {
		return false
	}
	subject, victim := isAt(v.places[0], a.Subject), isAt(v.places[1], a.Victim)
	either := isAt(v.places[2], a.Subject) || isAt(v.places[2], a.Victim)
	if !subject || !victim || !either {
		return false
	}
	return len(v.kinds) == 0 || slices.ContainsFunc(v.kinds, func(k kind) bool {
		return (k.analyzer == "" || k.analyzer == a.Analyzer) && (k.kind == "" || k.kind == a.Kind)
	})
}

// isAt tells whether one of the places holds a party; without any it is everywhere.
func isAt(places []alert.Place, p *alert.Party) bool {
	return len(places) == 0 || slices.ContainsFunc(places, func(at alert.Place) bool { return at.Holds(p) })
}

// parsePlaces reads the values of --subject, --victim and --network.
func parsePlaces(subject, victim, network []string) (places [3][]alert.Place, err error) {
	for i, words := range [...][]string{subject, victim, network} {
		for _, word := range words {
			p, err := alert.ParsePlace(word)
			if err != nil {
				return places, fmt.Errorf("--%s: %w", [...]string{"subject", "victim", "network"}[i], err)
			}
			places[i] = append(places[i], p)
		}
	}
	return places, nil
}

// told says what was shown.
func (v *viewer) told() string {
	text := fmt.Sprintf("%d revisions of alerts: %d open, %d update, %d closed", v.shown[alert.Open]+v.shown[alert.Update]+v.shown[alert.Closed],
		v.shown[alert.Open], v.shown[alert.Update], v.shown[alert.Closed])
	if v.strange > 0 {
		text += fmt.Sprintf("; %d messages were no alerts", v.strange)
	}
	return text
}

type revision struct {
	id  uint64
	rev int
}

// maxRevisions are remembered, in about 4 MB. NATS delivers again what was just delivered.
const maxRevisions = 1 << 16

// revisions remembers the last that were added. The zero value is empty.
type revisions struct {
	known map[revision]struct{}
	ring  []revision // the oldest at next, once it is full
	next  int
}

// add reports whether the revision is new.
func (s *revisions) add(r revision) bool {
	if _, known := s.known[r]; known {
		return false
	}
	switch {
	case s.known == nil:
		s.known = map[revision]struct{}{}
		fallthrough
	case len(s.ring) < maxRevisions:
		s.ring = append(s.ring, r)
	default:
		delete(s.known, s.ring[s.next])
		s.ring[s.next] = r
		s.next = (s.next + 1) % maxRevisions
	}
	s.known[r] = struct{}{}
	return true
}

// newRevisionWriter chooses the form.
func newRevisionWriter(format string, out io.Writer) func(a *alert.Alert, payload []byte) error {
	switch {
	case format == "table" || format == "auto" && isTerminal(out):
		w := &streamWriter{table: newTable(out)}
		return func(a *alert.Alert, _ []byte) error { return w.write(a) }
	case format == "ecs" || format == "eve":
		w := newAlertWriter(format, out, false)
		return func(a *alert.Alert, _ []byte) error { return w.write(a) }
	}
	return func(_ *alert.Alert, payload []byte) error { return writeLine(out, payload) }
}

// writeLine writes a JSON object unchanged, but for line breaks between its members.
func writeLine(out io.Writer, object []byte) error {
	line := bytes.TrimSpace(object)
	if bytes.ContainsAny(line, "\r\n") {
		var one bytes.Buffer
		if err := json.Compact(&one, line); err != nil {
			return err
		}
		line = one.Bytes()
	}
	_, err := out.Write(append(slices.Clip(line), '\n'))
	return err
}

// whenUnread calls stop when the reader of a pipe has gone away: one who waits for alerts may not write for hours, and would
// not notice. The channel tells how it ended, once ctx has.
func whenUnread(ctx context.Context, out io.Writer, stop func()) <-chan bool {
	gone := make(chan bool, 1)
	f, isFile := out.(*os.File)
	if !isFile {
		gone <- false
		return gone
	}
	fds := []unix.PollFd{{Fd: int32(f.Fd())}} // nothing is asked for: errors and hang-ups are always told
	go func() {
		for ctx.Err() == nil {
			n, err := unix.Poll(fds, 200)
			if n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
				stop()
				gone <- true
				return
			}
			if err != nil && !errors.Is(err, unix.EINTR) || n > 0 {
				break
			}
		}
		gone <- false
	}()
	return gone
}
