package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/sensor/bus"
	"weir/sensor/policy"
)

type bansCmd struct {
	List    bansListCmd    `cmd:"" help:"List drops that are wanted, and what became of them."`
	Show    bansShowCmd    `cmd:"" help:"Show one drop, with its history."`
	Add     bansAddCmd     `cmd:"" help:"Ask for a drop."`
	Remove  bansRemoveCmd  `cmd:"" help:"End a drop."`
	Approve bansApproveCmd `cmd:"" help:"Let a pending drop go on."`
	Panic   bansPanicCmd   `cmd:"" help:"End all drops at once, everywhere, and enforce nothing until 'resume'."`
	Resume  bansResumeCmd  `cmd:"" help:"End a panic: new drops are enforced again."`
}

// Help is the long form of --help.
func (*bansCmd) Help() string {
	return `Examples:
  weir bans list
  weir bans list --format jsonl | jq 'select(.state == "pending")'
  weir bans show 4f1c2a9b8d7e6f50
  weir bans add 192.0.2.7 --for 1h --reason "ticket 4711"
  weir bans add 198.51.100.1:443/tcp --action limit --rate 500 --for 30m --reason "keep the shop up"
  weir bans remove 192.0.2.7 --reason "a customer"
  weir bans panic --reason "nobody can log in"

Sensors decide and gates enforce; this asks them through NATS, with the key of the state folder. Guards hold for drops by hand, too.
Exit codes: 0 done, 1 refused or failed, 2 wrong use.`
}

// bansReach is how to find the site, and who is asking.
type bansReach struct {
	State  string `placeholder:"DIR" default:"/var/lib/weir" type:"path" help:"State folder of the sensor or gate on this machine (default: ${default})."`
	Config string `placeholder:"FILE" help:"Configuration (YAML) with site and nats."`
}

const (
	answerTime  = 3 * time.Second // for answers to a command
	receiptTime = 2 * time.Second // for gates to take a drop
	bucketTime  = 5 * time.Second
)

// site is a connection to one, and the key to speak with.
type siteClient struct {
	*bus.Client
	settings config
	keys     *bus.Keys
	by       string
}

// dial connects. Without an own key nobody would listen.
func (r *bansReach) dial(ctx context.Context) (*siteClient, error) {
	settings, err := readConfig(r.Config)
	if err != nil {
		return nil, err
	}
	return r.dialWith(ctx, settings)
}

func (r *bansReach) dialWith(ctx context.Context, settings config) (*siteClient, error) {
	keys, err := openKeys(r.State)
	if err != nil {
		return nil, err
	}
	if keys.Own() == "" {
		return nil, fmt.Errorf("no key in %s to sign commands with: run this as who owns it, or 'weir keys new', and trust that key on the sensors and gates",
			filepath.Join(r.State, keysFolder))
	}
	by := thisUser()
	c, err := bus.Dial(ctx, settings.NATS, settings.Site, r.State, by, keys)
	if err != nil {
		return nil, err
	}
	return &siteClient{c, settings, keys, by}, nil
}

// thisUser is who gives a command: the one behind sudo.
func thisUser() string {
	name := os.Getenv("SUDO_USER")
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		} else {
			name = "user " + strconv.Itoa(os.Geteuid())
		}
	}
	return name + "@" + thisHost()
}

func thisHost() string {
	name, _ := os.Hostname()
	return cmp.Or(name, "localhost")
}

// errNobody is that no decider answers.
var errNobody = errors.New("no sensor answers: is weir sense or weir run up, and does it trust this key ('weir keys list')?")

// ban is one drop and how it stands.
type ban struct {
	drop      *policy.Drop
	enforcers []enforced
}

// state is the sum of what the gates say.
func (b *ban) state() string {
	if b.drop.State != policy.Requested {
		return b.drop.State.String()
	}
	found := map[string]bool{}
	for _, e := range b.enforcers {
		found[e.State] = true
	}
	switch {
	case found["applied"]:
		return "applied"
	case found["shadow"]:
		return "shadow"
	case found["refused"], found["failed"], found["void"]:
		return "refused"
	}
	return "wanted"
}

