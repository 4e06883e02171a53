//go:build ignore

// The gate: judges each frame that comes in at an interface by its headers, before the rest of the kernel sees it (XDP) or
// just after packet sockets saw it (tcx). Loading, tables and their meaning for operators: package bpf beside this file.
//
// A frame passes unless an entry that has not expired says otherwise. Entries are looked for in this order: the source's
// address, its prefixes, the service it talks to, header signatures. The never-list is asked once, before the first verdict
// that is not PASS, rehearsed ones included.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum action {
	ACTION_NONE = 0,
	ACTION_DROP = 1,
	ACTION_DROP_NEW = 2,  // new TCP connections: SYN without ACK
	ACTION_LIMIT_NEW = 3, // new TCP connections above the rate
	ACTION_LIMIT = 4,     // packets above the rate
};

enum verdict {
	VERDICT_PASS = 0,
	VERDICT_SHADOW = 1, // passed, but only because the entry rehearses
	VERDICT_LIMIT = 2,  // dropped: above a rate
	VERDICT_DROP = 3,
	VERDICTS = 4,
};

enum reason {
	REASON_NONE = 0,
	REASON_NOT_IP = 1,
	REASON_MALFORMED = 2, // IP header cut or contradictory
	REASON_NEVER = 3,     // an entry would have dropped it; the never-list did not let it
	REASON_PEER = 4,      // passed a service limit as a known peer
	REASON_HOST = 5,
	REASON_PREFIX = 6,
	REASON_SERVICE = 7,
	REASON_SIGNATURE = 8,
	REASONS = 9,
};

// Bits of control.tables: which tables hold anything.
enum table {
	TABLE_HOSTS4 = 1,
	TABLE_NETS4 = 2,
	TABLE_HOSTS6 = 4,
	TABLE_NETS6 = 8,
	TABLE_WIDE6 = 16,       // an IPv6 prefix shorter than /48, of which bits6 knows nothing
	TABLE_SERVICES = 32,
	TABLE_WHOLE = 64,       // services with port 0: all of a protocol at an address, later fragments too
	TABLE_SIGNATURES = 128,
	TABLE_NEVER = 256,
	TABLE_REHEARSE = 512,   // every entry counts only
};

enum {
	TABLES = TABLE_HOSTS4 | TABLE_NETS4 | TABLE_HOSTS6 | TABLE_NETS6 | TABLE_SERVICES | TABLE_SIGNATURES,
	ENTRY_SHADOW = 1,
};

enum { READS_LAYOUT = 1, READS_OPENING = 2 };

enum { TCX_NEXT = -1, TCX_DROP = 2 }; // linux/bpf.h of Linux 6.6

enum {
	SIGNATURES = 32,
	SAMPLE_BYTES = 128,
	BITS = 1 << 24,      // of each bitmap
	EXTENSIONS = 8,      // IPv6 extension headers followed
	OPTION_BYTES = 40,
	PAYLOAD_BYTES = 16,
};

// entry is what a table says of its key. Times are CLOCK_MONOTONIC, ns.
struct entry {
	__u64 expires; // from then on the entry is not there
	__u64 canary;  // until then it concerns new TCP connections only
	__u32 rate;    // of limits: packets or connections a second
	__u32 burst;   // at once, at least rate × the clock's step
	__u32 slot;    // its place in hits
	__u8 action;
	__u8 flags;
	__u16 pad;
};

// hits stands apart from its entry, which user space replaces as a whole.
struct hits {
	__u64 packets; // dropped, or rehearsed
	__u64 bytes;
	__u64 last;    // when the last of them came
	__u64 paid;    // of limits: the time until which the rate is used up
};

struct net4 {
	__u32 bits;
	__u8 addr[4];
};

struct net6 {
	__u32 bits;
	__u8 addr[16];
};

struct host6 {
	__u8 addr[16];
};

// service is who is talked to. IPv4 stands in the first four bytes of addr.
struct service {
	__u8 addr[16];
	__u16 port; // network order
	__u8 proto;
	__u8 ver;
};

