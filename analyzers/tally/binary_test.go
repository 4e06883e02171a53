package tally

import (
	"encoding/binary"
	"errors"
	"runtime"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"weir/decode"
)

func TestBinaryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := merged(3, anySteps(t))
		b, err := e.AppendBinary([]byte("before"))
		if err != nil || string(b[:6]) != "before" {
			t.Fatal(err, "or not appended")
		}
		var got Epoch
		if err := got.UnmarshalBinary(b[6:]); err != nil {
			t.Fatal(err)
		}
		if d := diff(e, &got); d != "" {
			t.Fatalf("(-written +read):\n%s", d)
		}
	})
}

// TestBinaryCut: every shorter form is an error that names an offset within it, and changes nothing.
func TestBinaryCut(t *testing.T) {
	b := exampleBinary()
	for n := range b {
		e := Epoch{Tick: 77}
		var format *FormatError
		if err := e.UnmarshalBinary(b[:n]); !errors.As(err, &format) || format.Offset > n || e.Tick != 77 {
			t.Fatalf("%d of %d bytes: %v", n, len(b), err)
		}
	}
	var format *FormatError
	if err := new(Epoch).UnmarshalBinary(append(b, 0)); !errors.As(err, &format) || format.Offset != len(b) {
		t.Errorf("a byte too many: %v", err)
	}
	b[0]++
	if err := new(Epoch).UnmarshalBinary(b); !errors.As(err, &format) || format.Offset > 1 {
		t.Errorf("another version: %v", err)
	}
}

// exampleBinary is a small epoch with something in every list.
func exampleBinary() []byte {
	for seed := 0; ; seed++ {
		e := merged(3, rapid.SliceOfN(rapid.Custom(anyStep), 24, 24).Example(seed))
		if min(len(e.Services), len(e.Sources), len(e.Suspects), len(e.Normals), len(e.Prints), len(e.Pairs), len(e.Openings), len(e.Names), len(e.Webs)) > 0 {
			e.Echoes = []Echo{{Client: v4(1), Server: v4(2), Ver: 4, Requests: 3, MaxSize: 9}}
			e.Odds = []Odd{{Kind: OddLand, Ver: 4, Src: v4(1), Count: 1}, {Kind: OddARPClaim, Ver: 4, Src: v4(1), MAC: 5, Count: 1}}
			e.Peers = []Peer{{v4(1), 4}, {v4(2), 4}}
			gated(e, []GateDrop{rapid.Custom(anyDrop).Example(1), rapid.Custom(anyDrop).Example(2)}, []*decode.Packet{rapid.Custom(anyPacket).Example(3)})
			b, _ := e.AppendBinary(nil)
			return b
		}
	}
}

// TestBinaryLongList: a length that the input cannot hold is refused before memory is taken for it.
func TestBinaryLongList(t *testing.T) {
	b, _ := (&Epoch{}).AppendBinary(nil)
	b = binary.AppendUvarint(b[:len(b)-21], MaxServices) // in place of six empty lists, the gate's seven counters and two lists, and six lists more
	b = append(b, make([]byte, 100*leastService)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var format *FormatError
	err := new(Epoch).UnmarshalBinary(b)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; !errors.As(err, &format) || n > 64<<10 {
		t.Errorf("%v, %d bytes allocated", err, n)
	}
}

// FuzzEpoch: no input crashes the reader or yields an epoch of more than 16 bytes for each of its own; what it accepts is
// in the one form that is written, and merges with itself.
func FuzzEpoch(f *testing.F) {
	f.Add(exampleBinary())
	f.Add([]byte{version})
	b, _ := (&Epoch{Tick: -1, SketchKey: 1}).AppendBinary(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var e Epoch
		if err := e.UnmarshalBinary(b); err != nil {
			var format *FormatError
			if !errors.As(err, &format) || format.Offset > len(b) {
				t.Fatal(err)
			}
			return
		}
		size := cap(e.Services)*int(unsafe.Sizeof(Service{})) + cap(e.Sources)*int(unsafe.Sizeof(Source{})) +
			(cap(e.Suspects)+cap(e.Normals))*int(unsafe.Sizeof(Header{})) + cap(e.Prints)*int(unsafe.Sizeof(Print{})) +
			cap(e.Peers)*int(unsafe.Sizeof(Peer{})) + cap(e.Gate.Drops)*int(unsafe.Sizeof(GateDrop{})) + cap(e.Gate.Services)*int(unsafe.Sizeof(GateService{})) +
			cap(e.Pairs)*int(unsafe.Sizeof(Pair{})) + cap(e.Echoes)*int(unsafe.Sizeof(Echo{})) + cap(e.Odds)*int(unsafe.Sizeof(Odd{})) +
			cap(e.Openings)*int(unsafe.Sizeof(Opening{})) + cap(e.Names)*int(unsafe.Sizeof(Name{})) + cap(e.Webs)*int(unsafe.Sizeof(Web{}))
		if size > 16*len(b) {
			t.Fatalf("%d bytes made of %d", size, len(b))
		}
		if again, _ := e.AppendBinary(nil); string(again) != string(b) {
			t.Fatal("accepted another form than is written")
		}
		if err := e.Merge(&e); err != nil {
			t.Fatal(err)
		}
	})
}
