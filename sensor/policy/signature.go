package policy

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"weir/sensor/alert"
)

// signatureFields are the conditions that a gate knows, with the form of their values (see analyzers.ExtractSignature).
var signatureFields = map[string]func(v string) bool{
	"protocol": func(v string) bool {
		return v == "icmp" || v == "tcp" || v == "udp" || v == "icmpv6" || decimalTo(v, 255)
	},
	"src_port":    func(v string) bool { return decimalTo(v, 65535) },
	"dst_port":    func(v string) bool { return decimalTo(v, 65535) },
	"length":      func(v string) bool { return decimalTo(v, 65575) }, // an IPv6 header and its payload
	"ttl_min":     func(v string) bool { return decimalTo(v, 255) },
	"ttl_max":     func(v string) bool { return decimalTo(v, 255) },
	"tcp_window":  func(v string) bool { return decimalTo(v, 65535) },
	"tcp_flags":   flagsValue,
	"tcp_options": func(v string) bool { return len(v) == 8 && hexValue(v) },
	"payload":     func(v string) bool { return len(v) <= 16 && hexValue(v) },
}

func decimalTo(v string, most uint64) bool {
	n, err := strconv.ParseUint(v, 10, 32)
	return err == nil && n <= most && v == strconv.FormatUint(n, 10)
}

func hexValue(v string) bool {
	b, err := hex.DecodeString(v)
	return err == nil && len(b) > 0 && v == strings.ToLower(v)
}

var flagNames = []string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ae"}

func flagsValue(v string) bool {
	if v == "none" {
		return true
	}
	for f := range strings.SplitSeq(v, ",") {
		if !slices.Contains(flagNames, f) {
			return false
		}
	}
	return true
}

// checkSignature tells what is wrong with the form of a signature.
func checkSignature(s *alert.Signature) error {
	if len(s.Fields) == 0 || len(s.Fields) > maxFields {
		return fmt.Errorf("a signature has 1 to %d fields, not %d", maxFields, len(s.Fields))
	}
	values := map[string]string{}
	for _, f := range s.Fields {
		valid, known := signatureFields[f.Name]
		_, twice := values[f.Name]
		switch {
		case !known:
			return fmt.Errorf("signature: unknown field %q", clip(f.Name, maxName))
		case twice:
			return fmt.Errorf("signature: field %s twice", f.Name)
		case !valid(f.Value):
			return fmt.Errorf("signature: %q is no value of %s", clip(f.Value, maxName), f.Name)
		}
		values[f.Name] = f.Value
	}
	low, _ := strconv.Atoi(values["ttl_min"])
	high, err := strconv.Atoi(values["ttl_max"])
	if err == nil && low > high {
		return fmt.Errorf("signature: ttl_min %d is above ttl_max %d", low, high)
	}
	for _, share := range []float64{s.Attack, s.Normal} {
		if math.IsNaN(share) || share < 0 || share > 1 {
			return fmt.Errorf("signature: a share of %v", share)
		}
	}
	if s.NAttack < 0 || s.NNormal < 0 {
		return errors.New("signature: a negative sample")
	}
	return nil
}
