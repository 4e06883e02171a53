package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"weir/sensor/alert"
)

// The page of weir run, seen by a browser on the guarded server. What it looks like, and what it does with hostile text, thousands
// of alerts and cut lines, is tested in sensor/web.

const pageOrigin = "http://127.0.0.1:9480"

// A scan is on the page within 2 s, with its arithmetic; the drop that answers it is removed there, by who has the token.
func TestPageBrowser(t *testing.T) {
	need(t, "nmap", "bpftool")
	e := newEdge(t, "pg", brisk)
	v := newTab(t, e.far)
	v.open(pageOrigin + "/")
	v.shows("#link", "live")
	v.shows("#alerts-blank", "eth0 has been watched since")

	scan := spawn(t, e.near, strings.Fields("nmap -n -Pn -sS -T4 --min-rate 600 --max-rate 600 --max-retries 0 -p 1-600 198.51.100.1")...)
	v.shows(".row .kind", "scan · vertical")
	shown := time.Now()
	a := e.first(t, "scan", "vertical")
	took := shown.Sub(time.Unix(0, int64(a.First)))
	t.Logf("from the scan's first packet to its row: %v", took.Round(time.Millisecond))
	if took > 2*time.Second && !e.clockSet() {
		t.Errorf("a scan is on the page after %v", took)
	}
	scan.wait(t)

	v.click(".row", "scan · vertical")
	v.shows("#drawer-body .why", "failed contacts")
	v.shows("#drawer-body .why .decides", "threshold 9 contacts")
	v.shows("#drawer-body .facts", "198.51.100.23")
	await(t, "the gate limits the scanner", func() bool { return e.inForce(t, "address") == 1 })
	v.shows("#drops .drop", "198.51.100.23")
	v.picture("scan")
	v.clean()

	v.click("#drops .drop", "198.51.100.23")
	v.shows("#drawer-body .gates", "eth0")
	v.click("#drawer .actions button", "Remove")
	v.click("#ask button", "Remove")
	v.shows("#ask", "Changes need the token")
	v.types("#ask [name=token]", "wrong")
	v.click("#ask button", "Use it")
	v.shows("#ask", "The sensor refuses that token")
	if n := e.inForce(t, "address"); n != 1 {
		t.Errorf("after a wrong token the kernel has %d drops", n)
	}
	token, err := os.ReadFile(filepath.Join(e.state, "web.token"))
	if err != nil {
		t.Fatal(err)
	}
	v.types("#ask [name=token]", strings.TrimSpace(string(token)))
	v.click("#ask button", "Use it")
	v.shows("#drops", "Nothing is dropped.")
	await(t, "the gate has let go of the scanner", func() bool { return e.inForce(t, "address") == 0 })

	// A name that is asked for is hostile text on its whole way to the page.
	within(t, e.near, func() { askNames(t, "198.51.100.1:53", "<img src=x onerror=window.pwned=1>", 1000) })
	a = e.first(t, "dns", "tunnel")
	if !strings.Contains(a.Summary, "<img") {
		t.Errorf("the summary has no markup any more: %s", a.Summary)
	}
	v.click(".row", "dns · tunnel")
	v.shows("#drawer-body .sentence", a.Summary)
	v.until(`window.pwned === undefined && document.querySelectorAll('img').length === 0`)
	v.picture("markup")
	v.allowed = regexp.MustCompile(`status of 401`)
	v.clean()
}

// askNames asks a server for so many names below a domain, which is below .example.
func askNames(t *testing.T, server, domain string, n int) {
	t.Helper()
	c, err := net.Dial("udp", server)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	for range n {
		query := []byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0} // RFC 1035, 4.1.1: one question, recursion desired
		for _, label := range []string{rand.Text(), domain, "example"} {
			query = append(append(query, byte(len(label))), label...)
		}
		_, _ = c.Write(append(query, 0, 0, 1, 0, 1)) // each second one only hears that nobody answers
		time.Sleep(time.Millisecond)
	}
}

