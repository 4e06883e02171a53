package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir/sensor/alert"
)

// TestSenseEvidence: nmap scans, and what weir sense keeps of the alert is read by tcpdump, and by weir replay, which gives the same
// alert: analyzer, kind, subject and victim. The revision that ends it names the file and its SHA-256.
func TestSenseEvidence(t *testing.T) {
	o := newOutpost(t, "")
	w := sense(t, o.far, "-i", "eth0", "--config", o.config)
	runIn(t, o.near, "nmap", "-n", "-Pn", "-sS", "-p1-200", "--min-rate", "200", "10.9.0.1")
	var files []string
	await(t, "the evidence is whole", func() bool {
		files, _ = filepath.Glob(filepath.Join(w.state, "store/evidence/*.pcapng"))
		return len(files) >= 1 && slices.ContainsFunc(w.printed(t), func(a *alert.Alert) bool {
			return a.Analyzer == "scan" && slices.ContainsFunc(files, func(f string) bool { return strings.Contains(f, a.ID) })
		})
	})
	var scan *alert.Alert
	for _, a := range w.stop(t) {
		if a.Analyzer == "scan" && a.State == alert.Closed {
			scan = a
		}
	}
	if scan == nil || scan.Evidence == nil {
		t.Fatalf("the scan's end names no evidence: %+v", scan)
	}
	text, err := os.ReadFile(scan.Evidence.File)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != scan.Evidence.SHA256 {
		t.Error("another SHA-256 than the file's")
	}
	if n := strings.Count(runIn(t, o.far, "tcpdump", "-nr", scan.Evidence.File, "tcp[tcpflags] & tcp-syn != 0 and src host 10.9.0.2"), "\n"); n < 200 {
		t.Errorf("tcpdump reads %d SYNs, nmap sent 200 or more", n)
	}
	again, err := alert.Read(strings.NewReader(runIn(t, o.far, "weir", "replay", "--quiet", "--format", "jsonl", scan.Evidence.File)))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(again, func(a *alert.Alert) bool {
		return a.Analyzer == scan.Analyzer && a.Kind == scan.Kind && a.Subject.String() == scan.Subject.String() && a.Victim.String() == scan.Victim.String()
	}) {
		t.Errorf("replayed, the evidence of %s %s by %s on %s gives %+v", scan.Analyzer, scan.Kind, scan.Subject, scan.Victim, again)
	}
}
