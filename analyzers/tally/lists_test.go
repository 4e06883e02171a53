package tally

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
	"weir/decode"
	"weir/decode/conn"
)

// anyReport draws a call of a shard that tells of what goes on between two hosts.
func anyReport(t *rapid.T) step {
	client, server := v4(rapid.Uint32Range(1, 3).Draw(t, "client")), v4(rapid.Uint32Range(3, 5).Draw(t, "server"))
	time := 1e9 + rapid.Int64Range(0, 3).Draw(t, "time")
	key := PairKey{Client: client, Server: server, Port: rapid.Uint16Range(1, 2).Draw(t, "port"), Proto: 6, Ver: 4}
	hash := rapid.Uint64Range(1, 5)
	name := []byte(rapid.SampledFrom([]string{"a.example", "example", "deep.a.example", "0123456789.b.example"}).Draw(t, "name"))
	tell := step{a: client, b: server}
	switch rapid.IntRange(0, 5).Draw(t, "report") {
	case 0:
		s := anySession(t, &key, time)
		tell.on = func(sh *Shard) { sh.Session(s) }
	case 1:
		o := &OpeningSeen{
			Key:    OpeningKey{Server: server, Hash: hash.Draw(t, "hash"), Port: key.Port, Proto: 6, Ver: 4, Kind: OpeningTLS},
			Client: v4(rapid.Uint32Range(1, 40).Draw(t, "client")), Time: time,
			Text: name, Mismatch: rapid.Bool().Draw(t, "mismatch"), AgentOS: rapid.Byte().Draw(t, "agent"), SYNOS: 1,
		}
		tell.on = func(sh *Shard) { sh.Opening(o) }
	case 2:
		q := &Query{
			Client: client, Server: server, Ver: 4, Time: time, Name: name, Domain: []byte("example"),
			Type: rapid.SampledFrom([]uint16{1, 5, 10, 16, 65300}).Draw(t, "type"), Size: 40, TCP: rapid.Bool().Draw(t, "tcp"),
		}
		tell.on = func(sh *Shard) { sh.Query(q) }
	case 3:
		a := &Answer{Client: client, Server: server, Ver: 4, Time: time, Name: name, Domain: []byte("example"), RCode: rapid.Uint8Range(0, 5).Draw(t, "rcode"), Size: 90}
		tell.on = func(sh *Shard) { sh.Answer(a) }
	case 4:
		r := &Request{
			Key: key, Via: v4(rapid.Uint32Range(7, 8).Draw(t, "via")), Time: time, Method: WebMethod(rapid.IntRange(0, int(MethodOther)).Draw(t, "method")),
			Path: hash.Draw(t, "path"), Agent: hash.Draw(t, "agent"), Size: 300,
		}
		tell.on = func(sh *Shard) { sh.Request(r) }
	case 5:
		r := &Response{Key: key, Time: time, Status: rapid.SampledFrom([]uint16{200, 302, 401, 404, 999}).Draw(t, "status"), Path: hash.Draw(t, "path"), Bytes: 1000}
		tell.on = func(sh *Shard) { sh.Response(r) }
	}
	return tell
}

func anySession(t *rapid.T, k *PairKey, time int64) *conn.Session {
	volume := func() conn.Volume {
		return conn.Volume{Packets: rapid.Uint64Range(0, 9).Draw(t, "packets"), Bytes: 500, Payload: 100, Retrans: 1}
	}
	s := &conn.Session{
		Time: time, Client: k.Client, Server: k.Server, Port: k.Port, Proto: k.Proto, Ver: k.Ver,
		Stage: conn.SessionStage(rapid.IntRange(0, int(conn.SessionEnd)).Draw(t, "stage")),
		RTT:   rapid.Uint32Range(0, 1e6).Draw(t, "rtt"), OneWay: rapid.Bool().Draw(t, "oneWay"), Short: rapid.Bool().Draw(t, "short"),
		Sent: [2]conn.Volume{volume(), volume()}, Total: [2]uint64{rapid.Uint64().Draw(t, "total"), 7}, Duration: rapid.Int64Range(0, 1e12).Draw(t, "duration"),
	}
	if rapid.Bool().Draw(t, "syn") {
		s.SYN = conn.SYN{Layout: 1, Window: rapid.Uint16Range(1, 3).Draw(t, "window"), Len: 60, TTL: 64}
	}
	return s
}

