package fingerprint

// Family is a family of systems by number, as epochs carry it. New ones are added at the end.
type Family uint8

// Families. FamilyUnix stands for a TCP stack that begins with a hop limit of 64, whichever it is.
const (
	FamilyNone Family = iota
	FamilyWindows
	FamilyMacOS
	FamilyIOS
	FamilyAndroid
	FamilyChromeOS
	FamilyLinux
	FamilyFreeBSD
	FamilyOpenBSD
	FamilyNetBSD
	FamilyUnix
	familyCount
)

var familyNames = [familyCount]string{
	"", SystemWindows, SystemMacOS, SystemIOS, SystemAndroid, SystemChromeOS, SystemLinux, SystemFreeBSD, SystemOpenBSD,
	SystemNetBSD, "unix-like",
}

// String is the family's name, "" where none is known.
func (f Family) String() string {
	if f < familyCount {
		return familyNames[f]
	}
	return ""
}

// FamilyOf is the family of a name as SystemOfAgent gives it.
func FamilyOf(name string) Family {
	for f, n := range familyNames {
		if n == name {
			return Family(f)
		}
	}
	return FamilyNone
}

// FamilyOfTTL is what the hop limit of a SYN tells of its sender's system: Windows begins at 128, the others at 64 (each system's
// documentation; RFC 1340 asked for 64). A path of more than 64 hops does not exist. What begins at 255 or 32 says nothing.
func FamilyOfTTL(ttl uint8) Family {
	switch {
	case ttl > 64 && ttl <= 128:
		return FamilyWindows
	case ttl > 32 && ttl <= 64:
		return FamilyUnix
	}
	return FamilyNone
}

// Agrees tells whether a User-Agent's system may have a stack of family f: what is not known agrees with all.
func (f Family) Agrees(stack Family) bool {
	return f == FamilyNone || stack == FamilyNone || (f == FamilyWindows) == (stack == FamilyWindows)
}
