package sensor

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"weir/analyzers"
	networks "weir/analyzers/context"
	"weir/decode/conn"
	"weir/sensor/alert"
)

var update = flag.Bool("update", false, "rewrite the expected alerts of the golden cases")

// workerCounts are the numbers of workers that must not show in the output.
var workerCounts = []int{1, 2, 8}

// cases returns the folders pcaps/<analyzer>/<case>.
func cases(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("../pcaps/*/*/in.pcap*")
	if err != nil || len(found) < 20 {
		t.Fatalf("pcaps: %d cases, %v", len(found), err)
	}
	return found
}

// configOf is the configuration of a capture's case: the defaults, and what config.yaml beside it says of analyzers and networks. Files that
// it names lie there, too.
func configOf(t testing.TB, workers int, capture string) Config {
	t.Helper()
	cfg := config(workers)
	dir := filepath.Dir(capture)
	text, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return cfg
	}
	own := struct {
		Analyzers analyzers.Config `yaml:"analyzers"`
		Networks  networks.Config  `yaml:"networks"`
	}{analyzers.Defaults(), networks.Defaults()}
	if err == nil {
		err = yaml.UnmarshalWithOptions(text, &own, yaml.Strict())
	}
	if err = errors.Join(err, own.Analyzers.Check(), own.Networks.Check()); err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	var databases []io.Reader
	for _, name := range own.Networks.Origins {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		databases = append(databases, bytes.NewReader(b))
	}
	origin, err := networks.ReadOrigins(databases...)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	cfg.Site = analyzers.NewSite(networks.New(own.Networks, nil, origin), nil)
	cfg.Analyzers = analyzers.All(own.Analyzers, cfg.Site)
	return cfg
}

// TestGolden replays every case of pcaps as the command does, with 1, 2 and 8 workers: the same bytes each time, and the
// alerts that want.jsonl expects.
func TestGolden(t *testing.T) {
	for i, in := range cases(t) {
		if testing.Short() && i%8 != 1 {
			continue
		}
		dir := filepath.Dir(in)
		t.Run(strings.TrimPrefix(dir, "../pcaps/"), func(t *testing.T) {
			t.Parallel()
			got := sameForWorkers(t, in)
			wantFile := filepath.Join(dir, "want.jsonl")
			if *update {
				if err := os.WriteFile(wantFile, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			if diff := alert.Diff(parse(t, want), parse(t, got)); diff != "" {
				t.Errorf("alerts differ from %s:\n%s", wantFile, diff)
			}
			if filepath.Base(filepath.Dir(dir)) == "benign" {
				silent(t, parse(t, got))
			}
		})
	}
}

// sameForWorkers replays a capture with several numbers of workers and returns its alerts. The connections and their order must be
// the same, too.
func sameForWorkers(t *testing.T, path string) []byte {
	t.Helper()
	var first []byte
	var flows [sha256.Size]byte
	var line []byte
	for i, workers := range workerCounts {
		records, sum := 0, sha256.New()
		got, _, err := replay(t, workers, func(r *conn.Record) {
			records++
			line = r.AppendZeek(r.AppendJSON(line[:0]))
			sum.Write(line)
		}, path)
		if err != nil {
			t.Fatalf("%d workers: %v", workers, err)
		}
		if records == 0 && !strings.HasPrefix(filepath.Base(filepath.Dir(path)), "arp-") {
			t.Errorf("%d workers: no connections", workers)
		}
		if i == 0 {
			first, flows = got, [sha256.Size]byte(sum.Sum(nil))
			continue
		}
		if !bytes.Equal(first, got) {
			t.Errorf("%d workers give other alerts than %d:\n%s", workers, workerCounts[0], alert.Diff(parse(t, first), parse(t, got)))
		}
		if flows != [sha256.Size]byte(sum.Sum(nil)) {
			t.Errorf("%d workers give other connections than %d, or another order", workers, workerCounts[0])
		}
	}
	return first
}

func parse(t *testing.T, lines []byte) []*alert.Alert {
	t.Helper()
	alerts, err := alert.Read(bytes.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	return alerts
}

// silent fails for alerts of medium severity or more.
func silent(t *testing.T, alerts []*alert.Alert) {
	t.Helper()
	for _, a := range alerts {
		if a.Severity >= alert.Medium {
			t.Errorf("benign, but %s: %s %s: %s", a.Severity, a.Analyzer, a.Kind, a.Summary)
		}
	}
}

// TestGoldenComplete holds the form of pcaps: an analyzer has a folder, a folder (but benign, and incident for what comes of several
// analyzers) an analyzer, and a case all its files.
func TestGoldenComplete(t *testing.T) {
	names := map[string]bool{"benign": true, "incident": true}
	for _, a := range analyzers.All(analyzers.Defaults(), analyzers.NewSite(nil, nil)) {
		names[a.Name()] = true
	}
	seen := map[string]bool{}
	for _, in := range cases(t) {
		dir := filepath.Dir(in)
		analyzer := filepath.Base(filepath.Dir(dir))
		seen[analyzer] = true
		if !names[analyzer] {
			t.Errorf("%s: no analyzer of this name", dir)
		}
		for _, f := range []string{"want.jsonl", "README.md", "make.sh"} {
			if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
				t.Error(err)
			}
		}
	}
	for name := range names {
		if !seen[name] {
			t.Errorf("analyzer %s has no case in pcaps", name)
		}
	}
}
