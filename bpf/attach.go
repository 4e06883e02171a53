//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// layoutVersion names the meaning of the tables. Whoever changes it detaches what earlier versions pinned: change it with
// every struct, map or meaning of a field in gate.bpf.c.
const layoutVersion = "v1"

// Names of the programs in the kernel.
const (
	progXDP = gateProgWeirXdp
	progTCX = gateProgWeirTcx
)

// Places of pins: the system's bpffs, and one of our own where there is none.
const (
	systemPins = "/sys/fs/bpf"
	ownPins    = "/run/weir/bpf"
)

const pinnedLink = "link"

func (g *Gate) open() error {
	dev, err := net.InterfaceByName(g.cfg.Interface)
	if err != nil {
		return fmt.Errorf("%s: %w", g.cfg.Interface, err)
	}
	g.status.Index = dev.Index
	if err := g.claim(); err != nil {
		return err
	}
	_ = rlimit.RemoveMemlock() // needed before Linux 5.11 only, where loading then says so
	if g.cfg.Survive {
		if g.status.Pinned, err = pinFolder(g.cfg.Pins, g.cfg.Interface); err != nil {
			g.warn("what is in force ends with this process (survive: false): %v", err)
		}
	} else if unpinAll(g.cfg.Pins, g.cfg.Interface) {
		g.warn("the gate that an earlier run left pinned is detached, its drops are gone (survive: false)")
	}
	if err := g.prepare(); err != nil {
		return err
	}
	return g.attach()
}

// prepare makes all but the link.
func (g *Gate) prepare() error {
	if err := g.load(); err != nil {
		return err
	}
	if err := g.wire(); err != nil {
		return err
	}
	g.slots.begin()
	g.slots.end()
	if !g.status.Adopted {
		if err := errors.Join(g.SetNever(nil), g.setSignatures(nil)); err != nil {
			return err
		}
	}
	if _, err := g.resync(); err != nil {
		return err
	}
	g.configure()
	return nil
}

// claim makes this the one process with a gate at the interface: an abstract socket's name is unique within the network namespace,
// and free when its process ends, whatever its end.
func (g *Gate) claim() error {
	l, err := net.Listen("unix", "@weir.gate."+g.cfg.Interface)
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("%s: another process has a gate open at this interface; end that one first", g.cfg.Interface)
	}
	if err != nil {
		g.warn("%s: whether another process has a gate open is unknown: %v", g.cfg.Interface, err)
		return nil
	}
	g.claimed = l
	return nil
}

func (g *Gate) warn(format string, args ...any) {
	g.status.Warnings = append(g.status.Warnings, fmt.Sprintf(format, args...))
}

// load creates the maps, or takes over pinned ones of the same layout and sizes, and loads the program.
func (g *Gate) load() error {
	spec, err := loadGate()
	if err != nil {
		return err
	}
	c := &g.cfg
	for name, n := range map[string]int{
		gateMapHosts4: c.Hosts4, gateMapHosts6: c.Hosts6, gateMapNets4: c.Prefixes, gateMapNets6: c.Prefixes,
		gateMapServices: c.Services, gateMapPeers: c.Peers,
		gateMapHit: 1 + c.Hosts4 + c.Hosts6 + 2*c.Prefixes + c.Services + 2*MaxSignatures,
	} {
		spec.Maps[name].MaxEntries = uint32(n)
	}
	g.inner = map[string]*ebpf.MapSpec{}
	for _, name := range []string{gateMapNever4, gateMapNever6, gateMapSignedBy} {
		g.inner[name] = spec.Maps[name].InnerMap
	}
	opts := &ebpf.CollectionOptions{}
	if dir := g.status.Pinned; dir != "" {
		dropOtherVersions(dir)
		_, err := os.Stat(filepath.Join(dir, pinnedLink))
		g.status.Adopted = err == nil
		if !g.status.Adopted {
			unpin(dir) // remains of a start that did not come to its end
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("pins: %w", err)
		}
		for _, m := range spec.Maps {
			m.Pinning = ebpf.PinByName
		}
		opts.Maps.PinPath = dir
	}
	err = g.assign(spec, opts)
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		g.warn("the tables of an earlier run have another layout or other sizes: detached, and begun anew")
		g.status.Adopted = false
		unpin(g.status.Pinned)
		if err := os.MkdirAll(g.status.Pinned, 0o700); err != nil {
			return fmt.Errorf("pins: %w", err)
		}
		err = g.assign(spec, opts)
	}
	return explain("loading the gate", err)
}

