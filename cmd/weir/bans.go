package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	network "weir/analyzers/context"
	"weir/sensor/bus"
	"weir/sensor/enforce"
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

// How long to wait.
const (
	answerTime  = 3 * time.Second // for answers to a command
	receiptTime = 3 * time.Second // for all gates to take a drop
	bucketTime  = 5 * time.Second
)

// siteClient is a connection to a site, and the key to speak with.
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
	key       string
	enforcers []enforced
}

// state is the sum of what the gates say: the drop's own, but for what is requested.
func (b *ban) state() string {
	if b.drop.State != policy.Requested {
		return b.drop.State.String()
	}
	for _, s := range []string{"applied", "shadow", "refused", "failed", "void", "removed"} {
		if slices.ContainsFunc(b.enforcers, func(e enforced) bool { return e.State == s }) {
			if s == "failed" || s == "void" {
				return "refused"
			}
			return s
		}
	}
	return "wanted"
}

// guard is why it is pending, was removed, or is refused.
func (b *ban) guard() string {
	if b.state() != "refused" {
		return b.drop.Guard
	}
	for _, e := range b.enforcers {
		if e.Guard != "" || e.Error != "" {
			return cmp.Or(e.Guard, e.State)
		}
	}
	return b.drop.Guard
}

// hits are the packets that met it, at all gates.
func (b *ban) hits() (n uint64) {
	for _, e := range b.enforcers {
		n += e.Packets
	}
	return n
}

// banForm is a drop as JSON: its own form, with another state and guard.
type banForm struct {
	policy.Drop
	Key       string     `json:"key"`
	State     string     `json:"state"`           // applied, pending, shadow, refused, wanted, removed, expired
	Guard     string     `json:"guard,omitempty"` // of pending, refused, removed
	Enforcers []enforced `json:"enforcers"`
}

func (b *ban) form() banForm {
	return banForm{*b.drop, b.key, b.state(), b.guard(), append([]enforced{}, b.enforcers...)}
}

// distrusted is what the bucket has of a key and is not believed.
type distrusted struct {
	Key       string     `json:"key"`
	State     string     `json:"state"` // refused
	Guard     string     `json:"guard"`
	Reason    string     `json:"reason,omitempty"` // here
	Signer    string     `json:"signer,omitempty"` // public key
	Enforcers []enforced `json:"enforcers"`
}

// overview is what the bucket, the deciders and the gates know together.
type overview struct {
	bans    map[string]*ban        // by id
	wrongs  map[string]*distrusted // by key and guard
	notes   []string               // what is missing in it
	answers []string               // gates that answered
}

func newOverview() *overview {
	return &overview{bans: map[string]*ban{}, wrongs: map[string]*distrusted{}}
}

// look asks all. With an error the bucket is missing in the answer.
func (c *siteClient) look(ctx context.Context) (*overview, error) {
	v := newOverview()
	sensors, gates := c.begin(ctx, commandDrops), c.begin(ctx, commandEnforced)
	reading, cancel := context.WithTimeout(ctx, bucketTime)
	defer cancel()
	err := c.State().Read(reading, func(s bus.Signed) {
		if s.Deleted || s.Key == enforce.PanicKey && s.Err == nil {
			return
		}
		drop, bad := policy.ParseDrop(s.Body)
		switch {
		case s.Err != nil:
			v.distrust(s.Key, signatureGuard(s.Err)).Reason = s.Err.Error()
			v.distrust(s.Key, signatureGuard(s.Err)).Signer = s.Signer
		case bad != nil || drop.Key() != s.Key:
			v.distrust(s.Key, "malformed")
		default:
			v.add(drop)
		}
	})
	v.take(<-sensors, noSensorAnswers, func(text json.RawMessage) error {
		drop, err := policy.ParseDrop(text)
		if err == nil {
			v.add(drop)
		}
		return err
	})
	v.enforced(<-gates)
	return v, err
}

func (v *overview) add(d *policy.Drop) {
	if b := v.bans[d.ID]; b == nil {
		v.bans[d.ID] = &ban{drop: d, key: d.Key()}
	} else if b.drop.Generation < d.Generation {
		b.drop = d
	}
}

func (v *overview) distrust(key, guard string) *distrusted {
	w := v.wrongs[key+" "+guard]
	if w == nil {
		w = &distrusted{Key: key, State: "refused", Guard: guard, Enforcers: []enforced{}}
		v.wrongs[key+" "+guard] = w
	}
	return w
}

// Notes of who is missing.
const (
	noSensorAnswers = "no sensor answers: what is pending is not shown"
	noGateAnswers   = "no gate answers: what is enforced is not known"
)

// answers are what came of asking all of a kind.
type answers struct {
	replies []bus.Reply
	err     error
}

// begin asks all who serve a command, which needs no body.
func (c *siteClient) begin(ctx context.Context, command string) <-chan answers {
	came := make(chan answers, 1)
	go func() {
		replies, err := c.Ask(ctx, command, nil, answerTime)
		came <- answers{replies, err}
	}()
	return came
}

// enforced takes what gates hold. What nobody else knows is shown, too.
func (v *overview) enforced(a answers) {
	from := v.take(a, noGateAnswers, func(text json.RawMessage) error {
		var e enforced
		if err := json.Unmarshal(text, &e); err != nil {
			return err
		}
		if e.Drop == "" {
			w := v.distrust(e.Key, e.Guard)
			w.Enforcers = append(w.Enforcers, e)
			return nil
		}
		b := v.bans[e.Drop]
		if b == nil {
			b = &ban{drop: e.unknown(), key: e.Key}
			v.bans[e.Drop] = b
		}
		b.enforcers = append(b.enforcers, e)
		return nil
	})
	v.answers = append(v.answers, from...)
}

