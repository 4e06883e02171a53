package sensor

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"weir/sensor/traffic"
)

// benchPackets is how many packets a benchmark's capture holds.
const benchPackets = 3_000_000

// BenchmarkReplay replays generated captures whole: mapped file to alerts, with one worker and with one a core. It reports
// wall and CPU time and allocations by packet.
func BenchmarkReplay(b *testing.B) {
	dir := b.TempDir()
	for _, kind := range []string{"mix", "synflood", "scan"} {
		path := filepath.Join(dir, kind+".pcap")
		generate(b, path, kind)
		for _, workers := range []int{1, runtime.GOMAXPROCS(0)} {
			b.Run(kind+"/workers="+strconv.Itoa(workers), func(b *testing.B) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				cpu := cpuTime(b)
				for b.Loop() {
					if _, _, err := replay(b, workers, nil, path); err != nil {
						b.Fatal(err)
					}
				}
				runtime.ReadMemStats(&after)
				n := float64(b.N) * benchPackets
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/packet")
				b.ReportMetric((cpuTime(b)-cpu)/n, "cpu-ns/packet")
				b.ReportMetric(n/b.Elapsed().Seconds(), "packets/s")
				b.ReportMetric(float64(after.Mallocs-before.Mallocs)/n, "allocs/packet")
			})
		}
		os.Remove(path)
	}
}

func generate(tb testing.TB, path, kind string) {
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	if err := traffic.Write(f, kind, benchPackets); err != nil {
		tb.Fatal(err)
	}
}

// cpuTime is the process's user and system time, ns (getrusage(2)).
func cpuTime(tb testing.TB) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return float64(u.Utime.Nano() + u.Stime.Nano())
}
