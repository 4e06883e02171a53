package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"weir/analyzers/context"
)

// TestOrigins holds the databases of the cases to what is written here, and reads them as weir does.
func TestOrigins(t *testing.T) {
	files, err := filepath.Glob("../*/*/origins.mmdb")
	if err != nil || len(files) < 2 {
		t.Fatalf("%d databases, %v", len(files), err)
	}
	var made bytes.Buffer
	if err := write(&made); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		kept, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(kept, made.Bytes()) {
			t.Errorf("%s is not what go run ./pcaps/origins writes", file)
		}
	}
	o, err := context.ReadOrigins(&made)
	if err != nil {
		t.Fatal(err)
	}
	for ip, want := range map[string]struct {
		asn     uint32
		country string
	}{"203.0.113.70": {64500, "XA"}, "198.51.100.77": {64496, "XB"}, "192.0.2.1": {}} {
		if asn, country := o.Of(netip.MustParseAddr(ip)); asn != want.asn || country != want.country {
			t.Errorf("%s is of AS%d in %q", ip, asn, country)
		}
	}
}
