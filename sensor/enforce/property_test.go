package enforce

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/sensor/policy"
)

// world is the slow, obvious twin: what ought to be in force after all that happened.
type world struct {
	newest map[string]*policy.Drop // by key, of what was signed
	held   bool
	void   uint64
}

func (w *world) learn(d *policy.Drop) {
	if old := w.newest[d.Key()]; old == nil || d.Generation > old.Generation {
		w.newest[d.Key()] = d
	}
}

// wants lists the entries that ought to be in force; 10.8.0.9 is on the never-list.
func (w *world) wants(now int64) map[string]Entry {
	list := map[string]Entry{}
	for k, d := range w.newest {
		if d.State == policy.Requested && d.Until > now && d.Generation > w.void && !w.held && k != "address.10.8.0.9" {
			list[k] = EntryOf(d)
		}
	}
	return list
}

// TestWantedIsEnforced does anything in any order, failures, drifts and restarts among it. Whenever the kernel works, afterwards it
// holds exactly what is wanted; when it does not, Status says by how much.
func TestWantedIsEnforced(outer *testing.T) {
	dirs := outer.TempDir()
	rapid.Check(outer, func(t *rapid.T) {
		dir, err := os.MkdirTemp(dirs, "")
		if err != nil {
			t.Fatal(err)
		}
		d := newDesk(outer, func(o *Options) { o.Caps, o.Dir = Caps{1000, 1000}, dir })
		w := &world{newest: map[string]*policy.Drop{}}
		var past []*policy.Drop // all that was ever signed
		last := uint64(d.now.UnixMicro())
		next := func() uint64 { last = max(last+1, uint64(d.now.UnixMicro())); return last }
		ip := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("10.8.0.%d", rapid.IntRange(2, 12).Draw(t, "ip")) })
		sign := func(p *policy.Drop) {
			w.learn(p)
			past = append(past, p)
			d.drops(p)
		}
		request := func(t *rapid.T) {
			p := drop(ip.Draw(t, "ip"), time.Hour)
			p.Created = d.now.Unix()
			p.Until = p.Created + int64(rapid.IntRange(1, 100).Draw(t, "life"))
			p.Generation = next()
			if rapid.Bool().Draw(t, "shadow") {
				p.Action, p.Would = policy.Shadow, policy.DropAll
			}
			if rapid.IntRange(0, 5).Draw(t, "pending") == 0 {
				p.State = policy.Pending
			}
			sign(p)
		}
		t.Repeat(map[string]func(*rapid.T){
			"request": request,
			"extend": func(t *rapid.T) {
				if len(past) == 0 {
					t.Skip()
				}
				p := *rapid.SampledFrom(past).Draw(t, "which")
				p.Generation, p.Until = next(), p.Until+50
				sign(&p)
			},
			"remove": func(t *rapid.T) {
				if len(past) == 0 {
					t.Skip()
				}
				p := *rapid.SampledFrom(past).Draw(t, "which")
				p.Generation, p.State, p.Guard = next(), policy.Removed, "hand"
				sign(&p)
			},
			"replay": func(t *rapid.T) {
				if len(past) > 0 {
					d.drops(rapid.SampledFrom(past).Draw(t, "which"))
				}
			},
			"forge": func(t *rapid.T) {
				key := "address." + ip.Draw(t, "ip")
				d.take(Instruction{Key: key, Err: errors.New("no"), Guard: "forged"}, Instruction{Key: key, Deleted: true},
					Instruction{Key: key, Body: []byte("{")})
			},
			"whole": func(t *rapid.T) {
				list := slices.Collect(maps.Values(w.newest))
				d.whole(list[:rapid.IntRange(0, len(list)).Draw(t, "n")]...)
			},
			"time": func(t *rapid.T) {
				d.now = d.now.Add(time.Duration(rapid.IntRange(0, 40_000).Draw(t, "ms")) * time.Millisecond)
			},
			"meddle": func(t *rapid.T) {
				key := "address." + ip.Draw(t, "ip")
				switch rapid.IntRange(0, 3).Draw(t, "how") {
				case 0:
					delete(d.fake.held, key)
				case 1:
					d.fake.held[key] = Held{Entry: Entry{Key: key, Action: policy.DropAll, Until: d.now.Unix() + 500}, Packets: 7}
				case 2:
					clear(d.fake.held)
				case 3:
					d.fake.held["signature.unknown.0000000000000001"] = Held{Entry: Entry{Key: "signature.unknown.0000000000000001", Until: 1 << 33}}
				}
			},
			"fail": func(t *rapid.T) {
				d.fake.badPut = rapid.Bool().Draw(t, "put")
				d.fake.badDelete = rapid.Bool().Draw(t, "delete")
				d.fake.badAll = rapid.IntRange(0, 4).Draw(t, "all") == 0
				d.fake.room = rapid.IntRange(0, 12).Draw(t, "room")
			},
			"work": func(*rapid.T) {
				d.fake.badPut, d.fake.badDelete, d.fake.badAll, d.fake.room = false, false, false, 1<<20
			},
			"panic": func(t *rapid.T) {
				p := Panic{Schema: PanicSchema, Held: rapid.Bool().Draw(t, "held"), By: "x", Generation: next()}
				if p.Held || w.void == 0 {
					w.void = p.Generation
				}
				w.held = p.Held
				body, _ := appendLine(nil, &p)
				d.take(Instruction{Key: PanicKey, Body: body})
			},
			"restart": func(*rapid.T) {
				d.restart()
				d.whole() // without one, what nobody here knows stays
				d.step(d.reconcile)
			},
			"reconcile": func(*rapid.T) { d.step(d.reconcile) },
			"": func(t *rapid.T) {
				d.step(d.reconcile) // twice: what failed to go made no room
				d.step(d.reconcile)
				want := w.wants(d.now.Unix())
				s := d.Status()
				refused := 0
				for _, n := range s.Refused {
					refused += n
				}
				if s.Wanted != s.Enforced+refused+s.Failed {
					t.Fatalf("it does not add up: %+v", s)
				}
				off := 0 // by how much the kernel differs
				for k, e := range want {
					have := d.fake.held[k].Entry
					if slip := have.Until - e.Until; slip == 1 || slip == -1 {
						have.Until = e.Until // which the two clocks cannot tell apart
					}
					if have != e {
						off++
					}
				}
				extra := 0
				for k := range d.fake.held {
					if _, ok := want[k]; !ok {
						extra++
					}
				}
				f := d.fake
				switch working := !f.badPut && !f.badDelete && !f.badAll; {
				case working && f.room > 12 && (off > 0 || extra > 0):
					t.Fatalf("%d of %d are not in force, and %d others are: %+v", off, len(want), extra, s)
				case !f.badAll && s.Failed != off:
					t.Fatalf("%d are not in force, and Status says %d: %+v", off, s.Failed, s)
				case (off > 0 || extra > 0) && s.Error == "":
					t.Fatalf("%d are not in force, %d others are, and Status says nothing: %+v", off, extra, s)
				}
			},
		})
	})
}
