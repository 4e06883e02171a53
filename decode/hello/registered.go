package hello

import (
	"bytes"
	"unsafe"

	"golang.org/x/net/publicsuffix"
)

// Registered is the end of a name that somebody registered: one label more than its public suffix ("example.co.uk" of
// "www.example.co.uk", "2.in-addr.arpa" of a reverse name), by the list of publicsuffix.org that golang.org/x/net carries. name
// is as Name.Append writes it. A public suffix, a single label and the root are their own. About 200 ns and one
// allocation of 48 bytes, in x/net: it first looks whether the name is an address.
func Registered(name []byte) []byte {
	if len(name) == 0 {
		return name
	}
	suffix, _ := publicsuffix.PublicSuffix(unsafe.String(&name[0], len(name)))
	i := len(name) - len(suffix) - 1
	if i <= 0 || name[i] != '.' {
		return name
	}
	return name[1+bytes.LastIndexByte(name[:i], '.'):]
}