// hits are the packets that met it, at all gates.
func (b *ban) hits() (n uint64) {
	for _, e := range b.enforcers {
		n += e.Packets
	}
	return n
}

// banForm is a drop as JSON: its own form, with another state.
type banForm struct {
	policy.Drop
	State     string     `json:"state"` // applied, pending, shadow, refused, wanted, removed, expired
	Enforcers []enforced `json:"enforcers"`
}

func (b *ban) form() banForm {
	return banForm{*b.drop, b.state(), append([]enforced{}, b.enforcers...)}
}

// overview is what the bucket, the deciders and the gates know together.
type overview struct {
	bans  map[string]*ban // by id
	notes []string        // what is missing in it
	gates map[string]bool // that answered and hold something
}

// look asks all.
func (c *siteClient) look(ctx context.Context) (*overview, error) {
	v := &overview{bans: map[string]*ban{}, gates: map[string]bool{}}
	bad := 0
	reading, cancel := context.WithTimeout(ctx, bucketTime)
	defer cancel()
	err := c.State().Read(reading, func(s bus.Signed) {
		if s.Err != nil {
			bad++
			return
		}
		if drop, err := policy.ParseDrop(s.Body); err == nil && drop.Key() == s.Key {
			v.add(drop)
		}
	})
	if err != nil {
		return nil, err
	}
	if bad > 0 {
		v.notes = append(v.notes, fmt.Sprintf("%d entries of the bucket are not signed by a key that is trusted here ('weir keys trust')", bad))
	}
	v.ask(ctx, c, commandDrops, "no sensor answers: what is pending is not shown", func(text json.RawMessage) error {
		drop, err := policy.ParseDrop(text)
		if err == nil {
			v.add(drop)
		}
		return err
	})
	v.enforced(ctx, c)
	return v, nil
}

func (v *overview) add(d *policy.Drop) {
	if b := v.bans[d.ID]; b == nil {
		v.bans[d.ID] = &ban{drop: d}
	} else if b.drop.Generation < d.Generation {
		b.drop = d
	}
}

func (v *overview) enforced(ctx context.Context, c *siteClient) {
	v.ask(ctx, c, commandEnforced, "no gate answers: what is enforced is not known", func(text json.RawMessage) error {
		var e enforced
		if err := json.Unmarshal(text, &e); err != nil {
			return err
		}
		v.gates[e.Enforcer+" "+e.Interface] = true
		if b := v.bans[e.Drop]; b != nil {
			b.enforcers = append(b.enforcers, e)
		}
		return nil
	})
}

// ask hands in what all who answer a command list.
func (v *overview) ask(ctx context.Context, c *siteClient, command, nobody string, each func(json.RawMessage) error) {
	replies, err := c.Ask(ctx, command, nil, answerTime)
	if err != nil {
		v.notes = append(v.notes, nobody)
		return
	}
	for _, r := range replies {
		var part dropsReply
		err := errors.New(r.Err)
		if r.Err == "" {
			err = json.Unmarshal(r.Body, &part)
		}
		for _, text := range part.Drops {
			err = cmp.Or(err, each(text))
		}
		if err != nil {
			v.notes = append(v.notes, fmt.Sprintf("%s does not answer well: %v", r.From, err))
		}
	}
}

// live are the drops that have not ended, the newest first.
func (v *overview) live(now time.Time) (all []*ban) {
	for _, b := range v.bans {
		if s := b.drop.State; (s == policy.Requested || s == policy.Pending) && b.drop.Until > now.Unix() {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b *ban) int {
		return cmp.Or(cmp.Compare(b.drop.Created, a.drop.Created), cmp.Compare(a.drop.ID, b.drop.ID))
	})
	return all
}

