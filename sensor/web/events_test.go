package web

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// failing is a test, or a case that rapid tries.
type failing interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

// said is an event as a reader gets it.
type said struct{ id, name, data string }

// listener is a reader of the stream.
type listener struct {
	io.Closer
	lines *bufio.Scanner
}

// listen opens the stream, after an event if an id is given. Headers are name and value.
func (h *house) listen(t failing, last string, headers ...string) *listener {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, h.url+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	got, err := h.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if got.StatusCode != http.StatusOK || got.Header.Get("Content-Type") != "text/event-stream" {
		got.Body.Close()
		t.Fatalf("the stream: %s", got.Status)
	}
	lines := bufio.NewScanner(got.Body)
	lines.Buffer(nil, 1<<20)
	return &listener{got.Body, lines}
}

// next is the next event; false: the stream has ended.
func (l *listener) next(t failing) (e said, ok bool) {
	t.Helper()
	for l.lines.Scan() {
		switch name, value, _ := strings.Cut(l.lines.Text(), ": "); name {
		case "":
			if e.name != "" {
				return e, true
			}
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			if e.data != "" {
				t.Errorf("an event of two lines: %s", value)
			}
			e.data = value
		default:
			t.Errorf("a strange line: %q", l.lines.Text())
		}
	}
	return e, false
}

func (e said) seq(t failing) (n uint64) {
	t.Helper()
	var about struct{ Seq uint64 }
	if err := json.Unmarshal([]byte(e.data), &about); err != nil {
		t.Fatal(err)
	}
	return about.Seq
}

// TestResume breaks streams at any place, while alerts come and while none do: what a reader gets is each alert once, in order.
func TestResume(t *testing.T) {
	h := newHouse(t, nil).open(t)
	sent := 0
	rapid.Check(t, func(r *rapid.T) {
		first := h.listen(r, "")
		h.DropsChanged() // any event tells where the stream is
		e, _ := first.next(r)
		first.Close()
		last, got := e.id, []uint64(nil)
		begin := h.took()
		total := rapid.IntRange(1, 60).Draw(r, "alerts")
		at := rapid.SliceOfN(rapid.IntRange(0, 40), 1, 5).Draw(r, "breaks")
		go func(from int) {
			for i := range total {
				h.Alert(some(from+i, 1), nil)
				if i%7 == 3 {
					h.Second(Second{})
				}
			}
		}(sent)
		sent += total
		for len(got) < total {
			l := h.listen(r, last)
			stop := total
			if len(at) > 0 {
				stop, at = at[0], at[1:]
			}
			for n := 0; n < stop && len(got) < total; n++ {
				e, ok := l.next(r)
				if !ok {
					r.Fatal("the stream ended by itself")
				}
				if last = e.id; e.name == "alert" {
					got = append(got, e.seq(r))
				} else if e.name == "reset" {
					r.Fatal("a reset without a gap")
				}
			}
			l.Close()
		}
		for i, seq := range got {
			if seq != firstLive+begin+uint64(i)+1 {
				r.Fatalf("after %d came %d of %d: %d", begin, i, total, got)
			}
		}
	})
}

// TestReset is told to who comes back too late, from another process, or after alerts were lost; and to nobody else.
func TestReset(t *testing.T) {
	h := newHouse(t, nil)
	for i := range ringEvents + 50 {
		h.hub.take(entry{alert: some(i, 1)})
	}
	if n := len(h.hub.ring); n != ringEvents {
		t.Fatalf("the ring holds %d events", n)
	}
	h.open(t)
	next := func(last string) said {
		l := h.listen(t, last)
		defer l.Close()
		e, _ := l.next(t)
		return e
	}
	now := h.hub.id(ringEvents + 50)
	for last, want := range map[string]said{
		h.hub.id(51):        {h.hub.id(52), "alert", ""},
		h.hub.id(50):        {h.hub.id(51), "alert", ""},
		h.hub.id(49):        {now, "reset", "{}"},
		h.hub.id(0):         {now, "reset", "{}"},
		h.hub.id(1 << 40):   {now, "reset", "{}"}, // of the future
		"ffffffffffff-3":    {now, "reset", "{}"},
		"strange":           {now, "reset", "{}"},
		h.hub.boot + "--10": {now, "reset", "{}"},
	} {
		if got := next(last); got.id != want.id || got.name != want.name || want.data != "" && got.data != want.data {
			t.Errorf("after %s: %+.60v, want %+v", last, got, want)
		}
	}
	l := h.listen(t, now)
	h.hub.lost.Add(1)
	h.Alert(some(1<<20, 1), nil)
	one, _ := l.next(t)
	two, _ := l.next(t)
	l.Close()
	if one.name != "reset" || two.name != "alert" || next(now).name != "reset" {
		t.Errorf("a loss is told by %v and %v, and to who comes back by %v", one, two, next(now))
	}
}

