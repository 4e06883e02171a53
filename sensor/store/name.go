package store

import (
	"path"
	"regexp"
	"strings"
	"time"
)

// Kind is what a file of the store holds.
type Kind uint8

// Kinds. Evidence is written by others, and kept here.
const (
	Flows Kind = iota
	Alerts
	Evidence
	KindCount
)

var kindNames = [KindCount]string{"flows", "alerts", "evidence"}

// String is the name of the kind, and of its folder.
func (k Kind) String() string { return kindNames[k] }

// Names of the files and folders that the store makes. Only what matches is ever removed.
//
//	flows/date=2026-11-21/hour=21/weir-20261121T213000.000000Z.parquet    connections that ended in that hour (UTC, event time)
//	alerts/date=2026-11-21/weir-20261121T213000.000000Z.parquet           revisions of alerts of that day
//	…/.tmp-weir-20261121T213500.000000Z                                   being written
//	evidence/….pcapng, evidence/.tmp-…                                    frames of alerts
var (
	fileName     = regexp.MustCompile(`^(flows/date=\d{4}-\d\d-\d\d/hour=\d\d|alerts/date=\d{4}-\d\d-\d\d)/weir-(\d{8}T\d{6}\.\d{6}Z)\.parquet$`)
	tempName     = regexp.MustCompile(`^((flows/date=\d{4}-\d\d-\d\d/hour=\d\d|alerts/date=\d{4}-\d\d-\d\d)/\.tmp-weir-\d{8}T\d{6}\.\d{6}Z|evidence/\.tmp-[^/]+)$`)
	evidenceName = regexp.MustCompile(`^evidence/[^/.][^/]*\.pcapng$`)
	folderName   = regexp.MustCompile(`^(flows|alerts)/date=\d{4}-\d\d-\d\d(/hour=\d\d)?$`)
)

const (
	stamp      = "20060102T150405.000000Z"
	dateFolder = "date=2006-01-02"
	hourFolder = "hour=15"
	fileSuffix = ".parquet"
	filePrefix = "weir-"
	tempPrefix = ".tmp-"
)

// folderOf is where rows of a kind and a time in unix µs belong, below the store's folder.
func folderOf(k Kind, us int64) string {
	t := time.UnixMicro(us).UTC()
	if k == Flows {
		return path.Join(k.String(), t.Format(dateFolder), t.Format(hourFolder))
	}
	return path.Join(k.String(), t.Format(dateFolder))
}

// spanOf are the bounds of the times of such a folder, in unix µs.
func spanOf(k Kind, us int64) (from, to int64) {
	d := 24 * time.Hour
	if k == Flows {
		d = time.Hour
	}
	t := time.UnixMicro(us).UTC().Truncate(d)
	return t.UnixMicro(), t.Add(d).UnixMicro()
}

// nameAt names a file that is begun at a time.
func nameAt(now time.Time) string { return filePrefix + now.UTC().Format(stamp) }

// begunAt is when a file of the store was begun, by its path; false for what is none.
func begunAt(name string) (time.Time, bool) {
	m := fileName.FindStringSubmatch(name)
	if m == nil {
		return time.Time{}, false
	}
	t, err := time.Parse(stamp, m[2])
	return t, err == nil
}

// kindOf is the kind of a path in the store.
func kindOf(name string) (Kind, bool) {
	first, _, _ := strings.Cut(name, "/")
	for k, s := range kindNames {
		if s == first {
			return Kind(k), true
		}
	}
	return 0, false
}

// hourOf is the hour that a folder of flows holds, by its path: "flows/date=2026-11-21/hour=21".
func hourOf(folder string) (time.Time, bool) {
	t, err := time.Parse(path.Join(Flows.String(), dateFolder, hourFolder), folder)
	return t, err == nil
}