// first is the first revision of an alert that the sensor printed.
func (s *sentry) first(t *testing.T, analyzer, kind string) (found *alert.Alert) {
	t.Helper()
	await(t, "the alert is printed", func() bool {
		for _, a := range s.printed(t) {
			if a.Analyzer == analyzer && a.Kind == kind {
				found = a
				return true
			}
		}
		return false
	})
	return found
}

// tab is a browser in a network namespace. What goes wrong in its page, and what that asks for, is written down.
type tab struct {
	t       *testing.T
	ctx     context.Context
	allowed *regexp.Regexp // problems that belong to the test

	mu       sync.Mutex
	problems []string
	requests []string
}

// newTab starts Chromium, which ends with the test.
func newTab(t *testing.T, ns string) *tab {
	t.Helper()
	need(t, "chromium")
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	into := func(cmd *exec.Cmd) { // it is told what to do through a pipe, which needs no network
		cmd.Path, _ = exec.LookPath("nsenter")
		cmd.Args = append([]string{"nsenter", "--net=/run/netns/" + ns}, cmd.Args...)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.ModifyCmdFunc(into), chromedp.WindowSize(1440, 1000))
	allocated, free := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(free)
	ctx, end := chromedp.NewContext(allocated)
	t.Cleanup(end)
	v := &tab{t: t, ctx: ctx, allowed: regexp.MustCompile(`^$`)}
	if err := chromedp.Listen(ctx, v.heard); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *tab) heard(event any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		v.problems = append(v.problems, fmt.Sprintf("exception: %s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		v.problems = append(v.problems, "console: "+string(e.Type))
	case *log.EventEntryAdded:
		v.problems = append(v.problems, e.Entry.Text+" "+e.Entry.URL)
	case *network.EventRequestWillBeSent:
		v.requests = append(v.requests, e.Request.URL)
	}
}

// clean checks that nothing went wrong, and that nothing was asked of anybody but the sensor.
func (v *tab) clean() {
	v.t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, text := range v.problems {
		if !v.allowed.MatchString(text) {
			v.t.Errorf("the page has a problem: %s", text)
		}
	}
	for _, url := range v.requests {
		if !strings.HasPrefix(url, pageOrigin+"/") {
			v.t.Errorf("the page asks for %s", url)
		}
	}
	if len(v.requests) < 10 {
		v.t.Errorf("only %d requests were seen", len(v.requests))
	}
}

func (v *tab) open(url string) {
	v.t.Helper()
	if err := chromedp.Do(v.ctx, chromedp.Navigate(url)); err != nil {
		v.t.Fatal(err)
	}
}

// until waits until an expression of JavaScript is true.
func (v *tab) until(expression string) {
	v.t.Helper()
	await(v.t, expression, func() bool {
		ok, err := chromedp.Run(v.ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err != nil {
			v.t.Fatalf("%s: %v", expression, err)
		}
		return ok
	})
}

// found is an expression for the first visible element that has some words.
func found(selector, words string) string {
	s, _ := json.Marshal(selector)
	w, _ := json.Marshal(words)
	return fmt.Sprintf("[...document.querySelectorAll(%s)].find((e) => e.checkVisibility() && e.textContent.includes(%s))", s, w)
}

// picture writes what is in view as a PNG, for people, into the folder that WEIR_SCREENSHOTS names.
func (v *tab) picture(name string) {
	v.t.Helper()
	dir := os.Getenv("WEIR_SCREENSHOTS")
	if dir == "" {
		return
	}
	shot, err := chromedp.Run(v.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), shot, 0o600)
	}
	if err != nil {
		v.t.Error(err)
	}
}

func (v *tab) shows(selector, words string) { v.t.Helper(); v.until(found(selector, words)) }

func (v *tab) click(selector, words string) {
	v.t.Helper()
	v.shows(selector, words)
	v.until("(" + found(selector, words) + ".click(), true)")
}

// types puts text into an input.
func (v *tab) types(selector, text string) {
	v.t.Helper()
	v.shows(selector, "")
	if err := chromedp.Do(v.ctx, chromedp.SendKeys(chromedp.CSS(selector), text)); err != nil {
		v.t.Fatal(err)
	}
}
