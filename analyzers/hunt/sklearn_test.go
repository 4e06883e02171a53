package hunt

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// TestScikitLearn gives the labels of scikit-learn, by its numbers: testdata/sklearn.
func TestScikitLearn(t *testing.T) {
	f, err := os.Open("testdata/sklearn/cases.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cases, clusters, noise := 0, 0, 0
	for lines := json.NewDecoder(bufio.NewReader(f)); lines.More(); cases++ {
		var one struct {
			Name       string
			Eps        float64
			MinSamples int `json:"min_samples"`
			Points     [][]float32
			Weights    []uint32
			Labels     []int32
		}
		if err := lines.Decode(&one); err != nil {
			t.Fatal(err)
		}
		p := &Points{Dims: len(one.Points[0]), At: slices.Concat(one.Points...), Weight: one.Weights}
		got, err := DBSCAN(context.Background(), p, one.Eps, one.MinSamples, nil)
		if err != nil {
			t.Fatal(err)
		}
		wrong := 0
		for i, want := range one.Labels {
			clusters = max(clusters, int(want)+1)
			if want == Noise {
				noise++
			}
			if got[i] != want {
				wrong++
			}
		}
		if wrong > 0 {
			t.Errorf("%s: %d of %d labels differ", one.Name, wrong, len(got))
		}
	}
	if cases != 6 || clusters < 4 || noise < 50 {
		t.Errorf("%d cases, up to %d clusters, %d points of noise: the file proves little", cases, clusters, noise)
	}
}