struct peer_key {
	__u8 addr[16];
	__u32 ver;
};

struct peer {
	__u64 seen; // when a connection with it was last known to be complete
	__u64 paid_new; // its own allowance, as in hits
	__u64 paid_any;
};

// signature is a masked compare of headers. The masked bits of value must be equal, and length and TTL within their bounds.
struct signature {
	__u64 id;
	__u64 mask[2], value[2]; // fields; window and option layout
	__u64 dst_mask[2], dst[2];
	__u64 opening_mask[2], opening[2]; // first bytes of the payload
	__u16 min_len, max_len;
	__u8 min_ttl, max_ttl;
	__u8 opening_bytes; // that the mask reaches and the packet must have
	__u8 pad;
	struct entry entry;
};

struct signatures {
	__u32 count;
	__u32 reads; // READS_*: what any of them compares
	struct signature list[SIGNATURES];
};

struct total {
	__u64 packets;
	__u64 bytes;
	__u64 due;  // frames until the next sample
	__u64 lost; // samples that found no room
};

struct control {
	__u32 tables;
	__u32 sample;    // one of so many dropped packets is copied to samples; 0: none
	__u64 peer_age;  // ns that a peer stays known
	__u32 peer_new;  // new connections a second of a known peer past service limits
	__u32 peer_rate; // other packets likewise
};

struct sample {
	__u64 time;
	__u32 bytes; // of the frame
	__u32 ifindex;
	__u32 slot;  // of the entry
	__u8 verdict;
	__u8 reason;
	__u16 len; // of data
	__u8 data[SAMPLE_BYTES];
};

// Sizes are those of a test; user space sets its own before loading.

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct control);
} control SEC(".maps");

// bits4 has a bit for each /24 that holds an entry, bits6 one for each hash of such a /48. Most sources have none.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, BITS / 64);
	__type(key, __u32);
	__type(value, __u64);
} bits4 SEC(".maps"), bits6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct entry);
} hosts4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct host6);
	__type(value, struct entry);
} hosts6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct net4);
	__type(value, struct entry);
} nets4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct net6);
	__type(value, struct entry);
} nets6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct service);
	__type(value, struct entry);
} services SEC(".maps");

// peers may lose the least recently used before it is full: the kernel's LRU is not exact.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct peer_key);
	__type(value, struct peer);
} peers SEC(".maps");

// The never-list and the signatures are replaced as a whole: in the one slot of the outer map stands the list in force.

struct never_list4 {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct net4);
	__type(value, __u32);
};

struct never_list6 {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct net6);
	__type(value, __u32);
};

struct signature_list {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__uint(value_size, sizeof(struct signatures));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct never_list4);
} never4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct never_list6);
} never6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct signature_list);
} signed_by SEC(".maps");

// Shared, not one a CPU: the memory would grow with the CPUs, and the atomic addition costs 6 ns.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct hits);
} hit SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICTS * REASONS);
	__type(key, __u32);
	__type(value, struct total);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} samples SEC(".maps");

// bpf2go and libbpf know only what maps and variables name, and of maps within maps not all.
struct signature *signature_type __attribute__((unused));
struct signatures *signatures_type __attribute__((unused));
struct sample *sample_type __attribute__((unused));
enum action action_type __attribute__((unused));
enum verdict verdict_type __attribute__((unused));
enum reason reason_type __attribute__((unused));
enum table table_type __attribute__((unused));

union addr {
	__u32 v4; // network order; the rest is 0
	__u64 d[2];
};

// packet is what the headers of a frame say.
struct packet {
	union addr src, dst;
	__u32 bytes;   // of the frame
	__u32 packets; // that the frame stands for
	__u16 len;     // of the IP packet; at most 65,535
	__u16 sport;   // network order; 0 if not readable, like all below
	__u16 dport;
	__u16 window;
	__u16 flags;   // of TCP: FIN is bit 0, AE is bit 8
	__u16 options; // offset of TCP's
	__u16 payload; // offset of the transport's payload
	__u16 stop;    // offset of the IP packet's end, if it is below 65,535
	__u8 option_bytes;
	__u8 ver;
	__u8 proto;
	__u8 ttl;
	__u8 later;    // not the first fragment
	__u8 fresh;    // opens a TCP connection, or tells not whether it does
};

