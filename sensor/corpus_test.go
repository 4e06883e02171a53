package sensor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/sensor/alert"
	"weir/sensor/capture"
)

// corpus returns the folder of the captures by others, or skips.
func corpus(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("WEIR_CORPUS")
	if dir == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("WEIR_CORPUS is not set, and this is CI")
		}
		t.Skip("WEIR_CORPUS is not set: the captures by others are left out")
	}
	return dir
}

// TestCorpus reads every capture of the corpus to its end, with several numbers of workers. Malformed and benign ones must
// not alarm.
func TestCorpus(t *testing.T) {
	dir := corpus(t)
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.pcap*"))
	if err != nil || len(files) < 170 {
		t.Fatalf("%s: %d captures, %v", dir, len(files), err)
	}
	for i, f := range files {
		category := filepath.Base(filepath.Dir(f))
		if category == "ground-truth" || testing.Short() && i%8 != 0 {
			continue
		}
		t.Run(category+"/"+filepath.Base(f), func(t *testing.T) {
			t.Parallel()
			one, sum, err := replay(t, 1, nil, f)
			two, _, err2 := replay(t, 2, nil, f)
			if string(one) != string(two) || (err == nil) != (err2 == nil) {
				t.Errorf("two workers differ from one:\n%s", alert.Diff(parse(t, one), parse(t, two)))
			}
			var cut *capture.CutError
			var format *capture.FormatError
			if err != nil && !errors.As(err, &cut) && !errors.As(err, &format) {
				t.Errorf("an error that names no place: %v", err)
			}
			if err == nil && sum.Link.Packets == 0 && !strings.Contains(f, "empty") {
				t.Error("no packet, and no error")
			}
			if category == "benign" || category == "decode-malformed" {
				silent(t, parse(t, one))
			}
		})
	}
}
