package main

import (
	"bufio"
	"errors"
	"io"
	"os"

	"weir/decode/conn"
)

// flowWriter writes connections in one of the two formats. A nil one does nothing.
type flowWriter struct {
	out    *bufio.Writer
	file   io.Closer
	format func(r *conn.Record, b []byte) []byte
	buf    []byte
}

func (c *replayCmd) openFlows(std *streams) (*flowWriter, error) {
	if c.Flows == "" {
		return nil, nil
	}
	w := &flowWriter{out: bufio.NewWriterSize(std.out, 1<<16), format: (*conn.Record).AppendJSON}
	if c.Flows != "-" {
		f, err := os.Create(c.Flows)
		if err != nil {
			return nil, err
		}
		w.out.Reset(f)
		w.file = f
	}
	if c.FlowsFormat == "zeek" {
		w.format = (*conn.Record).AppendZeek
		if _, err := w.out.Write(conn.ZeekHeader()); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *flowWriter) write(r *conn.Record) error {
	w.buf = w.format(r, w.buf[:0])
	_, err := w.out.Write(w.buf)
	return err
}

func (w *flowWriter) close() error {
	if w == nil {
		return nil
	}
	err := w.out.Flush()
	if w.file != nil {
		err = errors.Join(err, w.file.Close())
	}
	return err
}
