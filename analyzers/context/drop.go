package context

import (
	"encoding/json"
	"fmt"
	"net/netip"
)

// spamhaus is a line of https://www.spamhaus.org/drop/drop_v4.json: a prefix, or the metadata at the end.
type spamhaus struct {
	CIDR string `json:"cidr"`
	Type string `json:"type"` // "metadata" on the last line
}

func parseDROP(line string) (p netip.Prefix, ok bool, err error) {
	var s spamhaus
	if err := json.Unmarshal([]byte(line), &s); err != nil {
		return p, false, fmt.Errorf("no JSON object: %w", err)
	}
	if s.CIDR == "" && s.Type == "metadata" {
		return p, false, nil
	}
	if s.CIDR == "" {
		return p, false, errNoPrefix
	}
	p, err = ParsePrefix(s.CIDR)
	return p, err == nil, err
}