// TestListsAddUp: what the lists tell is what was reported, by sums that have no key.
func TestListsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(anyReport), 1, 100).Draw(t, "steps")
		e := merged(3, steps)
		counted := 0
		for i := range e.Pairs {
			p := &e.Pairs[i]
			if p.Packets+p.BackPackets > 0 && p.Last < 1e9 || p.FirstOpened > p.LastBegun || p.Short > p.Closed || uint64(p.Closed) != p.Duration.N {
				t.Fatalf("%+v", p)
			}
			counted += int(p.Bytes / 500)
		}
		for i := range e.Openings {
			if e.Openings[i].Key.Kind == OpeningTLS {
				counted += int(e.Openings[i].Count)
			}
		}
		for i := range e.Names {
			if e.Names[i].Hash == 0 {
				counted += int(e.Names[i].Queries + e.Names[i].Answers)
			} else if string(padded(&e.Names[i].Domain)) != "example" {
				t.Fatalf("domain %q", e.Names[i].Domain)
			}
		}
		for i := range e.Webs {
			counted += int(e.Webs[i].Requests + e.Webs[i].Responses)
		}
		if counted != len(steps) {
			t.Fatalf("%d reports counted of %d", counted, len(steps))
		}
	})
}

// TestOrderOfReportsDoesNotShow: nor does the order in which a shard met them.
func TestOrderOfReportsDoesNotShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(anyReport), 0, 60).Draw(t, "steps")
		if d := diff(merged(3, steps), merged(2, rapid.Permutation(steps).Draw(t, "order"))); d != "" {
			t.Fatal(d)
		}
	})
}

// TestFullLists: what is busy keeps its entry among keys that are seen once, and what went is counted.
func TestFullLists(t *testing.T) {
	cfg := tiny()
	cfg.Pairs, cfg.Openings, cfg.Names, cfg.Webs = 32, 32, 32, 32
	s, m := NewShard(cfg, 7), NewMerger(cfg)
	const busy, other = 500, 2000
	for i := range uint32(other) {
		client := v4(100 + i)
		for range 2 { // every second time the busy one, and two reports of each other
			k := PairKey{Client: client, Server: v4(1), Port: 80, Proto: 6, Ver: 4}
			s.Session(&conn.Session{Time: 1, Client: client, Server: v4(1), Port: 80, Proto: 6, Ver: 4, Stage: conn.SessionEnd})
			s.Request(&Request{Key: k, Time: 1})
			s.Query(&Query{Client: client, Server: v4(1), Ver: 4, Time: 1, Name: []byte("x.example"), Domain: []byte("example")})
			s.Opening(&OpeningSeen{Key: OpeningKey{Server: client, Hash: 1, Port: 80, Proto: 6, Ver: 4}, Client: v4(2), Time: 1})
			if i%(other/busy) == 0 {
				client = v4(9)
			}
		}
	}
	var e Epoch
	m.Merge(&e, 1, []*Shard{s})
	if len(e.Pairs) != 32 || len(e.Names) != 32 || len(e.Webs) != 32 || len(e.Openings) != 32 {
		t.Errorf("%d pairs, %d names, %d webs, %d openings", len(e.Pairs), len(e.Names), len(e.Webs), len(e.Openings))
	}
	pair := e.Pairs[slices.IndexFunc(e.Pairs, func(p Pair) bool { return p.Key.Client == v4(9) })]
	web := e.Webs[slices.IndexFunc(e.Webs, func(w Web) bool { return w.Key.Client == v4(9) })]
	if pair.Closed < busy*9/10 || web.Requests < busy*9/10 {
		t.Errorf("busy client: %d of %d sessions, %d requests", pair.Closed, busy, web.Requests)
	}
	if l := &e.Link.Loss; l[LossPairs] < other-32 || l[LossOpenings] < 3*(other-32) || l[LossOdds] != 0 {
		t.Errorf("lost %v", l)
	}
	m.Merge(&e, 2, []*Shard{s})
	if !e.Empty() {
		t.Error("the next tick is not empty")
	}
}

// TestMostPairs: an epoch holds MaxPairs, those with the most evidence.
func TestMostPairs(t *testing.T) {
	cfg := Defaults()
	sh, m := shards(Shards, cfg), NewMerger(cfg)
	const all, busy = 30000, 3000
	for i := range all {
		c := conn.Session{Time: 1, Client: v4(uint32(i) * 2654435761), Server: v4(uint32(i % 7)), Port: 443, Proto: 6, Ver: 4, Stage: conn.SessionOn}
		if i%(all/busy) == 0 {
			c.Sent[0].Packets = 10
		}
		sh[i%Shards].Session(&c)
	}
	var e Epoch
	m.Merge(&e, 1, sh)
	kept := 0
	for i := range e.Pairs {
		if e.Pairs[i].Packets > 0 {
			kept++
		}
	}
	if len(e.Pairs) != MaxPairs || kept != busy || e.Link.Loss[LossPairs] != all-MaxPairs {
		t.Errorf("%d pairs, %d of %d busy, %d lost", len(e.Pairs), kept, busy, e.Link.Loss[LossPairs])
	}
	if !slices.IsSortedFunc(e.Pairs, func(a, b Pair) int { return a.compare(&b) }) {
		t.Error("not in order")
	}
}

