package main

import "weir/sensor"

// evidenceMetrics are those of the evidence of alerts. docs/metrics.md has the same list, and a test compares them.
var evidenceMetrics = []family[*sensor.CollectStats]{
	counter("store_evidence_files_total", "Files of evidence that were written.", "", func(s *sensor.CollectStats, put put) { put.count(s.Files) }),
	counter("store_evidence_bytes_total", "Bytes of the files of evidence that were written.", "", func(s *sensor.CollectStats, put put) { put.count(s.Bytes) }),
	counter("store_evidence_missed_total", "Alerts without evidence, by reason.", "reason", func(s *sensor.CollectStats, put put) {
		put.count(s.Skipped, "crowd")
		put.count(s.Empty, "gone")
		put.count(s.Failed, "disk")
	}),
	counter("store_evidence_lost_frames_total", "Frames that were not kept for evidence: all memory was being read.", "", func(s *sensor.CollectStats, put put) { put.count(s.Lost) }),
}
