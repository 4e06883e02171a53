package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"weir/sensor"
	"weir/sensor/doctor"
)

type doctorCmd struct {
	Interfaces []string `short:"i" name:"interface" placeholder:"IF" required:"" help:"Capture interface; several for a tap with a port for each direction."`
	Seconds    int      `default:"10" help:"How long to look at the traffic, up to 600 s; 0: not at all."`
	Format     string   `enum:"auto,table,json" default:"auto" help:"table, json, or auto: a table on a terminal."`
	Config     string   `placeholder:"FILE" help:"Configuration of the sensor that is to run here."`
}

// Help is the long form of --help.
func (*doctorCmd) Help() string {
	return `Examples:
  sudo weir doctor -i eth1
  sudo weir doctor -i tap0 -i tap1 --seconds 60
  sudo weir doctor -i eth1 --format json | jq '.results[] | select(.status == "fail")'

Looks at the machine, the interfaces and the traffic, says what would make weir see wrongly, and with which commands to
change it. It changes nothing itself. Exit code 1 if a check fails.`
}

const maxDoctorSeconds = 600

// doctorSchema names the form of the JSON report.
const doctorSchema = "weir.doctor/1"

// Run examines and reports.
func (c *doctorCmd) Run(ctx context.Context, std *streams) error {
	if err := c.check(); err != nil {
		return usageError{err}
	}
	settings, err := readConfig(c.Config)
	if err == nil {
		if err = settings.checkLive(len(c.Interfaces), cores()); err != nil {
			err = usageError{err}
		}
	}
	if err != nil {
		return err
	}
	live := settings.live()
	facts, err := doctor.Gather(doctor.Settings{
		MemoryMiB: settings.MemoryMiB, RingMiB: live.RingMiB, Fanout: live.Fanout, Workers: min(runtime.GOMAXPROCS(0), sensor.MaxWorkers),
	}, c.Interfaces)
	if err != nil {
		return err
	}
	if c.Seconds > 0 {
		fmt.Fprintf(std.err, "weir: looking at the traffic of %s for %d s\n", printable(strings.Join(c.Interfaces, ", ")), c.Seconds)
		doctor.Listen(ctx, facts, live, time.Duration(c.Seconds)*time.Second)
	}
	if ctx.Err() != nil {
		return errors.New("interrupted while looking at the traffic; --seconds 0 leaves that out")
	}
	results := doctor.Examine(facts)
	if err := c.report(std.out, results); err != nil {
		return err
	}
	if doctor.Verdict(results) == doctor.Fail {
		return reported{errors.New("a check failed")}
	}
	return nil
}

// check finds what kong cannot.
func (c *doctorCmd) check() error {
	seen := map[string]bool{}
	for _, name := range c.Interfaces {
		if name == "" || seen[name] {
			return fmt.Errorf("-i: %q is empty or named twice", name)
		}
		seen[name] = true
	}
	if c.Seconds < 0 || c.Seconds > maxDoctorSeconds {
		return fmt.Errorf("--seconds: %d is not within 0 to %d", c.Seconds, maxDoctorSeconds)
	}
	return nil
}

func (c *doctorCmd) report(out io.Writer, results []doctor.Result) error {
	if c.Format == "table" || c.Format == "auto" && isTerminal(out) {
		return doctorTable(out, results)
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		Schema     string          `json:"schema"`
		Version    string          `json:"version"`
		Time       time.Time       `json:"time"`
		Interfaces []string        `json:"interfaces"`
		Status     doctor.Status   `json:"status"`
		Results    []doctor.Result `json:"results"`
	}{doctorSchema, version, time.Now().UTC(), c.Interfaces, doctor.Verdict(results), results})
}

var doctorColours = map[doctor.Status]string{doctor.Fail: "9", doctor.Warn: "11", doctor.Note: "14", doctor.OK: "10"}

// doctorTable writes the results, the gravest first, each with its reason and its commands. Commands are not broken into
// lines: they are there to be copied.
func doctorTable(w io.Writer, results []doctor.Result) error {
	out := bufio.NewWriter(w)
	t := newTable(w)
	var names, faces int
	for i := range results {
		names, faces = max(names, len(results[i].Check)), max(faces, len(printable(results[i].Interface)))
	}
	var count [doctor.Fail + 1]int
	indent := len("FAIL") + tableGap + names + tableGap
	if faces > 0 {
		indent += faces + tableGap
	}
	margin := strings.Repeat(" ", indent)
	for i := range results {
		r := &results[i]
		count[r.Status]++
		status := fmt.Sprintf("%-4s", strings.ToUpper(r.Status.String()))
		if t.colour {
			status = lipgloss.NewStyle().Foreground(lipgloss.Color(doctorColours[r.Status])).Render(status)
		}
		fmt.Fprintf(out, "%s  %-*s", status, names, r.Check)
		if faces > 0 {
			fmt.Fprintf(out, "  %-*s", faces, printable(r.Interface))
		}
		t.sentence(out, printable(r.What)+".", indent, tableGap)
		if r.Why != "" && r.Status > doctor.OK {
			t.sentence(out, "why: "+printable(r.Why), indent, indent)
		}
		for _, command := range r.Do {
			prompt := "$ "
			if strings.HasPrefix(command, "#") {
				prompt = ""
			}
			fmt.Fprintf(out, "%s%s%s\n", margin, prompt, printable(command))
		}
	}
	fmt.Fprintf(out, "\n%d failed, %d to mend, %d to note, %d as they should be\n",
		count[doctor.Fail], count[doctor.Warn], count[doctor.Note], count[doctor.OK])
	return out.Flush()
}
