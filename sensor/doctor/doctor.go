// Package doctor says whether a machine and the traffic that reaches it let weir see rightly, and what to change. Facts are
// gathered first (Gather, Listen), from the kernel alone; each check is a pure function of them. Nothing is changed.
package doctor

import (
	"cmp"
	"fmt"
	"slices"
)

// Status is how grave a result is; the order is that of gravity.
type Status uint8

// OK: as it should be, or of no matter here. Note: worth knowing. Warn: weir sees less than it could, or will under load.
// Fail: weir would see wrongly, or not at all.
const (
	OK Status = iota
	Note
	Warn
	Fail
)

var statusNames = [...]string{"ok", "note", "warn", "fail"}

func (s Status) String() string { return statusNames[s] }

// MarshalText gives the name.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Result is what one check says of an interface, of the host, or of the traffic.
type Result struct {
	Check     string   `json:"check"`
	Interface string   `json:"interface,omitempty"` // of checks on one interface
	Status    Status   `json:"status"`
	What      string   `json:"what"`          // one sentence with the numbers
	Do        []string `json:"do,omitempty"`  // commands to run, or what to change elsewhere after a "#"
	Why       string   `json:"why,omitempty"` // what is lost otherwise
}

func ok(format string, args ...any) Result   { return say(OK, format, args...) }
func note(format string, args ...any) Result { return say(Note, format, args...) }
func warn(format string, args ...any) Result { return say(Warn, format, args...) }
func fail(format string, args ...any) Result { return say(Fail, format, args...) }

func say(s Status, format string, args ...any) Result {
	return Result{Status: s, What: fmt.Sprintf(format, args...)}
}

// do adds a command, or several.
func (r Result) do(commands ...string) Result {
	r.Do = append(r.Do, commands...)
	return r
}

// because adds the reason.
func (r Result) because(why string) Result {
	r.Why = why
	return r
}

// The checks, in the order in which they are told.
var interfaceChecks = []struct {
	name  string
	check func(f *Facts, i *Interface) Result
}{
	{"link", link},
	{"driver", driver},
	{"master", master},
	{"merging", merging},
	{"vlan", vlanOffload},
	{"queues", queues},
	{"rss", rss},
	{"ring", ring},
	{"irq", irq},
	{"pause", pause},
	{"mtu", mtu},
	{"errors", wireErrors},
	{"drops", interfaceDrops},
	{"xdp", xdp},
	{"own_traffic", ownTraffic},
}

var hostChecks = []struct {
	name  string
	check func(f *Facts) Result
}{
	{"capabilities", capabilities},
	{"packet_socket", packetSocket},
	{"kernel", kernel},
	{"backlog", backlog},
	{"memory", memory},
	{"huge_pages", hugePages},
	{"clock", clock},
	{"cpu", processors},
	{"jit", jit},
	{"gate", gate},
	{"landlock", landlock},
}

var trafficChecks = []struct {
	name  string
	check func(f *Facts, s *Sample) Result
}{
	{"traffic", arrived},
	{"mirror", mirror},
	{"one_way", oneWay},
	{"doubled", doubled},
	{"super_packets", superPackets},
	{"snaplen", snaplen},
	{"encapsulation", encapsulation},
	{"unread", unread},
	{"kernel_drops", kernelDrops},
	{"load", load},
}

// Examine runs every check. The gravest come first; within a status the order is that of the checks.
func Examine(f *Facts) []Result {
	var all []Result
	add := func(name, iface string, r Result) {
		r.Check, r.Interface = name, iface
		all = append(all, r)
	}
	for i := range f.Interfaces {
		face := &f.Interfaces[i]
		for _, c := range interfaceChecks {
			if face.Missing != "" && c.name != "link" { // the one thing to say of it
				continue
			}
			add(c.name, face.Name, c.check(f, face))
		}
	}
	for _, c := range hostChecks {
		add(c.name, "", c.check(f))
	}
	switch s := f.Sample; {
	case s == nil:
	case s.Why != "":
		add("traffic", "", note("traffic was not looked at: %s", s.Why))
	default:
		for _, c := range trafficChecks {
			add(c.name, "", c.check(f, s))
			if s.Packets == 0 { // arrived has said so
				break
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Result) int { return cmp.Compare(b.Status, a.Status) })
	return all
}

// Verdict is the gravest status among results.
func Verdict(all []Result) (s Status) {
	for i := range all {
		s = max(s, all[i].Status)
	}
	return s
}
