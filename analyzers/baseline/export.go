package baseline

import (
	"errors"
	"io"
)

// Export writes the series as JSON lines.
func (s *Store) Export(w io.Writer) error { return errors.New("baseline: export is not built yet") }

// Import reads what Export wrote.
func (s *Store) Import(r io.Reader) error { return errors.New("baseline: import is not built yet") }
