package rehearsal

import (
	"fmt"
	"math/rand/v2"
)

// plan is who is there: 30 servers with 40 services, 150 workstations, 20 telephones, 5 printers and the address of the guests' NAT
// inside; web sites, mail servers and visitors outside.
type plan struct {
	workstations, telephones, printers, guests, servers []*host

	gateway, resolver1, resolver2, clock, balancer, mail, ftp, proxy, files1, files2, directory1, directory2 *host
	postgres, mysql, mssql, cache, git, builds, wiki, app, chat, bastion, desktop, exchange, backup          *host
	monitor, logs, metrics                                                                                   *host
	webs                                                                                                     []*host

	sites    []website
	edges    []*host // of content networks: many names each
	vendors  []website
	pool     []*host // time servers outside
	vault    *host   // where backups go: a known destination
	root     *host   // name server of whatever has none of its own
	lists    *host   // name server of a blocklist
	visitors []*host // who come again
	senders  []*host // of mail
	peers    []*host // of file sharing
	gone     [3]*host
}

// website is a name with its addresses and its name server.
type website struct {
	name  string
	hosts []*host
	names *host
	plain bool // HTTP
}

// systems are what a workstation may be, the more the likelier.
var systems = []*system{windows, windows, windows, windows, windows, macos, macos, linux}

func newPlan(r *rand.Rand) (p plan) {
	serverNet, clientNet, guestNet := byte(1), byte(2), byte(3)
	server := func(n byte, name string, s *system) *host {
		h := inside(r, name, serverNet, n, s, n%2 == 0)
		p.servers = append(p.servers, h)
		return h
	}
	p.gateway = inside(r, "gateway", serverNet, 1, router, false)
	p.gateway.mac = routerMAC
	p.resolver1, p.resolver2, p.clock = server(10, "dns1", linux), server(11, "dns2", linux), server(12, "ntp", linux)
	p.balancer = server(20, "www", linux)
	p.webs = []*host{server(21, "web1", linux), server(22, "web2", linux), server(23, "web3", linux)}
	p.mail, p.ftp, p.proxy = server(25, "mail", linux), server(26, "ftp", linux), server(30, "proxy", linux)
	p.files1, p.files2 = server(31, "files1", windows), server(32, "files2", linux)
	p.directory1, p.directory2 = server(33, "dc1", windows), server(34, "dc2", windows)
	p.postgres, p.mysql, p.mssql, p.cache = server(40, "pg", linux), server(41, "mysql", linux), server(42, "mssql", windows), server(43, "cache", linux)
	p.git, p.builds, p.wiki, p.app, p.chat = server(50, "git", linux), server(51, "ci", linux), server(52, "wiki", linux), server(53, "app", linux), server(54, "chat", linux)
	p.bastion, p.desktop = server(60, "bastion", linux), server(61, "rdp", windows)
	p.monitor, p.logs, p.metrics = server(70, "monitor", linux), server(71, "logs", linux), server(72, "metrics", linux)
	p.exchange, p.backup = server(80, "pbx", linux), server(90, "backup", linux)
	p.backup.rate = 10e6 // what a backup may take

	for i := range 150 {
		h := inside(r, fmt.Sprintf("ws%d", i+1), clientNet, byte(i+1), systems[r.IntN(len(systems))], r.IntN(5) < 2)
		p.workstations = append(p.workstations, h)
	}
	for i := range 20 {
		p.telephones = append(p.telephones, inside(r, fmt.Sprintf("phone%d", i+1), clientNet, byte(160+i), device, false))
	}
	for i := range 5 {
		p.printers = append(p.printers, inside(r, fmt.Sprintf("printer%d", i+1), clientNet, byte(190+i), device, false))
	}
	for i := range 40 { // guests share one address, and are one hop further away
		s := []*system{phone, phone, macos, windows, linux}[r.IntN(5)]
		h := inside(r, fmt.Sprintf("guest%d", i+1), guestNet, 1, s, false)
		h.hops, h.delay = 1, int64(2_000_000+r.IntN(8_000_000))
		p.guests = append(p.guests, h)
	}
	p.world(r)
	return p
}

// world makes the outside.
func (p *plan) world(r *rand.Rand) {
	at := func(name string, six bool) *host { return outside(r, name, publicAddr(r), linux, six) }
	for i := range 16 {
		p.edges = append(p.edges, at(fmt.Sprintf("edge%d", i), true))
	}
	p.root, p.lists, p.vault = at("root", false), at("lists", false), at("vault", false)
	site := func(name string, six bool) website {
		w := website{name: name, names: at("ns", false), plain: r.IntN(6) == 0}
		for range 1 + r.IntN(3) {
			w.hosts = append(w.hosts, at(name, six))
		}
		return w
	}
	for range 300 {
		p.sites = append(p.sites, site("www."+word(r)+".example", r.IntN(3) == 0))
	}
	for _, v := range []string{"update.windows", "swcdn.apple", "deb.debian", "safebrowsing.browser", "antivirus"} {
		p.vendors = append(p.vendors, site(v+".example", true))
	}
	for i := range 4 {
		p.pool = append(p.pool, at(fmt.Sprintf("%d.pool.ntp.example", i), false))
	}
	for range 2000 {
		s := []*system{phone, phone, windows, windows, macos, linux}[r.IntN(6)]
		p.visitors = append(p.visitors, outside(r, "visitor", publicAddr(r), s, r.IntN(4) == 0))
	}
	for range 200 {
		p.senders = append(p.senders, at("mx."+word(r)+".example", false))
	}
	for range 400 {
		p.peers = append(p.peers, outside(r, "peer", publicAddr(r), []*system{windows, linux, macos}[r.IntN(3)], false))
	}
	p.gone = [3]*host{
		inside(r, "old printer", 2, 250, device, false), inside(r, "old server", 1, 99, linux, false), at("old service", false),
	}
}

// word is a name that nobody has.
func word(r *rand.Rand) string {
	const consonants, vowels = "bdfgklmnprstvz", "aeiou"
	b := make([]byte, 0, 12)
	for range 2 + r.IntN(3) {
		b = append(b, consonants[r.IntN(len(consonants))], vowels[r.IntN(len(vowels))])
	}
	return string(append(b, consonants[r.IntN(len(consonants))]))
}

// popular picks from a list whose first ones are the best known.
func popular[T any](r *rand.Rand, list []T) T {
	f := r.Float64()
	return list[int(f*f*f*float64(len(list)))]
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }
