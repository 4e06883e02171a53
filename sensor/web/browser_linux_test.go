package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Tests of the page run in Debian's Chromium, one for all of them, without a window.

// leaveOut skips a test that cannot run here, and says why. In CI nothing is left out.
func leaveOut(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why + ", and this is CI")
	}
	t.Skip(why)
}

// newBrowser starts Chromium, which ends with the test. Its first tab stays empty.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	const path = "/usr/bin/chromium"
	if _, err := exec.LookPath(path); err != nil {
		leaveOut(t, "no chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.IgnoreCertErrors, chromedp.WindowSize(1440, 1000))
	allocated, free := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(free)
	ctx, end := chromedp.NewContext(allocated)
	t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// tab is a page in the browser. What goes wrong in it, and what it asks for, is written down.
type tab struct {
	t       *testing.T
	ctx     context.Context
	allowed *regexp.Regexp // problems that belong to the test

	mu       sync.Mutex
	problems []string
	requests []string
}

// newTab opens an empty tab of 1440 by 1000.
func newTab(t *testing.T, browser context.Context) *tab {
	t.Helper()
	ctx, end := chromedp.NewContext(browser)
	t.Cleanup(end)
	p := &tab{t: t, ctx: ctx, allowed: regexp.MustCompile(`^$`)}
	if err := chromedp.Listen(ctx, p.heard); err != nil {
		t.Fatal(err)
	}
	p.size(1440, 1000, 1)
	p.scheme("light")
	return p
}

// heard writes down errors of the console, policy violations, exceptions, and requests.
func (p *tab) heard(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		p.problems = append(p.problems, fmt.Sprintf("exception: %s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		p.problems = append(p.problems, "console: "+string(e.Type))
	case *log.EventEntryAdded:
		p.problems = append(p.problems, e.Entry.Text+" "+e.Entry.URL)
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, e.Request.URL)
	}
}

// clean checks that nothing went wrong, and that nothing was asked of anybody but the page's own server.
func (p *tab) clean(origin string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range p.problems {
		if !p.allowed.MatchString(text) {
			p.t.Errorf("the page has a problem: %s", text)
		}
	}
	if len(p.requests) < 10 {
		p.t.Errorf("only %d requests were seen", len(p.requests))
	}
	for _, url := range p.requests {
		if !strings.HasPrefix(url, origin+"/") && !strings.HasPrefix(url, "blob:"+origin+"/") {
			p.t.Errorf("the page asks for %s", url)
		}
	}
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

func call[P, R any](p *tab, command cdp.Command[P, R], params P) R {
	p.t.Helper()
	out, err := chromedp.Run(p.ctx, func(ctx context.Context, target *chromedp.Target) (R, error) {
		return cdp.Call(ctx, target, command, params)
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

func (p *tab) open(url string) { p.t.Helper(); p.do(chromedp.Navigate(url)) }

func (p *tab) size(width, height int64, scale float64) {
	p.t.Helper()
	call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: scale, Mobile: width < 600})
}

// scheme sets what the user prefers: light or dark.
func (p *tab) scheme(name string) {
	p.t.Helper()
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// js evaluates an expression in the page.
func js[T any](p *tab, expression string) T {
	p.t.Helper()
	out, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return out
}

// until waits until an expression is true, and returns how long that was.
func (p *tab) until(expression string) time.Duration {
	p.t.Helper()
	begin := time.Now()
	for !js[bool](p, "Boolean("+expression+")") {
		if time.Since(begin) > 20*time.Second {
			p.picture("failed-" + strings.ReplaceAll(p.t.Name(), "/", "-"))
			p.t.Fatalf("waited in vain until %s; the page says:\n%.2000s", expression, js[string](p, "document.body.innerText"))
		}
		time.Sleep(15 * time.Millisecond)
	}
	return time.Since(begin)
}

// shows waits until an element's text has some words.
func (p *tab) shows(selector, words string) time.Duration {
	p.t.Helper()
	return p.until(fmt.Sprintf("[...document.querySelectorAll(%s)].some((e) => e.checkVisibility() && e.textContent.includes(%s))", quote(selector), quote(words)))
}

// press is a click of the mouse at an element with some text.
func (p *tab) press(selector, words string) {
	p.t.Helper()
	p.shows(selector, words)
	at := js[[]float64](p, fmt.Sprintf(`(() => {
		const e = [...document.querySelectorAll(%s)].find((e) => e.checkVisibility() && e.textContent.includes(%s));
		e.scrollIntoView({ block: 'nearest' });
		const r = e.getBoundingClientRect();
		return [r.x + r.width / 2, r.y + r.height / 2];
	})()`, quote(selector), quote(words)))
	for _, kind := range []input.DispatchMouseEventType{"mousePressed", "mouseReleased"} {
		call(p, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: kind, X: at[0], Y: at[1], Button: "left", ClickCount: 1})
	}
}

// keys types on the keyboard, wherever the focus is.
func (p *tab) keys(text string) { p.t.Helper(); p.do(chromedp.KeyEvent(text)) }

func quote(text string) string {
	b, _ := json.Marshal(text) // a string can be marshalled
	return string(b)
}

// picture writes what is in view as a PNG, for people, into the folder that WEIR_SCREENSHOTS names, and returns it.
func (p *tab) picture(name string) []byte {
	p.t.Helper()
	dir := os.Getenv("WEIR_SCREENSHOTS")
	if dir == "" {
		dir = p.t.TempDir()
	}
	shot := call(p, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatPng})
	if err := os.WriteFile(filepath.Join(dir, name+".png"), shot.Data, 0o600); err != nil {
		p.t.Error(err)
	}
	return shot.Data
}
