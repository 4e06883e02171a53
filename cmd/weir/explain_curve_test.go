package main

import (
	"path/filepath"
	"slices"
	"testing"

	"weir/analyzers/baseline"
	"weir/sensor"
	"weir/sensor/alert"
)

// TestCurvesExist: where explain looks for what is normal of a golden alert, the analyzers have put it. One case of each kind is replayed.
func TestCurvesExist(t *testing.T) {
	cases := map[string][]*alert.Alert{} // by folder: one of each kind
	seen := map[string]bool{}
	goldenAlerts(t, func(path string, a *alert.Alert) {
		if kind := a.Analyzer + "." + a.Kind; !seen[kind] && len(normalsOf(a)) > 0 {
			seen[kind] = true
			cases[filepath.Dir(path)] = append(cases[filepath.Dir(path)], a)
		}
	})
	for dir, alerts := range cases {
		files, err := filepath.Glob(dir + "/in.pcap*")
		if err != nil || len(files) != 1 {
			t.Fatalf("%s: %q %v", dir, files, err)
		}
		settings := defaults()
		if configs, _ := filepath.Glob(dir + "/*.yaml"); len(configs) == 1 {
			if settings, err = readConfig(configs[0]); err != nil {
				t.Fatal(err)
			}
			for i, name := range settings.Networks.Origins { // they stand beside the case
				settings.Networks.Origins[i] = filepath.Join(dir, name)
			}
		}
		store := baseline.New(settings.Baseline)
		replayInto(t, &settings, store, files[0])
		known := map[string]bool{}
		_ = store.Each(func(l *baseline.Line) error {
			known[l.Series+l.Spread] = true
			return nil
		})
		for _, a := range alerts {
			if names := normalsOf(a); !slices.ContainsFunc(names, func(n string) bool { return known[n] }) {
				t.Errorf("%s: %s.%s: the baseline has none of %q", dir, a.Analyzer, a.Kind, names)
			}
		}
	}
	t.Logf("%d kinds in %d cases", len(seen), len(cases))
}

func replayInto(t *testing.T, settings *config, store *baseline.Store, file string) {
	t.Helper()
	cfg, err := settings.engine(settings.replayTables(), store)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := sensor.New(cfg, sensor.Sinks{})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	src := newSource(t.Context(), []string{file}, false)
	defer src.Close()
	if _, err := engine.Replay(t.Context(), src); err != nil {
		t.Fatal(err)
	}
}
