package hello

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// wire is a connection that reads from memory and keeps what is written.
type wire struct {
	in  io.Reader
	out bytes.Buffer
}

func (w *wire) Read(b []byte) (int, error)       { return w.in.Read(b) }
func (w *wire) Write(b []byte) (int, error)      { return w.out.Write(b) }
func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (w *wire) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// clientHello is what crypto/tls sends first.
func clientHello(cfg *tls.Config) []byte {
	w := &wire{in: strings.NewReader("")}
	_ = tls.Client(w, cfg).Handshake() // ends with EOF
	return w.out.Bytes()
}

// asGo is how crypto/tls reads a client's stream; nil if it refuses the hello.
func asGo(stream []byte) (info *tls.ClientHelloInfo) {
	w := &wire{in: bytes.NewReader(stream)}
	stop := errors.New("seen")
	_ = tls.Server(w, &tls.Config{GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
		info = i
		return nil, stop
	}}).Handshake()
	return info
}

// same holds a hello against crypto/tls's reading.
func same(t *testing.T, h *ClientHello, info *tls.ClientHelloInfo) {
	t.Helper()
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"SNI", string(h.SNI), info.ServerName},
		{"ciphers", codes(h.Ciphers), info.CipherSuites},
		{"groups", codes(h.Groups), numbers(info.SupportedCurves)},
		{"signatures", codes(h.Signatures), numbers(info.SignatureSchemes)},
		{"points", h.Points, info.SupportedPoints},
		{"ALPN", names(h.ALPN), info.SupportedProtos},
		{"extensions", h.Extensions[:h.NExt], info.Extensions},
	} {
		if fmt.Sprint(c.got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, crypto/tls has %v", c.what, c.got, c.want)
		}
	}
	if h.Versions != nil && fmt.Sprint(codes(h.Versions)) != fmt.Sprint(info.SupportedVersions) {
		t.Errorf("versions: %v, crypto/tls has %v", codes(h.Versions), info.SupportedVersions)
	}
}

func codes(c Codes) (all []uint16) {
	for i := range c.Len() {
		all = append(all, c.At(i))
	}
	return all
}

func numbers[T ~uint16](list []T) (all []uint16) {
	for _, v := range list {
		all = append(all, uint16(v))
	}
	return all
}

func names(p Protocols) (all []string) {
	for c := (cursor{b: p}); len(c.b) > 0; {
		all = append(all, string(c.list8()))
	}
	return all
}

// split puts the bytes of handshake records into records of at most size bytes.
func split(stream []byte, size int) (out []byte) {
	for len(stream) > 0 {
		n := int(binary.BigEndian.Uint16(stream[3:]))
		head, body := stream[:3], stream[5:5+n]
		stream = stream[5+n:]
		for part := range slices.Chunk(body, size) {
			out = append(binary.BigEndian.AppendUint16(append(out, head...), uint16(len(part))), part...)
		}
	}
	return out
}

var clients = map[string]*tls.Config{
	"plain":   {InsecureSkipVerify: true},
	"browser": {ServerName: "www.example.org", NextProtos: []string{"h2", "http/1.1"}},
	"tls10":   {ServerName: "old.example.org", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10},
	"tls12":   {ServerName: "a.example.org", MaxVersion: tls.VersionTLS12},
	"tls13":   {ServerName: "b.example.org", MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}},
}

// Hellos of crypto/tls read as crypto/tls reads them, whole, cut anywhere, and split over records.
func TestClientHello(t *testing.T) {
	for name, cfg := range clients {
		t.Run(name, func(t *testing.T) {
			stream := clientHello(cfg)
			info := asGo(stream)
			var h ClientHello
			prefixes(t, stream, h.Parse)
			if h.Parse(stream); h.Cut || h.Size != len(stream)-recordHeader || h.Client.IsValid() {
				t.Errorf("%d of %d bytes, cut %v", h.Size, len(stream), h.Cut)
			}
			same(t, &h, info)
			if v := slices.Max(info.SupportedVersions); h.Version() != v {
				t.Errorf("version %#x, not %#x", h.Version(), v)
			}
			if st, _ := h.ParseMessage(stream[recordHeader:]); st != Done {
				t.Errorf("message without records: %v", st)
			}
			same(t, &h, info)
			prefixes(t, stream[recordHeader:], h.ParseMessage)
			for _, size := range []int{1, 2, 3, 7, 30, 100} {
				parts := split(stream, size)
				if h.Size > maxParts*size {
					if st, _ := h.Parse(parts); st != Done || !h.Cut {
						t.Errorf("in parts of %d: %v, cut %v", size, st, h.Cut)
					}
					h.Parse(stream)
					continue
				}
				prefixes(t, parts, h.Parse)
				h.Parse(parts)
				same(t, &h, info)
			}
		})
	}
}

