package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"weir/analyzers/baseline"
	"weir/sensor/alert"
	"weir/sensor/bus"
)

type explainCmd struct {
	Alert    string   `arg:"" help:"An alert's id (with .REV: that revision, else the last), or FILE:LINE of a file of JSON lines."`
	State    string   `placeholder:"DIR" type:"path" help:"State folder of the sensor on this machine (default: /var/lib/weir)."`
	Config   string   `placeholder:"FILE" help:"Configuration (YAML) with the sections nats, baseline and policy."`
	NATS     []string `name:"nats" placeholder:"URL" help:"Servers to look for an id, in place of those of the configuration."`
	Site     string   `placeholder:"NAME" help:"Site whose alert it is (default: that of the configuration)."`
	Baseline string   `placeholder:"FILE" help:"Show what is normal from this baseline, and not from the state folder's."`
}

// Help is the long form of --help.
func (*explainCmd) Help() string {
	return `Tells an alert's whole arithmetic in words: each measure with what it means, its threshold and what is normal; the score, the severity
and the cap of its kind; confidence and loss; what the policy decided; and the curve that the alert was judged by.

Examples:
  weir explain 3f9c2b7a61d0e845
  weir explain 3f9c2b7a61d0e845.1 --state ./state
  weir explain alerts.jsonl:17
  weir replay --format jsonl -q trace.pcap | weir explain /dev/stdin:1 --baseline good.baseline

An id is looked for where 'weir alerts' finds alerts. A line is any line of 'weir replay', 'weir sense' or 'weir alerts' in JSON.`
}

// Run finds the alert and explains it.
func (c *explainCmd) Run(ctx context.Context, std *streams) error {
	settings, err := readConfig(c.Config)
	if err != nil {
		return err
	}
	a, err := c.find(ctx, &settings)
	if err != nil {
		return err
	}
	store, from, err := c.normal(&settings, a)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(std.out)
	e := explanation{out, a}
	e.tell()
	if err := e.policy(&settings); err != nil {
		return err
	}
	if err := e.curves(store, from); err != nil {
		return err
	}
	return out.Flush()
}

var alertID = regexp.MustCompile(`^([0-9a-f]{16})(?:\.([0-9]+))?$`)

// find reads the alert that is meant.
func (c *explainCmd) find(ctx context.Context, settings *config) (*alert.Alert, error) {
	if id := alertID.FindStringSubmatch(c.Alert); id != nil {
		rev, _ := strconv.Atoi(id[2])
		return c.ask(ctx, settings, id[1], rev)
	}
	file, number, found := cutLast(c.Alert, ":")
	line, err := strconv.Atoi(number)
	if !found || file == "" || err != nil || line < 1 {
		return nil, usageError{fmt.Errorf("%q is neither an alert's id (16 hex digits) nor FILE:LINE", c.Alert)}
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, usageError{err}
	}
	defer f.Close()
	a, err := alertAt(f, line)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s:%d: %w", file, line, err)}
	}
	return a, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// maxAlertLine is the longest line that is read, in bytes.
const maxAlertLine = 1 << 20

// alertAt reads one line.
func alertAt(in io.Reader, number int) (*alert.Alert, error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxAlertLine)
	n := 0
	for lines.Scan() {
		if n++; n == number {
			return parseAlert(lines.Bytes())
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("there are %d lines", n)
}

// parseAlert reads an alert; fields that a newer sensor has added are none of our business.
func parseAlert(text []byte) (*alert.Alert, error) {
	a := new(alert.Alert)
	if err := json.Unmarshal(text, a); err != nil {
		return nil, fmt.Errorf("no alert: %w", err)
	}
	if a.Schema != alert.Schema {
		return nil, fmt.Errorf("no alert: schema %q, want %q", a.Schema, alert.Schema)
	}
	return a, nil
}

// ask looks for an alert on NATS; rev 0 is the last revision.
func (c *explainCmd) ask(ctx context.Context, settings *config, id string, rev int) (found *alert.Alert, err error) {
	cfg := settings.NATS
	if len(c.NATS) > 0 {
		cfg.Servers = c.NATS
	}
	if err := cfg.Check(); err != nil {
		return nil, usageError{err}
	}
	all := bus.FollowOptions{Since: time.Unix(0, 1)}
	err = bus.Follow(ctx, cfg, cmp.Or(c.Site, settings.Site), cmp.Or(c.State, defaultState), all, func(_ string, payload []byte) error {
		a, err := parseAlert(payload)
		if err != nil || a.ID != id || rev != 0 && a.Rev != rev || found != nil && a.Rev < found.Rev {
			return nil //nolint:nilerr // what is no alert is not the one that is meant
		}
		found = a
		return nil
	})
	if err == nil && found == nil {
		err = fmt.Errorf("no alert %s is kept at site %s: 'weir alerts --no-follow' lists those that are", c.Alert, cmp.Or(c.Site, settings.Site))
	}
	return found, err
}

const defaultState = "/var/lib/weir"

// normal is the baseline to show curves of, and where it is from; nil: from says why there is none.
func (c *explainCmd) normal(settings *config, a *alert.Alert) (s *baseline.Store, from string, err error) {
	path := c.Baseline
	if path == "" && a.Sensor == "replay" && c.State == "" {
		return nil, "the alert is of a replay: --baseline FILE shows the baseline that it began with", nil
	}
	if path == "" {
		path = filepath.Join(cmp.Or(c.State, defaultState), baselineFile)
	}
	s, err = readBaseline(path, settings.Baseline)
	switch {
	case err == nil:
		return s, path, nil
	case c.Baseline != "":
		return nil, "", usageError{err}
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission):
		return nil, err.Error(), nil
	}
	return nil, "", err
}
