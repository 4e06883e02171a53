package analyzers

import (
	"fmt"
	"net/netip"
	"time"

	"weir/analyzers/baseline"
	"weir/analyzers/tally"
	"weir/decode"
)

// rateTalk is what a source did at a service in a second. What long connections carry is told every ten seconds.
type rateTalk struct {
	connections    uint64
	requests       uint64 // where they can be read
	packets, bytes uint64 // both ways; answers
	begun, asked   uint64 // connections and bursts; bytes of payload of the quieter side
	webBytes       uint64 // answers that a proxy gave for it
	targets        tally.HLL
	web            bool // requests can be read
}

// addPair adds what connections carried. TCP that nobody answers counts for nobody: its address may be forged.
func (t *rateTalk) addPair(p *tally.Pair) {
	t.connections += uint64(p.Opened)
	if p.BackPackets > 0 || p.Key.Proto != protoTCP {
		t.packets += p.Packets + p.BackPackets
	}
	t.bytes += p.BackBytes
	t.begun += uint64(p.Opened) + uint64(p.Bursts)
	t.asked += min(p.Payload, p.BackPayload)
}

func (t *rateTalk) addWeb(v *tally.Web) {
	t.web = true
	t.requests += uint64(v.Requests)
	t.targets.Merge(&v.Paths)
	if v.Via != (decode.Addr{}) {
		t.webBytes += v.AnswerBytes
	}
}

// add adds the second of a pair to ten.
func (t *rateTalk) add(o *rateTalk) {
	t.connections += o.connections
	t.requests += o.requests
	t.packets += o.packets
	t.bytes += o.bytes
	t.begun += o.begun
	t.asked += o.asked
	t.webBytes += o.webBytes
	t.targets.Merge(&o.targets)
	t.web = t.web || o.web
}

const (
	talkConnections = iota
	talkRequests
	talkPackets // over a window
	talkBytes
	talkMeasures
)

var talkRules = [talkMeasures]rateRule{
	{baseline.MeasureConnections, "source_connections", "connections/s", 1, spikeCap},
	{baseline.MeasureRequests, "source_requests", "requests/s", 1, spikeCap},
	{baseline.MeasurePackets, "source_packets", "packets/s", 1, volumeCap},
	{baseline.MeasureAnswers, "source_bits", "bit/s", 8, volumeCap},
}

// windowSeconds make a window.
const windowSeconds = 10

// sourceKey is a client of a service.
type sourceKey struct {
	pair tally.PairKey
	slow bool // judged by windows
}

// talkFloors are the floors of a source, in what is counted.
func (r *Rate) talkFloors() [talkMeasures]float64 {
	return [talkMeasures]float64{
		float64(r.cfg.SourceConnections), float64(r.cfg.SourceRequests), float64(r.cfg.SourcePackets), float64(r.cfg.SourceBits) / 8,
	}
}

// judgeTalk judges what a source did at a service in a second, and adds it to its ten seconds, there and at the whole site.
func (r *Rate) judgeTalk(second int64, k *tally.PairKey, v *rateTalk) {
	r.judgeSource(second, 1, sourceKey{pair: *k}, talkConnections, float64(v.connections), float64(v.requests))
	if w := r.windows.add(*k); w != nil {
		w.add(v)
	}
	if v.connections == 0 {
		return
	}
	if w := r.windows.add(tally.PairKey{Client: k.Client, Ver: k.Ver}); w != nil {
		w.begun += v.connections
		w.targets.Add(scramble(k.Server.Lo^uint64(k.Port)<<40^uint64(k.Proto)<<56, k.Server.Hi^r.key))
	}
}

// judgeWindow judges what a source did in ten seconds, and for how long already.
func (r *Rate) judgeWindow(window int64, k *tally.PairKey, v *rateTalk) {
	r.crowds.see(k, r.key, window*windowSeconds*1e9)
	if k.Server != (decode.Addr{}) {
		r.judgeSource(window, windowSeconds, sourceKey{*k, true}, talkPackets, float64(v.packets)/windowSeconds, float64(v.bytes)/windowSeconds)
	}
	r.judgeLasting(window, k, v)
}

