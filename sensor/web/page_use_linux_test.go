package web_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"weir/sensor/web"
)

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// asked counts the requests whose address matches.
func (p *tab) asked(pattern string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, url := range p.requests {
		if regexp.MustCompile(pattern).MatchString(url) {
			n++
		}
	}
	return n
}

// Changes need the token. A wrong one, and what a guard refuses, is said where one looks.
func testChanges(t *testing.T, browser context.Context) {
	s := newStage(t)
	s.drops = someDrops()
	s.history(60, true)
	p := newTab(t, browser)
	p.allowed = regexp.MustCompile(`status of 40[019]`)
	p.open(s.url)
	add := func(target string) {
		p.press("#add", "Add a drop")
		p.until(`document.activeElement.name === 'target'`)
		p.keys(target)
		p.until(`(document.querySelector('#ask [name=reason]').focus(), true)`)
		p.keys("seen by hand\r")
	}
	add("203.0.113.200")
	p.shows("#ask", "Changes need the token")
	p.keys("wrong\r")
	p.shows("#ask", "The sensor refuses that token")
	p.picture("token-refused")
	p.keys(stageToken + "\r")
	p.shows("#drops .drop", "203.0.113.200")
	if js[bool](p, `localStorage.length > 0 || document.cookie !== '' || sessionStorage.length !== 1`) {
		t.Error("the token is kept elsewhere than in this tab")
	}
	add("192.0.2.1")
	p.shows("#ask .problem", "own_address")
	p.picture("guard-refused")
	if v := js[string](p, `document.querySelector('#ask [name=target]').value`); v != "192.0.2.1" {
		t.Errorf("after a refusal the form has %q", v)
	}
	p.keys(kb.Escape)
	p.until(`!document.getElementById('ask').open`)
	p.press("#drops .drop", "198.51.100.77")
	p.press("#drawer .actions button", "Approve")
	p.press("#ask button", "Approve")
	p.shows("#drawer", "approved by")
	p.press("#drawer-close", "")
	p.press("#drops .drop", "203.0.113.200")
	p.press("#drawer .actions button", "Remove")
	p.press("#ask button", "Remove")
	p.until(`![...document.querySelectorAll('#drops .drop')].some((e) => e.textContent.includes('203.0.113.200'))`)
	p.until(`document.getElementById('drawer').hidden`)
	p.press("#token", "Forget token")
	if js[bool](p, `sessionStorage.length > 0`) {
		t.Error("the token is kept though it was to be forgotten")
	}
	p.clean(s.url)
}

// A page that others can reach asks for the token before it shows anything, and again after a wrong one.
func testStrangers(t *testing.T, browser context.Context) {
	s := newStageOf(t, func(c *web.Config) {
		c.Listen = "0.0.0.0:443" // as a wish: who can reach it is what counts
		c.Certificate, c.Key = selfSigned(t)
	})
	s.tell(golden(t)[:3]...)
	p := newTab(t, browser)
	p.allowed = regexp.MustCompile(`status of 401`)
	p.open(s.url)
	p.shows("#ask", "only to those who have its token")
	p.shows("#banners", "only to those who have its token")
	if n := p.asked(`/v1/alerts`); n != 0 {
		t.Errorf("alerts were asked for %d times without a token", n)
	}
	p.keys("wrong\r")
	p.shows("#ask", "The sensor refuses that token")
	p.picture("strangers")
	p.keys(stageToken + "\r")
	p.shows("#link", "live")
	p.shows(".row", "")
	p.clean(s.url)
}

// selfSigned makes a certificate of this host, which the browser is told not to look at.
func selfSigned(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, form, form, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, text []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: text}), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	return write("cert.pem", "CERTIFICATE", cert), write("key.pem", "PRIVATE KEY", secret)
}

