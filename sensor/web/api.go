package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/sensor/alert"
)

// route is what is answered at a path, by method.
type route map[string]func(http.ResponseWriter, *http.Request) error

// routes are all of the server.
func (s *Server) routes() map[string]route {
	const api = "/api/v1/"
	return map[string]route{
		"/{$}":                       {http.MethodGet: s.page},
		"/page/":                     {http.MethodGet: s.page},
		api + "status":               {http.MethodGet: s.status},
		api + "series":               {http.MethodGet: s.seriesOf},
		api + "top":                  {http.MethodGet: s.top},
		api + "near":                 {http.MethodGet: s.near},
		api + "alerts":               {http.MethodGet: s.alerts},
		api + "alerts/{id}":          {http.MethodGet: s.alert},
		api + "alerts/{id}/evidence": {http.MethodGet: s.evidence},
		api + "drops":                {http.MethodGet: s.drops, http.MethodPost: s.add},
		api + "drops/{id}":           {http.MethodDelete: s.remove},
		api + "drops/{id}/approve":   {http.MethodPost: s.approve},
		api + "events":               {http.MethodGet: s.events},
		"/":                          {},
	}
}

// handler answers all requests.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, r := range s.routes() {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, q *http.Request) { answerError(w, s.judge(r, w, q)) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers(w.Header())
		if p := r.URL.Path; p != path.Clean(p) && p != path.Clean(p)+"/" || r.Method == http.MethodConnect || !strings.HasPrefix(p, "/") {
			answerError(w, notFound)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

var notFound = &Error{Status: http.StatusNotFound, Text: "there is nothing at this path: docs/api.md lists what there is"}

// judge answers a request that is allowed.
func (s *Server) judge(methods route, w http.ResponseWriter, r *http.Request) error {
	if e := s.ours(r); e != nil {
		return e
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	api := strings.HasPrefix(r.URL.Path, "/api/")
	changes := method != http.MethodGet
	if api || changes {
		if e := s.own(r); e != nil {
			return e
		}
	}
	f := methods[method]
	switch {
	case len(methods) == 0:
		return notFound
	case f == nil:
		w.Header().Set("Allow", methods.allow())
		return &Error{Status: http.StatusMethodNotAllowed, Text: "this path does not take this method: it takes " + methods.allow()}
	case api:
		if e := s.allowed(r, changes); e != nil {
			if e.Status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer realm="weir"`)
			}
			return e
		}
	}
	return f(w, r)
}

func (m route) allow() string {
	var all []string
	for name := range m {
		if all = append(all, name); name == http.MethodGet {
			all = append(all, http.MethodHead)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// answer writes JSON in which no string can be taken for markup.
func answer(w http.ResponseWriter, status int, v any) error {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil { // escapes HTML
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, err := w.Write(b.Bytes())
	return gone(err)
}

// errGone is that nobody reads the answer any more.
var errGone = errors.New("gone")

// gone marks an error of writing, after which there is nothing to answer.
func gone(err error) error {
	if err != nil {
		return errGone
	}
	return nil
}

// answerError writes why there is no answer.
func answerError(w http.ResponseWriter, err error) {
	if err == nil || errors.Is(err, errGone) {
		return
	}
	e := &Error{Status: http.StatusServiceUnavailable, Text: err.Error()}
	errors.As(err, &e)
	if e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "10")
	}
	_ = answer(w, e.Status, struct { // nobody is left to tell
		Error string `json:"error"`
		Guard string `json:"guard,omitempty"`
	}{e.Text, e.Guard})
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) error {
	st := s.opt.Status()
	st.Changes = s.opt.Token != "" && s.opt.Drops != nil && !s.opt.ReadOnly
	return answer(w, http.StatusOK, st)
}

func (s *Server) seriesOf(w http.ResponseWriter, r *http.Request) error {
	seconds, err := number(r.URL.Query(), "seconds", 600, seriesSeconds)
	if err != nil {
		return err
	}
	s.hub.mu.Lock()
	points := s.hub.series.since(int64(seconds))
	s.hub.mu.Unlock()
	return answer(w, http.StatusOK, struct {
		Step   int     `json:"step"` // s
		Points []Point `json:"points"`
	}{1, points})
}

func (s *Server) top(w http.ResponseWriter, _ *http.Request) error {
	s.hub.mu.Lock()
	top := s.hub.top
	s.hub.mu.Unlock()
	return answer(w, http.StatusOK, top)
}

func (s *Server) near(w http.ResponseWriter, _ *http.Request) error {
	s.hub.mu.Lock()
	near := s.hub.near
	s.hub.mu.Unlock()
	return answer(w, http.StatusOK, near)
}

// numbered is an alert in a list.
type numbered struct {
	Seq   uint64          `json:"seq"`
	Alert json.RawMessage `json:"alert"`
}

// Bounds of a list of alerts.
const (
	usualList = 100
	longList  = 1000
	maxQuery  = 256 // bytes of q: all alerts are searched for each of its words while others wait
	maxWords  = 16
)

func (s *Server) alerts(w http.ResponseWriter, r *http.Request) error {
	q, err := questionOf(r.URL.Query())
	if err != nil {
		return err
	}
	out := struct {
		Alerts []numbered `json:"alerts"`
		Next   string     `json:"next,omitempty"` // for before; none: these are the oldest
		Event  string     `json:"event"`          // the list is as of it: Last-Event-ID goes on from here
	}{Alerts: []numbered{}}
	s.hub.mu.Lock()
	list, more := s.hub.alerts.list(q)
	for _, a := range list {
		out.Alerts = append(out.Alerts, numbered{a.seq, a.last()})
	}
	out.Event = s.hub.id(s.hub.seq)
	s.hub.mu.Unlock()
	if more {
		out.Next = strconv.FormatUint(out.Alerts[len(out.Alerts)-1].Seq, 10)
	}
	return answer(w, http.StatusOK, out)
}

// questionOf reads what alerts are asked for.
func questionOf(v url.Values) (*question, error) {
	limit, err := number(v, "limit", usualList, longList)
	if err != nil {
		return nil, err
	}
	text := v.Get("q")
	if len(text) > maxQuery || len(strings.Fields(text)) > maxWords {
		return nil, badValue("q", fmt.Sprintf("at most %d words, in %d bytes", maxWords, maxQuery))
	}
	q := &question{limit: limit, analyzer: v.Get("analyzer"), words: strings.Fields(strings.ToLower(text))}
	if before := v.Get("before"); before != "" {
		if q.before, err = strconv.ParseUint(before, 10, 64); err != nil || q.before == 0 {
			return nil, badValue("before", "what next was in the list before")
		}
	}
	if name := v.Get("severity"); name != "" && q.least.UnmarshalText([]byte(name)) != nil {
		return nil, badValue("severity", "info, low, medium, high or critical")
	}
	if name := v.Get("state"); name != "" {
		q.state = new(alert.State)
		if q.state.UnmarshalText([]byte(name)) != nil {
			return nil, badValue("state", "open, update or closed")
		}
	}
	return q, nil
}

// number reads a parameter from 1 to most.
func number(v url.Values, name string, usual, most int) (int, error) {
	text := v.Get(name)
	if text == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, badValue(name, "a number from 1 to "+strconv.Itoa(most))
	}
	return n, nil
}

func badValue(name, want string) *Error {
	return &Error{Status: http.StatusBadRequest, Text: "the parameter " + name + " must be " + want}
}

var noAlert = &Error{Status: http.StatusNotFound, Text: "no alert of this id is remembered: the last 5,000 are"}

// idOf is the id in a path: 16 hex digits, or "".
func idOf(r *http.Request) string {
	if id := r.PathValue("id"); isID(id) {
		return id
	}
	return ""
}

func (s *Server) alert(w http.ResponseWriter, r *http.Request) error {
	id := idOf(r)
	out := struct {
		Seq       uint64            `json:"seq"`
		Alert     json.RawMessage   `json:"alert"`     // the last revision
		Revisions []json.RawMessage `json:"revisions"` // the oldest first
		Omitted   int               `json:"omitted,omitempty"`
		Evidence  bool              `json:"evidence"` // can be had
	}{}
	s.hub.mu.Lock()
	a := s.hub.alerts.byID[id]
	if a != nil {
		out.Seq, out.Alert, out.Revisions, out.Omitted = a.seq, a.last(), slices.Clone(a.revisions), a.omitted
	}
	s.hub.mu.Unlock()
	if a == nil {
		return noAlert
	}
	out.Evidence = s.evidenceFile(id) != ""
	return answer(w, http.StatusOK, out)
}

// evidenceFile is the capture of an alert, "" without.
func (s *Server) evidenceFile(id string) string {
	if id == "" || s.opt.Evidence == nil {
		return ""
	}
	return s.opt.Evidence(id)
}

// evidence hands out the frames of an alert. An id is looked for among files, whether or not the alert is remembered.
func (s *Server) evidence(w http.ResponseWriter, r *http.Request) error {
	none := &Error{Status: http.StatusNotFound, Text: "there is no evidence of this alert"}
	id := idOf(r)
	name := s.evidenceFile(id)
	if name == "" {
		return none
	}
	f, err := os.Open(name)
	if err != nil {
		return none
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return none
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(fileTime))
	w.Header().Set("Content-Type", "application/x-pcapng")
	w.Header().Set("Content-Disposition", `attachment; filename="`+id+`.pcapng"`)
	http.ServeContent(w, r, "", info.ModTime(), f)
	return nil
}
