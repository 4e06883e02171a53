package bus

// Kind of messages.
type Kind uint8

// The kinds of messages that the bus publishes.
const (
	Alert Kind = iota
	Flow
	Health
	KindCount
)

func (k Kind) String() string { return [KindCount]string{"alert", "flow", "health"}[k] }

// Cause of a message's loss.
type Cause uint8

// Why messages were lost.
const (
	Evicted  Cause = iota // the outbox was full, and the oldest made room
	Full                  // no room in memory, or for a flow in the outbox
	Disk                  // the outbox could not be written, and memory was full
	TooLarge              // for the server or the outbox
	Damaged               // could not be read back from the outbox
	Offline               // no server; health only
	CauseCount
)

func (c Cause) String() string {
	return [CauseCount]string{"evicted", "full", "disk", "too_large", "damaged", "offline"}[c]
}

// Stats is what a Bus counted since Open. For alerts and flows, Accepted + Inherited = Published + Pending + all Dropped,
// as long as nothing is on its way from one counter to the next.
type Stats struct {
	Kinds      [KindCount]KindStats
	Outbox     OutboxStats
	Connected  bool
	Reconnects uint64
	DiskErrors uint64 // writes and syncs of the outbox that failed
}

// KindStats counts the messages of a kind.
type KindStats struct {
	Accepted  uint64 // given to Alert, Flow or Health
	Inherited uint64 // found in the outbox at the start
	Published uint64 // acknowledged by the server; health: handed to the connection
	Duplicate uint64 // of those, known to the server already
	Retried   uint64 // publications that failed and were tried again
	Pending   uint64 // in the outbox, in memory or on their way
	Dropped   [CauseCount]uint64
}

// OutboxStats describes the outbox.
type OutboxStats struct {
	Bytes, Limit int64
	Segments     int    // files
	Torn         uint64 // files whose last record a crash cut short
	Damaged      uint64 // files that were set aside
	Syncs        uint64
}

// lost sums what was dropped.
func (s *KindStats) lost() (n uint64) {
	for _, c := range s.Dropped {
		n += c
	}
	return n
}
