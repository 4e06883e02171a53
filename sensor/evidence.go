package sensor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"

	"weir/decode"
	"weir/sensor/alert"
	"weir/sensor/capture"
)

// evidencePass is how many alerts one pass over the input serves: a file and 64 KiB of buffer each.
const evidencePass = 256

// Evidence writes one pcapng per alert of medium severity or more into dir, named after the alert's id, with the packets
// that belong to it. It reads the input again, from open, once for every 256 alerts. alerts are all revisions of a run;
// those with evidence get its file and hash.
func Evidence(ctx context.Context, open func() capture.Source, alerts []*alert.Alert, dir string) error {
	last := map[string]*alert.Alert{}
	var ids []string
	for _, a := range alerts {
		if a.Severity >= alert.Medium || last[a.ID] != nil {
			if last[a.ID] == nil {
				ids = append(ids, a.ID)
			}
			last[a.ID] = a
		}
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	found := map[string]*alert.Evidence{}
	for len(ids) > 0 {
		n := min(evidencePass, len(ids))
		var files []*evidenceFile
		for _, id := range ids[:n] {
			files = append(files, &evidenceFile{id: id, path: filepath.Join(dir, id+".pcapng"), pick: alert.NewSelector(last[id])})
		}
		if err := writeEvidence(ctx, open(), files, found); err != nil {
			return err
		}
		ids = ids[n:]
	}
	for _, a := range alerts {
		a.Evidence = found[a.ID]
	}
	return nil
}

// evidenceFile is the evidence of one alert while it is written: under a temporary name, until it is whole.
type evidenceFile struct {
	id, path string
	pick     *alert.Selector
	file     *os.File
	sum      hash.Hash
	out      *capture.Writer
}

func writeEvidence(ctx context.Context, src capture.Source, files []*evidenceFile, found map[string]*alert.Evidence) error {
	err := copyEvidence(ctx, src, files)
	for _, f := range files {
		if f.file == nil {
			continue
		}
		if e := f.close(err == nil); e != nil {
			err = errors.Join(err, e)
			continue
		}
		found[f.id] = &alert.Evidence{File: f.path, SHA256: hex.EncodeToString(f.sum.Sum(nil))}
	}
	return errors.Join(err, src.Close())
}

// copyEvidence walks the input once. An input that ends with an error has told so in the run before.
func copyEvidence(ctx context.Context, src capture.Source, files []*evidenceFile) error {
	decoder := decode.NewDecoder(0)
	var block capture.Block
	var p decode.Packet
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := src.Next(&block)
		for i := range block.Frames {
			decoder.Decode(&block.Frames[i], &p)
			for _, f := range files {
				if f.pick.Take(&p) {
					if err := f.write(&block.Frames[i]); err != nil {
						return err
					}
				}
			}
		}
		if err != nil {
			return nil
		}
	}
}

func (f *evidenceFile) write(frame *decode.Frame) (err error) {
	if f.file == nil {
		if f.file, err = os.OpenFile(f.path+".part", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640); err != nil {
			return err
		}
		f.sum = sha256.New()
		f.out = capture.NewWriter(io.MultiWriter(f.file, f.sum), frame.Link)
	}
	return f.out.Write(frame)
}

func (f *evidenceFile) close(whole bool) error {
	err := errors.Join(f.out.Flush(), f.file.Close())
	if err != nil || !whole {
		return errors.Join(err, os.Remove(f.file.Name()))
	}
	return os.Rename(f.file.Name(), f.path)
}
