package fingerprint

import "bytes"

// Families of systems, as SystemOfAgent and the labels of kind system name them.
const (
	SystemWindows  = "windows"
	SystemMacOS    = "macos"
	SystemIOS      = "ios"
	SystemAndroid  = "android"
	SystemChromeOS = "chromeos"
	SystemLinux    = "linux"
	SystemFreeBSD  = "freebsd"
	SystemOpenBSD  = "openbsd"
	SystemNetBSD   = "netbsd"
)

// agentWords are words of User-Agents that name a system. The first that occurs decides: a phone's agent names the desktop it
// is like, Android's names Linux, Windows Phone's names them all.
var agentWords = []struct{ word, system string }{
	{"Windows", SystemWindows}, // NT, Phone, Windows-Update-Agent
	{"Win64", SystemWindows},
	{"WinHttp", SystemWindows},
	{"Microsoft-", SystemWindows}, // CryptoAPI, Delivery-Optimization, WNS
	{"Android", SystemAndroid},
	{"iPhone", SystemIOS},
	{"iPad", SystemIOS},
	{"iPod", SystemIOS},
	{"iOS", SystemIOS},
	{"CrOS", SystemChromeOS},
	{"Macintosh", SystemMacOS},
	{"Mac OS X", SystemMacOS},
	{"macOS", SystemMacOS},
	{"Darwin", SystemMacOS}, // of CFNetwork: macOS or iOS
	{"FreeBSD", SystemFreeBSD},
	{"OpenBSD", SystemOpenBSD},
	{"NetBSD", SystemNetBSD},
	{"Linux", SystemLinux},
	{"linux", SystemLinux}, // wget, Python
	{"Ubuntu", SystemLinux},
	{"Debian", SystemLinux}, // APT
	{"Tizen", SystemLinux},
}

// SystemOfAgent is the family of systems that a User-Agent claims, "" where it names none (curl, most libraries). It is a claim:
// crawlers, and privacy settings, name another system than theirs. Below 1 µs.
func SystemOfAgent(agent []byte) string {
	for _, w := range agentWords {
		if bytes.Contains(agent, []byte(w.word)) {
			return w.system
		}
	}
	return ""
}

// SystemOfLabel is the family that a label names, "" for a tool's and for none.
func SystemOfLabel(id uint16) string {
	if info := Label(id); info.Kind == KindSystem {
		return info.Name
	}
	return ""
}
