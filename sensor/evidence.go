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
	"runtime/debug"
	"slices"

	"weir/decode"
	"weir/sensor/alert"
	"weir/sensor/capture"
)

// evidencePass is how many alerts one pass over the input serves: an open file and a few KiB each.
const evidencePass = 256

// Evidence writes one pcapng per alert of medium severity or more into dir, which it makes if need be, named after the
// alert's id, with the packets that belong to it and that keep (nil: any) lets pass. It reads the input again, from open,
// once for every 256 alerts. alerts are all revisions of a run; those with evidence get its file and hash. A file appears
// when it is whole. What an input has before its error is evidence, too; the error is returned.
func Evidence(ctx context.Context, open func() capture.Source, keep func(*decode.Packet) bool, alerts []*alert.Alert, dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	found := map[string]*alert.Evidence{}
	var errs []error
	for some := range slices.Chunk(worthEvidence(alerts), evidencePass) {
		pass := evidence{decoder: decode.NewDecoder(0), keep: keep}
		for _, a := range some {
			pass.files = append(pass.files, &evidenceFile{id: a.ID, path: filepath.Join(dir, a.ID+".pcapng"), pick: alert.NewSelector(a)})
		}
		src := open()
		errs = append(errs, pass.run(ctx, src, found), src.Close())
		if pass.failed {
			break
		}
	}
	for _, a := range alerts {
		a.Evidence = found[a.ID]
	}
	return errors.Join(errs...)
}

// worthEvidence returns the last revision of each alert that was of medium severity or more, in the order of opening.
func worthEvidence(alerts []*alert.Alert) []*alert.Alert {
	var worth []*alert.Alert
	at := map[string]int{}
	for _, a := range alerts {
		i, known := at[a.ID]
		switch {
		case known:
			worth[i] = a
		case a.Severity >= alert.Medium:
			at[a.ID] = len(worth)
			worth = append(worth, a)
		}
	}
	return worth
}

// evidence is one pass over the input.
type evidence struct {
	decoder *decode.Decoder
	keep    func(*decode.Packet) bool
	packet  decode.Packet
	files   []*evidenceFile
	failed  bool // to write, or called off: no file of this pass stays
}

// evidenceFile is the evidence of one alert while it is written: under a temporary name, until it is whole.
type evidenceFile struct {
	id, path string
	pick     *alert.Selector
	file     *os.File
	sum      hash.Hash
	out      *capture.Writer
}

// run walks the input once and adds what it found.
func (e *evidence) run(ctx context.Context, src capture.Source, found map[string]*alert.Evidence) error {
	err := e.walk(ctx, src)
	for _, f := range e.files {
		if f.file == nil {
			continue
		}
		if bad := f.close(!e.failed); bad != nil {
			err = errors.Join(err, bad)
			e.failed = true
		} else if !e.failed {
			found[f.id] = &alert.Evidence{File: f.path, SHA256: hex.EncodeToString(f.sum.Sum(nil))}
		}
	}
	return err
}

// walk takes the input's frames to the files, until it ends or every file is full.
func (e *evidence) walk(ctx context.Context, src capture.Source) error {
	var block capture.Block
	full := func(f *evidenceFile) bool { return f.pick.Full() }
	for open := slices.Clone(e.files); len(open) > 0; open = slices.DeleteFunc(open, full) {
		if err := ctx.Err(); err != nil {
			e.failed = true
			return err
		}
		end := src.Next(&block)
		err := e.take(src, block.Frames, open)
		if err != nil {
			return err
		}
		if errors.Is(end, io.EOF) {
			return nil
		}
		if end != nil {
			return end
		}
	}
	return nil
}

// take deals out a block. A mapped file that somebody truncates meanwhile ends here with an error, as in worker.outside.
func (e *evidence) take(src capture.Source, frames []decode.Frame, files []*evidenceFile) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			if err = fault(src, v); err == nil {
				panic(v)
			}
		}
	}()
	p := &e.packet
	for i := range frames {
		e.decoder.Decode(&frames[i], p)
		if e.keep != nil && !e.keep(p) {
			continue
		}
		for _, f := range files {
			if !f.pick.Take(p) {
				continue
			}
			if err := f.write(&frames[i]); err != nil {
				e.failed = true
				return err
			}
		}
	}
	return nil
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

// close gives a whole file its name, and removes any other.
func (f *evidenceFile) close(whole bool) error {
	err := errors.Join(f.out.Flush(), f.file.Close())
	if !whole {
		return os.Remove(f.file.Name())
	}
	if err == nil {
		err = os.Rename(f.file.Name(), f.path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.file.Name()))
	}
	return err
}
