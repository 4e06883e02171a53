package hunt

import (
	"cmp"
	"slices"
	"strings"
)

// textLimit is how much of a text of a request is kept, in bytes.
const textLimit = 240

// Requests is an Input of lines of access logs.
type Requests struct {
	all     []request
	keep    *Reservoir
	names   map[string]string // texts that come again and again, once
	derived []requestAmong
	timed   bool
}

type request struct {
	Access
	shape string
}

// requestAmong is what a request is among the others.
type requestAmong struct {
	shape, agent             float32 // requests for its shape of path, and with its User-Agent
	attempts, paths          float32 // requests of its client in the hour, and different shapes of these
	refused, missing, posted float32 // shares of the client's requests in the hour: 401 and 403, 404 and other 4xx, neither GET nor HEAD
}

// NewRequests is an Input of so many lines at most; of more, a uniform sample.
func NewRequests(limit int) *Requests {
	return &Requests{keep: NewReservoir(limit), names: map[string]string{}}
}

// Take takes a line.
func (r *Requests) Take(a *Access) {
	at := r.keep.Place()
	if at < 0 {
		return
	}
	one := request{Access: *a, shape: r.once(shape(cut(a.Path)))}
	one.Path, one.Query, one.Referer = strings.Clone(cut(a.Path)), strings.Clone(cut(a.Query)), ""
	one.Client, one.Agent, one.Method, one.User = r.once(a.Client), r.once(a.Agent), r.once(a.Method), r.once(a.User)
	one.Server, one.Protocol = "", ""
	r.timed = r.timed || a.Ms >= 0
	if at == len(r.all) {
		r.all = append(r.all, one)
	} else {
		r.all[at] = one
	}
}

func cut(s string) string { return s[:min(len(s), textLimit)] }

// maxNames bounds the texts that are shared.
const maxNames = 200_000

func (r *Requests) once(s string) string {
	s = cut(s)
	if known, is := r.names[s]; is {
		return known
	}
	s = strings.Clone(s)
	if len(r.names) < maxNames {
		r.names[s] = s
	}
	return s
}

// Seen is how many lines there were, and how many of these are kept.
func (r *Requests) Seen() (all, kept int) { return r.keep.Seen(), len(r.all) }

// At is a line that is kept.
func (r *Requests) At(i int) *Access { return &r.all[i].Access }

// Of implements Input.
func (r *Requests) Of() string { return "requests" }

// Len implements Input.
func (r *Requests) Len() int { return len(r.all) }

// Weights of the hashed words, as lengths of their part of the vector: how far apart two requests with nothing in common are.
const (
	pathWeight  = 1.0
	queryWeight = 0.7
	agentWeight = 0.5
)

// Features implements Input.
func (r *Requests) Features() []Feature {
	all := []Feature{
		{"bytes", Amount, Bytes, "was answered with", "is answered with", "", ""},
		{"took", Amount, Millis, "took", "takes", "", ""},
		{"path_depth", Amount, Count, "path with segments:", "has", "", "path"},
		{"path_length", Amount, Count, "path with characters:", "has", "", "path"},
		{"query_length", Amount, Count, "query with characters:", "has", "", "query"},
		{"parameters", Amount, Count, "parameters:", "has", "", "query"},
		{"odd_characters", Amount, Count, "characters as injections need them:", "has", "", ""},
		{"path_use", Amount, Count, "its kind of path was asked for times:", "is", "", ""},
		{"agent_use", Amount, Count, "its User-Agent made requests:", "makes", "", ""},
		{"client_requests", Amount, Count, "its client made requests in that hour:", "makes", "", ""},
		{"client_paths", Amount, Count, "its client asked for different kinds of path in that hour:", "asks for", "", ""},
		{"client_refused", Share, Percent, "requests of its client that were refused (401, 403) in that hour:", "has", "", ""},
		{"client_missing", Share, Percent, "requests of its client for what is not there (other 4xx) in that hour:", "has", "", ""},
		{"client_posts", Share, Percent, "requests of its client that were neither GET nor HEAD in that hour:", "has", "", ""},
		{"post", Class, Count, "", "", "was a POST", ""},
		{"method", Class, Count, "", "", "had a method other than GET, HEAD and POST", ""},
		{"redirected", Class, Count, "", "", "was redirected (3xx)", ""},
		{"refused", Class, Count, "", "", "was refused (401, 403)", "answer"},
		{"missing", Class, Count, "", "", "asked for what is not there (404, 410)", ""},
		{"wrong", Class, Count, "", "", "was wrong (other 4xx)", ""},
		{"failed", Class, Count, "", "", "failed in the server (5xx)", ""},
	}
	for range HashDims {
		all = append(all, Feature{Name: "words", Kind: Hash})
	}
	return all
}

