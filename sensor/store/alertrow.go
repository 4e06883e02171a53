package store

import (
	"weir/sensor/alert"
)

// alertRow is a row of the alert files: one revision. Where nothing is known a text is empty and a number 0.
type alertRow struct {
	Time        int64  `parquet:"time,timestamp(microsecond),delta"`
	ID          string `parquet:"id"`
	Rev         int32  `parquet:"rev"`
	State       string `parquet:"state,dict"`
	Sensor      string `parquet:"sensor,dict"`
	Analyzer    string `parquet:"analyzer,dict"`
	Kind        string `parquet:"kind,dict"`
	Severity    string `parquet:"severity,dict"`
	Score       int32  `parquet:"score,dict"`
	Confidence  int32  `parquet:"confidence,dict"`
	Subject     string `parquet:"subject,dict"` // address, network, AS64500 or country DE, without port
	SubjectPort int32  `parquet:"subject_port,dict"`
	Victim      string `parquet:"victim,dict"`
	VictimPort  int32  `parquet:"victim_port,dict"`
	Count       int64  `parquet:"count"`
	First       int64  `parquet:"first,timestamp(microsecond),delta"`
	Last        int64  `parquet:"last,timestamp(microsecond),delta"`
	Summary     string `parquet:"summary"`
	Incident    string `parquet:"incident,dict"`
	Muted       bool   `parquet:"muted"`
	JSON        string `parquet:"json"` // all of it, as published
}

// fill makes the row of a revision; but for the JSON nothing of a is kept.
func (r *alertRow) fill(a *alert.Alert, line string) {
	*r = alertRow{
		Time: int64(a.Time) / 1000, ID: a.ID, Rev: int32(a.Rev), State: a.State.String(), Sensor: a.Sensor, Analyzer: a.Analyzer, Kind: a.Kind,
		Severity: a.Severity.String(), Score: int32(a.Score), Confidence: int32(a.Confidence), Count: int64(a.Count),
		First: int64(a.First) / 1000, Last: int64(a.Last) / 1000, Summary: a.Summary, Incident: a.Incident, Muted: a.Muted != nil, JSON: line,
	}
	r.Subject, r.SubjectPort = partyColumns(a.Subject)
	r.Victim, r.VictimPort = partyColumns(a.Victim)
}

func partyColumns(p *alert.Party) (text string, port int32) {
	if p == nil {
		return "", 0
	}
	bare := *p
	bare.Port = 0
	return bare.String(), int32(p.Port)
}

// size is about what the row takes in memory.
func (r *alertRow) size() int { return 256 + len(r.Summary) + len(r.JSON) }
