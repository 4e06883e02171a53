//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

const scanCase = "../../pcaps/scan/nmap-sS-vertical/in.pcap.zst"

// TestInterrupt ends a replay by signals while it waits for input that never comes: it stops at once, writes what it has
// found, and says what it did.
func TestInterrupt(t *testing.T) {
	scan, err := os.ReadFile(scanCase)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if scan, err = z.DecodeAll(scan, nil); err != nil {
		t.Fatal(err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		for _, input := range []string{"-", "fifo"} {
			t.Run(sig.String()+" "+input, func(t *testing.T) {
				flows := filepath.Join(t.TempDir(), "flows")
				cmd := exec.Command("weir", "replay", "--workers", "2", "--flows", flows, input)
				feed := feeder(t, cmd)
				out, err := interrupt(t, cmd, feed, scan, sig)
				if cmd.ProcessState.ExitCode() != exitFailed {
					t.Errorf("exit code %d, want %d\n%s", cmd.ProcessState.ExitCode(), exitFailed, err)
				}
				if !strings.Contains(out, `"kind":"vertical"`) || !strings.HasSuffix(out, "}\n") {
					t.Errorf("the scan that was found is not in the output:\n%.300s", out)
				}
				if !strings.Contains(err, "weir: interrupted after ") || !strings.Contains(err, " packets, ") {
					t.Errorf("what it did is not said:\n%s", err)
				}
				if strings.Contains(err, "canceled") || !strings.Contains(err, "after 2005 packets") {
					t.Errorf("standard error:\n%s", err)
				}
				if written, _ := os.ReadFile(flows); !bytes.HasSuffix(written, []byte("}\n")) {
					t.Errorf("the connections are not whole lines: …%q", written[max(0, len(written)-80):])
				}
			})
		}
	}
}

// feeder connects a command's last argument, standard input or a named pipe, to the file it returns.
func feeder(t *testing.T, cmd *exec.Cmd) *os.File {
	t.Helper()
	if last := &cmd.Args[len(cmd.Args)-1]; *last != "-" {
		*last = filepath.Join(t.TempDir(), *last)
		if err := syscall.Mkfifo(*last, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(*last, os.O_RDWR, 0) // both ends: opening waits for nobody
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	cmd.Stdin = r
	return w
}

// interrupt feeds a command, signals it when it has taken its input, and returns what it wrote.
func interrupt(t *testing.T, cmd *exec.Cmd, feed *os.File, input []byte, sig os.Signal) (out, stderr string) {
	t.Helper()
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	defer feed.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := feed.Write(input); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // it reads the rest of the pipe
	late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if !late.Stop() {
		t.Fatal("it did not stop")
	}
	return o.String(), e.String()
}
