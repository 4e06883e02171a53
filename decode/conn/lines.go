package conn

import "unsafe"

const cacheLine = 64 // bytes

// lines collects the cache lines that a stage of a batch needs next.
type lines struct {
	addr [3 * batch]uintptr
	n    int
}

// add collects the line of an address and the more that follow it.
func (l *lines) add(p unsafe.Pointer, more int) {
	for i := range more + 1 {
		l.addr[l.n+i] = uintptr(p) + uintptr(i*cacheLine)
	}
	l.n += more + 1
}

// load starts to load what was collected.
func (l *lines) load() {
	prefetch(&l.addr[0], l.n)
	l.n = 0
}
