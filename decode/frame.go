// Package decode turns the bytes of one frame into a Packet. It classifies what it cannot read, never returns an error,
// never panics and never allocates.
package decode

// LinkType is the link-layer header type of a frame, in the numbering of the LINKTYPE registry
// (https://www.tcpdump.org/linktypes.html).
type LinkType uint16

// Link types that the decoder reads. Others are classified as WhyLinkType.
const (
	LinkNull      LinkType = 0
	LinkEthernet  LinkType = 1
	LinkPPP       LinkType = 9
	LinkFDDI      LinkType = 10
	LinkPPPHDLC   LinkType = 50
	LinkPPPoE     LinkType = 51
	LinkRaw       LinkType = 101
	LinkCiscoHDLC LinkType = 104
	LinkIEEE80211 LinkType = 105
	LinkFrameRly  LinkType = 107
	LinkLoop      LinkType = 108
	LinkLinuxSLL  LinkType = 113
	LinkPrism     LinkType = 119
	LinkRadiotap  LinkType = 127
	LinkAVS       LinkType = 163
	LinkIPv4      LinkType = 228
	LinkIPv6      LinkType = 229
	LinkNFLOG     LinkType = 239
	LinkLinuxSLL2 LinkType = 276
)

// Frame is one captured frame. Data is borrowed: it is valid only while the block that holds the frame is held.
type Frame struct {
	Data    []byte   // captured bytes, starting at the link-layer header
	Time    int64    // capture time, ns since the Unix epoch
	WireLen uint32   // length on the wire in bytes, without Tags; at least len(Data)
	Link    LinkType // of Data
	Iface   uint16   // index of the interface within its source
	Tags    [2]Tag   // VLAN tags that the kernel took off, outermost first; zero value: none
}

// Tag is an 802.1Q tag. The zero value means that there is none.
type Tag struct {
	TPID uint16 // 0x8100, 0x88a8, …
	TCI  uint16 // priority, DEI and VLAN id
}