func (g *Gate) assign(spec *ebpf.CollectionSpec, opts *ebpf.CollectionOptions) error {
	if g.cfg.Mode == ModeTCX {
		var o struct {
			Prog *ebpf.Program `ebpf:"weir_tcx"`
			gateMaps
		}
		err := spec.LoadAndAssign(&o, opts)
		g.prog, g.maps = o.Prog, o.gateMaps
		return err
	}
	var o struct {
		Prog *ebpf.Program `ebpf:"weir_xdp"`
		gateMaps
	}
	err := spec.LoadAndAssign(&o, opts)
	g.prog, g.maps = o.Prog, o.gateMaps
	return err
}

// attach puts the program at the interface: into the pinned link if that still serves, else by a new one.
func (g *Gate) attach() error {
	if g.status.Adopted {
		if l := g.adopt(); l != nil {
			g.link = l
			g.look()
			return nil
		}
	}
	return g.attachNew()
}

// adopt replaces the program of the pinned link. It returns nil, and leaves nothing pinned, if the link is of another
// interface or mode, or the kernel will not.
func (g *Gate) adopt() link.Link {
	path := filepath.Join(g.status.Pinned, pinnedLink)
	l, err := link.LoadPinnedLink(path, nil)
	if err != nil {
		_ = os.Remove(path)
		return nil
	}
	index, mode := place(l)
	if index == g.status.Index && mode == g.cfg.Mode && l.Update(g.prog) == nil {
		return l
	}
	_ = l.Detach()
	_ = l.Close()
	_ = os.Remove(path)
	return nil
}

// place is where a link sits: interface 0 if that is gone.
func place(l link.Link) (index int, mode Mode) {
	info, err := l.Info()
	if err != nil {
		return 0, ""
	}
	if x := info.XDP(); x != nil {
		return int(x.Ifindex), ModeXDP
	}
	if x := info.TCX(); x != nil {
		return int(x.Ifindex), ModeTCX
	}
	return 0, ""
}

func (g *Gate) attachNew() error {
	var err error
	if g.cfg.Mode == ModeTCX {
		g.link, err = link.AttachTCX(link.TCXOptions{
			Interface: g.status.Index, Program: g.prog, Attach: ebpf.AttachTCXIngress, Anchor: link.Head(),
		})
		err = explain(g.cfg.Interface+": attaching the gate (tcx)", err)
	} else {
		err = g.attachXDP()
	}
	if err != nil || g.status.Pinned == "" {
		return err
	}
	if err := g.link.Pin(filepath.Join(g.status.Pinned, pinnedLink)); err != nil {
		unpin(g.status.Pinned)
		g.status.Pinned = ""
		g.warn("what is in force ends with this process (survive: false): %v", err)
	}
	return nil
}

// attachXDP tries the driver, then the kernel's generic mode.
func (g *Gate) attachXDP() error {
	if err := foreign(g.cfg.Interface, g.status.Index); err != nil {
		return err
	}
	opts := link.XDPOptions{Interface: g.status.Index, Program: g.prog, Flags: link.XDPDriverMode}
	l, err := link.AttachXDP(opts)
	if err != nil && !busy(err) && !errors.Is(err, os.ErrPermission) {
		driver := err
		opts.Flags = link.XDPGenericMode
		if l, err = link.AttachXDP(opts); err == nil {
			g.status.Generic = true
			g.warn("%s: XDP in generic mode, which is slower: the driver refused with %v", g.cfg.Interface, driver)
		}
	}
	if busy(err) {
		if err := foreign(g.cfg.Interface, g.status.Index); err != nil {
			return err
		}
		return &ForeignError{Interface: g.cfg.Interface}
	}
	g.link = l
	return explain(g.cfg.Interface+": attaching the gate (XDP)", err)
}

// busy is how the kernel says that another program is there: EEXIST across modes, and os.ErrExist is not EBUSY.
func busy(err error) bool { return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) }

