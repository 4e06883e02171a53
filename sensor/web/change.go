package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
)

func (s *Server) drops(w http.ResponseWriter, r *http.Request) error {
	list := &DropList{Drops: []Drop{}}
	if s.opt.Drops != nil {
		var err error
		if list, err = s.opt.Drops.List(r.Context()); err != nil {
			return err
		}
	}
	return answer(w, http.StatusOK, list)
}

func (s *Server) add(w http.ResponseWriter, r *http.Request) error {
	var ask Ask
	if err := s.body(w, r, &ask); err != nil {
		return err
	}
	d, err := s.opt.Drops.Add(r.Context(), ask, s.by(r))
	return s.changed(w, http.StatusCreated, d, err)
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request) error {
	id, reason, err := s.named(w, r)
	if err != nil {
		return err
	}
	d, err := s.opt.Drops.Remove(r.Context(), id, reason, s.by(r))
	return s.changed(w, http.StatusOK, d, err)
}

func (s *Server) approve(w http.ResponseWriter, r *http.Request) error {
	id, reason, err := s.named(w, r)
	if err != nil {
		return err
	}
	d, err := s.opt.Drops.Approve(r.Context(), id, reason, s.by(r))
	return s.changed(w, http.StatusOK, d, err)
}

// changed answers with the drop as it is now, and has all readers ask again.
func (s *Server) changed(w http.ResponseWriter, status int, d *Drop, err error) error {
	if err != nil {
		return err
	}
	s.DropsChanged()
	return answer(w, status, d)
}

// named reads which drop, and why.
func (s *Server) named(w http.ResponseWriter, r *http.Request) (id, reason string, err error) {
	var body struct {
		Reason string `json:"reason"`
	}
	if err := s.body(w, r, &body); err != nil {
		return "", "", err
	}
	if id = idOf(r); id == "" {
		return "", "", &Error{Status: http.StatusNotFound, Text: "there is no such drop"}
	}
	return id, body.Reason, nil
}

// body reads the JSON object of a request; none is an empty one.
func (s *Server) body(w http.ResponseWriter, r *http.Request, into any) error {
	if s.opt.Drops == nil {
		return &Error{Status: http.StatusServiceUnavailable, Text: "this process knows of no drops"}
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var long *http.MaxBytesError
	var slow net.Error
	switch {
	case errors.As(err, &long):
		return &Error{Status: http.StatusRequestEntityTooLarge, Text: "the body is longer than 16 KiB"}
	case errors.As(err, &slow) && slow.Timeout():
		w.Header().Set("Connection", "close")
		return &Error{Status: http.StatusRequestTimeout, Text: "the body did not come within 10 s"}
	case err != nil:
		return errGone
	case len(text) == 0:
		return nil
	}
	if err := strict(text, into); err != nil {
		return &Error{Status: http.StatusBadRequest, Text: "the body is not one JSON object of the fields that docs/api.md lists"}
	}
	return nil
}

// strict decodes one JSON value without unknown fields.
func strict(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}