// What is not all there is told as far as it goes.
func TestClientHelloPartial(t *testing.T) {
	stream := clientHello(&tls.Config{ServerName: "www.example.org"})
	end := bytes.Index(stream, []byte("www.example.org")) + len("www.example.org")
	var h ClientHello
	if st, want := h.Parse(stream[:end]); st != NeedMore || want != len(stream) || string(h.SNI) != "www.example.org" || !h.Cut || h.Ciphers.Len() == 0 {
		t.Errorf("%v %d: %q", st, want, h.SNI)
	}
	if st, _ := h.Parse(stream[:end-1]); st != NeedMore || h.SNI != nil {
		t.Errorf("half a name: %v %q", st, h.SNI)
	}
	long := &tls.Config{ServerName: "www.example.org"}
	for i := range 200 {
		long.NextProtos = append(long.NextProtos, fmt.Sprintf("a-protocol-with-a-long-name/%d", i))
	}
	stream = clientHello(long)
	if st, want := h.Parse(stream); st != Done || want != 0 || !h.Cut || h.Size <= MaxOpening || string(h.SNI) != "www.example.org" {
		t.Errorf("%d bytes: %v %d, cut %v, %d, %q", len(stream), st, want, h.Cut, h.Size, h.SNI)
	}
	if st, want := h.Parse(stream[:100]); st != NeedMore || want != MaxOpening {
		t.Errorf("%v %d", st, want)
	}
}

func TestNotTLS(t *testing.T) {
	hello := clientHello(clients["browser"])
	malformed := slices.Clone(hello)
	malformed[recordHeader+messageHeader+2+random] = 0xff // a session id beyond the message
	for name, b := range map[string]string{
		"http":            "GET / HTTP/1.1\r\n",
		"sslv2 hello":     "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
		"alert":           "\x15\x03\x01\x00\x02\x02\x28",
		"application":     "\x17\x03\x03\x00\x20",
		"server hello":    "\x16\x03\x03\x00\x40\x02\x00\x00\x3c",
		"empty record":    "\x16\x03\x01\x00\x00",
		"great record":    "\x16\x03\x01\xff\xff",
		"version":         "\x16\x02\x00",
		"other record":    "\x16\x03\x01\x00\x01\x01\x17",
		"malformed":       string(malformed),
		"extensions' end": string(hello[:3]) + "\x00\x2f\x01\x00\x00\x2b\x03\x03" + strings.Repeat("r", random) + "\x00\x00\x02\x13\x01\x01\x00\x00\x09",
	} {
		var h ClientHello
		if st, _ := h.Parse([]byte(b)); st != NotThis {
			t.Errorf("%s: %v", name, st)
		}
	}
}

// certificate is a server's, of its own making.
func certificate(t testing.TB) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Server hellos of crypto/tls say what its client then has chosen.
func TestServerHello(t *testing.T) {
	cert := certificate(t)
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS12, tls.VersionTLS13} {
		for _, protos := range [][]string{nil, {"http/1.1"}} {
			ours, theirs := net.Pipe()
			served := make(chan []byte)
			go func() {
				w := &tap{Conn: theirs}
				_ = tls.Server(w, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: protos, MinVersion: tls.VersionTLS10}).Handshake()
				served <- w.sent.Bytes()
			}()
			c := tls.Client(ours, &tls.Config{InsecureSkipVerify: true, NextProtos: protos, MinVersion: version, MaxVersion: version})
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
			stream, state := <-served, c.ConnectionState()
			var h ServerHello
			if st, _ := h.Parse(stream); st != Done || h.Cut {
				t.Fatalf("%#x: %v", version, st)
			}
			prefixes(t, stream[:recordHeader+h.Size], h.Parse)
			prefixes(t, stream[recordHeader:recordHeader+h.Size], h.ParseMessage)
			prefixes(t, split(stream[:recordHeader+h.Size], 20), h.Parse)
			h.Parse(stream)
			if h.Version != state.Version || h.Cipher != state.CipherSuite || h.Retry {
				t.Errorf("%#x %#x, not %#x %#x", h.Version, h.Cipher, state.Version, state.CipherSuite)
			}
			if version < tls.VersionTLS13 && string(h.ALPN.First()) != state.NegotiatedProtocol {
				t.Errorf("ALPN %q, not %q", h.ALPN.First(), state.NegotiatedProtocol)
			}
			ours.Close()
			theirs.Close()
		}
	}
}

