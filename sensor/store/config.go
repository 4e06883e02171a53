// Package store keeps on disk what a sensor saw: connection records and alerts as Parquet, and the frames that are evidence.
package store

import (
	"errors"
	"time"
	"unsafe"

	"weir/decode/conn"
)

// Config is the section `store` of the configuration.
type Config struct {
	Folder        string        `yaml:"folder"`          // empty: "store" in the state folder
	Flows         bool          `yaml:"flows"`           // keep connection records
	Alerts        bool          `yaml:"alerts"`          // keep alerts beside them
	Rotate        time.Duration `yaml:"rotate"`          // a file is closed, and can be read, after it
	MaxMiB        int           `yaml:"max_mib"`         // of all files of this store; the oldest go first
	FlowsAge      time.Duration `yaml:"flows_age"`       // connection records are kept so long
	AlertsAge     time.Duration `yaml:"alerts_age"`      // alerts
	EvidenceAge   time.Duration `yaml:"evidence_age"`    // evidence
	FreeMiB       int           `yaml:"free_mib"`        // of the disk that are never used
	RowsPerSecond int           `yaml:"rows_per_second"` // connections that are kept at most; more are counted and lost
	Evidence      bool          `yaml:"evidence"`        // keep frames of alerts of medium severity or more
	EvidenceMiB   int           `yaml:"evidence_mib"`    // of recent frames in memory, all workers together
	EvidenceSnap  int           `yaml:"evidence_snap"`   // bytes of a frame that are kept
}

// Defaults keep what an operator looks back for, within 10 GiB.
func Defaults() Config {
	return Config{
		Flows: true, Alerts: true, Rotate: 5 * time.Minute, MaxMiB: 10240, FlowsAge: 90 * 24 * time.Hour, AlertsAge: 365 * 24 * time.Hour,
		EvidenceAge: 7 * 24 * time.Hour, FreeMiB: 1024, RowsPerSecond: 20_000, Evidence: true, EvidenceMiB: 32, EvidenceSnap: 512,
	}
}

// Check tells which setting cannot be.
func (c *Config) Check() error {
	switch {
	case c.Rotate < time.Second || c.Rotate > time.Hour:
		return errors.New("store: rotate must be 1s to 1h")
	case c.MaxMiB < 16:
		return errors.New("store: max_mib must be 16 or more")
	case c.FlowsAge < time.Hour || c.AlertsAge < time.Hour || c.EvidenceAge < time.Hour:
		return errors.New("store: flows_age, alerts_age and evidence_age must be 1h or more")
	case c.FreeMiB < 0:
		return errors.New("store: free_mib must not be negative")
	case c.RowsPerSecond < 1 || c.RowsPerSecond > 1_000_000:
		return errors.New("store: rows_per_second must be 1 to 1000000")
	case c.EvidenceMiB < 1 || c.EvidenceMiB > 4096:
		return errors.New("store: evidence_mib must be 1 to 4096")
	case c.EvidenceSnap < 64 || c.EvidenceSnap > 9216:
		return errors.New("store: evidence_snap must be 64 to 9216")
	}
	return nil
}

// Bytes is the memory that it takes: recent frames at the start, what waits to be written, and the file that is written.
func (c *Config) Bytes() (n int) {
	if c.Evidence {
		n += c.EvidenceMiB << 20
	}
	if c.Flows {
		n += 2*min(c.RowsPerSecond, maxFlowQueue)*int(unsafe.Sizeof(conn.Record{})) + openFile
	}
	return n
}

// openFile is what a file of connections takes while it is written.
const openFile = 10 << 20
