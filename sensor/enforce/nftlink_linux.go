package enforce

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// google/nftables 0.3.0 makes tables, chains, rules and sets, but writes no element with a limit, reads no counter of an element that
// has one, and parses no rule that compares times. So elements, and what is read back, go over a netlink socket of our own.

// Of linux/netfilter/nf_tables.h, where golang.org/x/sys lacks them.
const (
	nftMsgDestroySetElem  = 30   // NFT_MSG_DESTROYSETELEM, Linux 6.3: deletes what may not be there
	nftaSetElemExprs      = 0x0b // NFTA_SET_ELEM_EXPRESSIONS, Linux 5.11
	nftMetaTimeNs         = 30   // NFT_META_TIME_NS, Linux 5.4
	nftPayloadInner       = unix.NFT_PAYLOAD_INNER_HEADER
	nftUserDataComment    = 0        // NFTNL_UDATA_RULE_COMMENT and NFTNL_UDATA_SET_ELEM_COMMENT of libnftnl's udata.h
	nlaTypeMask           = 0x3fff   // NLA_TYPE_MASK
	nftMessageBytes       = 48 << 10 // of a message: a list of elements must stay below 64 KiB
	nftAnswerSeconds      = 10
	nftInterruptedRetries = 20
)

// nftMessages are netlink messages of one transaction, as bytes. Attributes are nested by nest and end.
type nftMessages struct {
	b     []byte
	at    int // of the message that is being written
	nests []int
	n     uint32 // messages
}

func (m *nftMessages) message(kind, flags uint16, family byte) {
	m.close()
	m.at = len(m.b)
	m.n++
	m.b = append(m.b, make([]byte, unix.NLMSG_HDRLEN)...)
	binary.NativeEndian.PutUint16(m.b[m.at+4:], kind)
	binary.NativeEndian.PutUint16(m.b[m.at+6:], unix.NLM_F_REQUEST|flags)
	m.b = append(m.b, family, unix.NFNETLINK_V0, 0, 0)
}

// close writes the length of the message that is being written.
func (m *nftMessages) close() {
	for len(m.nests) > 0 {
		m.end()
	}
	if len(m.b) > m.at {
		binary.NativeEndian.PutUint32(m.b[m.at:], uint32(len(m.b)-m.at))
	}
}

func (m *nftMessages) size() int { return len(m.b) - m.at }

func (m *nftMessages) nest(kind uint16) {
	m.nests = append(m.nests, len(m.b))
	m.b = binary.NativeEndian.AppendUint16(m.b, 0)
	m.b = binary.NativeEndian.AppendUint16(m.b, kind|unix.NLA_F_NESTED)
}

func (m *nftMessages) end() {
	at := m.nests[len(m.nests)-1]
	m.nests = m.nests[:len(m.nests)-1]
	binary.NativeEndian.PutUint16(m.b[at:], uint16(len(m.b)-at))
}

func (m *nftMessages) attr(kind uint16, v ...byte) {
	m.b = binary.NativeEndian.AppendUint16(m.b, uint16(unix.NLA_HDRLEN+len(v)))
	m.b = binary.NativeEndian.AppendUint16(m.b, kind)
	m.b = append(m.b, v...)
	for len(m.b)%unix.NLA_ALIGNTO != 0 {
		m.b = append(m.b, 0)
	}
}

func (m *nftMessages) text(kind uint16, s string) { m.attr(kind, append([]byte(s), 0)...) }
func (m *nftMessages) u32(kind uint16, v uint32) {
	m.attr(kind, binary.BigEndian.AppendUint32(nil, v)...)
}

func (m *nftMessages) u64(kind uint16, v uint64) {
	m.attr(kind, binary.BigEndian.AppendUint64(nil, v)...)
}

// comment is user data that `nft list` shows.
func (m *nftMessages) comment(kind uint16, s string) {
	m.attr(kind, append(append([]byte{nftUserDataComment, byte(len(s) + 1)}, s...), 0)...)
}

func nftKind(kind uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | kind }

// nftSocket is a netlink socket; one goroutine may use it at a time.
type nftSocket struct {
	fd   int
	seq  uint32
	room int // of the send buffer
	buf  []byte
}

func openNftSocket() (*nftSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	wait := unix.Timeval{Sec: nftAnswerSeconds}
	err = errors.Join(
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20),
	)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("nftables: %w", err)
	}
	return &nftSocket{fd: fd, buf: make([]byte, 256<<10)}, nil
}

// Close may be called twice: the number of a closed file is soon another's.
func (s *nftSocket) Close() error {
	if s == nil || s.fd < 0 {
		return nil
	}
	fd := s.fd
	s.fd = -1
	return unix.Close(fd)
}

// send numbers the messages and sends them as they stand.
func (s *nftSocket) send(b []byte) error {
	for at := 0; at < len(b); {
		s.seq++
		binary.NativeEndian.PutUint32(b[at+8:], s.seq)
		at += int(binary.NativeEndian.Uint32(b[at:]))
	}
	if need := 2*len(b) + 64<<10; need > s.room { // one transaction is one datagram, and the kernel counts its own overhead
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, need); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		s.room = need
	}
	return os.NewSyscallError("sendto", unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
}

