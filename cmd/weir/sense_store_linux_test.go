package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// TestSenseStore watches a scan: 'weir flows' shows its connections while the sensor runs, in a store beside the state folder, and what is
// kept of alerts is what was printed.
func TestSenseStore(t *testing.T) {
	t.Parallel()
	o := newOutpost(t, "")
	folder := filepath.Join(o.dir, "kept")
	o.configure(t, "store:\n  rotate: 1s\n  free_mib: 0\n  folder: "+folder+"\n")
	s := sense(t, o.far, "-i", "eth0", "--config", o.config)
	s.ready(t)
	o.probe(t, 900, 60)
	var ports []string
	await(t, "weir flows shows the scan", func() bool {
		out, _ := weirRuns(t, 0, "flows", "--quiet", "--config", o.config, "--last", "1h", "tcp and src host 10.9.0.2")
		ports = nil
		for line := range strings.Lines(out) {
			r := decodeLine(t, line)
			if r["id.resp_h"] != "10.9.0.1" || r["conn_state"] != "REJ" {
				t.Errorf("a connection of the scan: %s", line)
			}
			ports = append(ports, fmt.Sprint(r["id.resp_p"]))
		}
		return len(ports) >= 60
	})
	slices.Sort(ports)
	if len(slices.Compact(ports)) != 60 {
		t.Errorf("%d ports, want 60: %v", len(ports), ports)
	}
	if n := s.metric(t, "weir_store_rows_total", `kind="flows"`); n < 60 {
		t.Errorf("weir_store_rows_total is %v", n)
	}
	if n := s.metric(t, "weir_store_lost_rows_total"); n != 0 {
		t.Errorf("weir_store_lost_rows_total is %v", n)
	}
	s.stop(t)
	printed := strings.Split(strings.TrimSpace(s.out.String()), "\n")
	files, err := filepath.Glob(filepath.Join(folder, "alerts", "date=*", "weir-*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, name := range files {
		rows, err := parquet.ReadFile[struct {
			JSON string `parquet:"json"`
		}](name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			kept = append(kept, r.JSON)
		}
	}
	if !slices.Equal(kept, printed) || len(kept) == 0 {
		t.Errorf("kept are\n%s\nprinted were\n%s", strings.Join(kept, "\n"), strings.Join(printed, "\n"))
	}
}
