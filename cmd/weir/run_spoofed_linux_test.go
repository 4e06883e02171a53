package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/sensor/policy"
)

// Floods whose sources are forged, while clients fetch pages over the same cable: one who has done so for long, over new connections
// and over one that is kept, and others who come for the first time.

// forgery is such a flood, and what must come of it.
type forgery struct {
	name     string
	settings string
	flood    func(t *testing.T, e *edge, shape []byte) // ends by itself
	cut      string                                    // that of them which cuts the flood
	sources  []string                                  // addresses that may be asked for
	known    bool                                      // the client loses nothing
	new      bool                                      // neither do those who come for the first time
	lapses   bool                                      // the drop ends with the flood; else the sensor is stopped before, and it stays
	again    bool                                      // the sensor is started again
	soak     bool                                      // not always
}

const (
	signed  = "signature.198.51.100.1.tcp.80 drop"
	service = "service.198.51.100.1.tcp.80 limit"
	spoofed = "address." + client + " limit_new"
)

// soaking is set where tests may take long.
var soaking bool

// forgeTime is how long the floods go on.
var forgeTime = 5 * time.Second

var forgeries = []forgery{
	{ // hping3's headers are its own: a signature hits nobody else
		name: "random sources", lapses: true, known: true, new: true, cut: signed,
		flood: hpingFor("-S -p 80 -i u100 --rand-source 198.51.100.1"),
	},
	{
		name: "the client's address", again: true, known: true, new: true, cut: signed, sources: []string{client},
		flood: hpingFor("-S -p 80 -i u400 -a " + client + " 198.51.100.1"),
	},
	{ // No signature spares the clients. Who is known has an allowance past the limit (gate.peer_new: 20/s), of which eight a second
		// that others forge leave enough. The new clients are none of these neighbours.
		name: "random sources and neighbours like a client", known: true, cut: service,
		flood: alike(10_000, func(i int) netip.Addr {
			if i%10 == 0 {
				return netip.AddrFrom4([4]byte{198, 51, 100, byte(3 + rand.N(125))})
			}
			return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 1<<24+rand.Uint32N(0xdf<<24-1<<24))))
		}),
	},
	{ // nothing tells the client from the flood: its new connections share the limit with it, and only what is connected goes on
		name: "the client's address like the client", cut: spoofed, sources: []string{client},
		flood: alike(2500, func(int) netip.Addr { return netip.MustParseAddr(client) }),
	},
	{
		name: "random sources without signatures", soak: true, settings: "policy: {signatures: false, canary: 1s}", known: true, cut: service,
		flood: hpingFor("-S -p 80 -i u100 --rand-source 198.51.100.1"),
	},
}

// TestRunForged holds that forged sources have nobody dropped who did not attack, that the flood is cut all the same, and that
// who is known goes on as before; new clients, too, where a signature tells the flood from them. The drops end with the flood, but not
// with the sensor.
func TestRunForged(t *testing.T) {
	need(t, "ip", "hping3", "tcpdump", "curl", "bash", "bpftool")
	for i := range forgeries {
		f := &forgeries[i]
		if f.soak && !soaking {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.hold(t, "wfrg"+string(rune('a'+i)))
		})
	}
}

func (f *forgery) hold(t *testing.T, id string) {
	settings := brisk
	if f.settings != "" {
		settings = strings.ReplaceAll(brisk, "policy: {canary: 1s}", f.settings)
	}
	if !f.lapses { // the alert is open when the sensor stops
		settings = strings.ReplaceAll(settings, "quiet: 5s", "quiet: 1m")
	}
	e := newEdge(t, id, settings)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s%s", e.drops, e.err.String())
		}
	})
	example := record(t, e.near, "eth0", "src "+client+" and dst port 80")
	known, kept := e.visit(t, client), e.keep(t, client)
	time.Sleep(3500 * time.Millisecond) // of which the flood's victim knows its normal headers
	example.stop(t)
	shape := firstSYN(t, example.file)
	w := e.witness(t, "dst port 80 and tcp[13]=2") // 0.3 % of which are the clients'
	flooded, begin := make(chan struct{}), time.Now()
	go func() { defer close(flooded); f.flood(t, e, shape) }()
	await(t, "the flood is cut", func() bool { return !e.drops.applied(f.cut).IsZero() || isOver(flooded) })
	time.Sleep(500 * time.Millisecond) // a limit begins with what it lets pass in a second
	late := e.newcomers(t)
	time.Sleep(time.Until(begin.Add(forgeTime - patience))) // the last to come despair before the flood ends
	late.stop(t)
	<-flooded
	sent, passed := w.stop(t)
	known.stop(t)
	asked, unanswered := kept.stop(t)
	time.Sleep(patience)
	if f.lapses {
		await(t, "the drops end with the flood", e.drops.ended)
	}
	if code := e.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("weir run ends with %d", code)
	}
	f.holdStopped(t, e)

	from := e.drops.applied(f.cut)
	if from.IsZero() {
		t.Fatalf("no %s, but %q", f.cut, e.drops.asked())
	}
	t.Logf("asked for: %q", e.drops.asked())
	from = from.Add(50 * time.Millisecond)
	how, enough := cutBy(sent, passed, from, f.cut)
	t.Log(how)
	if !enough && !e.clockSet() {
		t.Error("that is too little")
	}
	old, newcomers := known.told(t), late.told(t)
	t.Logf("the known client:   %v", old)
	t.Logf("a connection of it: %d requests, %d without answer", asked, unanswered)
	t.Logf("new clients:        %v", newcomers)
	if f.known && old.failed > 0 || f.new && newcomers.failed > 0 || asked < 20 || unanswered > 0 {
		t.Error("somebody lost what he should not")
	}
	for _, d := range e.drops.decided {
		if d.Source().IsValid() && !slices.Contains(f.sources, d.IP.String()) || d.Source().IsValid() && d.Effect() == policy.DropAll {
			t.Errorf("%v did not attack: %s", d.Source(), d.Summary)
		}
	}
}