// detail is read only if a signature compares it.
struct detail {
	__u64 opening[2];
	__u32 layout;
	__u32 opening_bytes;
};

enum { FLAG_SYN = 2, FLAG_ACK = 16, FLAGS_CUT = 1 << 15 }; // the last: of a TCP header that could not be read

// transport reads ports, and of TCP what signatures compare. With less than that, ports or all stay 0. A TCP header cut
// before its flags counts as opening a connection: whole stacks do not send such first fragments.
static __always_inline void transport(void *data, void *end, __u32 off, struct packet *p)
{
	p->fresh = p->proto == IPPROTO_TCP;
	p->flags = p->fresh ? FLAGS_CUT : 0;
	if (off > 0x3fff)
		return;
	__u8 *h = data + off;
	if (p->proto == IPPROTO_TCP) {
		if (off + 20 <= p->stop && (void *)h + 20 <= end) {
			__u32 size = (h[12] >> 4) * 4;
			p->sport = *(__u16 *)h;
			p->dport = *(__u16 *)(h + 2);
			p->flags = (h[12] & 1) << 8 | h[13];
			p->window = bpf_ntohs(*(__u16 *)(h + 14));
			p->fresh = (p->flags & (FLAG_SYN | FLAG_ACK)) == FLAG_SYN;
			if (size < 20)
				size = 20;
			if (off + size > p->stop)
				return;
			p->options = off + 20;
			p->option_bytes = size - 20;
			p->payload = off + size;
			return;
		}
	} else if (p->proto != IPPROTO_UDP && p->proto != IPPROTO_UDPLITE && p->proto != IPPROTO_SCTP) {
		p->payload = off;
		return;
	}
	if (off + 4 > p->stop || (void *)h + 4 > end)
		return;
	p->sport = *(__u16 *)h;
	p->dport = *(__u16 *)(h + 2);
	if (p->proto != IPPROTO_TCP)
		p->payload = off + (p->proto == IPPROTO_SCTP ? 12 : 8);
}

// bound sets the packet's length and end from its header's word; 0 there means: up to the frame's end.
static __always_inline void bound(struct packet *p, __u32 off, __u32 said)
{
	__u32 there = p->bytes - off, len = said && said < there ? said : there;
	p->len = len < 0xffff ? len : 0xffff;
	p->stop = off + len < 0xffff ? off + len : 0xffff;
}

static __always_inline int ipv4(void *data, void *end, __u32 off, struct packet *p)
{
	struct iphdr *h = data + off;
	if ((void *)(h + 1) > end)
		return REASON_MALFORMED;
	__u32 size = h->ihl * 4, total = bpf_ntohs(h->tot_len);
	if (h->version != 4 || size < 20 || (total && total < size))
		return REASON_MALFORMED;
	bound(p, off, total);
	p->ver = 4;
	p->proto = h->protocol;
	p->ttl = h->ttl;
	p->src.v4 = h->saddr;
	p->dst.v4 = h->daddr;
	p->later = (h->frag_off & bpf_htons(0x1fff)) != 0;
	if (!p->later)
		transport(data, end, off + size, p);
	return 0;
}