// foreign names the XDP program at an interface, if there is one.
func foreign(name string, index int) error {
	dev, err := netlink.LinkByIndex(index)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	xdp := dev.Attrs().Xdp
	if xdp == nil || !xdp.Attached {
		return nil
	}
	return &ForeignError{Interface: name, ID: xdp.ProgId, Program: programName(ebpf.ProgramID(xdp.ProgId))}
}

// look notes in which mode an adopted link works.
func (g *Gate) look() {
	dev, err := netlink.LinkByIndex(g.status.Index)
	if err != nil || dev.Attrs().Xdp == nil {
		return
	}
	const skb = 2 // XDP_ATTACHED_SKB, linux/if_link.h
	if g.status.Generic = g.cfg.Mode == ModeXDP && dev.Attrs().Xdp.AttachMode == skb; g.status.Generic {
		g.warn("%s: XDP in generic mode, which is slower", g.cfg.Interface)
	}
}

// Attached reports whether the program still judges the frames of the interface. It does not once the interface was deleted,
// or somebody detached the gate by force.
func (g *Gate) Attached() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.attached()
}

func (g *Gate) attached() bool {
	if g.link == nil {
		return false
	}
	index, _ := place(g.link)
	dev, err := net.InterfaceByName(g.cfg.Interface)
	return err == nil && index != 0 && index == dev.Index
}

// Reattach attaches the gate, its tables as they are, to the interface that now has the name, unless it sits there already.
func (g *Gate) Reattach() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.attached() {
		return nil
	}
	dev, err := net.InterfaceByName(g.cfg.Interface)
	if err != nil {
		return fmt.Errorf("%s: %w", g.cfg.Interface, err)
	}
	if g.link != nil {
		_ = g.link.Detach()
		_ = g.link.Close()
		g.link = nil
	}
	if g.status.Pinned != "" {
		_ = os.Remove(filepath.Join(g.status.Pinned, pinnedLink))
	}
	g.status.Index, g.status.Generic = dev.Index, false
	return g.attachNew()
}

// Repin pins anew what somebody unpinned behind this process' back, and reports whether there was any: without its pins a gate ends
// with its process.
func (g *Gate) Repin() (anew bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.status.Pinned == "" || g.link == nil {
		return false, nil
	}
	all := map[string]pinnable{pinnedLink: g.link}
	for name, m := range g.maps.named() {
		all[name] = m
	}
	for name, one := range all {
		path := filepath.Join(g.status.Pinned, name)
		if _, missing := os.Lstat(path); !errors.Is(missing, fs.ErrNotExist) {
			continue
		}
		anew = true
		err = errors.Join(err, os.MkdirAll(g.status.Pinned, 0o700), one.Unpin(), one.Pin(path))
	}
	if err != nil {
		err = fmt.Errorf("%s: pinning the gate anew: %w", g.cfg.Interface, err)
	}
	return anew, err
}

// pinnable is a link or a map.
type pinnable interface {
	Pin(path string) error
	Unpin() error
}

// named are the maps by the names of their pins.
func (m *gateMaps) named() map[string]*ebpf.Map {
	return map[string]*ebpf.Map{
		gateMapBits4: m.Bits4, gateMapBits6: m.Bits6, gateMapControl: m.Control, gateMapHit: m.Hit, gateMapHosts4: m.Hosts4,
		gateMapHosts6: m.Hosts6, gateMapNets4: m.Nets4, gateMapNets6: m.Nets6, gateMapNever4: m.Never4, gateMapNever6: m.Never6,
		gateMapPeers: m.Peers, gateMapSamples: m.Samples, gateMapServices: m.Services, gateMapSignedBy: m.SignedBy, gateMapTotals: m.Totals,
	}
}

// Detach takes every gate off an interface and removes what is pinned for it, whoever put it there and whether or not that
// process lives. It returns how many gates there were. Needs CAP_NET_ADMIN and CAP_SYS_ADMIN.
func Detach(iface, pins string) (int, error) {
	dev, missing := net.InterfaceByName(iface)
	index := 0
	if missing == nil {
		index = dev.Index
	}
	n, err := detachLinks(index)
	unpinAll(pins, iface)
	if err == nil && missing != nil {
		return n, fmt.Errorf("%s: %w; what was pinned for it is gone", iface, missing)
	}
	return n, err
}