// receive hands over the messages of one datagram.
func (s *nftSocket) receive(each func(h syscall.NlMsghdr, body []byte) error) error {
	for {
		n, _, err := unix.Recvfrom(s.fd, s.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		for b := s.buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
			h := syscall.NlMsghdr{
				Len: binary.NativeEndian.Uint32(b), Type: binary.NativeEndian.Uint16(b[4:]),
				Flags: binary.NativeEndian.Uint16(b[6:]), Seq: binary.NativeEndian.Uint32(b[8:]),
			}
			if h.Len < unix.NLMSG_HDRLEN || int(h.Len) > len(b) {
				return errors.New("netlink: a cut message")
			}
			if err := each(h, b[unix.NLMSG_HDRLEN:h.Len]); err != nil {
				return err
			}
			b = b[min(len(b), int(h.Len+3)&^3):]
		}
		return nil
	}
}

// commit applies the messages in one transaction: all, or none and the error of the first that the kernel refused.
func (s *nftSocket) commit(m *nftMessages) error {
	if m.n == 0 {
		return nil
	}
	m.close()
	last := m.at
	binary.NativeEndian.PutUint16(m.b[last+6:], binary.NativeEndian.Uint16(m.b[last+6:])|unix.NLM_F_ACK)
	var t nftMessages
	t.frame(unix.NFNL_MSG_BATCH_BEGIN)
	t.b = append(t.b, m.b...)
	t.frame(unix.NFNL_MSG_BATCH_END)
	if err := s.send(t.b); err != nil {
		return err
	}
	answer, refused := s.seq-1, error(nil)
	for ended := false; !ended; {
		err := s.receive(func(h syscall.NlMsghdr, body []byte) error {
			if h.Type != unix.NLMSG_ERROR || len(body) < 4 {
				return nil
			}
			ended = ended || h.Seq == answer || h.Seq == s.seq-m.n-1 // the whole batch was refused
			if no := int32(binary.NativeEndian.Uint32(body)); no != 0 && refused == nil && h.Seq+m.n+1 >= s.seq {
				refused = unix.Errno(-no)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return refused
}

// frame appends a message that opens or ends a transaction.
func (m *nftMessages) frame(kind uint16) {
	at := len(m.b)
	m.b = append(m.b, make([]byte, unix.NLMSG_HDRLEN)...)
	m.b = append(m.b, unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES)
	binary.NativeEndian.PutUint32(m.b[at:], uint32(len(m.b)-at))
	binary.NativeEndian.PutUint16(m.b[at+4:], kind)
	binary.NativeEndian.PutUint16(m.b[at+6:], unix.NLM_F_REQUEST)
}

// errNftInterrupted: the ruleset changed while it was read, and the reading began anew too often.
var errNftInterrupted = errors.New("nftables: the ruleset changes faster than it can be read")

// ask reads one thing of the kernel's.
func (s *nftSocket) ask(request func(*nftMessages), each func(attributes []byte)) error {
	var m nftMessages
	request(&m)
	m.close()
	binary.NativeEndian.PutUint16(m.b[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	if err := s.send(m.b); err != nil {
		return err
	}
	_, err := s.answer(each)
	return err
}

// dump reads a list of the kernel's. Begin is called before each reading: another follows when the list changed meanwhile.
func (s *nftSocket) dump(request func(*nftMessages), begin func(), each func(attributes []byte)) error {
	for range nftInterruptedRetries {
		var m nftMessages
		request(&m)
		m.close()
		if err := s.send(m.b); err != nil {
			return err
		}
		begin()
		torn, err := s.answer(each)
		if err != nil || !torn {
			return err
		}
	}
	return errNftInterrupted
}

func (s *nftSocket) answer(each func([]byte)) (torn bool, err error) {
	for ended := false; !ended; {
		var refused error
		err := s.receive(func(h syscall.NlMsghdr, body []byte) error {
			if h.Seq != s.seq || ended {
				return nil
			}
			torn = torn || h.Flags&unix.NLM_F_DUMP_INTR != 0
			switch {
			case h.Type == unix.NLMSG_DONE:
				ended = true
			case h.Type == unix.NLMSG_ERROR && len(body) >= 4:
				ended = true
				if no := int32(binary.NativeEndian.Uint32(body)); no != 0 {
					refused = unix.Errno(-no)
				}
			case h.Type>>8 == unix.NFNL_SUBSYS_NFTABLES && len(body) >= 4:
				each(body[4:])
			}
			return nil
		})
		if err = errors.Join(err, refused); err != nil {
			return torn, err
		}
	}
	return torn, nil
}

// nftAttributes walks attributes; it ends where they are malformed.
func nftAttributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.NLA_HDRLEN {
			n := int(binary.NativeEndian.Uint16(b))
			kind := binary.NativeEndian.Uint16(b[2:]) & nlaTypeMask
			if n < unix.NLA_HDRLEN || n > len(b) || !yield(kind, b[unix.NLA_HDRLEN:n]) {
				return
			}
			b = b[min(len(b), (n+3)&^3):]
		}
	}
}

// nftAttribute is the first attribute of a kind, nil if there is none.
func nftAttribute(b []byte, path ...uint16) []byte {
	for _, want := range path {
		var found []byte
		for kind, v := range nftAttributes(b) {
			if kind == want {
				found = v
				break
			}
		}
		if b = found; b == nil {
			return nil
		}
	}
	return b
}

func nftText(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

func nftNumber(b []byte) uint64 {
	switch len(b) {
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	case 8:
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// nftComment reads what comment wrote.
func nftComment(b []byte) string {
	for len(b) >= 2 && int(b[1])+2 <= len(b) {
		if b[0] == nftUserDataComment {
			return nftText(b[2 : 2+int(b[1])])
		}
		b = b[2+int(b[1]):]
	}
	return ""
}
