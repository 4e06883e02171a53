// Package hello reads the opening bytes of an application: TLS hellos, the Initial packets of QUIC, HTTP/1 heads, the start of
// SSH, DNS messages. One byte slice in, sub-slices of it out.
//
// A parser is a struct that a worker keeps and uses again for every opening, and a Parse method that takes the first bytes of
// one side of a connection, from its first byte on. Parse returns a Status and, with NeedMore, how long the slice must be at
// least to say more: the caller gathers segments in a buffer of MaxOpening bytes and calls again. What was read stands in the
// struct after NeedMore too, so that a caller who gets no more bytes uses what there is. Fields are sub-slices of the input
// (of the struct's own memory where the text says so): they live as long as the input, and until the next Parse.
//
// No parser allocates, panics or reads beyond its slice, whatever the input; work is bounded by MaxOpening and by the counts
// named at each type. QUIC alone allocates, for its keys. None is safe for concurrent use; none reads content.
package hello

// Status says how a parse ended.
type Status uint8

// Ends of a parse.
const (
	NotThis  Status = iota // another protocol, or malformed: no further byte would change that
	NeedMore               // right so far; the struct holds what was read
	Done                   // read to the end of the opening, or to MaxOpening: then Cut is set
)

var statusNames = [...]string{"not this", "need more", "done"}

// String is the status in words.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return "invalid"
}

// MaxOpening is how much of a stream any parser looks at: a page. The largest usual openings are far smaller: a ClientHello
// with a post-quantum key share (X25519MLKEM768, 1,216 bytes) is 1.8 kB, with encrypted ClientHello and a session ticket some
// 2.5 kB; OpenSSH's banner and KEXINIT are 1.6 kB. HTTP heads may be longer (cookies); their first 4 KiB tell who speaks.
const MaxOpening = 4096

// cut returns b without what is beyond MaxOpening.
func cut(b []byte) []byte { return b[:min(len(b), MaxOpening)] }

// unfinished is the status of an opening that b does not hold whole, where want bytes would do: NeedMore, or Done where no
// more than b is ever looked at.
func unfinished(b []byte, want int) (Status, int) {
	if len(b) >= MaxOpening {
		return Done, 0
	}
	return NeedMore, min(max(want, len(b)+1), MaxOpening)
}
