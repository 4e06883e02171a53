package tally

import (
	"testing"

	"weir/decode"
	"weir/decode/conn"
)

func v4(a uint32) decode.Addr { return decode.Addr{Lo: 0xffff<<32 | uint64(a)} }

func shards(n int, cfg Config) []*Shard {
	s := make([]*Shard, n)
	for i := range s {
		s[i] = NewShard(cfg, 7)
	}
	return s
}

func TestMergeUnitesShards(t *testing.T) {
	cfg := Defaults()
	sh := shards(2, cfg)
	m := NewMerger(cfg)
	c := conn.Contact{Time: 1e9, Src: v4(1), Dst: v4(2), Port: 80, Proto: 6, Ver: 4}
	sh[0].Contact(&c)
	c.Dst = v4(3)
	sh[1].Contact(&c)
	c.Stage = conn.StageRefused
	sh[1].Contact(&c)
	var e Epoch
	m.Merge(&e, 10, sh)
	if len(e.Sources) != 1 {
		t.Fatalf("%d sources", len(e.Sources))
	}
	s := e.Sources[0]
	if s.Opened != 2 || s.Refused != 1 || s.NContacts != 2 || s.Hosts.Count() != 2 || s.Ports.Count() != 1 || s.Probes[conn.ProbeSYN] != 2 {
		t.Errorf("%+v", s)
	}
}
