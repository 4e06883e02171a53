package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"

	"weir/decode"
	"weir/sensor/alert"
	"weir/sensor/capture"
)

// TestMain makes commands available to scripts and other tests as processes of their own, in the PATH: weir, and natsd, which is
// somebody else's NATS server.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"weir": main, "natsd": natsd})
}

// TestScript runs testdata/script. Beside testscript's commands there are: exits (a command and its exit code), plain
// (decompress zstd), cut (the first bytes of a file), frames (the number of frames of a capture), records (connections as
// JSON lines) and evidence (alerts and their evidence). $PCAPS is pcaps/.
func TestScript(t *testing.T) {
	pcaps, err := filepath.Abs("../../pcaps")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: func(e *testscript.Env) error { e.Setenv("PCAPS", pcaps); return nil },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "plain": plain, "cut": cut, "frames": frames,
			"records": records, "evidence": evidence,
		},
	})
}

// exits CODE COMMAND… runs a command that must end with an exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// plain FROM TO writes what a zstd file holds.
func plain(ts *testscript.TestScript, _ bool, args []string) {
	in, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer in.Close()
	z, err := zstd.NewReader(in)
	ts.Check(err)
	defer z.Close()
	text, err := io.ReadAll(z)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), text, 0o600))
}

// cut FROM BYTES TO writes the first bytes of a file.
func cut(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(text[:n]), 0o600))
}

// frames N FILE holds the number of frames of a capture.
func frames(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	packets(ts, ts.MkAbs(args[1]), func(*decode.Packet) { got++ })
	if got != want {
		ts.Fatalf("%s: %d frames, want %d", args[1], got, want)
	}
}

// packets calls f with every packet of a capture.
func packets(ts *testscript.TestScript, path string, f func(*decode.Packet)) {
	src, err := capture.Open(path, capture.Options{})
	ts.Check(err)
	defer src.Close()
	var b capture.Block
	var p decode.Packet
	d := decode.NewDecoder(0)
	for err == nil {
		err = src.Next(&b)
		for i := range b.Frames {
			d.Decode(&b.Frames[i], &p)
			f(&p)
		}
	}
	if !errors.Is(err, io.EOF) {
		ts.Fatalf("%s: %v", path, err)
	}
}

// records FILE holds connections, one JSON object a line.
func records(ts *testscript.TestScript, _ bool, args []string) {
	n := 0
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		var r struct {
			Orig        netip.Addr `json:"id.orig_h"`
			Resp        netip.Addr `json:"id.resp_h"`
			State       string     `json:"conn_state"`
			CommunityID string     `json:"community_id"`
		}
		ts.Check(json.Unmarshal([]byte(line), &r))
		if !r.Orig.IsValid() || !r.Resp.IsValid() || r.State == "" || !strings.HasPrefix(r.CommunityID, "1:") {
			ts.Fatalf("%s: %s", args[0], line)
		}
		n++
	}
	if n == 0 {
		ts.Fatalf("%s: no connections", args[0])
	}
}

// evidence ALERTS DIR holds what --evidence promises: a file for each alert that was of medium severity or more and no other
// file, named with its hash in all revisions, and in it packets of the alert only.
func evidence(ts *testscript.TestScript, _ bool, args []string) {
	alerts, err := alert.Read(strings.NewReader(ts.ReadFile(args[0])))
	ts.Check(err)
	files := map[string]bool{}
	grave := 0
	for i := len(alerts) - 1; i >= 0; i-- { // the last revision of each is the gravest
		a := alerts[i]
		path := filepath.Join(args[1], a.ID+".pcapng")
		if a.Severity >= alert.Medium {
			files[path] = true
		}
		if !files[path] {
			if a.Evidence != nil {
				ts.Fatalf("%s is of %s severity and has evidence", a.ID, a.Severity)
			}
			continue
		}
		grave++
		text := ts.ReadFile(path)
		if sum := sha256.Sum256([]byte(text)); a.Evidence == nil || a.Evidence.File != path || a.Evidence.SHA256 != hex.EncodeToString(sum[:]) {
			ts.Fatalf("%s: evidence %+v is not %s with SHA-256 %x", a.ID, a.Evidence, path, sum)
		}
		n := 0
		packets(ts, ts.MkAbs(path), func(p *decode.Packet) {
			n++
			if !between(p, a) {
				ts.Fatalf("%s: packet %d is not of the alert", path, n)
			}
		})
		if n == 0 {
			ts.Fatalf("%s is empty", path)
		}
	}
	found, err := filepath.Glob(ts.MkAbs(filepath.Join(args[1], "*")))
	ts.Check(err)
	if len(found) != len(files) || grave == 0 {
		ts.Fatalf("%d files for %d alerts", len(found), len(files))
	}
}

// between tells whether the ends of a packet, or of the one it quotes, are subject and victim of an alert.
func between(p *decode.Packet, a *alert.Alert) bool {
	is := func(party *alert.Party, addr netip.Addr) bool {
		return party == nil || party.IP == addr || party.Prefix.Contains(addr)
	}
	ends := func(k *decode.Key) bool {
		x, y := k.A.Netip(k.Ver), k.B.Netip(k.Ver)
		return is(a.Subject, x) && is(a.Victim, y) || is(a.Subject, y) && is(a.Victim, x)
	}
	return ends(&p.Key) || p.HasQuote && ends(&p.Quote)
}