// detachLinks detaches our programs from an interface. Indices repeat between network namespaces, and a link does not name its
// own: only programs that the interface here says it has are meant.
func detachLinks(index int) (n int, err error) {
	if index == 0 {
		return 0, nil
	}
	here := map[ebpf.ProgramID]bool{}
	if dev, err := netlink.LinkByIndex(index); err == nil && dev.Attrs().Xdp != nil {
		here[ebpf.ProgramID(dev.Attrs().Xdp.ProgId)] = true
	}
	if q, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: ebpf.AttachTCXIngress}); err == nil {
		for _, p := range q.Programs {
			here[p.ID] = true
		}
	}
	var it link.Iterator
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if at, _ := place(it.Link); err != nil || at != index || !here[info.Program] || !isGate(programName(info.Program)) {
			continue
		}
		if e := it.Link.Detach(); e != nil {
			return n, fmt.Errorf("detaching: %w", e)
		}
		n++
	}
	return n, explain("finding the gates", it.Err())
}

func isGate(program string) bool { return program == progXDP || program == progTCX }

// programName is "" if we may not ask.
func programName(id ebpf.ProgramID) string {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return ""
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return ""
	}
	return info.Name
}

// pinFolder makes the folder for an interface's pins in a bpffs: the one asked for, the system's, or one that it mounts.
func pinFolder(asked, iface string) (string, error) {
	roots := []string{asked}
	if asked == "" {
		roots = []string{systemPins, ownPins}
	}
	var err error
	for _, root := range roots {
		dir := filepath.Join(root, "weir", layoutVersion, pinName(iface))
		if err = bpffs(root, root == ownPins || asked != ""); err == nil {
			if err = os.MkdirAll(dir, 0o700); err == nil {
				return dir, nil
			}
		}
	}
	return "", err
}

// bpffs makes sure that a folder is in a bpffs.
func bpffs(root string, mount bool) error {
	if isBPF(root) {
		return nil
	}
	if !mount {
		return fmt.Errorf("%s is no bpffs", root)
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("bpf", root, "bpf", 0, "mode=0700"); err != nil {
		return &UnsupportedError{"mounting a bpffs at " + root, "CAP_SYS_ADMIN", err}
	}
	return nil
}

func isBPF(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && s.Type == unix.BPF_FS_MAGIC
}

// pinName is an interface's folder: a bpffs allows no dots in names, and network namespaces may share one.
func pinName(iface string) string {
	return strings.ReplaceAll(iface, ".", "%") + "@" + namespaceName()
}

// namespaceName tells the thread's network namespace from all others since the kernel started (Linux 5.14; SO_NETNS_COOKIE). Its
// inode does not: the kernel gives the number of one that is gone to the next, which then took over the gate of a dead stranger.
func namespaceName() string {
	if fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
		defer unix.Close(fd)
		if cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err == nil {
			return strconv.FormatUint(cookie, 10)
		}
	}
	var s unix.Stat_t
	if unix.Stat("/proc/thread-self/ns/net", &s) != nil {
		return ""
	}
	return fmt.Sprintf("i%d", s.Ino)
}

// unpinAll removes all pins of an interface, of every version and place, and tells whether there were any.
func unpinAll(asked, iface string) (found bool) {
	for _, root := range []string{asked, systemPins, ownPins} {
		if root == "" || !isBPF(root) {
			continue
		}
		dirs, _ := filepath.Glob(filepath.Join(root, "weir", "*", pinName(iface)))
		for _, dir := range dirs {
			unpin(dir)
			found = true
		}
	}
	return found
}

// unpin detaches and removes all that is pinned in a folder, and the folder.
func unpin(dir string) {
	path := filepath.Join(dir, pinnedLink)
	if l, err := link.LoadPinnedLink(path, nil); err == nil {
		_ = l.Detach() // fails if the interface is gone
		_ = l.Close()
	}
	_ = os.RemoveAll(dir)
}

// dropOtherVersions takes away the gates that other versions of this program left at the interface of a folder.
func dropOtherVersions(dir string) {
	versions := filepath.Dir(filepath.Dir(dir))
	_ = filepath.WalkDir(versions, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != dir && filepath.Base(path) == filepath.Base(dir) {
			unpin(path)
			return fs.SkipDir
		}
		return nil
	})
}
