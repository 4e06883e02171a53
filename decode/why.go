package decode

// Why says where decoding stopped. It indexes counter arrays; WhyOK is the common case.
type Why uint8

// Reasons. Everything up to WhyEncrypted is normal traffic; the others mean bytes that are cut, wrong or not for us.
const (
	WhyOK        Why = iota // transport header read
	WhyProto                // IP, but a protocol without ports that weir reads no further (ESP, IGMP, OSPF, …)
	WhyFragment             // a later fragment: no transport header
	WhyNotIP                // neither IP nor ARP: LLDP, STP, 802.11 management, …
	WhyEncrypted            // 802.11 protected frame
	WhyLinkType             // a link type weir does not read
	WhyCut                  // snaplen ended before the header did
	WhyShort                // the frame itself ended before the header did
	WhyLength               // a header length that cannot be (IHL < 5, data offset < 5, extension past the end)
	WhyVersion              // IP version that contradicts the link layer
	WhyDepth                // more tags, labels, extension headers or tunnels than weir follows
	WhyCount                // number of reasons
)

var whyNames = [WhyCount]string{
	"ok", "proto", "fragment", "not_ip", "encrypted", "link_type", "cut", "short", "length", "version", "depth",
}

// String is the reason's name as metrics and summaries show it.
func (w Why) String() string {
	if int(w) < len(whyNames) {
		return whyNames[w]
	}
	return "invalid"
}
