package enforce

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/analyzers/context"
	"weir/sensor/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// testGuards allow private addresses, which the tests use, but 10.8.0.9.
func testGuards(t testing.TB) *policy.Guards {
	t.Helper()
	cfg := policy.Defaults()
	cfg.AllowPrivate = true
	return policy.NewGuards(cfg, context.New(context.Config{
		Never: []context.Prefix{{Prefix: netip.MustParsePrefix("10.8.0.9/32")}},
	}, nil, nil))
}

var generations atomic.Uint64

func generation() uint64 { return uint64(time.Now().UnixMicro()) + generations.Add(1) }

// drop is one of an address by hand, from now on.
func drop(ip string, life time.Duration) *policy.Drop {
	now := time.Now()
	d := &policy.Drop{
		Schema: policy.Schema, Generation: generation(), State: policy.Requested, Scope: policy.ScopeAddress, IP: netip.MustParseAddr(ip),
		Action: policy.DropAll, Created: now.Unix(), Until: now.Add(life).Unix(), By: "test", Reason: "a test",
	}
	named(d)
	return d
}

func named(d *policy.Drop) {
	sum := sha256.Sum256([]byte(d.Key()))
	d.ID = hex.EncodeToString(sum[:8])
}

// changed is the next generation of a drop.
func changed(d *policy.Drop, f func(*policy.Drop)) *policy.Drop {
	next := *d
	next.Generation = generation()
	f(&next)
	return &next
}

func instruct(t testing.TB, d *policy.Drop) Instruction {
	t.Helper()
	b, err := d.AppendLine(nil)
	if err != nil {
		t.Fatal(err)
	}
	return Instruction{Key: d.Key(), Body: b, Signer: "U1"}
}

// many are drops of n addresses, by generation.
func many(n int, life time.Duration) []*policy.Drop {
	list := make([]*policy.Drop, n)
	for i := range list {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 11<<24+uint32(i)*2654435761>>8)
		list[i] = drop(netip.AddrFrom4(a).String(), life)
	}
	return list
}
