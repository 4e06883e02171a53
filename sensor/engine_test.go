package sensor

import (
	"context"
	"testing"

	"weir/analyzers"
	"weir/analyzers/tally"
	"weir/decode/conn"
	"weir/sensor/alert"
	"weir/sensor/capture"
)

// config is the engine's configuration by default.
func config(workers int) Config {
	site := analyzers.NewSite(nil, nil)
	return Config{
		Workers: workers, Conn: conn.Defaults(), Tally: tally.Defaults(), Alert: alert.Defaults(),
		Analyzers: analyzers.All(analyzers.Defaults(), site), Site: site,
	}
}

// replay runs captures through an engine as the command does, with the configuration of their case, and returns the alerts as JSON
// lines.
func replay(t testing.TB, workers int, records func(*conn.Record), paths ...string) ([]byte, *Summary, error) {
	t.Helper()
	var out []byte
	e, err := New(configOf(t, workers, paths[0]), Sinks{Record: records, Alert: func(a *alert.Alert) {
		line, err := a.AppendLine(out)
		if err != nil {
			t.Fatal(err)
		}
		out = line
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	src := capture.Files(paths, false)
	defer src.Close()
	sum, err := e.Replay(context.Background(), src)
	return out, sum, err
}
