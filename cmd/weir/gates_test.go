package main

import (
	"testing"

	"weir/sensor/enforce"
)

// Receipts with one id are one receipt to NATS: those of one look at the bucket must not be.
func TestReceiptID(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range []enforce.Receipt{
		{State: "refused", Guard: "forged", Key: "address.192.0.2.1"},
		{State: "refused", Guard: "forged", Key: "address.192.0.2.2"},
		{State: "refused", Guard: "unsigned", Key: "address.192.0.2.2"},
		{State: "refused", Guard: "ssh_peer", Key: "address.192.0.2.3", Drop: "0123456789abcdef", Generation: 7},
		{State: "applied", Key: "address.192.0.2.3", Drop: "0123456789abcdef", Generation: 7},
		{State: "refused", Guard: "ssh_peer", Key: "address.192.0.2.3", Drop: "0123456789abcdef", Generation: 7, Time: 1},
		{State: "removed", Guard: "panic"},
		{State: "removed", Guard: "panic", Interface: "eth1"},
	} {
		id := receiptID(&r)
		if seen[id] {
			t.Errorf("two receipts are %s", id)
		}
		seen[id] = true
	}
}
