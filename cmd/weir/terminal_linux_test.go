package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/sensor/traffic"
)

// terminal runs the command on a pseudo terminal (pty(7)) of some columns and returns what it showed there. What is not
// given to the terminal goes to the buffer.
func terminal(t *testing.T, columns uint16, other *bytes.Buffer, env []string, args ...string) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	defer master.Close()
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: columns})
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("weir", args...)
	cmd.Stdout, cmd.Stderr = tty, tty
	if other != nil {
		cmd.Stderr = other
	}
	cmd.Env = append(os.Environ(), append([]string{"TERM=xterm", "NO_COLOR="}, env...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	shown, _ := io.ReadAll(master) // EIO once the command is gone
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, shown)
	}
	return strings.ReplaceAll(string(shown), "\r\n", "\n")
}

// sentence is the beginning and the end of what the scan's alert says.
var sentence = regexp.MustCompile(`198\.51\.100\.23 tried [0-9]+ ports of 10\.20\.0\.10 in .* refused, [0-9]+ answered`)

var colour = regexp.MustCompile("\x1b\\[[0-9;]*m")

// TestTerminalTable looks at the table as a user sees it, at several widths.
func TestTerminalTable(t *testing.T) {
	for _, columns := range []uint16{200, 160, 120, 80, 60} {
		shown := terminal(t, columns, new(bytes.Buffer), nil, "replay", "-q", scanCase)
		if !colour.MatchString(shown) {
			t.Errorf("%d columns: no colour", columns)
		}
		lines := strings.Split(strings.TrimSuffix(colour.ReplaceAllString(shown, ""), "\n"), "\n")
		if !strings.HasPrefix(lines[0], "FIRST SEEN (UTC)") || len(lines) < 2 {
			t.Fatalf("%d columns: no table:\n%s", columns, shown)
		}
		severity := strings.Index(lines[0], "SEVERITY")
		for _, l := range lines[1:] {
			if len(l) > int(columns) && columns >= 80 {
				t.Errorf("%d columns: a line of %d: %q", columns, len(l), l)
			}
			if l[0] != ' ' && !strings.HasPrefix(l[severity:], "medium ") {
				t.Errorf("%d columns: severity does not stand below its head: %q", columns, l)
			}
		}
		if words := strings.Join(strings.Fields(strings.Join(lines, " ")), " "); !sentence.MatchString(words) {
			t.Errorf("%d columns: the sentence is not whole:\n%s", columns, shown)
		}
	}
}

// TestTerminalPlain turns colour off in the two ways there are.
func TestTerminalPlain(t *testing.T) {
	for _, env := range []string{"NO_COLOR=1", "TERM=dumb"} {
		if shown := terminal(t, 160, new(bytes.Buffer), []string{env}, "replay", "-q", scanCase); strings.Contains(shown, "\x1b") || shown == "" {
			t.Errorf("%s: %q", env, shown)
		}
	}
}

// TestProgress shows that a bar runs on a terminal, and there only, and leaves no trace behind.
func TestProgress(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.pcap")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := traffic.Write(f, "mix", 400_000); err != nil {
		t.Fatal(err)
	}
	f.Close()
	shown := terminal(t, 120, nil, nil, "replay", "--workers", "1", path)
	_, says, _ := strings.Cut(shown, "  took ")
	says, _, _ = strings.Cut(strings.TrimSpace(says), ",")
	took, err := time.ParseDuration(says)
	if err != nil {
		t.Fatalf("%v in %q", err, shown)
	}
	if took > 300*time.Millisecond && !regexp.MustCompile(`replay +[0-9]+% `).MatchString(shown) {
		t.Errorf("no progress bar in %q", shown)
	}
	rest := shown[strings.LastIndex(shown, "\r")+1:]
	if !strings.HasPrefix(rest, "400000 packets, ") {
		t.Errorf("the bar was not wiped off before the summary: %q", rest)
	}
	if quiet := terminal(t, 120, nil, nil, "replay", "-q", path); quiet != "" {
		t.Errorf("--quiet shows %q", quiet)
	}
	var stderr bytes.Buffer
	terminal(t, 120, &stderr, nil, "replay", path)
	if strings.Contains(stderr.String(), "\r") || !strings.HasPrefix(stderr.String(), "400000 packets, ") {
		t.Errorf("standard error is no terminal, but: %q", stderr.String())
	}
	if lines := terminal(t, 120, nil, nil, "replay", "--format", "jsonl", path); strings.Contains(lines, "%") {
		t.Errorf("a bar runs through JSON lines: %.300q", lines)
	}
}
