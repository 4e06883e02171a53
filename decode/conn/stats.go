package conn

// Stats are the counters of one shard. All but the Live fields only grow. One writer: the goroutine that processes the
// shard.
type Stats struct {
	LiveConns    uint64 // connections in the table now
	LiveHalfOpen uint64 // half-open entries now

	Opened      uint64 // entries opened
	Promoted    uint64 // half-open entries that became connections
	Ended       uint64 // connections that ended, for whatever reason
	Evicted     uint64 // connections put out of the full table
	Overwritten uint64 // half-open entries overwritten by newer ones
	LongProbe   uint64 // connections put out because an index probe grew too long
	SilentLost  uint64 // pending contacts that became unknown because too many were pending
	ExtraFull   uint64 // connections that keep no payload sizes because that memory was used up
	TimeBack    uint64 // packets older than one before them; taken as of the same time

	FragFull    uint64 // fragmented datagrams forgotten for newer ones
	FragOrphan  uint64 // later fragments whose first one is unknown
	FragTiny    uint64 // first fragments too short for the transport header, or continuing inside it (RFC 1858)
	FragOverlap uint64 // fragments that start before the end of the ones before them
}

// Add sums o into s, to show all shards as one.
func (s *Stats) Add(o *Stats) {
	s.LiveConns += o.LiveConns
	s.LiveHalfOpen += o.LiveHalfOpen
	s.Opened += o.Opened
	s.Promoted += o.Promoted
	s.Ended += o.Ended
	s.Evicted += o.Evicted
	s.Overwritten += o.Overwritten
	s.LongProbe += o.LongProbe
	s.SilentLost += o.SilentLost
	s.ExtraFull += o.ExtraFull
	s.TimeBack += o.TimeBack
	s.FragFull += o.FragFull
	s.FragOrphan += o.FragOrphan
	s.FragTiny += o.FragTiny
	s.FragOverlap += o.FragOverlap
}
