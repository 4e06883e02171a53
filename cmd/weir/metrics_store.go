package main

import (
	"weir/sensor/store"
)

// storeMetrics are those of what a sensor keeps on disk. docs/metrics.md has the same list, and a test compares them.
var storeMetrics = []family[*store.Stats]{
	counter("store_rows_total", "Connections and revisions of alerts in files that are finished.", "kind", func(s *store.Stats, put put) {
		for k := range store.Evidence {
			put.count(s.Kinds[k].Rows, k.String())
		}
	}),
	counter("store_lost_rows_total", "Connections and revisions of alerts that were not kept, by cause.", "kind cause", func(s *store.Stats, put put) {
		for k := range store.Evidence {
			for c := range store.CauseCount {
				put.count(s.Kinds[k].Lost[c], k.String(), c.String())
			}
		}
	}),
	gauge("store_waiting_rows", "Connections and revisions of alerts that wait to be written.", "", func(s *store.Stats, put put) { put(float64(s.Backlog)) }),
	counter("store_written_files_total", "Files that were finished.", "kind", func(s *store.Stats, put put) {
		for k := range store.Evidence {
			put.count(s.Kinds[k].Finished, k.String())
		}
	}),
	counter("store_written_bytes_total", "Bytes of the files that were finished.", "kind", func(s *store.Stats, put put) {
		for k := range store.Evidence {
			put.count(s.Kinds[k].Written, k.String())
		}
	}),
	counter("store_removed_files_total", "Files that were removed, by reason.", "kind reason", func(s *store.Stats, put put) {
		for k := range store.KindCount {
			for r := range store.ReasonCount {
				put.count(s.Kinds[k].Removed[r], k.String(), r.String())
			}
		}
	}),
	gauge("store_files", "Files that there are.", "kind", func(s *store.Stats, put put) {
		for k := range store.KindCount {
			put.count(s.Kinds[k].Files, k.String())
		}
	}),
	gauge("store_bytes", "Bytes of the files that there are.", "kind", func(s *store.Stats, put put) {
		for k := range store.KindCount {
			put.count(s.Kinds[k].Bytes, k.String())
		}
	}),
	gauge("store_limit_bytes", "Bytes that all files together may have (store.max_mib).", "", func(s *store.Stats, put put) { put.count(s.Limit) }),
	gauge("store_free_bytes", "Bytes that are free on the disk of the store.", "", func(s *store.Stats, put put) { put.count(s.Free) }),
	gauge("store_paused", "1 while nothing is written: the disk is full, or fails.", "", func(s *store.Stats, put put) { put.flag(s.Paused) }),
	counter("store_errors_total", "Operations on the disk that failed.", "", func(s *store.Stats, put put) { put.count(s.Errors) }),
}

// storeLosses are the rows that were not kept.
func storeLosses(s *store.Stats) (all []loss) {
	for k := range store.Evidence {
		sum := uint64(0)
		for _, n := range s.Kinds[k].Lost {
			sum += n
		}
		all = append(all, loss{"store", k.String(), sum})
	}
	return all
}
