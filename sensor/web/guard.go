package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// policyHeader lets the page use what stands in its own files and nothing else.
const policyHeader = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// headers are those of every answer.
func headers(h http.Header) {
	h.Set("Content-Security-Policy", policyHeader)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// Reason is why a request was refused before anybody looked at what it asks for.
type Reason uint8

// Reasons.
const (
	ForeignHost Reason = iota
	ForeignOrigin
	NoToken
	WrongToken
	TooManyWrong
	TooManyStreams
	reasonCount
)

var reasonNames = [reasonCount]string{"host", "origin", "no_token", "wrong_token", "too_many_wrong", "too_many_streams"}

// String is the reason in a metric's label.
func (r Reason) String() string { return reasonNames[r] }

// refuse counts it.
func (s *Server) refuse(why Reason, status int, text string) *Error {
	s.wrong.refused[why].Add(1)
	return &Error{Status: status, Text: text}
}

// ours tells whether a request came by a name of the page: a name that somebody else lets point to this address is refused, so that
// no foreign page can read this one (DNS rebinding). Ports do not matter: tunnels change them.
func (s *Server) ours(r *http.Request) *Error {
	name := hostName(r.Host)
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		name = hostName(host)
	}
	var local netip.Addr
	if at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		a, _ := netip.ParseAddrPort(at.String())
		local = a.Addr().Unmap().WithZone("")
	}
	a, err := netip.ParseAddr(name)
	switch {
	case s.names[name], local.IsLoopback() && name == "localhost":
		return nil
	case err == nil && (a.Unmap() == local || local.IsLoopback() && a.Unmap().IsLoopback()):
		return nil
	}
	return s.refuse(ForeignHost, http.StatusForbidden, "the page is not served under this host name: web.names lists those it has")
}

// hostName is the plain form of a host in a header.
func hostName(host string) string {
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// own tells whether a request comes from the page itself, or from no page.
func (s *Server) own(r *http.Request) *Error {
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	if (origin == "" || strings.EqualFold(origin, scheme+r.Host)) && (site == "" || site == "same-origin" || site == "none") {
		return nil
	}
	return s.refuse(ForeignOrigin, http.StatusForbidden, "the request comes from another page")
}

// allowed tells whether a request may be answered: to read on this host needs no token, all else does. A wrong one is refused in any
// case, so that who has one learns whether it is right. The right one passes whatever others sent: nobody can lock its holder out.
func (s *Server) allowed(r *http.Request, changes bool) *Error {
	given := r.Header.Get("Authorization")
	switch {
	case changes && s.opt.ReadOnly:
		return s.refuse(NoToken, http.StatusForbidden, "nothing can be changed here: this process has no key to sign with ('weir keys new')")
	case given == "" && (changes && s.opt.Token != "" || !changes && !s.private):
		return s.refuse(NoToken, http.StatusUnauthorized, "this needs the token, in the header Authorization: Bearer TOKEN")
	case given == "" && changes, given != "" && s.opt.Token == "":
		return s.refuse(NoToken, http.StatusForbidden, "nothing can be changed here: this process has no token")
	case given == "":
		return nil
	}
	scheme, token, _ := strings.Cut(given, " ")
	want, got := sha256.Sum256([]byte(s.opt.Token)), sha256.Sum256([]byte(strings.TrimSpace(token)))
	if subtle.ConstantTimeCompare(want[:], got[:]) == 1 && strings.EqualFold(scheme, "Bearer") {
		return nil
	}
	if from, now := remote(r), time.Now(); s.wrong.may(from, now) {
		s.wrong.note(from, now)
		return s.refuse(WrongToken, http.StatusUnauthorized, "the token is wrong")
	}
	return s.refuse(TooManyWrong, http.StatusTooManyRequests, "the token is wrong, as too many from this address were: wait a minute")
}

// by names who asks for a change.
func (s *Server) by(r *http.Request) string {
	if from := remote(r); !from.IsLoopback() {
		return fmt.Sprintf("page %s@%s", from, s.opt.Host)
	}
	return "page@" + s.opt.Host
}

// Bounds of wrong tokens.
const (
	maxWrong   = 10 // of one address within wrongTime
	wrongTime  = time.Minute
	maxStrange = 1024 // addresses that are remembered; beyond, all strangers count as one
)

// attempts remembers who sent wrong tokens.
type attempts struct {
	mu      sync.Mutex
	from    map[netip.Prefix]*tries
	refused [reasonCount]atomic.Uint64
}

type tries struct {
	n     int
	since time.Time
}

func newAttempts() *attempts { return &attempts{from: map[netip.Prefix]*tries{}} }

// network is what counts as one address: of IPv6 a /64.
func network(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // zero for no address
	return p
}

// may tells whether a wrong token of an address is answered as such.
func (t *attempts) may(a netip.Addr, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	got := t.of(network(a), now)
	return got == nil || got.n < maxWrong
}

// of is what is remembered of an address; nil: nothing, or nothing that still counts. The caller locks.
func (t *attempts) of(p netip.Prefix, now time.Time) *tries {
	got := t.from[p]
	if got == nil && len(t.from) >= maxStrange {
		got = t.from[netip.Prefix{}]
	}
	if got != nil && now.Sub(got.since) > wrongTime {
		return nil
	}
	return got
}

// note counts a wrong token.
func (t *attempts) note(a netip.Addr, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := network(a)
	if got := t.of(p, now); got != nil {
		got.n++
		return
	}
	if _, there := t.from[p]; !there && len(t.from) >= maxStrange {
		for old, got := range t.from {
			if now.Sub(got.since) > wrongTime {
				delete(t.from, old)
			}
		}
		if len(t.from) >= maxStrange {
			p = netip.Prefix{}
		}
	}
	t.from[p] = &tries{1, now}
}
