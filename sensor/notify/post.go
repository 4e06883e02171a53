package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Headers of a webhook. The signature is "v1=" and the HMAC-SHA256 in hex digits, over the timestamp as it stands in its header, a dot,
// and the body, with the secret of the channel.
const (
	HeaderID        = "Weir-Message-Id"
	HeaderTimestamp = "Weir-Timestamp" // unix seconds of the attempt
	HeaderSignature = "Weir-Signature"
)

// ReplayWindow is how far a timestamp may be from the receiver's clock.
const ReplayWindow = 5 * time.Minute

// Verify tells what is wrong with a request that came to a receiver of a webhook at a time: its signature, or its age. A receiver also
// forgets no id that it has seen (for ReplayWindow at least): what was sent twice has the same.
func Verify(secret []byte, h http.Header, body []byte, now time.Time) error {
	unix, err := strconv.ParseInt(h.Get(HeaderTimestamp), 10, 64)
	if err != nil {
		return fmt.Errorf("header %s is not a number", HeaderTimestamp)
	}
	want := signature(secret, h.Get(HeaderTimestamp), body)
	if !hmac.Equal([]byte(want), []byte(h.Get(HeaderSignature))) {
		return errors.New("the signature is wrong")
	}
	if age := now.Sub(time.Unix(unix, 0)).Abs(); age > ReplayWindow {
		return fmt.Errorf("the message is %v from now", age)
	}
	return nil
}

func signature(secret []byte, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return "v1=" + hex.EncodeToString(mac.Sum(nil))
}

// verdict is what became of an attempt.
type verdict int

const (
	delivered verdict = iota
	passing           // it may go well later
	refused           // it will not, unless somebody mends something
)

// result of an attempt. text is for people, without anything secret.
type result struct {
	verdict verdict
	text    string
	after   time.Duration // that the receiver asked to wait
}

// maxAnswer is how much of an answer is read, maxAfter how long a receiver may ask to wait.
const (
	maxAnswer = 4 << 10
	maxAfter  = time.Hour
)

// newClient is a client for short and rare requests: proxies as Go takes them from the environment, certificates checked, a connection a
// request. No redirect is followed: where a secret is sent, the configuration says.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// body is the message as a channel's receiver takes it.
func (c *Channel) body(m *Message) ([]byte, error) {
	if c.Type == slackType {
		return encode(slackOf(m))
	}
	out := *m
	out.Events = make([]*Event, len(m.Events))
	for i, e := range m.Events {
		shown := *e
		shown.Was, shown.Since = 0, 0
		out.Events[i] = &shown
	}
	return encode(&out)
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// post makes one attempt to deliver a message. The files of the channel are read anew, so that a new secret needs no restart.
func (c *Channel) post(ctx context.Context, client *http.Client, m *Message, agent string) result {
	to, err := c.address()
	if err != nil {
		return result{passing, err.Error(), 0}
	}
	secret, err := c.secret()
	if err != nil {
		return result{passing, err.Error(), 0}
	}
	body, err := c.body(m)
	if err != nil {
		return result{refused, err.Error(), 0}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return result{refused, "it is not a URL that can be asked", 0} // err holds it
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("User-Agent", agent)
	if c.Type == webhookType {
		r.Header.Set(HeaderID, m.ID)
		timestamp := strconv.FormatInt(time.Now().Unix(), 10)
		r.Header.Set(HeaderTimestamp, timestamp)
		if secret != nil {
			r.Header.Set(HeaderSignature, signature(secret, timestamp, body))
		}
	}
	answer, err := client.Do(r)
	if err != nil {
		return result{passing, clean(hide(failure(err), to), 200), 0}
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer)) // the status has been told: that counts
	return judge(answer, clean(hide(strings.TrimSpace(string(text)), to), 120))
}

// failure is why there was no answer, without the URL.
func failure(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return err.Error()
}

// hide takes a URL and its path out of text that somebody else wrote, before that is cut off: a part of a secret is one, too.
func hide(text, secret string) string {
	text = strings.ReplaceAll(text, secret, masked)
	if u, err := url.Parse(secret); err == nil {
		for _, part := range []string{u.RequestURI(), u.Path, u.RawQuery, u.User.String()} {
			if len(part) > 1 {
				text = strings.ReplaceAll(text, part, masked)
			}
		}
	}
	return text
}

// judge tells what an answer means.
func judge(answer *http.Response, text string) result {
	out := result{refused, clean(answer.Status, 60), 0}
	if text != "" {
		out.text += ": " + text
	}
	switch code := answer.StatusCode; {
	case code >= 200 && code < 300:
		out.verdict = delivered
	case code >= 300 && code < 400:
		out.text += " (redirects are not followed: put the new URL into the configuration)"
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500:
		out.verdict, out.after = passing, retryAfter(answer.Header.Get("Retry-After"), time.Now())
	}
	return out
}

// retryAfter reads the header of RFC 9110, 10.2.3: seconds, or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if s, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(s)*time.Second, maxAfter)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, min(at.Sub(now), maxAfter))
	}
	return 0
}
