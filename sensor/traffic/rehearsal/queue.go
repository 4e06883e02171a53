package rehearsal

// task does what is due at a time and returns when it wants to be called again; before now or never again: done.
type task func(now int64) (next int64)

const done int64 = -1

// queue holds tasks by time; those of one time in the order in which they came.
type queue struct {
	heap []entry
	n    uint64
	now  int64
}

type entry struct {
	at    int64
	order uint64
	run   task
}

func (e *entry) before(f *entry) bool { return e.at < f.at || e.at == f.at && e.order < f.order }

// push adds a task. What should have run before now runs now.
func (q *queue) push(at int64, run task) {
	q.n++
	q.heap = append(q.heap, entry{max(at, q.now), q.n, run})
	h := q.heap
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h[i].before(&h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

// runUntil runs what is due before a time.
func (q *queue) runUntil(end int64) {
	for len(q.heap) > 0 && q.heap[0].at < end {
		e := &q.heap[0]
		now := e.at
		q.now = now
		if next := e.run(now); next >= now {
			e = &q.heap[0] // what it pushed may have moved the heap, but is younger: see sink
			q.n++
			e.at, e.order = next, q.n
		} else {
			last := len(q.heap) - 1
			q.heap[0] = q.heap[last]
			q.heap[last] = entry{}
			q.heap = q.heap[:last]
		}
		q.sink()
	}
}

// sink moves the first entry down to its place. Tasks push nothing before now, and what they push now is younger: the entry that
// runs stays the first.
func (q *queue) sink() {
	h := q.heap
	for i := 0; ; {
		next := i
		for k := 2*i + 1; k <= 2*i+2 && k < len(h); k++ {
			if h[k].before(&h[next]) {
				next = k
			}
		}
		if next == i {
			return
		}
		h[i], h[next] = h[next], h[i]
		i = next
	}
}
