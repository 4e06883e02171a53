//go:build amd64 || arm64

package conn

// prefetch starts to load the cache lines at n addresses. Unlike early loads it waits for none of them: a load that misses
// holds up the processor once as many instructions follow it as it can have in flight.
//
//go:noescape
func prefetch(addrs *uintptr, n int)
