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
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set by the build (-ldflags -X main.version=…).
var version = "devel"

// Exit codes. They are part of the interface.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

const description = `A packet sensor: connection state and behaviour from headers alone.

Alerts go to standard output, and nothing but alerts: a table on a terminal, JSON lines otherwise. Everything else goes to
standard error. Exit codes: 0 done, 1 failed, 2 wrong use.`

// cli is the command line; each command is a field with a Run method in a file of its own.
type cli struct {
	Replay  replayCmd  `cmd:"" help:"Read captures and print the alerts in them."`
	Version versionCmd `cmd:"" help:"Print the version."`
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

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], &streams{os.Stdin, os.Stdout, os.Stderr}))
}

// run is the whole program but its process: it returns the exit code.
func run(ctx context.Context, args []string, std *streams) int {
	var c cli
	code := -1
	parser, err := kong.New(&c,
		kong.Name("weir"),
		kong.Description(description),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(std.out, std.err),
		kong.Exit(func(n int) { code = n }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(std),
	)
	if err != nil {
		fmt.Fprintln(std.err, "weir:", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if code >= 0 { // --help
		return code
	}
	if err != nil {
		fmt.Fprintf(std.err, "weir: %v\nTry 'weir --help'.\n", err)
		return exitUsage
	}
	return exitCode(k.Run(), std)
}

func exitCode(err error, std *streams) int {
	var usage usageError
	var told reported
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &told):
		return exitFailed
	case errors.As(err, &usage):
		fmt.Fprintln(std.err, "weir:", err)
		return exitUsage
	default:
		fmt.Fprintln(std.err, "weir:", err)
		return exitFailed
	}
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