// judgeSource compares two measures of a source with the distributions of its service.
func (r *Rate) judgeSource(index, unit int64, k sourceKey, first int, values ...float64) {
	at := index * unit * 1e9
	a := r.sources.find(k)
	server := k.pair.Server.Netip(k.pair.Ver)
	alarmed := a != nil && a.open != 0 || r.site.Alarmed(k.pair.Client.Netip(k.pair.Ver), 0, 0, at) || r.site.Flooded(server, k.pair.Port, k.pair.Proto, at)
	floors := r.talkFloors()
	for i, value := range values {
		if value == 0 {
			continue
		}
		m := first + i
		key := serviceKey(k.pair.Server, k.pair.Ver, k.pair.Proto, k.pair.Port)
		key.Measure = talkRules[m].measure
		d := r.site.Baseline.Spread(key, at)
		n := d.Normal(at)
		var over *rateOver
		if value >= floors[m] && n.Exceeds(value, r.base.Z, r.base.Multiplier) && r.crowds.count(&k.pair, r.key) >= r.cfg.Sources {
			over = &rateOver{
				value: value, mean: n.Mean, stddev: n.Stddev, n: n.N, z: rateZ(value, n.Mean, n.Stddev),
				limit: max(floors[m], r.base.Multiplier*n.Mean, n.Mean+float64(r.base.Z*n.Stddev), n.P99),
			}
			if a == nil {
				a = r.sources.at(k, at)
			}
		}
		if a != nil {
			a.note(m, index, unit, over)
		}
		if !alarmed && over == nil && (n.Warm || value <= startFactor*floors[m]) {
			d.Add(at, value)
		}
	}
	if a == nil || a.now != index*unit {
		return
	}
	a.count += uint64(values[0])
	if a.met(r.base.Need, r.base.Of) {
		if a.open == 0 {
			a.open = at
		}
		if fast := r.sources.find(sourceKey{pair: k.pair}); !k.slow || fast == nil || fast.open == 0 || a.now-fast.now > 2*windowSeconds {
			r.tellSource(a, unit)
		}
	}
}

// tellSource tells of a source that does far more than others.
func (r *Rate) tellSource(a *rateAlarm[sourceKey], unit int64) {
	f := r.finding("source_spike", a.since, a.now+unit-1)
	r.namePair(f, &a.key.pair)
	f.Count, a.count = max(a.count, 1), 0
	r.weighOver(f, a.over[:], talkRules[:], &a.cross, unit*1e9)
	sources := r.crowds.count(&a.key.pair, r.key)
	f.Why = append(f.Why, Measure{Name: "sources", Value: float64(sources), Unit: "sources", Threshold: float64(r.cfg.Sources)})
	if a.over[talkConnections].value == 0 && a.over[talkRequests].value == 0 {
		f.Notes = append(f.Notes, "neither more connections nor more readable requests: a bulk transfer looks like this")
	}
	lead := a.lead()
	f.Summary = fmt.Sprintf("%v does far more at %s than its other sources (about %d): %s, for %d s.", f.Subject.Prefix.Addr(), victimText(&f.Victim),
		sources, overText(&a.over[lead], &talkRules[lead]), a.now+unit-a.since/1e9)
	r.emit(f)
}

// namePair names a client, and the service it asks; a completed connection stands behind all that a pair tells.
func (r *Rate) namePair(f *Finding, k *tally.PairKey) {
	client := k.Client.Netip(k.Ver)
	f.Subject = Party{Prefix: netip.PrefixFrom(client, client.BitLen()), ReturnPath: k.Proto == protoTCP}
	if k.Server != (decode.Addr{}) {
		server := k.Server.Netip(k.Ver)
		f.Victim = Party{Prefix: netip.PrefixFrom(server, server.BitLen()), Port: k.Port, Proto: k.Proto}
	}
}

// crowds estimate how many sources a service has had.
type crowds struct {
	pool *pool[tally.PairKey, tally.HLL] // by service: no client
}

// crowdServices are known at most; one with many sources stays. A crowd that was not seen for a day is forgotten.
const (
	crowdServices = 4096
	crowdKeep     = int64(24 * time.Hour)
)

func (c *crowds) see(k *tally.PairKey, key uint64, now int64) {
	service := serviceOfPair(k)
	hash := pairHash(&service, key)
	at, _ := c.pool.at(&service, hash, now, crowdKeep)
	if at < 0 {
		return
	}
	_, sources := c.pool.value(at)
	before := *sources
	sources.Add(scramble(k.Client.Lo^key, k.Client.Hi))
	if before != *sources {
		c.pool.keep(at, sources.Count(), now+crowdKeep)
	}
}

// count is how many sources a pair's service has had.
func (c *crowds) count(k *tally.PairKey, key uint64) uint64 {
	service := serviceOfPair(k)
	at := c.pool.find(&service, pairHash(&service, key))
	if at < 0 {
		return 0
	}
	_, sources := c.pool.value(at)
	return sources.Count()
}

func serviceOfPair(k *tally.PairKey) tally.PairKey {
	return tally.PairKey{Server: k.Server, Port: k.Port, Proto: k.Proto, Ver: k.Ver}
}

// pairHash places a pair; key is secret.
func pairHash(k *tally.PairKey, key uint64) uint64 {
	h := scramble(k.Client.Lo^key, k.Client.Hi^uint64(k.Ver)<<56)
	return scramble(h^k.Server.Lo, k.Server.Hi^uint64(k.Proto)<<48^uint64(k.Port)<<24)
}