// find is the drop of an id or a target: of several of one target the newest that has not ended.
func (v *overview) find(what string) *ban {
	if b := v.bans[what]; b != nil {
		return b
	}
	d, err := parseTarget(what)
	if err != nil {
		return nil
	}
	for _, b := range v.live(time.Now()) {
		if b.drop.Key() == d.Key() {
			return b
		}
	}
	return nil
}

// parseTarget reads an address, a prefix, or a service: address:port/protocol.
func parseTarget(s string) (d policy.Drop, err error) {
	if d.IP, err = netip.ParseAddr(s); err == nil {
		d.Scope, d.IP = policy.ScopeAddress, d.IP.Unmap().WithZone("")
		return d, nil
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		if d.Scope, d.Prefix = policy.ScopePrefix, p.Masked(); p.IsSingleIP() {
			return policy.Drop{Scope: policy.ScopeAddress, IP: p.Addr().Unmap()}, nil
		}
		return d, nil
	}
	where, protocol, _ := strings.Cut(s, "/")
	to, err := netip.ParseAddrPort(where)
	if err != nil || protocol == "" || strings.Trim(protocol, "abcdefghijklmnopqrstuvwxyz") != "" || to.Port() == 0 {
		return d, fmt.Errorf("%q is neither an address, nor a prefix, nor a service like 198.51.100.1:443/tcp or [2001:db8::1]:53/udp", s)
	}
	return policy.Drop{Scope: policy.ScopeService, Service: &policy.Service{IP: to.Addr().Unmap().WithZone(""), Port: to.Port(), Protocol: protocol}}, nil
}

// targetOf is parseTarget's inverse, and for signatures words.
func targetOf(d *policy.Drop) string {
	switch d.Scope {
	case policy.ScopeAddress:
		return d.IP.String()
	case policy.ScopePrefix:
		return d.Prefix.String()
	case policy.ScopeService:
		return netip.AddrPortFrom(d.Service.IP, d.Service.Port).String() + "/" + d.Service.Protocol
	}
	return "signature to " + d.Service.String()
}

// verdicts are what came of asking deciders.
type verdicts struct {
	known     bool
	decisions []decision
}

// order gives a command to deciders. Nobody's answer is errNobody.
func (c *siteClient) order(ctx context.Context, command string, request any) (*verdicts, error) {
	body, err := marshal(request)
	if err != nil {
		return nil, err
	}
	replies, err := c.Ask(ctx, command, body, answerTime)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", errNobody, err)
	}
	var out verdicts
	var wrong error
	for _, r := range replies {
		var part decisionsReply
		switch err := json.Unmarshal(r.Body, &part); {
		case r.Err != "":
			wrong = errors.Join(wrong, fmt.Errorf("%s: %s", r.From, r.Err))
		case err != nil:
			wrong = errors.Join(wrong, fmt.Errorf("%s: %w", r.From, err))
		case part.Error != "":
			wrong = errors.Join(wrong, fmt.Errorf("%s: %s", r.From, part.Error))
		default:
			out.known = out.known || part.Known
			out.decisions = append(out.decisions, part.Decisions...)
		}
	}
	if len(replies) == 0 {
		return nil, errNobody
	}
	if out.known || wrong == nil {
		return &out, nil
	}
	return nil, wrong
}

// about are the decisions on one drop; the refusals are all kept.
func (d *verdicts) about(id string) (out []decision) {
	for _, one := range d.decisions {
		if one.Refusal != nil || one.Drop != nil && one.Drop.ID == id {
			out = append(out, one)
		}
	}
	return out
}

// history are all events of a drop.
func (c *siteClient) history(ctx context.Context, id string) (events []json.RawMessage, err error) {
	err = c.Drops(ctx, time.Unix(0, 1), false, func(_ string, payload []byte) error {
		var about struct{ ID, Drop string }
		if bytes.Contains(payload, []byte(id)) && json.Unmarshal(payload, &about) == nil && (about.ID == id || about.Drop == id) {
			events = append(events, payload)
		}
		return nil
	})
	return events, err
}

func clock(unix int64) string { return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05") }
