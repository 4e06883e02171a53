package web

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"weir/sensor/alert"
)

// Bounds of the way from the sensor to readers.
const (
	queueSize   = 4096     // revisions of alerts that wait for the hub
	streamQueue = 512      // events that wait for one reader, who is cut off beyond
	maxStreams  = 64       // readers
	ownStreams  = 8        // of them, for those with the token
	ringEvents  = 10_000   // alert events that a reader who comes back can be given
	ringText    = 16 << 20 // bytes of them
)

// event is what a stream carries.
type event struct {
	name string // alert, second, near, drops, reset
	seq  uint64 // of the last alert event up to here
	data []byte // one line of JSON
}

// entry is a revision on its way.
type entry struct {
	alert *alert.Alert
	text  []byte // as it was published; nil: the hub writes it
	past  bool   // of before: it comes behind all that is live
}

// firstLive is where the numbers of live revisions begin. Below it are those of the past, of which nobody knows before how many come.
const firstLive = 1 << 32

// hub takes in what happens, keeps what is asked for later and hands it on to all readers. Alerts come by a queue, so that who
// finds them never waits.
type hub struct {
	boot  string // of this process, in ids of events
	queue chan entry
	lost  atomic.Uint64 // alerts that did not fit into the queue, or are none
	slow  atomic.Uint64 // readers that were cut off

	mu       sync.Mutex
	seq      uint64 // of the last alert event
	past     uint64 // revisions of the past
	untold   uint64 // losses when the last reset was sent
	alerts   *kept
	ring     []event // alert and reset events, the oldest first
	ringSize int     // bytes
	readers  map[*reader]struct{}
	series   series
	top      *Top
	near     *Near
}

// reader is one stream.
type reader struct {
	backlog []event // what it missed
	events  chan event
	cut     chan struct{} // closed: it was too slow, or the hub ends
}

func newHub(boot string) *hub {
	return &hub{
		boot: boot, queue: make(chan entry, queueSize), alerts: newKept(), readers: map[*reader]struct{}{}, top: &Top{Sources: []TopSource{}, Services: []TopService{}},
		near: &Near{Near: []NearMark{}},
	}
}

// put takes in a revision of an alert. It never waits: what does not fit is lost to the page, and readers are told.
func (h *hub) put(e entry) {
	select {
	case h.queue <- e:
	default:
		h.lost.Add(1)
	}
}

// run hands on alerts until stop is closed. It is one goroutine.
func (h *hub) run(stop <-chan struct{}) {
	for {
		select {
		case e := <-h.queue:
			h.take(e)
		case <-stop:
			h.end()
			return
		}
	}
}

// take keeps a revision and tells it.
func (h *hub) take(e entry) {
	text, err := e.text, error(nil)
	if text == nil {
		text, err = json.Marshal(e.alert)
	}
	if err == nil {
		text, err = safe(text)
	}
	if err != nil || !isID(e.alert.ID) {
		h.lost.Add(1)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sayLost()
	seq := firstLive + h.seq + 1
	if e.past {
		h.past++
		seq = h.past
	}
	if h.alerts.put(e.alert, text, seq, e.past) {
		h.seq++
		h.publish(event{"alert", h.seq, fmt.Appendf(nil, `{"seq":%d,"alert":%s}`, seq, text)})
	}
}

// isID tells whether a text is 16 hex digits.
func isID(s string) bool { return len(s) == 16 && strings.Trim(s, "0123456789abcdef") == "" }

// sayLost tells readers to ask for all again, if something was lost since that was last said. The caller locks.
func (h *hub) sayLost() {
	if n := h.lost.Load(); n != h.untold {
		h.untold = n
		h.seq++
		h.publish(event{"reset", h.seq, []byte("{}")})
	}
}

// tell sends what is not kept for who comes back.
func (h *hub) tell(name string, data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sayLost()
	h.publish(event{name, h.seq, data})
}

// publish hands an event to all readers, and cuts off those who are behind. The caller locks.
func (h *hub) publish(e event) {
	if e.name == "alert" || e.name == "reset" {
		h.ring = append(h.ring, e)
		h.ringSize += len(e.data)
		for len(h.ring) > ringEvents || h.ringSize > ringText {
			h.ringSize -= len(h.ring[0].data)
			h.ring[0] = event{}
			h.ring = h.ring[1:]
		}
	}
	for r := range h.readers {
		select {
		case r.events <- e:
		default:
			h.slow.Add(1)
			h.cut(r)
		}
	}
}

// cut ends a stream. The caller locks.
func (h *hub) cut(r *reader) {
	delete(h.readers, r)
	close(r.cut)
}

// join begins a stream after the event of an id, "" for one that begins now. Nothing comes between its backlog and its events. nil:
// there are as many streams as there may be.
func (h *hub) join(last string, most int) *reader {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.readers) >= most {
		return nil
	}
	r := &reader{events: make(chan event, streamQueue), cut: make(chan struct{})}
	if seq, known := h.place(last); known {
		from := len(h.ring)
		for from > 0 && h.ring[from-1].seq > seq {
			from--
		}
		r.backlog = slices.Clone(h.ring[from:]) // the ring goes on while it is read
	} else if last != "" {
		r.backlog = []event{{"reset", h.seq, []byte("{}")}}
	}
	h.readers[r] = struct{}{}
	return r
}

// place is the number that an id names, if all that came after it is still known.
func (h *hub) place(id string) (seq uint64, known bool) {
	boot, number, _ := strings.Cut(id, "-")
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil || boot != h.boot || seq > h.seq {
		return 0, false
	}
	return seq, seq == h.seq || len(h.ring) > 0 && seq+1 >= h.ring[0].seq
}

// leave ends a stream whose reader has gone.
func (h *hub) leave(r *reader) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, there := h.readers[r]; there {
		h.cut(r)
	}
}

// end cuts all streams.
func (h *hub) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.readers {
		h.cut(r)
	}
}

// id is the place of an event, for Last-Event-ID.
func (h *hub) id(seq uint64) string { return h.boot + "-" + strconv.FormatUint(seq, 10) }

// streams is how many readers there are.
func (h *hub) streams() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.readers)
}