// unknown is a drop of which only gates know, as far as they tell. It has no time of creation.
func (e *enforced) unknown() *policy.Drop {
	d, err := parseTarget(keyTarget(e.Key))
	if err != nil {
		d.Scope = policy.ScopeSignature
	}
	d.Schema, d.ID, d.Generation, d.State, d.Action, d.Would = policy.Schema, e.Drop, e.Generation, policy.Requested, e.Action, e.Would
	d.Until, d.By, d.Reason = e.Until, "unknown", "only gates know of it, and keep it until its end"
	return &d
}

// take hands in what all who answered list, and tells who they are.
func (v *overview) take(a answers, nobody string, each func(json.RawMessage) error) (from []string) {
	if a.err != nil {
		v.notes = append(v.notes, nobody)
		return nil
	}
	for _, r := range a.replies {
		var part dropsReply
		err := errors.New(r.Err)
		if r.Err == "" {
			err = json.Unmarshal(r.Body, &part)
		}
		for _, text := range part.Drops {
			err = cmp.Or(err, each(text))
		}
		switch {
		case err != nil:
			v.notes = append(v.notes, fmt.Sprintf("%s does not answer well: %v", r.From, err))
		case !slices.Contains(from, r.From):
			from = append(from, r.From)
		}
	}
	return from
}

// live are the drops that have not ended, the newest first.
func (v *overview) live(now time.Time) (all []*ban) {
	for _, b := range v.bans {
		if s := b.state(); s != "removed" && s != "expired" && b.drop.Until > now.Unix() {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b *ban) int {
		return cmp.Or(cmp.Compare(b.drop.Created, a.drop.Created), cmp.Compare(a.drop.ID, b.drop.ID))
	})
	return all
}

// refused are the entries of the bucket that are not believed, by key.
func (v *overview) refused() (all []*distrusted) {
	for _, name := range slices.Sorted(maps.Keys(v.wrongs)) {
		all = append(all, v.wrongs[name])
	}
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
		if b.key == d.Key() {
			return b
		}
	}
	return nil
}

// named is the drop that a word means as commands name it: its id, or the key of its target.
func (v *overview) named(what string) (id, key string, err error) {
	if b := v.find(what); b != nil {
		return b.drop.ID, "", nil
	}
	if len(what) == 16 && strings.Trim(what, "0123456789abcdef") == "" {
		return what, "", nil
	}
	d, err := parseTarget(what)
	return "", d.Key(), err
}

// parseTarget reads an address, a prefix, or a service: address:port/protocol.
func parseTarget(s string) (d policy.Drop, err error) {
	if d.IP, err = netip.ParseAddr(s); err == nil {
		d.Scope, d.IP = policy.ScopeAddress, d.IP.Unmap().WithZone("")
		return d, nil
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		if d.Scope, d.Prefix = policy.ScopePrefix, network.Native(p); d.Prefix.IsSingleIP() {
			return policy.Drop{Scope: policy.ScopeAddress, IP: d.Prefix.Addr()}, nil
		}
		return d, nil
	}
	where, protocol, _ := strings.Cut(s, "/")
	to, err := netip.ParseAddrPort(where)
	if err != nil || protocol == "" || len(protocol) > 8 || strings.Trim(protocol, "abcdefghijklmnopqrstuvwxyz0123456789") != "" || to.Port() == 0 {
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
	case policy.ScopeSignature:
		if d.Service != nil {
			return "signature to " + d.Service.String()
		}
	}
	return ""
}

// keyTarget is the target of a key, as far as it tells.
func keyTarget(key string) string {
	scope, rest, _ := strings.Cut(key, ".")
	to := strings.Split(rest, ".") // of a service: address, protocol, port
	if n := len(to); scope == "service" && n > 2 {
		rest = strings.Join(to[:n-2], ".")
	}
	where, bits, _ := strings.Cut(rest, "_")
	if a, err := hex.DecodeString(where); err == nil && len(a) == 16 {
		where = netip.AddrFrom16([16]byte(a)).String()
	}
	if _, err := netip.ParseAddr(where); err != nil {
		return key
	}
	switch {
	case scope == "address" && bits == "":
		return where
	case scope == "prefix" && bits != "":
		return where + "/" + bits
	case scope == "service" && bits == "" && len(to) > 2:
		return net.JoinHostPort(where, to[len(to)-1]) + "/" + to[len(to)-2]
	}
	return key
}

// verdicts are what came of asking deciders.
type verdicts struct {
	known     bool
	decisions []decision
	failed    error // of some who answered, when others knew
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
	return verdictsOf(replies)
}

// verdictsOf reads what deciders answered.
func verdictsOf(replies []bus.Reply) (*verdicts, error) {
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
		out.failed = wrong
		return &out, nil
	}
	return nil, wrong
}

// about are the decisions on one drop, by its id or key; the refusals are all kept.
func (d *verdicts) about(id, key string) (out []decision) {
	for _, one := range d.decisions {
		if one.Refusal != nil || one.Drop != nil && (one.Drop.ID == id || one.Drop.Key() == key) {
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
