package host

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

var levels = []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}

// Logger returns a logger that writes lines of a level and above to w, as text or json. A slog.LevelVar as the level can be
// changed meanwhile.
func Logger(w io.Writer, level slog.Leveler, format string) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("format is %q, must be text or json", format)
}

// Level is the level of a name: debug, info, warn or error.
func Level(name string) (slog.Level, error) {
	for _, l := range levels {
		if name == strings.ToLower(l.String()) {
			return l, nil
		}
	}
	return 0, fmt.Errorf("level is %q, must be debug, info, warn or error", name)
}

// maxMessages is how many messages Limited tells apart; all further ones count as one.
const maxMessages = 256

// Limited returns a logger that writes a message, by its level and text, at most once in an interval. The first comes at
// once. Of those that follow within the interval the last is written at its end, with how many more there were.
func Limited(log *slog.Logger, every time.Duration) *slog.Logger {
	return slog.New(&limited{log.Handler(), &limits{every: every, held: map[message]*heldLine{}}})
}

type limited struct {
	slog.Handler
	limits *limits
}

// limits is shared by all loggers made from one.
type limits struct {
	every time.Duration
	mu    sync.Mutex
	held  map[message]*heldLine // of the running intervals
}

type message struct {
	level slog.Level
	text  string
}

// heldLine is the last of the lines that wait for the end of their interval.
type heldLine struct {
	more    int // lines that wait
	record  slog.Record
	handler slog.Handler
}

func (l *limited) Handle(ctx context.Context, r slog.Record) error {
	if l.limits.hold(r, l.Handler) {
		return nil
	}
	return l.Handler.Handle(ctx, r)
}

func (l *limited) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &limited{l.Handler.WithAttrs(attrs), l.limits}
}

func (l *limited) WithGroup(name string) slog.Handler {
	return &limited{l.Handler.WithGroup(name), l.limits}
}

// hold keeps a line if its interval runs; else it begins one.
func (l *limits) hold(r slog.Record, h slog.Handler) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := message{r.Level, r.Message}
	if l.held[key] == nil && len(l.held) >= maxMessages {
		key = message{} // the one for all others
	}
	if line := l.held[key]; line != nil {
		line.more, line.record, line.handler = line.more+1, r.Clone(), h
		return true
	}
	l.held[key] = &heldLine{}
	time.AfterFunc(l.every, func() { l.end(key) })
	return false
}

// end ends an interval. If lines waited, the last one is written and the next interval begins.
func (l *limits) end(key message) {
	l.mu.Lock()
	line := *l.held[key]
	if line.more == 0 {
		delete(l.held, key)
	} else {
		*l.held[key] = heldLine{}
		time.AfterFunc(l.every, func() { l.end(key) })
	}
	l.mu.Unlock()
	if line.more == 0 {
		return
	}
	if line.more > 1 {
		line.record.AddAttrs(slog.Int("more_like_this", line.more-1))
	}
	_ = line.handler.Handle(context.Background(), line.record) // as slog does: a log that cannot be written has nobody to tell
}