// TestBacklog has a full ring go on while a reader's backlog waits to be written: it loses nothing by that.
func TestBacklog(t *testing.T) {
	h := newHub("b")
	tell := func(n int) {
		for range n {
			h.mu.Lock()
			h.seq++
			h.publish(event{"alert", h.seq, []byte("{}")})
			h.mu.Unlock()
		}
	}
	tell(ringEvents)
	r := h.join(h.id(0), maxStreams)
	if r == nil || len(r.backlog) != ringEvents {
		t.Fatal("there is no whole backlog")
	}
	var work sync.WaitGroup
	work.Go(func() { tell(100) })
	for range 2 { // beside it, and after it
		for i, e := range r.backlog {
			if e.name != "alert" || e.seq != uint64(i+1) || len(e.data) == 0 {
				t.Fatalf("event %d of the backlog became %+v", i, e)
			}
		}
		work.Wait()
	}
}

// TestOverflow fills the queue of a hub that stands still: nobody waits, and what is lost is counted and told.
func TestOverflow(t *testing.T) {
	h := newHouse(t, nil)
	begin := time.Now()
	for i := range queueSize + 10 {
		h.Alert(some(i, 1), nil)
	}
	if took := time.Since(begin); took > time.Second || h.Stats().Lost != 10 {
		t.Errorf("%d lost, in %v", h.Stats().Lost, took)
	}
	h.open(t)
	until(t, "the hub has what is left", func() bool { return h.took() == queueSize+1 })
	if first := h.hub.ring[0]; first.name != "reset" {
		t.Errorf("the first event is %s", first.name)
	}
}

// TestStreams opens as many streams as there may be, and one more: the last eight are for those with the token.
func TestStreams(t *testing.T) {
	h := newHouse(t, nil).open(t)
	var all []*listener
	for range 56 {
		all = append(all, h.listen(t, ""))
	}
	if r, text := h.ask(t, "GET", "/api/v1/events", ""); r.StatusCode != 503 || !strings.Contains(text, "too many streams") {
		t.Errorf("one more: %s %s", r.Status, text)
	}
	for range 8 {
		all = append(all, h.listen(t, "", "Authorization", "Bearer "+rightToken))
	}
	if r, text := h.ask(t, "GET", "/api/v1/events", "", withToken); r.StatusCode != 503 || !strings.Contains(text, "too many streams") {
		t.Errorf("one more with the token: %s %s", r.Status, text)
	}
	if n := h.Stats().Streams; n != maxStreams {
		t.Errorf("%d streams are open", n)
	}
	h.Alert(some(1, 1), nil)
	for _, l := range all {
		if e, _ := l.next(t); e.name != "alert" {
			t.Errorf("a reader got %v", e)
		}
	}
	all[0].Close()
	until(t, "a stream has ended", func() bool { return h.Stats().Streams < maxStreams })
	h.listen(t, "", "Authorization", "Bearer "+rightToken).Close()
	for _, l := range all {
		l.Close()
	}
}

// TestSlowReader has one reader who does not read beside one who does: nobody waits for him, and he is cut off. He comes back and
// misses nothing.
func TestSlowReader(t *testing.T) {
	h := newHouse(t, nil).open(t)
	fast := h.listen(t, "")
	defer fast.Close()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(128 << 10)
	fmt.Fprintf(conn, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	until(t, "both listen", func() bool { return h.Stats().Streams == 2 })
	long := strings.Repeat("long ", 1000)
	const n = 2000 // 10 MB: more than the kernel takes for him
	go func() {
		for i := range n {
			a := some(i, 1)
			a.Summary = long
			h.Past(t.Context(), a, nil)
		}
	}()
	var seqs []uint64
	last := ""
	for len(seqs) < n {
		e, ok := fast.next(t)
		if !ok { // on a loaded machine the test itself may be slow, and comes back
			fast.Close()
			fast = h.listen(t, last)
			continue
		}
		last = e.id
		seqs = append(seqs, e.seq(t))
	}
	if !slices.IsSorted(seqs) || seqs[n-1] != n {
		t.Errorf("the fast reader got %d alerts, the last %d", len(seqs), seqs[n-1])
	}
	until(t, "the slow reader is cut off", func() bool { return h.Stats().Slow > 0 })
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	text, err := io.ReadAll(conn)
	if err != nil && len(text) == 0 {
		t.Fatal(err)
	}
	got := string(text)
	if len(got) > 64<<20 {
		t.Errorf("%d bytes waited for him", len(got))
	}
}

// TestEnd ends a server with open streams: they end.
func TestEnd(t *testing.T) {
	h := newHouse(t, nil).open(t)
	l := h.listen(t, "")
	defer l.Close()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if e, ok := l.next(t); ok {
		t.Errorf("after the end came %v", e)
	}
	h.Alert(some(1, 1), nil) // into nothing
	h.Past(t.Context(), some(2, 1), nil)
	h.Second(Second{})
}
