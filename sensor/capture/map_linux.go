package capture

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Mapped pages count as resident memory. Those more than keepMapped behind the cursor are given back every releaseStep.
const (
	releaseStep = 2 << 20  // bytes
	keepMapped  = 16 << 20 // bytes: what 20 blocks in flight hold of full Ethernet frames
)

// mapFile maps the first size bytes of a file.
func mapFile(file *os.File, size int64) ([]byte, error) {
	return unix.Mmap(int(file.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE)
}

func unmap(window []byte) error { return unix.Munmap(window) }

// release gives the pages behind the cursor back to the kernel. Errors only cost memory.
func (f *File) release() {
	to := (f.pos - keepMapped) &^ (releaseStep - 1)
	if to <= f.released {
		return
	}
	_ = unix.Madvise(f.window[f.released:to], unix.MADV_DONTNEED)
	f.released = to
}

// within reports whether an address lies in the mapping.
func within(window []byte, addr uintptr) bool {
	start := uintptr(unsafe.Pointer(unsafe.SliceData(window)))
	return addr >= start && addr-start < uintptr(len(window))
}
