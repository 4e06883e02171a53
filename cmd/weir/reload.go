package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"time"

	"weir/analyzers"
	"weir/sensor/alert"
	"weir/sensor/host"
)

// reloader reads a command's configuration again on SIGHUP and when its file changes. A bad file changes nothing.
type reloader struct {
	path        string         // "": only on SIGHUP
	hangup      chan os.Signal // SIGHUP
	log         *slog.Logger
	metrics     *metrics
	reconfigure func() error // reads and applies it
}

// run reloads until ctx ends.
func (r *reloader) run(ctx context.Context) {
	var changed <-chan struct{}
	if r.path != "" {
		var err error
		if changed, err = host.Watch(ctx, r.path, r.log); err != nil {
			r.log.Warn("the configuration is not watched; send SIGHUP after a change", "error", err)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.hangup:
		case _, open := <-changed:
			if !open {
				changed = nil
				continue
			}
		}
		announce(host.Reloading, r.log)
		err := r.reconfigure()
		r.metrics.reloaded(err, time.Now())
		for _, mistake := range causes(err) {
			r.log.Error("the configuration was read again and is refused; the one before stays", "error", mistake)
		}
		announce(host.Ready, r.log)
	}
}

// announce tells the service manager.
func announce(state string, log *slog.Logger) {
	if err := host.Notify(state); err != nil {
		log.Warn("the service manager cannot be told", "error", err)
	}
}

// reconfigure gives the running sensor what can change while it runs: thresholds, limits of alerts, networks and policy, the filter,
// whom to tell, the level of the log.
func (s *sensing) reconfigure() error {
	next, err := readLiveConfig(s.cmd.Config, len(s.cmd.Interface), s.cmd.workers())
	if err != nil {
		return err
	}
	f, err := next.filter(s.cmd.Filter)
	if err != nil {
		return err
	}
	level, err := host.Level(next.Log.Level)
	if err != nil {
		return err
	}
	if s.gate != nil && s.gate.DryRun {
		next.Policy.Shadow = true
	}
	if err := errors.Join(s.protect.configure(&next), s.notices.reconfigure(next.Notify)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	used := s.settings
	used.Networks, used.Policy, used.Mutes, used.Notify = next.Networks, next.Policy, next.Mutes, next.Notify
	used.Filter, used.Analyzers, used.Alerts, used.Log.Level = next.Filter, next.Analyzers, next.Alerts, next.Log.Level
	used.Alerts.Incidents = s.settings.Alerts.Incidents // a restart
	hash, err := used.hash()
	if err != nil {
		return err
	}
	r := s.run.Load()
	if err := r.live.SetFilter(f); err != nil {
		return err
	}
	r.engine.SetKeep(keep(f))
	restart := fixed(&used, &next)
	r.engine.Reconfigure(func(running []analyzers.Analyzer, alerts *alert.Manager) {
		restart = append(restart, analyzers.Reconfigure(running, next.Analyzers)...)
		cfg := next.Alerts
		cfg.Sensor, cfg.Hash, cfg.Mutes = used.sensorName(), hash, next.Mutes
		alerts.Reconfigure(cfg)
	})
	s.settings = used
	s.level.Set(level)
	s.log.Info("the configuration was read again", "config", hash)
	tellFixed(s.log, restart)
	return nil
}

// tellFixed says which changed settings take effect after a restart only.
func tellFixed(log *slog.Logger, names []string) {
	if len(names) > 0 {
		log.Warn("some settings need a restart to change", "settings", strings.Join(names, ", "))
	}
}

// fixed lists the settings that differ, by their way in the file.
func fixed(have, want *config) []string {
	return differing("", reflect.ValueOf(have).Elem(), reflect.ValueOf(want).Elem())
}

func differing(way string, a, b reflect.Value) (names []string) {
	if a.Kind() != reflect.Struct {
		if !reflect.DeepEqual(a.Interface(), b.Interface()) {
			names = []string{way}
		}
		return names
	}
	if way != "" {
		way += "."
	}
	for i := range a.NumField() {
		if name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("yaml"), ","); name != "" && name != "-" {
			names = append(names, differing(way+name, a.Field(i), b.Field(i))...)
		}
	}
	return names
}