// TestEntropy compares with Shannon's formula in floating point.
func TestEntropy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-f0-9.]{0,200}`).Draw(t, "name")
		letters := strings.ReplaceAll(name, ".", "")
		want := 0.0
		for _, c := range "abcdef0123456789" {
			if n := strings.Count(letters, string(c)); n > 0 {
				p := float64(n) / float64(len(letters))
				want -= p * math.Log2(p)
			}
		}
		if got := entropy([]byte(name)); math.Abs(float64(got)-100*want) > 0.51 {
			t.Fatalf("%d, want %.2f", got, 100*want)
		}
		most := 0
		for _, l := range strings.Split(name, ".") {
			most = max(most, len(l))
		}
		if got := longest([]byte(name)); int(got) != most {
			t.Fatalf("longest label %d, want %d", got, most)
		}
	})
}

// TestSumSaturates at the clip and at the top.
func TestSumSaturates(t *testing.T) {
	var s Sum
	s.Add(math.MaxUint64)
	if s != (Sum{1, 1 << 24, 1 << 48}) {
		t.Errorf("%+v", s)
	}
	s.Squares = math.MaxUint64 - 1
	s.Add(3)
	if s.Squares != math.MaxUint64 || s.N != 2 {
		t.Errorf("%+v", s)
	}
}

// TestSession follows a handwritten connection into its pair, its service and the opening of its SYN.
func TestSession(t *testing.T) {
	s := NewShard(Defaults(), 7)
	c := conn.Session{
		Time: 5e9, Client: v4(1), Server: v4(2), ClientPort: 40000, Port: 22, Proto: 6, Ver: 4, Stage: conn.SessionBegin, Proven: true,
		RTT: 300, SYN: conn.SYN{Layout: 7, Window: 64240, Len: 60, TTL: 63},
	}
	s.Session(&c)
	c.Time, c.Stage, c.RTT = 7e9, conn.SessionBurst, 0
	c.Sent = [2]conn.Volume{{Packets: 3, Bytes: 500, Payload: 300, Retrans: 1}, {Packets: 2, Bytes: 900, Payload: 800}}
	s.Session(&c)
	c.Time, c.Stage, c.Short = 9e9, conn.SessionEnd, true
	c.Sent = [2]conn.Volume{{Packets: 1, Bytes: 40}, {Packets: 1, Bytes: 40}}
	c.Total, c.Duration = [2]uint64{300, 800}, 25e8
	s.Session(&c)
	var e Epoch
	NewMerger(Defaults()).Merge(&e, 0, []*Shard{s})
	if len(e.Pairs) != 1 || len(e.Services) != 1 || len(e.Openings) != 1 {
		t.Fatalf("%d pairs, %d services, %d openings", len(e.Pairs), len(e.Services), len(e.Openings))
	}
	want := Pair{
		Key: PairKey{Client: v4(1), Server: v4(2), Port: 22, Proto: 6, Ver: 4}, Opened: 1, Bursts: 1, Closed: 1, Short: 1,
		Packets: 4, BackPackets: 3, Bytes: 540, BackBytes: 940, Payload: 300, BackPayload: 800, Retrans: 1, RTTN: 1, RTT: 300,
		Sizes: [2]Sum{{1, 300, 90000}, {1, 800, 640000}}, Duration: Sum{1, 2500, 6250000}, Print: e.Openings[0].Key.Hash,
		FirstOpened: 5e9, LastBegun: 7e9, First: 5e9, Last: 9e9,
	}
	if e.Pairs[0] != want {
		t.Errorf("%+v, want\n%+v", e.Pairs[0], want)
	}
	if v := &e.Services[0]; v.RTTN != 1 || v.RTT != 300 || v.RTTs[2] != 1 || v.Key.Port != 22 { // 300 is below 2^9
		t.Errorf("%+v", v)
	}
	o := &e.Openings[0]
	if o.Key.Kind != OpeningSYN || o.Key.Server != v4(2) || o.Count != 1 || o.NSample != 1 || o.Sample[0].Addr != v4(1) || o.Sources.Count() != 1 {
		t.Errorf("%+v", o)
	}
	c.SYN.TTL = 50 // further away: the same system
	if k := newKeys(7); k.syn(&c.SYN) != want.Print {
		t.Error("the number of hops shows in the print")
	}
}

// TestOpeningSample: the sample is of the clients of the least ranks, each once.
func TestOpeningSample(t *testing.T) {
	k := newKeys(7)
	var v Opening
	ranks := map[uint64]decode.Addr{}
	for i := range 100 {
		c := v4(uint32(i % 50))
		v.count(c, 1, &k)
		ranks[fold(k.addr(c)^k[0], k[1])] = c
	}
	var all []uint64
	for r := range ranks {
		all = append(all, r)
	}
	slices.Sort(all)
	for i, r := range all[:len(v.Sample)] {
		if v.Sample[i] != (OpeningSource{r, ranks[r]}) {
			t.Errorf("place %d: %+v", i, v.Sample[i])
		}
	}
	if int(v.NSample) != len(v.Sample) || v.Count != 100 {
		t.Errorf("%d sampled of %d", v.NSample, v.Count)
	}
}