// Vector implements Input.
func (r *Requests) Vector(i int, v []float32) {
	one, among := &r.all[i], &r.derived[i]
	v[0] = ln1p(one.Bytes)
	if v[1] = 0; r.timed {
		v[1] = ln1p(max(one.Ms, 0))
	}
	path, names, products := words(one.shape, one.Query, one.Agent)
	v[2], v[3] = ln1p(float64(len(path))), ln1p(float64(len(one.Path)))
	v[4], v[5] = ln1p(float64(len(one.Query))), ln1p(float64(len(names)))
	v[6] = ln1p(float64(odd(one.Path) + odd(one.Query)))
	v[7], v[8], v[9], v[10] = ln1p(float64(among.shape)), ln1p(float64(among.agent)), ln1p(float64(among.attempts)), ln1p(float64(among.paths))
	v[11], v[12], v[13] = among.refused, among.missing, among.posted
	s := one.Status
	v[14], v[15] = is(one.Method == "POST"), is(one.Method != "POST" && one.Method != "GET" && one.Method != "HEAD")
	v[16], v[17] = is(s/100 == 3 && s != 304), is(refused(s))
	v[18], v[19], v[20] = is(s == 404 || s == 410), is(s/100 == 4 && s != 404 && s != 410 && !refused(s)), is(s/100 == 5)
	h := v[21:]
	clear(h)
	hashed(h, 'p', path, pathWeight)
	hashed(h, 'q', names, queryWeight)
	hashed(h, 'a', products, agentWeight)
}

func refused(status int) bool { return status == 401 || status == 403 }

// Finish counts what each request is among the others. It must be called before the rest of Input.
func (r *Requests) Finish() {
	r.derived = make([]requestAmong, len(r.all))
	shapes, agents := map[string]float32{}, map[string]float32{}
	hours := map[clientHour]*requestAmong{}
	paths := make([]pair, len(r.all))
	for i := range r.all {
		one := &r.all[i]
		shapes[one.shape]++
		agents[one.Agent]++
		key := one.hour()
		h := hours[key]
		if h == nil {
			h = &requestAmong{}
			hours[key] = h
		}
		h.attempts++
		h.refused += is(refused(one.Status))
		h.missing += is(one.Status/100 == 4 && !refused(one.Status))
		h.posted += is(one.Method != "GET" && one.Method != "HEAD")
		paths[i] = pair{key.hash(), hashWord('s', one.shape)}
	}
	different := distinct(paths)
	for i := range r.all {
		one := &r.all[i]
		h := *hours[one.hour()]
		h.refused, h.missing, h.posted = h.refused/h.attempts, h.missing/h.attempts, h.posted/h.attempts
		h.shape, h.agent, h.paths = shapes[one.shape], agents[one.Agent], different[one.hour().hash()]
		r.derived[i] = h
	}
}

type clientHour struct {
	client string
	hour   int64
}

func (r *request) hour() clientHour { return clientHour{r.Client, r.Time / 3600e9} }
func (c clientHour) hash() uint64   { return hash(hashWord('c', c.client), uint64(c.hour)) }
func (c clientHour) less(d clientHour) int {
	return cmp.Or(cmp.Compare(c.hour, d.hour), cmp.Compare(c.client, d.client))
}

// Row implements Input.
func (r *Requests) Row(i int) Row {
	one := &r.all[i]
	target := one.Path
	if one.Query != "" {
		target += "?" + one.Query
	}
	return Row{
		Time: one.Time, Subject: one.Client, What: strings.TrimSpace(one.Method + " " + target + " " + status(one.Status)),
		Tags: []string{one.Method, status(one.Status), one.shape},
	}
}

func status(n int) string {
	return string([]byte{byte('0' + n/100%10), byte('0' + n/10%10), byte('0' + n%10)})
}

