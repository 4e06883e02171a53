package baseline

import "testing"

func TestLearn(t *testing.T) {
	s := New(Defaults())
	k := Key{Kind: KindService, Measure: MeasurePackets, Ver: 4, Proto: 6, Port: 443, Addr: [2]uint64{0, 0xffff0a000005}}
	at := int64(1_700_000_000) * second
	for i := range int64(600) {
		n := s.Series(k, at+i*second).Normal(at + i*second)
		if got, want := n.Warm, i > 120; got != want {
			t.Fatalf("second %d: warm %v", i, got)
		}
		s.Series(k, at+i*second).Learn(at+i*second, float64(90+i%21))
	}
	n := s.Find(k).Normal(at + 600*second)
	if n.Mean < 99 || n.Mean > 101 || n.N != 600 {
		t.Errorf("%+v", n)
	}
	if n.Exceeds(499, 5, 5) || !n.Exceeds(520, 5, 5) || !n.FallsBelow(3, 5, 0.1) {
		t.Errorf("limits: %+v", n)
	}
}
