package bus

// Kind of messages.
type Kind uint8

// The kinds of messages that the bus publishes.
const (
	Alert Kind = iota
	Flow
	Drop
	Health
	Gate
	KindCount
)

// laneCount is the number of kinds that go by the outbox and JetStream, the first ones.
const laneCount = 3

func (k Kind) String() string { return [KindCount]string{"alert", "flow", "drop", "health", "gate"}[k] }

// Cause of a message's loss.
type Cause uint8

// Why messages were lost.
const (
	Evicted  Cause = iota // the outbox was full, and the oldest made room
	Full                  // no room in memory, or for a flow in the outbox
	Disk                  // the outbox could not be written, and memory was full
	TooLarge              // for the server or the outbox
	Damaged               // could not be read back from the outbox
	Offline               // no server; health and gate only
	CauseCount
)

func (c Cause) String() string {
	return [CauseCount]string{"evicted", "full", "disk", "too_large", "damaged", "offline"}[c]
}

// Stats is what a Bus counted since Open. For alerts, flows and drops, Accepted + Inherited = Published + Pending + all Dropped,
// as long as nothing is on its way from one counter to the next.
type Stats struct {
	Kinds      [KindCount]KindStats
	Outbox     OutboxStats
	State      StateStats
	Commands   CommandStats
	Connected  bool
	Reconnects uint64
	DiskErrors uint64 // writes and syncs of the outbox that failed
}

// KindStats counts the messages of a kind.
type KindStats struct {
	Accepted  uint64 // given to Alert, Flow, Drop, Health or Gate
	Inherited uint64 // found in the outbox at the start
	Published uint64 // acknowledged by the server; health, gate: handed to the connection
	Duplicate uint64 // of those, known to the server already
	Retried   uint64 // publications that failed and were tried again
	Pending   uint64 // in the outbox, in memory or on their way
	Dropped   [CauseCount]uint64
}

// StateStats counts what was done with the bucket of state.
type StateStats struct {
	Reads       uint64 // of the whole bucket
	Rereads     uint64 // of those, by a Watch after its first
	Writes      uint64 // by Put and Purge
	WriteErrors uint64
	Bad         uint64 // entries that were read and not to be believed, each time
}

// CommandStats counts commands and reports of gates that came.
type CommandStats struct {
	Served         uint64
	Refused        uint64 // not signed by a trusted key, too old, or repeated
	Unheard        uint64 // came faster than they were answered; counted when Serve ends
	ReportsUnheard uint64 // of gates; counted when Gates ends
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
