package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// pages are the page's own files, as they are served.
//
//go:embed page
var pages embed.FS

// types are the files that are served, and as what.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// file is one of the page.
type file struct {
	text []byte
	kind string
	etag string
}

// pageFiles are the files by the path of their URL.
func pageFiles() map[string]*file {
	all := map[string]*file{}
	_ = fs.WalkDir(pages, "page", func(name string, d fs.DirEntry, err error) error { // what is built in can be read
		kind := types[path.Ext(name)]
		if err != nil || d.IsDir() || kind == "" {
			return err
		}
		text, err := pages.ReadFile(name)
		sum := sha256.Sum256(text)
		all["/"+name] = &file{text, kind, `"` + hex.EncodeToString(sum[:8]) + `"`}
		return err
	})
	all["/"] = all["/page/index.html"]
	return all
}

// page serves a file of the page.
func (s *Server) page(w http.ResponseWriter, r *http.Request) error {
	f := s.files[r.URL.Path]
	if f == nil {
		return &Error{Status: http.StatusNotFound, Text: "there is no such page"}
	}
	h := w.Header()
	h.Set("Cache-Control", "no-cache") // ask whether it changed
	h.Set("ETag", f.etag)
	if strings.Contains(r.Header.Get("If-None-Match"), f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", f.kind)
	h.Set("Content-Length", strconv.Itoa(len(f.text)))
	_, err := w.Write(f.text)
	return gone(err)
}
