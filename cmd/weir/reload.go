package main

import (
	"context"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"syscall"
	"time"

	"weir/analyzers"
	"weir/sensor/alert"
	"weir/sensor/host"
)

// reload reads the configuration again on SIGHUP and when its file changes, and gives the running sensor what can change
// while it runs: thresholds, limits of alerts, the filter, the level of the log. A bad file changes nothing.
func (s *sensing) reload(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	var changed <-chan struct{}
	if s.cmd.Config != "" {
		var err error
		if changed, err = host.Watch(ctx, s.cmd.Config, s.log); err != nil {
			s.log.Warn("the configuration is not watched; send SIGHUP after a change", "error", err)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		case _, open := <-changed:
			if !open {
				changed = nil
				continue
			}
		}
		s.notify(host.Reloading)
		err := s.reconfigure()
		s.metrics.reloaded(err, time.Now())
		if err != nil {
			s.log.Error("the configuration was read again and is refused; the one before stays", "error", err)
		}
		s.notify(host.Ready)
	}
}

// reconfigure reads the configuration and applies it.
func (s *sensing) reconfigure() error {
	next, err := readConfig(s.cmd.Config)
	if err != nil {
		return err
	}
	if err := next.checkLive(len(s.cmd.Interface)); err != nil {
		return err
	}
	f, err := next.filter(s.cmd.Filter)
	if err != nil {
		return err
	}
	hash, err := next.hash()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.run.Load()
	if err := r.live.SetFilter(f); err != nil {
		return err
	}
	r.engine.SetKeep(keep(f))
	restart := fixed(&s.settings, &next)
	r.engine.Reconfigure(func(running []analyzers.Analyzer, alerts *alert.Manager) {
		restart = append(restart, analyzers.Reconfigure(running, next.Analyzers)...)
		cfg := next.Alerts
		cfg.Sensor, cfg.Hash = s.settings.sensorName(), hash
		alerts.Reconfigure(cfg)
	})
	s.settings.Filter, s.settings.Analyzers, s.settings.Alerts = next.Filter, next.Analyzers, next.Alerts
	s.log.Info("the configuration was read again", "config", hash)
	if len(restart) > 0 {
		s.log.Warn("some settings need a restart to change", "settings", strings.Join(restart, ", "))
	}
	return nil
}

// fixed lists the sections that differ and cannot change while the sensor runs.
func fixed(have, want *config) (names []string) {
	a, b := reflect.ValueOf(have).Elem(), reflect.ValueOf(want).Elem()
	for i := range a.NumField() {
		name := strings.TrimSpace(a.Type().Field(i).Tag.Get("yaml"))
		switch name {
		case "filter", "analyzers", "alerts":
			continue
		}
		if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			names = append(names, name)
		}
	}
	return names
}
