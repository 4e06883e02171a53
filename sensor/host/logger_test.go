package host

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	var level slog.LevelVar
	level.Set(slog.LevelWarn)
	log, err := Logger(&out, &level, "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("not this")
	log.Warn("this", "n", 7)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["msg"] != "this" || line["level"] != "WARN" || line["n"] != 7.0 {
		t.Errorf("%v: %s", err, out.String())
	}
	out.Reset()
	if log, err = Logger(&out, &level, "text"); err != nil {
		t.Fatal(err)
	}
	log.Debug("not this")
	level.Set(slog.LevelDebug) // while it is in use
	log.Debug("two words")
	if got := out.String(); !strings.Contains(got, `level=DEBUG msg="two words"`) || strings.Contains(got, "not this") {
		t.Error(got)
	}
	if _, err := Logger(&out, slog.LevelInfo, "xml"); err == nil || err.Error() != `format is "xml", must be text or json` {
		t.Error(err)
	}
}

func TestLevel(t *testing.T) {
	for name, want := range map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError} {
		if got, err := Level(name); got != want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"loud", "", "INFO", "INFO+2"} {
		if _, err := Level(name); err == nil || !strings.HasSuffix(err.Error(), "must be debug, info, warn or error") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// shared is a buffer that several goroutines write to and read.
type shared struct {
	mu sync.Mutex
	bytes.Buffer
}

func (s *shared) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Buffer.Write(b)
}

// take is what was written since the last time: lines without time and level.
func (s *shared) take() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(s.String()) {
		_, message, _ := strings.Cut(line, " msg=")
		out = append(out, "msg="+strings.TrimSpace(message))
	}
	s.Reset()
	return out
}

// TestLimited shows which of many lines are written, and that each is counted.
func TestLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out shared
		log := Limited(slog.New(slog.NewTextHandler(&out, nil)), time.Minute)
		want := func(when, text string) {
			t.Helper()
			synctest.Wait()
			if got := strings.Join(out.take(), "; "); got != text {
				t.Errorf("%s: %q, want %q", when, got, text)
			}
		}
		log.Warn("a", "n", 1)
		log.Error("a", "n", 1)
		log.Warn("b", "n", 1)
		want("the first of each", "msg=a n=1; msg=a n=1; msg=b n=1")
		for n := range 100 {
			log.With("who", "x").Warn("a", "n", n)
		}
		time.Sleep(59 * time.Second)
		want("held", "")
		time.Sleep(2 * time.Second)
		want("a minute later", "msg=a who=x n=99 more_like_this=99")
		log.Warn("a", "n", 5)
		log.Warn("b", "n", 5)
		want("a's second minute, b is free again", "msg=b n=5")
		time.Sleep(time.Minute)
		want("one that was held", "msg=a n=5")
		time.Sleep(3 * time.Minute)
		want("silence", "")

		for n := range 10 * maxMessages {
			log.Info(fmt.Sprint("text ", n))
		}
		synctest.Wait()
		if n := len(out.take()); n != maxMessages+1 {
			t.Errorf("%d lines of %d messages, want %d", n, 10*maxMessages, maxMessages+1)
		}
		time.Sleep(2 * time.Minute)
		want("the rest, as one", fmt.Sprintf(`msg="text %d" more_like_this=%d`, 10*maxMessages-1, 9*maxMessages-2))
	})
}