// tap keeps what is written to a connection.
type tap struct {
	net.Conn
	sent bytes.Buffer
}

func (w *tap) Write(b []byte) (int, error) {
	w.sent.Write(b)
	return w.Conn.Write(b)
}

// A server that wants another key share sends a HelloRetryRequest.
func TestRetry(t *testing.T) {
	w := &wire{in: bytes.NewReader(clientHello(&tls.Config{ServerName: "a.example.org", CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP384}}))}
	_ = tls.Server(w, &tls.Config{Certificates: []tls.Certificate{certificate(t)}, CurvePreferences: []tls.CurveID{tls.CurveP384}}).Handshake()
	var h ServerHello
	if st, _ := h.Parse(w.out.Bytes()); st != Done || !h.Retry || h.Version != tls.VersionTLS13 {
		t.Errorf("%v: %+v", st, h.Retry)
	}
}

func TestTLSAllocs(t *testing.T) {
	stream := clientHello(clients["browser"])
	parts := split(stream, 64)
	h, s := new(ClientHello), new(ServerHello)
	noAllocs(t, "client", func() { h.Parse(stream) })
	noAllocs(t, "client, split", func() { h.Parse(parts) })
	noAllocs(t, "client, message", func() { h.ParseMessage(stream[recordHeader:]) })
	noAllocs(t, "server", func() { s.Parse(stream) })
	proxied := append([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n"), stream...)
	noAllocs(t, "client, PROXY", func() {
		if st, _ := h.Parse(proxied); st != Done || !h.Client.IsValid() {
			t.Fatal(st)
		}
	})
}

func BenchmarkClientHello(b *testing.B) {
	for name, stream := range map[string][]byte{
		"post-quantum": clientHello(clients["browser"]),
		"split":        split(clientHello(clients["browser"]), 500),
		"tls12":        clientHello(clients["tls12"]),
	} {
		b.Run(name, func(b *testing.B) {
			var h ClientHello
			b.SetBytes(int64(len(stream)))
			for b.Loop() {
				h.Parse(stream)
			}
		})
	}
}

func FuzzClientHello(f *testing.F) {
	for _, cfg := range clients {
		stream := clientHello(cfg)
		f.Add(stream)
		f.Add(split(stream, 50))
		f.Add(stream[:len(stream)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h ClientHello
		lawful(t, b, h.Parse, func() bool { return h.Cut })
		lawful(t, b, h.ParseMessage, func() bool { return h.Cut })
		if len(b) > MaxOpening || len(b) < 3 || b[0] != recordHandshake || b[1] != 3 || b[2] > 4 {
			return // crypto/tls accepts strange record versions
		}
		info := asGo(b)
		st, _ := h.Parse(b)
		if info == nil || h.NExt == MaxExtensions || bytes.Count(b, []byte("\x16\x03")) >= maxParts || st == NotThis && h.Legacy>>8 != 3 {
			return
		}
		if st != Done || h.Cut {
			t.Fatalf("crypto/tls reads it, we do not: %v", st)
		}
		same(t, &h, info)
	})
}

func FuzzServerHello(f *testing.F) {
	cert := certificate(f)
	for _, cfg := range clients {
		w := &wire{in: bytes.NewReader(clientHello(cfg))}
		_ = tls.Server(w, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10, NextProtos: []string{"h2"}}).Handshake()
		f.Add(w.out.Bytes())
		f.Add(split(w.out.Bytes(), 20))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h ServerHello
		lawful(t, b, h.Parse, func() bool { return h.Cut })
		lawful(t, b, h.ParseMessage, func() bool { return h.Cut })
	})
}