// holdStopped holds that what is in force when the sensor stops stays so, and is found by the next.
func (f *forgery) holdStopped(t *testing.T, e *edge) {
	if n := e.inForce(t, f.cut); (n > 0) == f.lapses {
		t.Errorf("after the stop of the sensor the kernel has %d drops of that kind", n)
	}
	if !f.again {
		return
	}
	told := e.drops
	e.start(t)
	await(t, "the next sensor wants it", func() bool { ids, _ := e.bans(t); return len(ids) > 0 })
	time.Sleep(time.Second) // two looks at the kernel
	if n := e.inForce(t, f.cut); n != 1 {
		t.Errorf("after the next start the kernel has %d drops of that kind", n)
	}
	e.drops = told
}

// kept is a connection that is kept, over which a page is asked for twenty times a second.
type kept struct {
	end, ended        chan struct{}
	asked, unanswered int
}

func (s *site) keep(t *testing.T, from string) *kept {
	t.Helper()
	k := &kept{end: make(chan struct{}), ended: make(chan struct{})}
	var conn net.Conn
	var err error
	within(t, s.near, func() {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
		conn, err = d.Dial("tcp", gate+":80")
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(k.ended)
		defer conn.Close()
		answers := bufio.NewReader(conn)
		for {
			select {
			case <-k.end:
				return
			case <-time.After(50 * time.Millisecond):
			}
			k.asked++
			_ = conn.SetDeadline(time.Now().Add(patience))
			_, err := conn.Write([]byte("GET /2000 HTTP/1.1\r\nHost: edge\r\n\r\n"))
			if err == nil {
				var r *http.Response
				if r, err = http.ReadResponse(answers, nil); err == nil {
					_, err = io.Copy(io.Discard, r.Body)
					r.Body.Close()
				}
			}
			if err != nil {
				k.unanswered++
				return
			}
		}
	}()
	return k
}

// stop ends it, and tells how often a page was asked for, and how often that brought none.
func (k *kept) stop(t *testing.T) (asked, unanswered int) {
	t.Helper()
	close(k.end)
	<-k.ended
	return k.asked, k.unanswered
}

func isOver(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// hpingFor floods with hping3.
func hpingFor(words string) func(*testing.T, *edge, []byte) {
	return func(t *testing.T, e *edge, _ []byte) {
		p := spawn(t, e.near, append([]string{"timeout", strconv.Itoa(int(forgeTime.Seconds())), "hping3", "-q", "-n", "-I", "eth0"}, strings.Fields(words)...)...)
		p.wait(t)
	}
}

// alike floods with SYNs that differ from a client's in addresses, port, sequence number and time only.
func alike(rate int, source func(i int) netip.Addr) func(*testing.T, *edge, []byte) {
	return func(t *testing.T, e *edge, shape []byte) {
		fd := packetSocket(t, e.near, "eth0", 0)
		defer unix.Close(fd)
		w := &wire{t: t, near: fd}
		begin := time.Now()
		for i := 0; time.Since(begin) < forgeTime; i++ {
			if due := begin.Add(time.Duration(i) * time.Second / time.Duration(rate)); i%10 == 0 {
				time.Sleep(time.Until(due))
			}
			w.send(fd, forge(shape, source(i), uint16(1024+rand.N(60000)), rand.Uint32()))
		}
	}
}

// firstSYN is the first one of a file.
func firstSYN(t *testing.T, file string) []byte {
	t.Helper()
	for _, h := range readFrames(t, file) {
		if len(h.frame) >= 54 && h.frame[47]&(syn|ack) == syn {
			return h.frame
		}
	}
	t.Fatal("nobody connected")
	return nil
}

// forge is a SYN over IPv4 as of another source, its checksums right.
func forge(shape []byte, src netip.Addr, sport uint16, seq uint32) []byte {
	f := slices.Clone(shape)
	ip, tcp := f[14:34], f[34:]
	copy(ip[12:], src.AsSlice())
	binary.BigEndian.PutUint16(ip[4:], uint16(seq)) // IP id
	binary.BigEndian.PutUint16(tcp, sport)
	binary.BigEndian.PutUint32(tcp[4:], seq)
	for o := tcp[20 : tcp[12]>>4*4]; len(o) > 1 && o[0] != 0; {
		switch {
		case o[0] == 1:
			o = o[1:]
			continue
		case o[0] == 8:
			binary.BigEndian.PutUint32(o[2:], seq) // timestamp
		}
		o = o[max(int(o[1]), 2):]
	}
	ip[10], ip[11], tcp[16], tcp[17] = 0, 0, 0, 0
	binary.BigEndian.PutUint16(ip[10:], checksum(ip, 0))
	binary.BigEndian.PutUint16(tcp[16:], checksum(tcp, checksumOf(ip[12:20])+unix.IPPROTO_TCP+uint32(len(tcp))))
	return f
}

// checksum is that of the Internet (RFC 1071), begun with a sum.
func checksum(b []byte, sum uint32) uint16 {
	sum += checksumOf(b)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func checksumOf(b []byte) (sum uint32) {
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return sum
}