// Clients is an Input of clients of access logs by hour of event time (UTC).
type Clients struct {
	all []client
}

type client struct {
	who                                        clientHour
	requests, refused, missing, failed, posted float64
	bytes, largest, odd, query                 float64
	paths, agents, rare                        float32
}

// rarePath is of at most how many requests a kind of path is that few ask for.
const rarePath = 20

// ByClient makes clients by hour of requests, whose Finish was called.
func ByClient(r *Requests) *Clients {
	index := map[clientHour]int{}
	c := &Clients{}
	agents := make([]pair, len(r.all))
	for i := range r.all {
		one := &r.all[i]
		key := one.hour()
		at, is1 := index[key]
		if !is1 {
			at = len(c.all)
			index[key] = at
			c.all = append(c.all, client{who: key})
		}
		h := &c.all[at]
		h.requests++
		h.refused += float64(is(refused(one.Status)))
		h.missing += float64(is(one.Status/100 == 4 && !refused(one.Status)))
		h.failed += float64(is(one.Status/100 == 5))
		h.posted += float64(is(one.Method != "GET" && one.Method != "HEAD"))
		h.bytes, h.largest = h.bytes+one.Bytes, max(h.largest, one.Bytes)
		h.odd += float64(odd(one.Path) + odd(one.Query))
		h.query += float64(len(one.Query))
		h.paths = r.derived[i].paths
		h.rare += is(r.derived[i].shape <= rarePath)
		agents[i] = pair{key.hash(), hashWord('a', one.Agent)}
	}
	different := distinct(agents)
	for i := range c.all {
		c.all[i].agents = different[c.all[i].who.hash()]
	}
	slices.SortFunc(c.all, func(a, b client) int { return a.who.less(b.who) })
	return c
}

// Of implements Input.
func (c *Clients) Of() string { return "clients by hour" }

// Len implements Input.
func (c *Clients) Len() int { return len(c.all) }

// Features implements Input.
func (c *Clients) Features() []Feature {
	return []Feature{
		{"requests", Amount, Count, "made requests:", "makes", "", ""},
		{"paths", Amount, Count, "asked for different kinds of path:", "asks for", "", ""},
		{"rare_paths", Amount, Count, "asked for what few ask for, times:", "does so", "", ""},
		{"agents", Amount, Count, "had different User-Agents:", "has", "", ""},
		{"refused", Amount, Count, "was refused (401, 403) times:", "is", "", "answer"},
		{"refused_share", Share, Percent, "was refused with", "is refused with", "", ""},
		{"missing", Amount, Count, "asked for what is not there (other 4xx) times:", "does so", "", ""},
		{"missing_share", Share, Percent, "asked for what is not there with", "does so with", "", ""},
		{"failed", Amount, Count, "requests that failed in the server (5xx):", "has", "", ""},
		{"posts", Amount, Count, "requests that were neither GET nor HEAD:", "has", "", ""},
		{"posts_share", Share, Percent, "neither GET nor HEAD were", "has", "", ""},
		{"bytes", Amount, Bytes, "was sent", "is sent", "", ""},
		{"largest", Amount, Bytes, "largest answer", "has", "", ""},
		{"odd_characters", Amount, Count, "characters as injections need them:", "has", "", ""},
		{"query_length", Amount, Count, "characters of queries a request:", "has", "", "query"},
	}
}

// Vector implements Input.
func (c *Clients) Vector(i int, v []float32) {
	one := &c.all[i]
	n := one.requests
	v[0], v[1], v[2], v[3] = ln1p(n), ln1p(float64(one.paths)), ln1p(float64(one.rare)), ln1p(float64(one.agents))
	v[4], v[5] = ln1p(one.refused), float32(one.refused/n)
	v[6], v[7] = ln1p(one.missing), float32(one.missing/n)
	v[8] = ln1p(one.failed)
	v[9], v[10] = ln1p(one.posted), float32(one.posted/n)
	v[11], v[12], v[13], v[14] = ln1p(one.bytes), ln1p(one.largest), ln1p(one.odd), ln1p(one.query/n)
}

// Row implements Input.
func (c *Clients) Row(i int) Row {
	one := &c.all[i]
	return Row{Time: one.who.hour * 3600e9, Subject: one.who.client, What: grouped(int64(one.requests)) + " requests"}
}
