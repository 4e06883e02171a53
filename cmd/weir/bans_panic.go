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
It works in three steps, each as far as it can, and says what each did: a file in the state folder, which the gates of this machine
read each second and at their start; the kernel's tables here, which needs root and no running weir; and the bus, for all others.`
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
	p := enforce.Panic{
		Schema: enforce.PanicSchema, Held: held, By: thisUser(), Generation: uint64(time.Now().UnixMicro()), Reason: reason,
	}
	failed := wrong
	tell := func(what string, err error) {
		if err != nil {
			fmt.Fprintf(std.err, "weir: %s: failed: %s\n", what, printable(err.Error()))
			failed = errors.Join(failed, reported{err})
			return
		}
		fmt.Fprintf(std.err, "weir: %s\n", what)
	}
	switch n, err := writePanics(r.State, p); {
	case err == nil && n == 0:
		fmt.Fprintf(std.err, "weir: no state folder %s: nothing written there\n", printable(r.State))
	default:
		tell("state folder "+printable(r.State)+": written", mend(err, "run this as root, or as who runs weir"))
	}
	if held {
		tell("kernel of this machine: no drops of pinned gates and of nftables", mend(enforce.ClearAll("", settings.Gate.Pins), "needs root: sudo weir bans panic"))
	}
	if wrong == nil {
		r.tellSite(ctx, settings, p, tell, std)
	}
	if failed != nil {
		fmt.Fprintln(std.err, "weir: not all of it could be done; do what the lines above ask for, and run this again")
	} else if held {
		fmt.Fprintln(std.err, "weir: nothing is enforced until 'weir bans resume'")
	}
	return failed
}

// mend says what would help where a right is missing.
func mend(err error, how string) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %s", err, how)
	}
	return err
}

// writePanics writes the file where sensors and gates of this machine look for it, and tells how often.
func writePanics(state string, p enforce.Panic) (n int, err error) {
	if _, missing := os.Stat(state); errors.Is(missing, fs.ErrNotExist) {
		return 0, nil
	}
	folders := []string{state}
	gates, _ := filepath.Glob(filepath.Join(state, blockFolder, "*")) // one for each interface
	for _, g := range gates {
		if info, err := os.Stat(g); err == nil && info.IsDir() {
			folders = append(folders, g)
		}
	}
	for _, dir := range folders {
		one := enforce.WritePanic(filepath.Join(dir, enforce.PanicFile), p)
		if n++; one != nil {
			err = errors.Join(err, one)
		}
	}
	return n, err
}

// tellSite writes the panic into the bucket, tells sensors, and sees that gates obey. A server inside a weir that does not run
// is nobody to be told: its weir reads the file.
func (r *bansReach) tellSite(ctx context.Context, settings config, p enforce.Panic, tell func(string, error), std *streams) {
	site, err := r.dialWith(ctx, settings)
	if err != nil && len(settings.NATS.Servers) == 0 {
		fmt.Fprintf(std.err, "weir: no weir runs with this state folder, or it cannot be reached (%s); it reads the file when it starts\n", printable(err.Error()))
		return
	}
	if err != nil {
		tell("the site's sensors and gates", err)
		return
	}
	defer site.Close()
	body, err := marshal(p)
	if err == nil {
		writing, cancel := context.WithTimeout(ctx, bucketTime)
		err = site.State().Put(writing, enforce.PanicKey, body)
		cancel()
	}
	tell("site "+printable(settings.Site)+": told all gates", err)
	event, op := "resumed", opResume
	if p.Held {
		event, op = "panic", opPanic
	}
	tell("recorded in the stream of drops", site.Drop(event, fmt.Sprintf("%s.%d", event, p.Generation), body))
	if _, err := site.order(ctx, commandChange, changeRequest{Op: op, Panic: &p, By: p.By, Reason: p.Reason}); err == nil {
		fmt.Fprintln(std.err, "weir: the sensors know")
	} else { // they read the bucket, too
		fmt.Fprintln(std.err, "weir: no sensor answers now; they learn of it from the bucket:", printable(err.Error()))
	}
	if p.Held {
		tell("no gate that answers enforces anything", site.cleared(ctx))
	}
}

// cleared waits until no gate enforces anything, for two seconds.
func (c *siteClient) cleared(ctx context.Context) error {
	for end := time.Now().Add(receiptTime); ; {
		still := map[string]bool{}
		v := &overview{}
		v.ask(ctx, c, commandEnforced, "", func(text json.RawMessage) error {
			var e enforced
			err := json.Unmarshal(text, &e)
			if e.State == "applied" {
				still[gateText(&e)] = true
			}
			return err
		})
		if len(still) == 0 {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("these still enforce: %s", strings.Join(slices.Sorted(maps.Keys(still)), ", "))
		}
	}
}
