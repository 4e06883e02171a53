package web_test

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
	"os"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"weir/sensor/alert"
	"weir/sensor/web"
)

func scrollTo(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`document.querySelector(%q).scrollIntoView(), undefined`, selector))
}

func someDrops() (all []web.Drop) {
	now := time.Now()
	gate := func(state, err string) []web.DropGate {
		return []web.DropGate{{Sensor: "edge-3", Interface: "eth0", Table: "hosts4", State: state, Error: err}}
	}
	for i, d := range []web.Drop{
		{Target: "203.0.113.66", Action: "drop", State: "applied", Reason: "203.0.113.66 sent TCP SYNs to 1000 ports of 198.51.100.10 in 2.1s: 4 silent, 993 refused, 3 answered", By: "policy", Packets: 48_211, Bytes: 2_892_660, Gates: gate("applied", "")},
		{Target: "198.51.100.10:443/tcp", Action: "limit", Rate: 500, State: "applied", Reason: "SYN flood on 198.51.100.10:443: 41200 handshakes/s, normal are 210", By: "policy", Packets: 9_812_455, Bytes: 588_747_300, Gates: gate("applied", "")},
		{Target: "203.0.113.140", Action: "limit_new", Rate: 10, State: "applied", Reason: "203.0.113.140 tried 54 short sessions at 198.51.100.12:22 in 5m0s", By: "policy", Packets: 312, Bytes: 18_720, Gates: gate("applied", "")},
		{Target: "198.51.100.77", Action: "drop", State: "pending", Guard: "cap_established", Reason: "About 25000 connections of one source were answered within 60s", By: "policy"},
		{Target: "203.0.113.128/25", Action: "drop_new", State: "wanted", Reason: "26 addresses of one network took turns in a scan of 198.51.100.0/24", By: "policy", Gates: gate("error", "the table of prefixes is full (16384): raise gate.prefixes")},
		{Target: "192.0.2.250", Action: "shadow", Would: "drop", State: "shadow", Reason: "asked by hand, to see what it would hit", By: "admin@edge-3", Packets: 17, Bytes: 1_020, Gates: gate("applied", "")},
	} {
		d.ID, d.Key = fmt.Sprintf("%016x", 0xd0+i), "address."+d.Target
		d.Created, d.Until = now.Add(-time.Duration(i+1)*7*time.Minute), now.Add(time.Duration(i*i*i)*11*time.Minute+2710*time.Second)
		if d.Packets > 0 {
			d.Last = now.Add(-3 * time.Second)
		}
		all = append(all, d)
	}
	return all
}

func someNear() *web.Near {
	return &web.Near{Time: time.Now(), Near: []web.NearMark{
		{Analyzer: "scan", Kind: "vertical", Subject: &alert.Party{IP: addr("203.0.113.91")}, Victim: &alert.Party{IP: addr("198.51.100.10")}, Measure: "failed_contacts", Value: 8, Threshold: 9, Unit: "contacts", Share: 8. / 9, Would: "drop"},
		{Analyzer: "bruteforce", Kind: "password", Subject: &alert.Party{IP: addr("203.0.113.17")}, Victim: &alert.Party{IP: addr("198.51.100.12"), Port: 22, Protocol: "tcp"}, Measure: "sessions", Value: 14, Threshold: 20, Unit: "sessions", Share: .7, Would: "drop"},
		{Analyzer: "flood", Kind: "udp", Victim: &alert.Party{IP: addr("198.51.100.12"), Port: 53, Protocol: "udp"}, Measure: "rate", Value: 2310, Threshold: 5000, Unit: "packets/s", Share: .462, Would: "alert"},
		{Analyzer: "exfil", Kind: "volume", Subject: &alert.Party{IP: addr("198.51.100.31")}, Measure: "bytes_out", Value: 4.1e6, Threshold: 1e7, Unit: "B", Share: .41, Would: "alert"},
	}}
}

