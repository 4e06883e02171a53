// Command weir measures a packet stream by its headers, says what is not normal in it, and can drop it at the network card.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"weir/sensor"
)

// version is set by the build (-ldflags -X main.version=…).
var version = "devel"

// Exit codes. They are part of the interface.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

const description = `A packet sensor and a gate: connection state and behaviour from headers alone.

Alerts go to standard output, and nothing but alerts: a table on a terminal, JSON lines otherwise. Everything else goes to
standard error. Exit codes: 0 done, 1 failed, 2 wrong use.`

// cli is the command line; each command is a field with a Run method in a file of its own.
type cli struct {
	Replay   replayCmd   `cmd:"" help:"Read captures and print the alerts in them."`
	Sense    senseCmd    `cmd:"" help:"Watch network interfaces and publish the alerts."`
	Run      runCmd      `cmd:"" help:"Watch, and drop at the network card what attacks this host."`
	Block    blockCmd    `cmd:"" help:"Drop at the network card what sensors ask for."`
	Alerts   alertsCmd   `cmd:"" help:"Follow the alerts of running sensors."`
	Hunt     huntCmd     `cmd:"" help:"Find what is unlike all else in captures, in what was kept, and in access logs."`
	Flows    flowsCmd    `cmd:"" help:"Search and add up the connections that a sensor keeps on disk."`
	Keys     keysCmd     `cmd:"" help:"Make, trust and list the keys that drops and commands are signed with."`
	Bans     bansCmd     `cmd:"" help:"See, add, remove and approve drops; end all of them at once."`
	Baseline baselineCmd `cmd:"" help:"See, keep, carry over and forget what was learned to be normal."`
	Diff     diffCmd     `cmd:"" help:"Compare what two configurations make of the same captures."`
	Doctor   doctorCmd   `cmd:"" help:"Say what keeps this machine from capturing well, and what to change."`
	Explain  explainCmd  `cmd:"" help:"Tell an alert's whole arithmetic in words."`
	Health   healthCmd   `cmd:"" help:"Ask the weir that runs here whether it does."`
	Check    checkCmd    `cmd:"" help:"Check a configuration and say what it takes."`
	Notify   notifyCmd   `cmd:"" help:"Try the channels by which people are told."`
	Generate generateCmd `cmd:"" help:"Make a capture of a site with attacks in it, to rehearse with."`
	Score    scoreCmd    `cmd:"" help:"Compare alerts with what is true in a generated capture."`
	Tune     tuneCmd     `cmd:"" help:"Propose thresholds from normal traffic."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

// usageError is a mistake on the command line or in the configuration: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// reported is a failure that was already told in full: exit code 1 and no further line.
type reported struct{ error }

// streams are the three standard streams, so that a test can stand in for the terminal.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// oneSignal is the time within which signals count as one: timeout(1) signals its command, and then all of its process group.
const oneSignal = 200 * time.Millisecond

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		time.Sleep(oneSignal)
		stop() // a second signal ends the process at once
	})
	os.Exit(run(ctx, os.Args[1:], &streams{os.Stdin, os.Stdout, os.Stderr}))
}

// run is the whole program but its process: it returns the exit code.
func run(ctx context.Context, args []string, std *streams) int {
	if len(args) == 0 { // a script that lost its command must not pass for done
		run(ctx, []string{"--help"}, &streams{std.in, std.err, std.err})
		return exitUsage
	}
	var c cli
	code := -1
	parser, err := kong.New(&c,
		kong.Name("weir"),
		kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Vars{"workers": strconv.Itoa(sensor.MaxWorkers)},
		kong.Writers(std.out, std.err),
		kong.Exit(func(n int) { code = n }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(std),
	)
	if err != nil {
		return report(err, std.err)
	}
	k, err := parser.Parse(args)
	if code >= 0 { // --help
		return code
	}
	if err != nil {
		report(err, std.err)
		fmt.Fprintln(std.err, "Try 'weir --help'.")
		return exitUsage
	}
	return report(k.Run(), std.err)
}

// report tells what went wrong, each cause in a line of its own and none twice, and returns the exit code.
func report(err error, w io.Writer) int {
	code := exitDone
	told := map[string]bool{}
	for _, e := range causes(err) {
		var usage usageError
		var known reported
		code = max(code, exitFailed)
		if errors.As(e, &usage) {
			code = exitUsage
		}
		if line := printable(e.Error()); !errors.As(e, &known) && !told[line] {
			told[line] = true
			fmt.Fprintln(w, "weir:", line)
		}
	}
	return code
}

// causes takes joined errors apart.
func causes(err error) (all []error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			all = append(all, causes(e)...)
		}
	} else if err != nil {
		all = append(all, err)
	}
	return all
}

type versionCmd struct{}

// Run prints the version, the commit if the build knows it, and the Go version.
func (versionCmd) Run(std *streams) error {
	commit := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = " " + s.Value
			}
		}
	}
	_, err := fmt.Fprintf(std.out, "weir %s%s %s %s/%s\n", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
