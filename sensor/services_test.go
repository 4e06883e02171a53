package sensor

import (
	"cmp"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"weir/decode/conn"
)

// serviceDiffers are connections of which Zeek says something else, and why.
var serviceDiffers = map[string]string{
	"tcp 192.168.122.230 60648 77.238.160.184 80": "no payload of the server was captured, and a client's word alone is not taken",
	"tcp 10.20.80.1 50343 10.0.0.15 80":           "HTTP/0.9, which has no heads",
}

// TestServicesAsZeek holds what connections opened with against the services that Zeek's parsers found in the same captures, of those
// that are told by openings.
func TestServicesAsZeek(t *testing.T) {
	dir := filepath.Join(corpus(t), "ground-truth")
	compared := 0
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != "conn.log" {
			return err
		}
		theirs := map[string]string{}
		for _, row := range zeekLog(t, path) {
			switch row["id.resp_p"] {
			case "137", "5353", "5355": // names of one link: what is not asked of a server is named by its port
				continue
			}
			for service := range strings.SplitSeq(row["service"], ",") {
				if service != "" && strings.Contains(conn.AllApps.String(), service) {
					theirs[strings.Join([]string{row["proto"], row["id.orig_h"], row["id.orig_p"], row["id.resp_h"], row["id.resp_p"]}, " ")] = service
				}
			}
		}
		if len(theirs) == 0 {
			return nil
		}
		capture, _, _ := strings.Cut(strings.TrimPrefix(path, dir), "/zeek/")
		ours := map[string]string{}
		_, _, _ = replay(t, 2, func(r *conn.Record) { // what is cut is read as far as it goes
			f := strings.Split(string(r.AppendZeek(nil)), "\t")
			name := strings.Join([]string{f[6], f[2], f[3], f[4], f[5]}, " ")
			ours[name] = cmp.Or(ours[name], r.App.String())
		}, filepath.Join(corpus(t), capture))
		for name, want := range theirs {
			compared++
			if ours[name] != want && serviceDiffers[name] == "" {
				t.Errorf("%s: %s: %q, Zeek has %q", strings.TrimPrefix(path, dir), name, ours[name], want)
			}
		}
		return nil
	})
	if err != nil || compared < 30 {
		t.Errorf("%d connections compared, %v", compared, err)
	}
}
