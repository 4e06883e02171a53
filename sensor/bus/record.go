package bus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// record is a message in the outbox.
//
// In a segment file it is, all little-endian: magic (4 bytes), length of the body (4), CRC-32C of length and body (4), and
// the body: number (8), boot (8), sequence (8), length of the subject (2), length of the id (2), subject, id, payload. The
// magic holds bytes that no UTF-8 text has, so that a reader can find the next record behind a damaged one.
type record struct {
	number   uint64 // in the queue, counted from 1 for as long as the outbox lives
	boot     uint64 // of the process that emitted it
	sequence uint64 // of that boot
	subject  string
	id       string
	payload  []byte
}

const (
	recordMagic  = 0x01_FE_57_FF // ff 'W' fe 01
	recordHead   = 12
	recordFields = 3*8 + 2*2
	maxRecord    = 16 << 20 // body bytes; NATS itself takes 64 MiB at most and 1 MiB by default
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (r *record) size() int {
	return recordHead + recordFields + len(r.subject) + len(r.id) + len(r.payload)
}

// append adds the record's bytes to b.
func (r *record) append(b []byte) []byte {
	at := len(b)
	le := binary.LittleEndian
	b = le.AppendUint32(b, recordMagic)
	b = le.AppendUint32(b, uint32(r.size()-recordHead))
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, r.number)
	b = le.AppendUint64(b, r.boot)
	b = le.AppendUint64(b, r.sequence)
	b = le.AppendUint16(b, uint16(len(r.subject)))
	b = le.AppendUint16(b, uint16(len(r.id)))
	b = append(b, r.subject...)
	b = append(b, r.id...)
	b = append(b, r.payload...)
	le.PutUint32(b[at+8:], checksum(b[at:]))
	return b
}

// checksum of a whole record.
func checksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[4:8], castagnoli), castagnoli, b[recordHead:])
}

var (
	errShort   = errors.New("record is cut short")
	errDamaged = errors.New("record is damaged")
)

// parseRecord reads the record at the begin of b and tells its size. The payload is a part of b. It returns errShort where
// b could be the begin of a record.
func parseRecord(b []byte) (record, int, error) {
	le := binary.LittleEndian
	if len(b) < recordHead {
		return record{}, 0, errShort
	}
	n := le.Uint32(b[4:])
	if le.Uint32(b) != recordMagic || n < recordFields || n > maxRecord {
		return record{}, 0, errDamaged
	}
	if uint64(len(b)) < recordHead+uint64(n) {
		return record{}, 0, errShort
	}
	b = b[:recordHead+n]
	if le.Uint32(b[8:]) != checksum(b) {
		return record{}, 0, errDamaged
	}
	body := b[recordHead:]
	subject, id := int(le.Uint16(body[24:])), int(le.Uint16(body[26:]))
	text := body[recordFields:]
	if subject+id > len(text) {
		return record{}, 0, errDamaged
	}
	return record{
		number: le.Uint64(body), boot: le.Uint64(body[8:]), sequence: le.Uint64(body[16:]),
		subject: string(text[:subject]), id: string(text[subject : subject+id]), payload: text[subject+id:],
	}, len(b), nil
}

// nextRecord finds the first readable record of b at or behind offset at; its place is end-size. ok is false if there is none,
// and end is then where the readable part ended.
func nextRecord(b []byte, at int) (r record, begin, end int, ok bool) {
	magic := binary.LittleEndian.AppendUint32(nil, recordMagic)
	for from := at; ; {
		i := bytes.Index(b[from:], magic)
		if i < 0 {
			return record{}, at, at, false
		}
		begin = from + i
		if r, n, err := parseRecord(b[begin:]); err == nil {
			return r, begin, begin + n, true
		}
		from = begin + 1
	}
}
