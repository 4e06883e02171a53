package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// board is what a test asks of Grafana's board: places of panels, and what they query.
type board struct {
	Panels []struct {
		ID          int
		Type, Title string
		GridPos     struct{ X, Y, W, H int }
		Targets     []struct{ Expr, LegendFormat string }
	}
}

// TestBoard holds that no panel of Grafana's board lies on another or asks for nothing, and that sums are by labels that a metric
// of the query has. Names of metrics are TestMetricsInRules' matter.
func TestBoard(t *testing.T) {
	text, err := os.ReadFile("../../deploy/grafana/weir.json")
	if err != nil {
		t.Fatal(err)
	}
	var b board
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	_, all := gatherAll(t)
	labels := func(expr string) map[string]bool {
		known := map[string]bool{"instance": true, "job": true, "le": true}
		for _, name := range regexp.MustCompile(`weir_[a-z_]+`).FindAllString(expr, -1) {
			if f := all[name]; f != nil {
				for _, l := range f.GetMetric()[0].GetLabel() {
					known[l.GetName()] = true
				}
			}
		}
		return known
	}
	used := map[[2]int]string{}
	ids := map[int]bool{}
	asked := 0
	for _, p := range b.Panels {
		if ids[p.ID] {
			t.Errorf("%s: id %d is another's", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.GridPos.X+p.GridPos.W > 24 || (len(p.Targets) == 0) != (p.Type == "row") {
			t.Errorf("%s: at %+v with %d queries", p.Title, p.GridPos, len(p.Targets))
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := used[at]; other != "" {
					t.Fatalf("%s lies on %s", p.Title, other)
				}
				used[at] = p.Title
			}
		}
		for _, q := range p.Targets {
			known := labels(q.Expr)
			for _, m := range regexp.MustCompile(`(?:\b(?:by|without|on) ?\(([a-z_, ]+)\))|(?:([a-z_]+)[!=]~?")|(?:{{([a-z_]+)}})`).FindAllStringSubmatch(q.Expr+q.LegendFormat, -1) {
				for _, l := range strings.Split(m[1]+m[2]+m[3], ",") {
					asked++
					if l = strings.TrimSpace(l); !known[l] {
						t.Errorf("%s: no metric of %s has a label %s", p.Title, q.Expr, l)
					}
				}
			}
		}
	}
	if asked < 50 {
		t.Errorf("only %d labels found", asked)
	}
}

// TestCompose holds that the settings that compose.yaml gives weir are settings, that no image comes without a version, and that every
// file it mounts is there.
func TestCompose(t *testing.T) {
	text, err := os.ReadFile("../../deploy/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Image   string   `yaml:"image"`
			Volumes []string `yaml:"volumes"`
			Memory  string   `yaml:"mem_limit"`
		} `yaml:"services"`
		Configs map[string]struct {
			Content string `yaml:"content"`
		} `yaml:"configs"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Services) != 4 {
		t.Errorf("%d services", len(file.Services))
	}
	for name, s := range file.Services {
		if _, tag, _ := strings.Cut(s.Image, ":"); tag == "" || tag == "latest" || s.Memory == "" {
			t.Errorf("%s: image %q, memory %q", name, s.Image, s.Memory)
		}
		for _, v := range s.Volumes {
			if from, _, _ := strings.Cut(v, ":"); strings.HasPrefix(from, "./") {
				if _, err := os.Stat("../../deploy/" + from); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	c := defaults()
	content := regexp.MustCompile(`\$\{[^}]*\}`).ReplaceAllString(file.Configs["weir"].Content, "secret")
	if err := c.parse([]byte(content)); err != nil || len(c.NATS.Servers) != 1 {
		t.Errorf("%v\n%s", err, content)
	}
}
