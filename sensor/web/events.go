package web

import (
	"bytes"
	"net/http"
	"time"
)

// Times of a stream.
const (
	commentEvery = 15 * time.Second
	writeTime    = 10 * time.Second // to take what was written
	chunk        = 32 << 10         // that is written at once
)

// events is the stream of what happens, as text/event-stream.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "text/event-stream")
		return nil
	}
	most := maxStreams
	if r.Header.Get("Authorization") == "" { // a wrong token does not come here
		most -= ownStreams
	}
	reader := s.hub.join(r.Header.Get("Last-Event-ID"), most)
	if reader == nil {
		return s.refuse(TooManyStreams, http.StatusServiceUnavailable, "too many streams are open: 64, or without the token 56")
	}
	defer s.hub.leave(reader)
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Time{}) // that of the request; the stream goes on
	w.Header().Set("Content-Type", "text/event-stream")
	out := &stream{hub: s.hub, w: w, control: c}
	out.line(": weir\n\n")
	for _, e := range reader.backlog {
		out.event(e)
	}
	reader.backlog = nil
	out.flush()
	quiet := time.NewTicker(commentEvery)
	defer quiet.Stop()
	for out.err == nil {
		select {
		case e := <-reader.events:
			out.event(e)
			for range len(reader.events) { // those that are there already
				out.event(<-reader.events)
			}
		case <-quiet.C:
			out.line(":\n\n")
		case <-reader.cut:
			return errGone
		case <-r.Context().Done():
			return errGone
		}
		out.flush()
	}
	return errGone
}

// stream writes events to one reader.
type stream struct {
	hub     *hub
	w       http.ResponseWriter
	control *http.ResponseController
	buf     bytes.Buffer
	err     error
}

func (s *stream) line(text string) { s.buf.WriteString(text) }

// event writes one. Every event carries the place up to which its reader knows all alerts.
func (s *stream) event(e event) {
	s.buf.WriteString("id: ")
	s.buf.WriteString(s.hub.id(e.seq))
	s.buf.WriteString("\nevent: ")
	s.buf.WriteString(e.name)
	s.buf.WriteString("\ndata: ")
	s.buf.Write(e.data)
	s.buf.WriteString("\n\n")
	if s.buf.Len() >= chunk {
		s.flush()
	}
}

// flush sends what was written. The first error ends the stream.
func (s *stream) flush() {
	if s.err == nil {
		s.err = s.control.SetWriteDeadline(time.Now().Add(writeTime))
	}
	if s.err == nil {
		_, s.err = s.w.Write(s.buf.Bytes())
	}
	if s.err == nil {
		s.err = s.control.Flush()
	}
	s.buf.Reset()
}
