package baseline

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestKeyText(t *testing.T) {
	v6 := [2]uint64{0x20010db8 << 32, 0x35}
	for _, c := range []struct {
		want string
		k    Key
	}{
		{"link packets", Key{}},
		{"service 10.0.0.5 tcp/443 packets", Key{Kind: KindService, Ver: 4, Proto: 6, Port: 443, Addr: [2]uint64{0, 0xffff0a000005}}},
		{"prefix 2001:db8::35/64 bytes", Key{Kind: KindPrefix, Measure: MeasureBytes, Ver: 6, Bits: 64, Addr: v6}},
		{"pair 10.0.0.5 >198.51.100.7 bytes_out", Key{
			Kind: KindPair, Measure: MeasureBytesOut, Ver: 4, Addr: [2]uint64{0, 0xffff0a000005}, Peer: [2]uint64{0, 0xffffc6336407},
		}},
		{"asn AS64500 connections", Key{Kind: KindASN, Measure: MeasureConnections, Num: 64500}},
		{"country DE packets", Key{Kind: KindCountry, Num: Letters("DE")}},
	} {
		if got := c.k.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom([]uint64{0, 1, 0xffff0a000005, 0x20010db8 << 32, math.MaxUint64})
		k := Key{
			Kind: Kind(rapid.IntRange(0, int(KindCount)-1).Draw(t, "kind")), Measure: Measure(rapid.IntRange(0, int(MeasureCount)-1).Draw(t, "measure")),
			Ver: rapid.SampledFrom([]uint8{0, 4, 6, 9}).Draw(t, "ver"), Bits: rapid.SampledFrom([]uint8{0, 24, 128}).Draw(t, "bits"),
			Proto: rapid.SampledFrom([]uint8{0, 6, 17, 99}).Draw(t, "proto"), Port: rapid.SampledFrom([]uint16{0, 443}).Draw(t, "port"),
			Num:  rapid.SampledFrom([]uint32{0, 64500, Letters("DE"), 0x4445_4445}).Draw(t, "num"),
			Addr: [2]uint64{word.Draw(t, "hi"), word.Draw(t, "lo")}, Peer: [2]uint64{word.Draw(t, "peer hi"), word.Draw(t, "peer lo")},
		}
		back, err := ParseKey(k.String())
		if err != nil || back != k {
			t.Fatalf("%q: %+v, want %+v: %v", k.String(), back, k, err)
		}
	})
	for _, bad := range []string{"", "service", "pond 1.2.3.4 packets", "host 1.2.3.4 frogs", "host 1.2.3 packets", "host fe80::1%eth0 packets", "host tcp/70000 packets"} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestExport: what was exported, imported and exported again is the same but for rounding in the moments.
func TestExport(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := randomStore(t)
		var first, again bytes.Buffer
		if err := s.Export(&first); err != nil {
			t.Fatal(err)
		}
		back := New(s.cfg)
		if err := back.Import(bytes.NewReader(first.Bytes())); err != nil {
			t.Fatal(err)
		}
		if err := back.Export(&again); err != nil {
			t.Fatal(err)
		}
		a, b := strings.Split(first.String(), "\n"), strings.Split(again.String(), "\n")
		if len(a) != len(b) {
			t.Fatalf("%d lines, again %d", len(a), len(b))
		}
		for id := range s.table.nodes {
			n := &s.table.nodes[id]
			if n.state == nodeFree {
				continue
			}
			thawed := *s.at(int32(id))
			thawed.Thaw(s.now * second)
			thawed.quant.due = 0 // as Import does, and not when a sixteenth more values came
			thawed.quant.age()
			x, y := thawed.line(), back.Find(n.key).line()
			if x.First != y.First || x.Last != y.Last || x.P99 != y.P99 || len(x.Quantiles) != len(y.Quantiles) || len(x.Hours) != len(y.Hours) {
				t.Fatalf("%+v is %+v", x, y)
			}
			for _, m := range [][2]*Moments{{x.Rolling, y.Rolling}, {x.Hour, y.Hour}, {x.Day, y.Day}, {x.Anchor, y.Anchor}} {
				if (m[0] == nil) != (m[1] == nil) || m[0] != nil && (!near(m[0].Mean, m[1].Mean, 1e-9) || !near(m[0].Stddev, m[1].Stddev, 1e-5) || m[0].N != m[1].N) {
					t.Fatalf("%+v is %+v", m[0], m[1])
				}
			}
		}
		if s.seen.n != back.seen.n {
			t.Fatalf("%d seen, %d imported", s.seen.n, back.seen.n)
		}
	})
}

func TestImportErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "line 1",
		"{}":                       "line 1: neither",
		"{\"schema\":\"other/2\"}": "line 1: schema",
		"{\"schema\":\"weir.baseline/1\"}\n\n{\"series\":\"host 10.0.0.1 packets\"}\n{\"series\":\"x\"}": "line 4",
		"{\"series\":\"host 10.0.0.1 packets\",\"rolling\":{\"mean\":-1,\"stddev\":0,\"n\":1}}":          "line 1: rolling.mean",
		"{\"series\":\"host 10.0.0.1 packets\",\"colour\":1}":                                            "line 1",
		"{\"series\":\"host 10.0.0.1 packets\",\"hours\":{\"Mon 24\":[1,1,1]}}":                          "line 1: hours",
		"{\"series\":\"host 10.0.0.1 packets\",\"quantiles\":[[1.1,3]]}":                                 "line 1: quantiles",
		"{\"series\":\"host 10.0.0.1 packets\",\"last\":\"yesterday\"}":                                  "line 1: last",
		"{\"series\":\"" + strings.Repeat("x", maxLine) + "\"}":                                          "line 1: longer",
	} {
		if err := New(Defaults()).Import(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}

func TestOtherSettings(t *testing.T) {
	s := New(Defaults())
	for i := range uint32(1000) {
		r := s.Series(service(i), start)
		for j := range int64(100) {
			r.Learn(start+j*second, 5)
		}
		s.Seen(service(i), start)
	}
	saved, _ := s.AppendBinary(nil)
	cfg := Defaults()
	cfg.Keys, cfg.Window, cfg.Salt = 100, cfg.Window/2, 7
	back, err := Load(saved, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if n := back.table.len(); n != 100 || back.Stats().Evicted != 900 || back.seen.n != 0 {
		t.Errorf("%d series, %d evicted, %d seen", n, back.Stats().Evicted, back.seen.n)
	}
	if err := back.Each(func(l *Line) error {
		if l.Rolling != nil {
			return errors.New("a rolling mean of another window")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// FuzzLoad changes the body and mends the checksum: never a panic, and what is taken can be used and saved.
func FuzzLoad(f *testing.F) {
	cfg := Defaults()
	cfg.Keys, cfg.Seen, cfg.Profiles, cfg.Spreads = 64, 64, 8, 16
	s := New(cfg)
	for i := range int64(8000) {
		k := service(uint32(i % 5))
		s.Series(k, start+i*second).Learn(start+i*second, float64(i%9))
		s.Spread(k, start).Add(start+i*second, 3)
		s.Seen(k, start)
	}
	saved, _ := s.AppendBinary(nil)
	f.Add(saved[:len(saved)-sumSize])
	f.Fuzz(func(t *testing.T, body []byte) {
		b := binary.LittleEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, castagnoli))
		got, err := Load(b, cfg)
		if err != nil {
			var wrong *FormatError
			if !errors.As(err, &wrong) || wrong.Offset > len(b) {
				t.Fatal(err)
			}
			return
		}
		use(t, got)
	})
}

func FuzzImport(f *testing.F) {
	f.Add([]byte(`{"schema":"weir.baseline/1","first":"2023-11-20T00:00:00Z","last":"2023-11-20T01:00:00Z"}
{"series":"service 10.0.0.5 tcp/443 packets","first":"2023-11-20T00:00:00Z","last":"2023-11-20T01:00:00Z","values":70,"rolling":{"mean":3,"stddev":1,"n":1500},"hour":{"mean":3,"stddev":1,"n":900,"from":"2023-11-20T00:00:00Z"},"anchor":{"mean":3,"stddev":1,"n":30},"hours":{"Mon 00":[1,2,3600]},"zeros":3,"quantiles":[[1,5],[1.5,7]]}
{"spread":"service 10.0.0.5 tcp/443 requests","first":"2023-11-20T00:00:00Z","last":"2023-11-20T01:00:00Z","rolling":{"mean":3,"stddev":1,"n":1500}}
{"seen":"0123456789abcdef","first":"2023-11-20T00:00:00Z","last":"2023-11-20T01:00:00Z"}`))
	cfg := Defaults()
	cfg.Keys, cfg.Seen, cfg.Profiles, cfg.Spreads = 64, 64, 8, 16
	f.Fuzz(func(t *testing.T, text []byte) {
		s := New(cfg)
		if s.Import(bytes.NewReader(text)) == nil {
			use(t, s)
		}
	})
}

// use learns, judges, and saves what can be loaded again.
func use(t *testing.T, s *Store) {
	for id := range s.table.nodes {
		k := s.table.nodes[id].key
		for _, now := range []int64{start, start + 9000*second} {
			s.Advance(now)
			r := s.Series(k, now)
			if mean, stddev, _ := r.Normal(now).Expected(); !(mean >= 0) || !(stddev >= 0) {
				t.Fatalf("expects %v ± %v", mean, stddev)
			}
			r.LearnBelow(now, 5, 10)
		}
	}
	s.Pin()
	saved, _ := s.AppendBinary(nil)
	if _, err := Load(saved, s.cfg); err != nil {
		t.Fatalf("does not load what it saved: %v", err)
	}
}
