package hunt

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Unit says how an amount is told.
type Unit uint8

// Units.
const (
	Count Unit = iota
	Bytes
	ByteRate // bytes a second
	Millis   // milliseconds
	Times    // a factor
	Percent  // of a share
)

// in tells a value in words.
func (u Unit) in(v float64) string {
	switch u {
	case Bytes:
		return scaledBy(v, 1000, []string{" B", " kB", " MB", " GB", " TB", " PB", " EB"})
	case ByteRate:
		return Bytes.in(v) + "/s"
	case Millis:
		return lasting(v)
	case Times:
		return digits(v)
	case Percent:
		return digits(v*100) + " %"
	}
	if v < 10_000_000 {
		return grouped(int64(threeOf(v)))
	}
	return scaledBy(v, 1000, []string{"", " thousand", " million", " thousand million", " million million"})
}

// value undoes the logarithm of a feature's number.
func (k Kind) value(v float32) float64 {
	switch k {
	case Amount:
		return math.Expm1(float64(v))
	case Ratio:
		return math.Exp(float64(v))
	}
	return float64(v)
}

func scaledBy(v, base float64, names []string) string {
	i := 0
	for v >= base-0.5 && i < len(names)-1 {
		v /= base
		i++
	}
	if i == 0 {
		return strconv.FormatFloat(math.Round(v), 'f', 0, 64) + names[0]
	}
	return digits(v) + names[i]
}

// digits is a number in three digits at least where it has them, and none too many.
func digits(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100 || a == 0:
		return grouped(int64(threeOf(min(v, 1e15))))
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 1:
		return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

// threeOf rounds what is above 10,000 to three digits, and the rest to a whole number.
func threeOf(v float64) float64 {
	if v < 10_000 {
		return math.Round(v)
	}
	unit := math.Pow(10, math.Floor(math.Log10(v))-2)
	return math.Round(v/unit) * unit
}

// lasting is a time of so many milliseconds.
func lasting(ms float64) string {
	switch {
	case ms < 1:
		return fmt.Sprintf("%.0f µs", max(ms, 0)*1000)
	case ms < 1000:
		return digits(ms) + " ms"
	case ms < 120_000:
		return digits(ms/1000) + " s"
	case ms < 48*3600_000:
		return time.Duration(ms * float64(time.Millisecond)).Round(time.Second).String()
	}
	return digits(ms/86400_000) + " days"
}

// grouped is a number with a comma at each thousand.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	begin := 0
	if n < 0 {
		begin = 1
	}
	for at := len(s) - 3; at > begin; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}