// Who has no mouse gets everywhere, sees where, and comes back from what was opened.
func testKeyboard(t *testing.T, browser context.Context) {
	s := newStage(t)
	s.frames = "../../pcaps/scan/strobe/in.pcap"
	s.tell(golden(t)[:40]...)
	s.history(60, true)
	p := newTab(t, browser)
	p.open(s.url)
	p.until(`document.getElementById('alerts-n').textContent === '40'`)
	p.keys(kb.Tab)
	p.until(`document.activeElement.className === 'skip' && document.activeElement.getBoundingClientRect().left >= 0`)
	p.keys(kb.Enter)
	p.until(`document.activeElement.id === 'alerts' && getComputedStyle(document.activeElement).outlineStyle === 'solid'`)
	p.keys(kb.ArrowDown + kb.ArrowDown + kb.ArrowDown)
	second := js[string](p, `document.getElementById(document.getElementById('alerts').getAttribute('aria-activedescendant')).textContent`)
	if got := js[int](p, `Number(document.querySelector('.row[aria-selected=true]').getAttribute('aria-posinset'))`); got != 3 || second == "" {
		t.Errorf("three steps down is row %d", got)
	}
	p.keys(kb.Enter)
	p.until(`document.activeElement.id === 'drawer-h'`)
	p.shows("#drawer-body .why", "threshold")
	p.shows("#drawer-body", "Revisions")
	p.press("#drawer button", "Download the packets")
	p.until(`[...document.querySelectorAll('#drawer button')].some((e) => e.textContent === 'Download the packets' && !e.disabled)`)
	if n := p.asked(`/evidence$`); n != 1 {
		t.Errorf("evidence was asked for %d times", n)
	}
	p.keys(kb.Escape)
	p.until(`document.getElementById('drawer').hidden && document.activeElement.id === 'alerts'`)
	p.keys("/")
	p.until(`document.activeElement.id === 'f-text'`)
	p.keys("scan")
	p.shows("#alerts-n", " of 40")
	p.keys("xyzzy")
	p.shows("#alerts-blank", "No alert has all of that")
	p.press("#alerts-blank button", "Show all")
	p.until(`document.getElementById('alerts-n').textContent === '40'`)
	p.press("#pause", "Pause")
	s.tell(golden(t)[40:43]...)
	p.shows("#pause", "3 waiting")
	p.press("#pause", "3 waiting")
	p.until(`document.getElementById('alerts-n').textContent === '43'`)
	// All that can be used has a name, and order is that of the page.
	if n := js[int](p, `[...document.querySelectorAll('button, input, select, [role=listbox]')].filter((e) => e.checkVisibility() &&
		!(e.textContent.trim() || e.ariaLabel || e.getAttribute('aria-labelledby') || e.labels?.length)).length`); n != 0 {
		t.Errorf("%d controls have no name", n)
	}
	if n := js[int](p, `document.querySelectorAll('[tabindex]:not([tabindex="0"], [tabindex="-1"])').length`); n != 0 {
		t.Errorf("%d elements are out of order", n)
	}
	p.clean(s.url)
}

// fits checks that nothing is wider than the window. What scrolls or is cut on purpose is not looked at.
func (p *tab) fits(where string, width int) {
	p.t.Helper()
	if w := js[int](p, `Math.max(document.documentElement.scrollWidth, ...[...document.querySelectorAll('main *, header *, aside *, dialog *')]
		.filter((e) => e.checkVisibility() && !e.closest('.unseen, .uplot, .chips') && getComputedStyle(e).position !== 'absolute').map((e) => Math.floor(e.getBoundingClientRect().right)))`); w > width {
		p.t.Errorf("%s is %d pixels wide", where, w)
	}
}

// On a phone of 360 pixels nothing is wider than the screen, and all can be reached.
func testPhone(t *testing.T, browser context.Context) {
	s := newStage(t)
	s.drops = someDrops()
	s.tell(golden(t)...)
	s.history(900, true)
	s.server.Second(web.Second{Point: s.point(time.Now().Unix(), true), Near: someNear()})
	p := newTab(t, browser)
	p.size(360, 740, 2)
	p.open(s.url)
	p.shows("#link", "live")
	p.shows(".row", "")
	p.fits("the page", 360)
	p.picture("phone-top")
	p.do(scrollTo("#alerts-h"))
	p.picture("phone-alerts")
	p.press(".row", "")
	p.shows("#drawer-body", "Revisions")
	p.fits("an alert", 360)
	p.picture("phone-alert")
	p.press("#drawer-close", "")
	p.do(scrollTo("#drops-h"))
	p.picture("phone-drops")
	p.press("#add", "Add a drop")
	p.fits("a form", 360)
	p.picture("phone-form")
	p.clean(s.url)
}
