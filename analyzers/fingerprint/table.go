package fingerprint

// Kind says what a label names.
type Kind uint8

// Kinds of label.
const (
	KindNone   Kind = iota
	KindSystem      // an operating system's own stack
	KindTool        // a program that makes its own SYN: a scanner or flooder
)

// String is the kind's name in alerts.
func (k Kind) String() string {
	switch k {
	case KindSystem:
		return "system"
	case KindTool:
		return "tool"
	}
	return "none"
}

// Info describes a label.
type Info struct {
	Name string // "nmap", "linux"
	Kind Kind
	Note string // what exactly made the print, in a few words
}

// Label describes label id; the zero Info for 0 and for an unknown id.
func Label(id uint16) Info {
	if int(id) < len(labels) {
		return labels[id]
	}
	return Info{}
}

var labels = [...]Info{{}}

// Lookup finds the label of a signature, 0 for none.
func Lookup(s Sig) uint16 { return 0 }
