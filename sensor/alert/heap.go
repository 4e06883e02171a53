package alert

import stdheap "container/heap"

// heap is a binary heap of entries that knows where each one stands, so that any can be moved or removed in O(log n).
type heap struct {
	entries []*entry
	less    func(a, b *entry) bool
	place   int // which of entry.at is ours
}

func (h *heap) push(e *entry)   { stdheap.Push((*inner)(h), e) }
func (h *heap) fix(e *entry)    { stdheap.Fix((*inner)(h), e.at[h.place]) }
func (h *heap) remove(e *entry) { stdheap.Remove((*inner)(h), e.at[h.place]) }

// inner is the heap as container/heap wants it.
type inner heap

func (h *inner) Len() int           { return len(h.entries) }
func (h *inner) Less(i, j int) bool { return h.less(h.entries[i], h.entries[j]) }

func (h *inner) Swap(i, j int) {
	h.entries[i], h.entries[j] = h.entries[j], h.entries[i]
	h.entries[i].at[h.place], h.entries[j].at[h.place] = i, j
}

func (h *inner) Push(x any) {
	e := x.(*entry)
	e.at[h.place] = len(h.entries)
	h.entries = append(h.entries, e)
}

func (h *inner) Pop() any {
	last := len(h.entries) - 1
	e := h.entries[last]
	h.entries[last] = nil
	h.entries = h.entries[:last]
	return e
}
