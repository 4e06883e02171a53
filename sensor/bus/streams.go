package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The server forgets ids of messages after these times. Alerts are sent again by a process that was killed and restarted, so
// theirs spans a restart and an upgrade; whoever comes later relies on consumers, which dedupe by id and revision. A flow is
// sent again only by the process that sent it, after a reconnect, and the server holds each id in memory: 10 000 a second
// make 1.2 million in two minutes.
const (
	alertWindow = 10 * time.Minute
	flowWindow  = 2 * time.Minute
)

// streams are what a sensor publishes to, as configured.
func (c *Config) streams(n names) []jetstream.StreamConfig {
	stream := func(kind, subject string, l Limits, window time.Duration) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: n.stream(kind), Subjects: []string{names{n.site, "*"}.subject(subject)},
			Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage,
			MaxAge: l.MaxAge, MaxBytes: int64(l.MaxMiB) << 20, Replicas: c.Replicas, Duplicates: window,
		}
	}
	all := []jetstream.StreamConfig{
		stream("ALERTS", "alert.>", c.Streams.Alerts, alertWindow),
		stream("DROPS", "drop.>", c.Streams.Drops, alertWindow),
	}
	if c.flows() {
		all = append(all, stream("FLOWS", "flow", c.Streams.Flows, flowWindow))
	}
	return all
}

// ensureStreams creates the streams that are missing and compares the others, which it never changes. differ says what is
// not as configured, err what could not be found out or done.
func ensureStreams(ctx context.Context, js jetstream.JetStream, want []jetstream.StreamConfig) (differ []string, err error) {
	for i := range want {
		w := &want[i]
		s, one := js.Stream(ctx, w.Name)
		if errors.Is(one, jetstream.ErrStreamNotFound) {
			if _, one = js.CreateStream(ctx, *w); errors.Is(one, jetstream.ErrStreamNameAlreadyInUse) {
				s, one = js.Stream(ctx, w.Name) // another sensor of the site was faster
			}
		}
		if one != nil {
			err = errors.Join(err, fmt.Errorf("stream %s: %w%s", w.Name, one, remedy(one)))
			if errors.Is(one, nats.ErrNoResponders) || ctx.Err() != nil {
				return differ, err // the others would say the same
			}
			continue
		}
		if s != nil {
			if line := difference(&s.CachedInfo().Config, w); line != "" {
				differ = append(differ, line)
			}
		}
	}
	return differ, err
}

// remedy says what to do about a stream that cannot be had.
func remedy(err error) string {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return ": enable JetStream on the server, for this account"
	case !errors.As(err, &api):
		return ""
	case strings.Contains(api.Description, "replicas"):
		return ": set nats.replicas to 1, or add servers to the cluster"
	case strings.Contains(api.Description, "overlap"):
		return ": another stream takes its subjects; messages go there until that is removed"
	case strings.Contains(api.Description, "resources"), strings.Contains(api.Description, "storage"):
		return ": lower nats.streams.*.max_mib, or give the server more room"
	}
	return ""
}

// difference tells how a stream is not as configured, and which command would change it.
func difference(have, want *jetstream.StreamConfig) string {
	var fields, flags []string
	note := func(differs bool, field string, h, w any, flag string) {
		if differs {
			fields = append(fields, fmt.Sprintf("%s is %v, configured %v", field, h, w))
			if flag != "" {
				flags = append(flags, fmt.Sprintf("--%s=%v", flag, w))
			}
		}
	}
	note(!sameSubjects(have.Subjects, want.Subjects), "subjects", strings.Join(have.Subjects, ","), strings.Join(want.Subjects, ","), "subjects")
	note(have.MaxAge != want.MaxAge, "max_age", have.MaxAge, short(want.MaxAge), "max-age")
	note(have.MaxBytes != want.MaxBytes, "max_bytes", have.MaxBytes, want.MaxBytes, "max-bytes")
	note(have.Replicas != want.Replicas, "replicas", have.Replicas, want.Replicas, "replicas")
	note(have.Duplicates != want.Duplicates, "duplicate_window", have.Duplicates, short(want.Duplicates), "dupe-window")
	note(have.Discard != want.Discard, "discard", have.Discard, strings.ToLower(strings.TrimPrefix(want.Discard.String(), "Discard")), "discard")
	note(have.Retention != want.Retention, "retention", have.Retention, want.Retention, "")
	note(have.Storage != want.Storage, "storage", have.Storage, want.Storage, "")
	if len(fields) == 0 {
		return ""
	}
	line := "stream " + want.Name + ": " + strings.Join(fields, "; ") + "; it was left as it is"
	if len(flags) > 0 {
		line += ", to change it: nats stream edit " + want.Name + " " + strings.Join(flags, " ")
	}
	return line
}

// short is a duration as the nats command takes it.
func short(d time.Duration) string {
	if d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return d.String()
}

func sameSubjects(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