static __always_inline int ipv6(void *data, void *end, __u32 off, struct packet *p)
{
	struct ipv6hdr *h = data + off;
	if ((void *)(h + 1) > end)
		return REASON_MALFORMED;
	if (h->version != 6)
		return REASON_MALFORMED;
	__u32 said = bpf_ntohs(h->payload_len);
	bound(p, off, said || h->nexthdr == IPPROTO_NONE ? said + 40 : 0);
	p->ver = 6;
	p->ttl = h->hop_limit;
	__builtin_memcpy(&p->src, &h->saddr, 16);
	__builtin_memcpy(&p->dst, &h->daddr, 16);
	__u8 proto = h->nexthdr;
	__u32 at = 40; // from the IP header on, and always a multiple of 4: so all rounds look alike to the verifier
#pragma nounroll
	for (int i = 0; i < EXTENSIONS; i++) {
		p->proto = proto;
		switch (proto) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_FRAGMENT:
		case IPPROTO_AH:
		case IPPROTO_DSTOPTS:
			break;
		default:
			transport(data, end, off + at, p);
			return 0;
		}
		__u8 *e = data + off + at;
		if (off + at + 8 > p->stop || (void *)e + 8 > end)
			return 0;
		if (proto == IPPROTO_FRAGMENT) {
			if (*(__u16 *)(e + 2) & bpf_htons(0xfff8)) {
				p->proto = e[0];
				p->later = 1;
				return 0;
			}
			at += 8;
		} else if (proto == IPPROTO_AH) {
			at += (e[1] + 2) * 4;
		} else {
			at += (e[1] + 1) * 8;
		}
		if (at > 0x3ffc)
			return 0;
		at &= 0x3ffc;
		proto = e[0];
	}
	return 0; // a longer chain: ports stay unknown
}

// read parses a frame. The answer is 0, or why there is no IP packet to judge.
static __always_inline int read(void *data, void *end, struct packet *p)
{
	struct ethhdr *eth = data;
	if ((void *)(eth + 1) > end)
		return REASON_NOT_IP;
	__u16 type = eth->h_proto;
	__u32 off = sizeof *eth;
#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (type != bpf_htons(0x8100) && type != bpf_htons(0x88a8) && type != bpf_htons(0x9100))
			break;
		__u16 *tag = data + off;
		if ((void *)(tag + 2) > end)
			return REASON_NOT_IP;
		type = tag[1];
		off += 4;
	}
	if (type == bpf_htons(ETH_P_IP))
		return ipv4(data, end, off, p);
	if (type == bpf_htons(ETH_P_IPV6))
		return ipv6(data, end, off, p);
	return REASON_NOT_IP;
}

static __always_inline long load(void *ctx, int skb, __u32 off, void *to, __u32 n)
{
	return skb ? bpf_skb_load_bytes(ctx, off, to, n) : bpf_xdp_load_bytes(ctx, off, to, n);
}

// admit takes one from a token bucket without a lock (the generic cell rate algorithm, ITU-T I.371): paid is the time until
// which the rate is used up, and may run ahead of now by burst tokens. Refusals write nothing, so a flood does not contend.
static __always_inline int admit(__u64 *paid, __u64 now, __u32 rate, __u32 burst)
{
	if (!rate)
		return 0;
	__u64 gap = 1000000000u / rate, limit = now + gap * burst;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		__u64 old = *(volatile __u64 *)paid, next = (old > now ? old : now) + gap;
		if (next > limit)
			return 0;
		if (__sync_val_compare_and_swap(paid, old, next) == old)
			return 1;
	}
	return 0;
}

static __always_inline int shadowed(const struct control *c, const struct entry *e)
{
	return c->tables & TABLE_REHEARSE || e->flags & ENTRY_SHADOW;
}

static __always_inline int concerns(const struct entry *e, const struct packet *p, __u64 now)
{
	if (e->action == ACTION_DROP_NEW || e->action == ACTION_LIMIT_NEW || now < e->canary)
		return p->fresh;
	return e->action == ACTION_DROP || e->action == ACTION_LIMIT;
}

// judge_entry says what an entry that is in force makes of a packet, its never-list aside.
static __always_inline int judge_entry(const struct control *c, const struct entry *e, const struct packet *p, __u64 now)
{
	int v = VERDICT_DROP;
	if (!concerns(e, p, now))
		return VERDICT_PASS;
	if (e->action == ACTION_LIMIT || e->action == ACTION_LIMIT_NEW) {
		struct hits *h = bpf_map_lookup_elem(&hit, &e->slot);
		if (!h || admit(&h->paid, now, e->rate, e->burst))
			return VERDICT_PASS;
		v = VERDICT_LIMIT;
	}
	return shadowed(c, e) ? VERDICT_SHADOW : v;
}

