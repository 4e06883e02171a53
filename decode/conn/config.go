package conn

import (
	"fmt"
	"time"

	"weir/decode"
	"weir/decode/slab"
)

// Config sizes the table and sets its timeouts. Sizes are totals over all shards; all memory is reserved by NewTables and
// none is added later.
type Config struct {
	Conns     int `yaml:"connections"` // connections in full (320 to 336 bytes each, with their index and what they told); at most 2^29
	HalfOpen  int `yaml:"half_open"`   // attempts and single packets without an answer (208 bytes each, with their place in the queue of contacts)
	Extras    int `yaml:"extras"`      // connections whose payload sizes and gaps are kept (192 bytes each)
	Fragments int `yaml:"fragments"`   // fragmented datagrams whose later fragments find their connection (72 bytes each)

	TCPAttempt   time.Duration `yaml:"tcp_attempt"`   // SYN without an answer, from the SYN on
	TCPHandshake time.Duration `yaml:"tcp_handshake"` // idle before the handshake is done
	TCPIdle      time.Duration `yaml:"tcp_idle"`      // idle
	TCPClose     time.Duration `yaml:"tcp_close"`     // after both sides closed, or a RST
	TCPPartial   time.Duration `yaml:"tcp_partial"`   // after a FIN was the first thing a side sent
	UDPIdle      time.Duration `yaml:"udp_idle"`
	DNSIdle      time.Duration `yaml:"dns_idle"` // UDP to a DNS port, looked at once in that time
	ICMPIdle     time.Duration `yaml:"icmp_idle"`
	Fragment     time.Duration `yaml:"fragment"` // between the first fragment and the last
}

// Defaults reserve 222 MiB. 64k half-open entries are what stays in a processor's cache: a packet of a flood then costs
// little more than half of what it costs with 256k, and 13,000 attempts a second can wait their five seconds. Timeouts are
// those of Zeek's scripts/base/init-bare.zeek (tcp_attempt_delay, udp_inactivity_timeout, dns_session_timeout,
// tcp_inactivity_timeout, tcp_close_delay, tcp_partial_close_delay, icmp_inactivity_timeout); the fragment timeout is
// Linux's ipfrag_time.
func Defaults() Config {
	return Config{
		Conns:        1 << 19,
		HalfOpen:     1 << 16,
		Extras:       1 << 18,
		Fragments:    1 << 14,
		TCPAttempt:   5 * time.Second,
		TCPHandshake: time.Minute,
		TCPIdle:      5 * time.Minute,
		TCPClose:     5 * time.Second,
		TCPPartial:   3 * time.Second,
		UDPIdle:      time.Minute,
		DNSIdle:      10 * time.Second,
		ICMPIdle:     time.Minute,
		Fragment:     30 * time.Second,
	}
}

// Bytes is the memory that NewTables reserves for the configuration.
func (c Config) Bytes() int {
	var m slab.Slab
	new(Tables).carve(&m, c)
	return m.Size()
}

// shardSizes are the sizes of one shard's tables in entries.
type shardSizes struct{ conns, index, sets, ring, extras, frags int }

// shard divides the totals, rounding up. Index and sets are powers of two; the index is at most half full.
func (c Config) shard() shardSizes {
	per := func(n int) int { return max((n+decode.Shards-1)/decode.Shards, ways) }
	z := shardSizes{conns: per(c.Conns), extras: per(c.Extras)}
	z.index = pow2(2 * z.conns)
	z.sets = pow2((per(c.HalfOpen) + ways - 1) / ways)
	z.frags = pow2(per(c.Fragments))
	z.ring = 4 * ways * z.sets
	return z
}

// Check tells which setting cannot be.
func (c Config) Check() error {
	for _, f := range []struct {
		name string
		n    int
	}{{"connections", c.Conns}, {"half_open", c.HalfOpen}, {"extras", c.Extras}, {"fragments", c.Fragments}} {
		if f.n < decode.Shards || f.n > 1<<29 {
			return fmt.Errorf("connections: %s is %d, must be %d to %d", f.name, f.n, decode.Shards, 1<<29)
		}
	}
	for _, f := range []struct {
		name string
		d    time.Duration
	}{
		{"tcp_attempt", c.TCPAttempt},
		{"tcp_handshake", c.TCPHandshake},
		{"tcp_idle", c.TCPIdle},
		{"tcp_close", c.TCPClose},
		{"tcp_partial", c.TCPPartial},
		{"udp_idle", c.UDPIdle},
		{"dns_idle", c.DNSIdle},
		{"icmp_idle", c.ICMPIdle},
		{"fragment", c.Fragment},
	} {
		if f.d <= 0 {
			return fmt.Errorf("connections: %s is %v, must be above 0", f.name, f.d)
		}
	}
	return nil
}

func pow2(n int) int {
	p := 1
	for p < n {
		p *= 2
	}
	return p
}
