package sensor

import (
	"weir/analyzers"
	"weir/analyzers/tally"
	"weir/decode/conn"
	"weir/sensor/alert"
)

// Status is what a live engine knows of itself. A new one is made each second of event time and never changed, so that any
// goroutine may read it. Counters are totals since the start.
type Status struct {
	Time    int64      // ns: event time that was judged up to
	Epochs  uint64     // judged
	Link    tally.Link // sums over all epochs, losses included
	OneWay  bool       // the last minute showed one direction only
	Mute    bool       // nobody answered anything within the last minute
	Loss    float64    // share of packets not seen within the last minute
	Conn    conn.Stats // of all shards
	Limits  []analyzers.Cost
	Alerts  alert.Stats
	Workers []WorkerStatus
	States  []StateSize // tables, against their limits
	Gate    GateStats

	Records         uint64 // connections handed on
	RecordsLost     uint64 // that did not fit in their tick
	Late            uint64 // ticks that a worker joined to its next one, because the judge had not given back the one before
	Absent          uint64 // ticks judged without a worker that lagged behind; what it counted is in a later epoch
	Backward        uint64 // frames whose time was before that of the frame before
	Discontinuities uint64 // jumps of event time of more than an hour
}

// WorkerStatus is what one worker has done.
type WorkerStatus struct {
	Time    int64 // ns: event time that the worker has reached
	Packets uint64
	Kernel  uint64 // packets that its rings dropped
	Freezes uint64 // times that its rings stood still
}

// StateSize is how much of a bounded table is in use.
type StateSize struct {
	Name        string // "connections", "half_open", "alerts", …
	Used, Limit uint64 // entries
	Bytes       uint64 // reserved for it, if it is reserved
}