// spared reports whether the source is on the never-list. A list that cannot be read spares all.
static __always_inline int spared(const struct control *c, const struct packet *p)
{
	__u32 zero = 0;
	if (!(c->tables & TABLE_NEVER))
		return 0;
	if (p->ver == 4) {
		struct net4 key = {.bits = 32};
		__builtin_memcpy(key.addr, &p->src.v4, 4);
		void *list = bpf_map_lookup_elem(&never4, &zero);
		return !list || bpf_map_lookup_elem(list, &key);
	}
	struct net6 key = {.bits = 128};
	__builtin_memcpy(key.addr, &p->src, 16);
	void *list = bpf_map_lookup_elem(&never6, &zero);
	return !list || bpf_map_lookup_elem(list, &key);
}

// fate gathers what the tables made of a packet.
struct fate {
	__u64 now; // 0: not asked yet, as most frames meet no entry
	__u32 verdict, reason, slot;
	__u32 asked; // the never-list was
};

static __always_inline int in_force(const struct entry *e, struct fate *f)
{
	if (!f->now)
		f->now = bpf_ktime_get_coarse_ns();
	return f->now < e->expires && e->action != ACTION_NONE;
}

// meet judges a packet by one entry. It returns 1 when that settles the packet: dropped, or spared. Like all functions that
// are not inlined the verifier reads it once, by itself; pointers may be null as far as it knows.
__attribute__((noinline)) int meet(struct control *c, struct entry *e, struct packet *p, struct fate *f, __u32 reason)
{
	if (!c || !e || !p || !f || !in_force(e, f))
		return 0;
	__u64 now = f->now;
	int v = judge_entry(c, e, p, now);
	if (v != VERDICT_PASS && !f->asked) {
		if (spared(c, p)) {
			f->verdict = VERDICT_PASS;
			f->reason = REASON_NEVER;
			return 1;
		}
		f->asked = 1;
	}
	if (v == VERDICT_PASS) {
		if (!f->reason)
			f->reason = reason;
		return 0;
	}
	struct hits *h = bpf_map_lookup_elem(&hit, &e->slot);
	if (h) {
		__sync_fetch_and_add(&h->packets, p->packets);
		__sync_fetch_and_add(&h->bytes, p->bytes);
		if (h->last != now)
			h->last = now;
	}
	if (v != VERDICT_SHADOW || f->verdict != VERDICT_SHADOW) {
		f->verdict = v;
		f->reason = reason;
		f->slot = e->slot;
	}
	return v != VERDICT_SHADOW;
}

static __always_inline int bit(void *map, __u32 n)
{
	__u32 word = n >> 6;
	__u64 *bits = bpf_map_lookup_elem(map, &word);
	return bits && *bits >> (n & 63) & 1;
}

static __always_inline int by_source4(struct control *c, struct packet *p, struct fate *f)
{
	if (!(c->tables & (TABLE_HOSTS4 | TABLE_NETS4)) || !bit(&bits4, bpf_ntohl(p->src.v4) >> 8))
		return 0;
	if (c->tables & TABLE_HOSTS4) {
		struct entry *e = bpf_map_lookup_elem(&hosts4, &p->src.v4);
		if (e && meet(c, e, p, f, REASON_HOST))
			return 1;
	}
	if (c->tables & TABLE_NETS4) {
		struct net4 key = {.bits = 32};
		__builtin_memcpy(key.addr, &p->src.v4, 4);
		struct entry *e = bpf_map_lookup_elem(&nets4, &key);
		if (e && meet(c, e, p, f, REASON_PREFIX))
			return 1;
	}
	return 0;
}

// hash48 is Fibonacci hashing of an address' first 48 bits; bpf.hash48 is the same.
static __always_inline __u32 hash48(const union addr *a)
{
	return (bpf_be64_to_cpu(a->d[0]) >> 16) * 0x9e3779b97f4a7c15ull >> 40;
}

