package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weir/sensor/enforce"
)

type bansPanicCmd struct {
	Reason    string `placeholder:"TEXT" help:"Why."`
	bansReach `embed:""`
}

// Help is the long form of --help.
func (*bansPanicCmd) Help() string {
	return `Clears every drop on every gate of the site, and holds: nothing new is enforced until 'weir bans resume'. Detection and alerts go on.
It works in three steps, each as far as it can, and says what each did: a file in the state folder, which sensor and gates of this
machine read each second and at their start; the kernel's tables here, which needs root and no running weir; and NATS, for all others.`
}

// Run clears and holds.
func (c *bansPanicCmd) Run(ctx context.Context, std *streams) error {
	return c.hold(ctx, std, true, c.Reason)
}

type bansResumeCmd struct {
	Reason    string `placeholder:"TEXT" help:"Why."`
	bansReach `embed:""`
}

// Run ends the hold. What was dropped before the panic does not come back.
func (c *bansResumeCmd) Run(ctx context.Context, std *streams) error {
	return c.hold(ctx, std, false, c.Reason)
}

// hold begins a panic or ends it. Each step is tried, whatever became of those before.
func (r *bansReach) hold(ctx context.Context, std *streams, held bool, reason string) error {
	settings, wrong := readConfig(r.Config)
	if wrong != nil {
		settings = defaults() // the kernel can be cleared all the same
	}
	h := &holding{
		bansReach: r, std: std, settings: settings, failed: wrong,
		panic: enforce.Panic{
			Schema: enforce.PanicSchema, Held: held, By: thisUser(), Generation: uint64(time.Now().UnixMicro()), Reason: reason,
		},
	}
	h.write()
	if held {
		h.clear()
	}
	if wrong == nil {
		h.tell(ctx)
	}
	if !h.told && h.failed == nil {
		h.fail("nobody was told", errors.New("name the state folder of the weir that runs here (--state), or its NATS servers (--config)"))
	}
	switch {
	case h.failed != nil:
		h.say("not all of it could be done: do what the lines above ask for, and run this again")
	case held:
		h.say("nothing is enforced until 'weir bans resume'")
	default:
		h.say("new drops are enforced again; those of before the panic do not come back")
	}
	return h.failed
}

// holding is the begin or the end of a panic.
type holding struct {
	*bansReach
	std      *streams
	settings config
	panic    enforce.Panic
	told     bool // somebody, by the file or by NATS
	failed   error
}

func (h *holding) say(text string) { fmt.Fprintln(h.std.err, "weir:", printable(text)) }

// fail tells what was not done.
func (h *holding) fail(what string, err error) {
	h.say(what + ": " + err.Error())
	h.failed = errors.Join(h.failed, reported{err})
}

// panicFile is where sensor and gates of a state folder look for a panic, which needs no bus then. weir block writes there, too, and
// may write only below.
func panicFile(state string) string { return filepath.Join(state, blockFolder, enforce.PanicFile) }

// write writes the file.
func (h *holding) write() {
	if _, err := os.Stat(h.State); errors.Is(err, fs.ErrNotExist) {
		h.say("there is no state folder " + h.State + ": no file was written for sensor and gates of this machine (--state)")
		return
	}
	file := panicFile(h.State)
	if have, _ := enforce.Panicked(file); have != nil { // no panic in it counts as one, too
		h.after(have)
	}
	err := os.Mkdir(filepath.Dir(file), 0o700)
	if err == nil || errors.Is(err, fs.ErrExist) {
		err = enforce.WritePanic(file, h.panic)
	}
	if err != nil {
		h.fail("the file for sensor and gates of this machine was not written", mend(err, "run this as root, or as who runs weir"))
		return
	}
	h.told = true
	h.say("written to " + file + ", which sensor and gates of this machine read each second")
}

// after makes it newer than another, by whatever clock that was made. Otherwise gates would go on with that.
func (h *holding) after(have *enforce.Panic) {
	h.panic.Generation = max(h.panic.Generation, have.Generation+1)
}

