package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/sensor/alert"
)

// TestAlertFilters: places, incidents and muted alerts choose what is shown.
func TestAlertFilters(t *testing.T) {
	de := &alert.Party{IP: netip.MustParseAddr("192.0.2.7"), ASN: 64500, Country: "DE", Lists: []string{"office"}}
	host := &alert.Party{IP: netip.MustParseAddr("10.20.0.10"), Port: 22, Protocol: "tcp"}
	all := []*alert.Alert{
		{ID: "0000000000000001", Subject: de, Victim: host, Incident: "00000000000000ff"},
		{ID: "0000000000000002", Subject: host, Victim: de},
		{ID: "0000000000000003", Victim: host, Muted: &alert.Muted{Reason: "x"}},
		{ID: "00000000000000ff", Analyzer: "incident", Subject: de},
	}
	for _, c := range []struct {
		subject, victim, network []string
		incident                 string
		muted                    bool
		want                     string
	}{
		{want: "1 2 ff"},
		{muted: true, want: "1 2 3 ff"},
		{subject: []string{"192.0.2.0/24"}, want: "1 ff"},
		{victim: []string{"country:DE"}, want: "2"},
		{network: []string{"AS64500"}, want: "1 2 ff"},
		{network: []string{"AS64501", "list:office"}, want: "1 2 ff"},
		{subject: []string{"list:office"}, victim: []string{"10.0.0.0/8"}, want: "1"},
		{network: []string{"10.20.0.11"}, want: ""},
		{incident: "00000000000000ff", want: "1 ff"},
	} {
		var got []string
		places, err := parsePlaces(c.subject, c.victim, c.network)
		if err != nil {
			t.Fatal(err)
		}
		v := &viewer{places: places, incident: c.incident, muted: c.muted, show: func(a *alert.Alert, _ []byte) error {
			got = append(got, strings.TrimLeft(a.ID, "0"))
			return nil
		}}
		for _, a := range all {
			one := *a
			one.Schema, one.Rev = alert.Schema, 1
			text, err := json.Marshal(&one)
			if err != nil {
				t.Fatal(err)
			}
			if err := v.take("subject", text); err != nil {
				t.Fatal(err)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: shown %q", c, got)
		}
	}
	if _, err := parsePlaces(nil, []string{"nowhere"}, nil); err == nil || !strings.Contains(err.Error(), "--victim") {
		t.Errorf("%v", err)
	}
}

// TestExpiredMutesAreSaid: once for each rule, and again for one that was renewed meanwhile.
func TestExpiredMutesAreSaid(t *testing.T) {
	var log bytes.Buffer
	s := &sensing{log: slog.New(slog.NewTextHandler(&log, nil))}
	at := time.Unix(1_800_000_000, 0)
	rule := alert.Mute{Kind: "scan", Reason: "tested", Until: alert.Until(at.UnixNano())}
	said := func() int { return strings.Count(log.String(), "expired") }
	s.settings.Mutes = []alert.Mute{rule}
	for i, want := range []int{0, 1, 1} {
		if s.sayExpired(at.Add(time.Duration(i-1) * time.Second)); said() != want {
			t.Fatalf("at %d: said %d times, want %d", i-1, said(), want)
		}
	}
	s.settings.Mutes[0].Until += alert.Until(time.Hour)
	if s.sayExpired(at.Add(time.Minute)); said() != 1 {
		t.Error("a renewed rule is said to have expired")
	}
	if s.sayExpired(at.Add(2 * time.Hour)); said() != 2 {
		t.Error("the renewed rule expires in silence")
	}
}