static __always_inline int by_source6(struct control *c, struct packet *p, struct fate *f)
{
	if (!(c->tables & (TABLE_HOSTS6 | TABLE_NETS6)))
		return 0;
	if (!(c->tables & TABLE_WIDE6) && !bit(&bits6, hash48(&p->src)))
		return 0;
	if (c->tables & TABLE_HOSTS6) {
		struct entry *e = bpf_map_lookup_elem(&hosts6, &p->src);
		if (e && meet(c, e, p, f, REASON_HOST))
			return 1;
	}
	if (c->tables & TABLE_NETS6) {
		struct net6 key = {.bits = 128};
		__builtin_memcpy(key.addr, &p->src, 16);
		struct entry *e = bpf_map_lookup_elem(&nets6, &key);
		if (e && meet(c, e, p, f, REASON_PREFIX))
			return 1;
	}
	return 0;
}

// connected reports whether the kernel has a socket for this very connection that got past its handshake: proof of a return
// path that a spoofed source cannot forge.
static __always_inline int connected(void *ctx, const struct packet *p)
{
	struct bpf_sock_tuple t = {};
	__u32 size = sizeof t.ipv4;
	if (p->ver == 4) {
		t.ipv4.saddr = p->src.v4;
		t.ipv4.daddr = p->dst.v4;
		t.ipv4.sport = p->sport;
		t.ipv4.dport = p->dport;
	} else {
		__builtin_memcpy(t.ipv6.saddr, &p->src, 16);
		__builtin_memcpy(t.ipv6.daddr, &p->dst, 16);
		t.ipv6.sport = p->sport;
		t.ipv6.dport = p->dport;
		size = sizeof t.ipv6;
	}
	struct bpf_sock *sk;
	if (size == sizeof t.ipv4)
		sk = bpf_skc_lookup_tcp(ctx, &t, sizeof t.ipv4, BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_skc_lookup_tcp(ctx, &t, sizeof t.ipv6, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	__u32 up = 1 << BPF_TCP_ESTABLISHED | 1 << BPF_TCP_FIN_WAIT1 | 1 << BPF_TCP_FIN_WAIT2 | 1 << BPF_TCP_CLOSE_WAIT |
		   1 << BPF_TCP_LAST_ACK | 1 << BPF_TCP_CLOSING;
	__u32 state = sk->state;
	bpf_sk_release(sk);
	return state < 32 && (up >> state & 1);
}

// known reports whether a packet passes service limits because its source completed a connection not long ago. That may be
// forged by who knows such a source, so each has an allowance; within a connection of the kernel's own there is none.
static __always_inline int known(void *ctx, const struct control *c, const struct packet *p, __u64 now)
{
	struct peer_key key = {.ver = p->ver};
	__builtin_memcpy(key.addr, &p->src, 16);
	struct peer *peer = bpf_map_lookup_elem(&peers, &key);
	int recent = peer && now - peer->seen < c->peer_age;
	if (p->fresh)
		return recent && admit(&peer->paid_new, now, c->peer_new, 2 * c->peer_new);
	if (recent && admit(&peer->paid_any, now, c->peer_rate, 2 * c->peer_rate))
		return 1;
	if (p->proto != IPPROTO_TCP || p->later || !connected(ctx, p))
		return 0;
	if (peer) {
		peer->seen = now;
	} else {
		struct peer first = {.seen = now};
		bpf_map_update_elem(&peers, &key, &first, BPF_ANY);
	}
	return 1;
}

static __always_inline int by_service(void *ctx, struct control *c, struct packet *p, struct fate *f)
{
	struct service key = {.port = p->dport, .proto = p->proto, .ver = p->ver};
	struct entry *e = 0;
	__builtin_memcpy(key.addr, &p->dst, 16);
	if (p->dport)
		e = bpf_map_lookup_elem(&services, &key);
	if (!e && c->tables & TABLE_WHOLE) {
		key.port = 0;
		e = bpf_map_lookup_elem(&services, &key);
	}
	if (!e || !in_force(e, f))
		return 0;
	// Packets within connections are no concern of limits on new ones, but tell whose they are.
	if (known(ctx, c, p, f->now)) {
		if (!f->reason)
			f->reason = REASON_PEER;
		return 0;
	}
	return meet(c, e, p, f, REASON_SERVICE);
}

struct options {
	__u32 bytes;
	__u32 from; // 0, which the verifier does not know: so all rounds of the loop look alike to it
	__u8 b[64]; // more than there can be: any index below 64 is safe
};

// layout hashes the sequence of option kinds as package decode does (TCPOptions.Layout): FNV-1a over kind + 1, padding
// included; the list ends where it is malformed.
__attribute__((noinline)) __u32 layout(struct options *o)
{
	__u32 hash = 2166136261u, i, over = 0;
	if (!o || !o->bytes)
		return 0;
	i = o->from;
#pragma nounroll
	for (int n = 0; n < OPTION_BYTES; n++) {
		i &= 63;
		if (i >= o->bytes)
			break;
		__u32 kind = over ? 0 : o->b[i];
		hash = (hash ^ (kind + 1)) * 16777619u;
		if (kind == 0)
			over = 1;
		if (kind <= 1) {
			i++;
			continue;
		}
		__u32 size = o->b[(i + 1) & 63];
		if (i + 2 > o->bytes || size < 2 || i + size > o->bytes)
			break;
		i += size;
	}
	return hash ? hash : 1;
}

static __always_inline void load_layout(void *ctx, int skb, const struct packet *p, struct detail *d)
{
	struct options o = {};
	__u32 n = p->option_bytes;
	if (!n || n > OPTION_BYTES || load(ctx, skb, p->options, o.b, n))
		return;
	o.bytes = n;
	d->layout = layout(&o);
}

static __always_inline void load_opening(void *ctx, int skb, const struct packet *p, struct detail *d)
{
	__u32 n = 0;
	if (p->payload && p->payload < p->stop)
		n = p->stop - p->payload;
	if (n > PAYLOAD_BYTES)
		n = PAYLOAD_BYTES;
	if (n && !load(ctx, skb, p->payload, d->opening, n))
		d->opening_bytes = n;
}

// fields is the first word that signatures compare; window and option layout are the second.
static __always_inline __u64 fields(const struct packet *p)
{
	return (__u64)bpf_ntohs(p->sport) << 48 | (__u64)bpf_ntohs(p->dport) << 32 | (__u64)p->flags << 16 | p->proto << 8 | p->ver;
}

// matches compares all but the first word.
__attribute__((noinline)) int matches(struct signature *s, struct packet *p, struct detail *d)
{
	if (!s || !p || !d || p->len < s->min_len || p->len > s->max_len || p->ttl < s->min_ttl || p->ttl > s->max_ttl)
		return 0;
	__u64 differ = (((__u64)p->window << 32 | d->layout) & s->mask[1]) ^ s->value[1];
	differ |= ((p->dst.d[0] & s->dst_mask[0]) ^ s->dst[0]) | ((p->dst.d[1] & s->dst_mask[1]) ^ s->dst[1]);
	if (s->opening_bytes) {
		if (d->opening_bytes < s->opening_bytes)
			return 0;
		differ |= (d->opening[0] & s->opening_mask[0]) ^ s->opening[0];
		differ |= (d->opening[1] & s->opening_mask[1]) ^ s->opening[1];
	}
	return !differ;
}

static __always_inline int by_signature(void *ctx, int skb, struct control *c, struct packet *p, struct fate *f)
{
	__u32 zero = 0;
	struct detail d = {};
	void *list = bpf_map_lookup_elem(&signed_by, &zero);
	struct signatures *s = list ? bpf_map_lookup_elem(list, &zero) : 0;
	if (!s)
		return 0;
	if (s->reads & READS_LAYOUT && p->option_bytes)
		load_layout(ctx, skb, p, &d);
	if (s->reads & READS_OPENING)
		load_opening(ctx, skb, p, &d);
	__u64 word = fields(p);
#pragma nounroll
	for (__u32 i = 0; i < SIGNATURES; i++) {
		if (i >= s->count)
			break;
		struct signature *one = &s->list[i];
		if ((word & one->mask[0]) == one->value[0] && matches(one, p, &d) && meet(c, &one->entry, p, f, REASON_SIGNATURE))
			return 1;
	}
	return 0;
}

static __always_inline void judge(void *ctx, int skb, struct control *c, struct packet *p, struct fate *f)
{
	if (p->ver == 4 ? by_source4(c, p, f) : by_source6(c, p, f))
		return;
	if (c->tables & TABLE_SERVICES && by_service(ctx, c, p, f))
		return;
	if (c->tables & TABLE_SIGNATURES && !p->later)
		by_signature(ctx, skb, c, p, f);
}

// sample copies the head of one in c->sample frames, at random distances so that no pattern of the traffic meets it.
static __always_inline void sample(void *ctx, int skb, const struct control *c, const struct packet *p, __u32 ifindex,
				   const struct fate *f, struct total *t)
{
	if (!c->sample)
		return;
	if (t->due > 1 && t->due < 2 * (__u64)c->sample) {
		t->due--;
		return;
	}
	t->due = c->sample > 1 ? 1 + bpf_get_prandom_u32() % (2 * c->sample - 1) : 1;
	struct sample *s = bpf_ringbuf_reserve(&samples, sizeof *s, 0);
	if (!s) {
		t->lost++;
		return;
	}
	__u32 n = p->bytes < SAMPLE_BYTES ? p->bytes : SAMPLE_BYTES;
	s->time = bpf_ktime_get_coarse_ns();
	s->bytes = p->bytes;
	s->ifindex = ifindex;
	s->slot = f->slot;
	s->verdict = f->verdict;
	s->reason = f->reason;
	s->len = 0;
	if (n && !load(ctx, skb, 0, s->data, n))
		s->len = n;
	bpf_ringbuf_submit(s, 0);
}

// decide is the whole way of a frame; it returns 1 for drop.
static __always_inline int decide(void *ctx, int skb, void *data, void *end, __u32 bytes, __u32 packets, __u32 ifindex)
{
	__u32 zero = 0;
	struct packet p = {.bytes = bytes, .packets = packets};
	struct fate f = {};
	struct control *c = bpf_map_lookup_elem(&control, &zero);
	if (!c)
		return 0;
	if (c->tables & TABLES) { // else there is nothing to look for, and the frame is not even parsed
		f.reason = read(data, end, &p);
		if (!f.reason)
			judge(ctx, skb, c, &p, &f);
	}
	__u32 index = f.verdict * REASONS + f.reason;
	struct total *t = bpf_map_lookup_elem(&totals, &index);
	if (!t)
		return 0;
	t->packets += packets;
	t->bytes += bytes;
	if (f.verdict != VERDICT_PASS)
		sample(ctx, skb, c, &p, ifindex, &f, t);
	return f.verdict >= VERDICT_LIMIT;
}

SEC("xdp.frags")
int weir_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	return decide(ctx, 0, data, end, bpf_xdp_get_buff_len(ctx), 1, ctx->ingress_ifindex) ? XDP_DROP : XDP_PASS;
}

SEC("tcx/ingress")
int weir_tcx(struct __sk_buff *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (data + SAMPLE_BYTES > end && ctx->len > end - data) {
		bpf_skb_pull_data(ctx, ctx->len < SAMPLE_BYTES ? ctx->len : SAMPLE_BYTES);
		data = (void *)(long)ctx->data;
		end = (void *)(long)ctx->data_end;
	}
	__u32 packets = ctx->gso_segs > 1 ? ctx->gso_segs : 1;
	return decide(ctx, 1, data, end, ctx->len, packets, ctx->ifindex) ? TCX_DROP : TCX_NEXT;
}

// Every helper used here is free of the GPL condition (gpl_only = false in the kernel's bpf_func_proto).
char gate_license[] SEC("license") = "Apache-2.0";