// look makes it newer than what the site knows.
func (h *holding) look(ctx context.Context, site *siteClient) error {
	reading, cancel := context.WithTimeout(ctx, bucketTime)
	defer cancel()
	have, err := site.State().Get(reading, enforce.PanicKey)
	if err != nil || have == nil || have.Err != nil { // nobody follows what is not signed
		return err
	}
	before := h.panic.Generation
	if p, err := enforce.ParsePanic(have.Body); err == nil {
		h.after(p)
	}
	if h.panic.Generation != before {
		h.write()
	}
	return nil
}

// mend says what would help where a right is missing.
func mend(err error, how string) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %s", err, how)
	}
	return err
}

// clear ends what the kernel holds here, with or without a weir that runs.
func (h *holding) clear() {
	cleared, err := enforce.ClearAll("", h.settings.Gate.Pins)
	if len(cleared) > 0 {
		h.say("the kernel of this machine was cleared: " + strings.Join(cleared, ", "))
	}
	switch {
	case err != nil:
		h.fail("not all of the kernel of this machine could be cleared", mend(err, "it needs root: sudo weir bans panic"))
	case len(cleared) == 0:
		h.say("the kernel of this machine has no pinned gate and no table of weir's (a running weir clears what it holds when it reads the file)")
	}
}

// tell writes the panic into the bucket for all gates, tells the sensors, and sees that gates obey.
func (h *holding) tell(ctx context.Context) {
	_, missing := os.Stat(filepath.Join(h.State, "nats.url"))
	if len(h.settings.NATS.Servers) == 0 && errors.Is(missing, fs.ErrNotExist) {
		h.say("no NATS server is known here (nats.servers, or a sensor with this state folder): nobody elsewhere was told")
		return
	}
	const nobody = "not told to sensors and gates elsewhere"
	site, err := h.dialWith(ctx, h.settings)
	if err != nil {
		h.fail(nobody, err)
		return
	}
	defer site.Close()
	if err := h.look(ctx, site); err != nil {
		h.fail("whether the site knows of a newer panic could not be read", err)
	}
	body, err := marshal(h.panic)
	if err == nil {
		writing, cancel := context.WithTimeout(ctx, bucketTime)
		err = site.State().Put(writing, enforce.PanicKey, body)
		cancel()
	}
	if err != nil {
		h.fail(nobody, err)
		return
	}
	h.told = true
	h.say("told to all sensors and gates of site " + h.settings.Site)
	event, op := "resumed", opResume
	if h.panic.Held {
		event, op = "panic", opPanic
	}
	if err := site.Drop(event, fmt.Sprintf("%s.%d", event, h.panic.Generation), body); err != nil {
		h.fail("not recorded in the stream of drops", err)
	}
	got, err := site.order(ctx, commandChange, changeRequest{Op: op, Panic: &h.panic, By: h.panic.By, Reason: h.panic.Reason})
	if err == nil {
		err = got.failed
	}
	switch {
	case err == nil:
		h.say("the sensors know of it")
	case errors.Is(err, errNobody):
		h.say("no sensor answers now; one that starts reads it from NATS")
	default:
		h.fail("not all sensors know of it", err)
	}
	if h.panic.Held {
		h.obeyed(ctx, site)
	}
}

// obeyed waits until no gate that answers enforces anything, for some seconds.
func (h *holding) obeyed(ctx context.Context, site *siteClient) {
	for end := time.Now().Add(receiptTime); ; {
		still := map[string]bool{}
		v := newOverview()
		from := v.take(<-site.begin(ctx, commandEnforced), "", func(text json.RawMessage) error {
			var e enforced
			err := json.Unmarshal(text, &e)
			if e.State == "applied" {
				still[gateText(&e)] = true
			}
			return err
		})
		last := time.Now().After(end) || ctx.Err() != nil
		switch wrong := strings.Join(v.notes, "; "); {
		case len(still) > 0 && last:
			h.fail("these gates still enforce", errors.New(strings.Join(slices.Sorted(maps.Keys(still)), ", ")))
		case len(still) > 0:
			continue
		case wrong != "":
			h.fail("not all gates obey", errors.New(wrong))
		case len(from) == 0:
			h.say("no gate answers: those that cannot be reached now hold as soon as they can")
		default:
			h.say("no gate enforces anything: " + strings.Join(from, ", "))
		}
		return
	}
}
