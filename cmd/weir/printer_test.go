package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/sensor/alert"
)

// TestPrinterStalled holds that a reader who stands still keeps up neither who finds alerts nor the end, and what it costs.
func TestPrinterStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		r, w := io.Pipe()
		p := newPrinter("jsonl", w, slog.New(slog.NewTextHandler(&said, nil)))
		begun := time.Now()
		for range 3000 {
			p.put(new(alert.Alert))
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("it waited %v", took)
		}
		p.close()
		if took := time.Since(begun); took > lastWords {
			t.Errorf("the end took %v", took)
		}
		if text := said.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "too slowly: 3000 alerts were not printed; they are on the bus") {
			t.Errorf("it says\n%s", text)
		}
		r.Close() // ends the goroutine
		synctest.Wait()
	})
}

// TestPatientStalled holds the same of the log.
func TestPatientStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		p := newPatient(w)
		begun := time.Now()
		fmt.Fprintln(p, 0)
		synctest.Wait() // it is being written
		for n := range 3000 {
			fmt.Fprintln(p, 1+n)
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("it waited %v", took)
		}
		go func() { p.close(); w.Close() }()
		var text bytes.Buffer
		_, _ = io.Copy(&text, r)
		want := fmt.Sprintf("0\nweir: standard error was read too slowly: %d lines are missing here\n1\n2\n", 3000-waiting)
		if !strings.HasPrefix(text.String(), want) || !strings.HasSuffix(text.String(), fmt.Sprintf("\n%d\n", waiting)) {
			t.Errorf("it writes %.200q …", text.String())
		}
		if p.Write([]byte("late")); time.Since(begun) > lastWords { //nolint:errcheck // it has none
			t.Errorf("the end took %v", time.Since(begun))
		}
	})
}
