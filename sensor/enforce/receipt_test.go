package enforce

import (
	"net/netip"
	"testing"
	"time"

	"weir/sensor/alert"
	"weir/sensor/policy"
)

// TestSentences holds what humans read of a drop's begin and end.
func TestSentences(t *testing.T) {
	shadow := func(d *policy.Drop) { d.Action, d.Would = policy.Shadow, policy.DropAll }
	web := &policy.Service{IP: netip.MustParseAddr("10.8.0.1"), Port: 80, Protocol: "tcp"}
	signed := func(d *policy.Drop) {
		d.Scope, d.IP, d.Service = policy.ScopeSignature, netip.Addr{}, web
		d.Signature = &alert.Signature{Fields: []alert.Field{{Name: "length", Value: "40"}}, Attack: 1, NAttack: 100, NNormal: 100}
	}
	limited := func(d *policy.Drop) {
		d.Scope, d.IP, d.Service, d.Action, d.Rate = policy.ScopeService, netip.Addr{}, web, policy.Limit, 200
	}
	for _, c := range []struct {
		name     string
		rehearse bool
		change   func(*policy.Drop)
		begins   string
		ends     string // of which the rest is when, or that it was removed
	}{
		{"a drop", false, func(*policy.Drop) {}, "10.8.0.2 is dropped at eth9 (fake)", "The drop of 10.8.0.2 at eth9 (fake)"},
		{"a rehearsed drop", false, shadow, "10.8.0.2 is only counted (shadow) at eth9 (fake)", "The drop of 10.8.0.2 at eth9 (fake), which was only counted (shadow),"},
		{"a gate that rehearses", true, func(*policy.Drop) {}, "10.8.0.2 is only counted (shadow) at eth9 (fake)", "The drop of 10.8.0.2 at eth9 (fake), which was only counted (shadow),"},
		{"a limit", false, limited, "10.8.0.1:80/tcp is limited to 200 packets/s of strangers at eth9 (fake)", "The drop of 10.8.0.1:80/tcp at eth9 (fake)"},
		{
			"a signature", false, signed, "packets to 10.8.0.1:80/tcp like a signature are dropped at eth9 (fake)",
			"The drop of packets to 10.8.0.1:80/tcp like a signature at eth9 (fake)",
		},
		{
			"a rehearsed signature", false, func(d *policy.Drop) { signed(d); shadow(d) }, "packets to 10.8.0.1:80/tcp like a signature are only counted (shadow) at eth9 (fake)",
			"The drop of packets to 10.8.0.1:80/tcp like a signature at eth9 (fake), which was only counted (shadow),",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t, func(o *Options) { o.Rehearse = c.rehearse })
			a := drop("10.8.0.2", time.Minute)
			c.change(a)
			named(a)
			says := func(want string) {
				t.Helper()
				if len(d.told) != 1 || d.told[0].Sentence != want {
					t.Errorf("told %+v\nwant %s", d.told, want)
				}
				d.told = nil
			}
			begins := c.begins + " until " + clock(a.Until) + ": a test"
			d.drops(a)
			says(begins)
			d.drops(changed(a, func(p *policy.Drop) { p.State = policy.Removed }))
			says(c.ends + " was removed: 0 packets (0 bytes) met it.")
			d.drops(changed(a, func(*policy.Drop) {}))
			says(begins)
			d.now = time.Unix(a.Until+1, 0)
			d.step(d.reconcile)
			says(c.ends + " ended at " + clock(a.Until) + ": 0 packets (0 bytes) met it.")
		})
	}
}
