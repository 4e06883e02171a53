package doctor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the ethtool package has no calls for: ETHTOOL_GRSSH and ETHTOOL_GRXFH (linux/ethtool.h).

// rxfh is struct ethtool_rxfh with room for the indirection table and the key.
type rxfh struct {
	cmd, context, indirSize, keySize uint32
	function, transform              uint8
	_                                [6]byte
	config                           [1 << 14]uint32
}

// rxnfc is struct ethtool_rxnfc.
type rxnfc struct {
	cmd, flow uint32
	data      uint64
	_         [176]byte
}

// ifreq is struct ifreq with a pointer.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

func ioctl(fd int, name string, data unsafe.Pointer) error {
	r := ifreq{data: data}
	copy(r.name[:unix.IFNAMSIZ-1], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r))); errno != 0 {
		return errno
	}
	return nil
}

// Hash functions and input transformations of ETHTOOL_GRSSH.
var hashFunctions = map[uint8]string{1 << 0: "toeplitz", 1 << 1: "xor", 1 << 2: "crc32"}

const (
	symmetricXOR   = 1 << 0 // RXH_XFRM_SYM_XOR
	symmetricORXOR = 1 << 1 // RXH_XFRM_SYM_OR_XOR
)

// flowTypes are those of ETHTOOL_GRXFH.
var flowTypes = map[string]uint32{"tcp4": 0x01, "udp4": 0x02, "tcp6": 0x05, "udp6": 0x06}

// readRSS reads how the card spreads packets; nil if the driver does not tell.
func readRSS(name string) (*RSS, hashFields) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil
	}
	defer unix.Close(fd)
	var fields hashFields
	for flow, number := range flowTypes {
		q := &rxnfc{cmd: unix.ETHTOOL_GRXFH, flow: number}
		if ioctl(fd, name, unsafe.Pointer(q)) == nil {
			if fields == nil {
				fields = hashFields{}
			}
			fields[flow] = q.data
		}
	}
	q := &rxfh{cmd: unix.ETHTOOL_GRSSH}
	if ioctl(fd, name, unsafe.Pointer(q)) != nil { // with sizes 0 it tells the sizes
		return nil, fields
	}
	indir, key := q.indirSize, q.keySize
	if 4*uint64(indir)+uint64(key) >= uint64(unsafe.Sizeof(q.config)) {
		return nil, fields
	}
	*q = rxfh{cmd: unix.ETHTOOL_GRSSH, indirSize: indir, keySize: key}
	if ioctl(fd, name, unsafe.Pointer(q)) != nil {
		return nil, fields
	}
	r := &RSS{Function: hashFunctions[q.function], Symmetric: q.transform != 0xff && q.transform&(symmetricXOR|symmetricORXOR) != 0}
	r.Table = append(r.Table, q.config[:indir]...)
	r.Key = append(r.Key, unsafe.Slice((*byte)(unsafe.Pointer(&q.config[indir])), key)...)
	return r, fields
}