// small writes a PNG as small as it can be.
func small(t *testing.T, shot []byte, name string) {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, picture); err == nil {
		err = os.WriteFile(name, out.Bytes(), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// scene is a sensor that has something to tell.
func scene(t *testing.T) *stage {
	s := newStage(t)
	s.tell(golden(t)...)
	s.drops = someDrops()
	count := func(n int) *int { return &n }
	open := uint64(0)
	for _, a := range golden(t) {
		if a.State != alert.Closed {
			open++
		}
	}
	s.set(func(st *web.Status) {
		st.Drops = web.Counts{Wanted: count(5), Enforced: count(4), Shadow: count(1), Pending: count(1)}
		st.Loss = web.Loss{Ratio: 0.0004, Causes: map[string]uint64{"capture.kernel": 4_122, "decode.snaplen": 186, "conn.half_open": 278}}
		st.Interfaces = append(st.Interfaces, web.Interface{Name: "eth1", Up: true, Packets: 91_220_031, Dropped: 4_122})
		st.AlertsOpen = &open
	})
	s.burst = time.Now().Unix() - 210
	s.history(900, true)
	s.server.Second(web.Second{Point: s.point(time.Now().Unix(), true), Near: someNear()})
	return s
}

// Each state says what holds, in words.
func testStates(t *testing.T, browser context.Context) {
	s := scene(t)
	p := newTab(t, browser)
	p.open(s.url)
	p.shows("#link", "live")
	s.set(func(st *web.Status) {
		st.Panic = &web.Panic{By: "admin", Reason: "a customer cannot log in", Since: time.Now()}
	})
	s.server.DropsChanged()
	p.shows("#banners", "Panic: nothing is dropped")
	p.shows("#banners", "Reason: a customer cannot log in. Detection goes on.")
	p.picture("panic")
	s.set(func(st *web.Status) {
		st.Panic, st.DryRun, st.Loss.Ratio, st.NotReady, st.OneWay = nil, true, 0.034, []string{"the bus is not connected"}, true
		st.Interfaces[1].Up = false
	})
	s.server.DropsChanged()
	p.shows("#banners", "Rehearsal: drops are only counted")
	p.shows("#banners", "3.4 % of packets are not seen")
	p.shows("#banners", "the bus is not connected")
	p.shows("#chips", "one way")
	p.picture("rehearsal-loss")
	s.set(func(st *web.Status) {
		st.Mode, st.DryRun, st.NotReady, st.OneWay, st.Loss = "block", false, nil, false, web.Loss{}
	})
	s.server.DropsChanged()
	p.until(`!document.querySelector('.charts').checkVisibility() && document.querySelector('.alerts').checkVisibility()`)
	p.picture("gate")
	p.clean(s.url)
}

// Pictures of the main states, for people to look at. WEIR_PAGE_PICTURE names the file of the README's.
func testLook(t *testing.T, browser context.Context) {
	s := scene(t)
	p := newTab(t, browser)
	p.open(s.url)
	p.shows("#link", "live")
	p.shows("#near", "scan")
	p.shows("#sources", "cdn-edge")
	p.until(`document.querySelectorAll('.row').length > 10`)
	p.picture("alerts-light")
	p.scheme("dark")
	time.Sleep(300 * time.Millisecond) // until it is painted
	p.picture("alerts-dark")
	if name := os.Getenv("WEIR_PAGE_PICTURE"); name != "" {
		p.size(1360, 900, 1)
		time.Sleep(300 * time.Millisecond)
		small(t, p.picture("readme"), name)
		p.size(1440, 1000, 1)
	}
	p.press(".row", "flood")
	p.shows("#drawer-body", "Revisions")
	p.picture("details-dark")
	p.scheme("light")
	p.picture("details-light")
	p.press("#drawer-close", "")
	p.do(scrollTo("#drops-h"))
	p.picture("below-light")
	p.press("#drops .drop", "203.0.113.128/25")
	p.shows("#drawer-body", "the table of prefixes is full")
	p.picture("drop-light")
	p.press("#drawer-close", "")
	p.press("#add", "Add a drop")
	p.picture("form-light")
	p.size(900, 1000, 1)
	p.press("#ask button", "Cancel")
	p.do(scrollTo("body"))
	p.picture("tablet-light")
	p.until(`[...document.querySelectorAll('.uplot')].every((e) => e.getBoundingClientRect().right <= 900)`)
	p.fits("a smaller window", 900)
	p.clean(s.url)
}
