package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"weir/sensor/host"
)

// Of the page's token.
const (
	tokenBytes   = 32 // random, of one that is made here
	tokenLeast   = 16 // characters of one that somebody else made
	maxTokenFile = 4 << 10
)

// readToken reads the page's token: the one line of a file that is not for everybody. With makes, a file that is not there is made.
func readToken(file string, makes bool) (string, error) {
	text, err := readSmall(file)
	if makes && errors.Is(err, fs.ErrNotExist) {
		var secret [tokenBytes]byte
		_, _ = rand.Read(secret[:]) // never fails
		token := base64.RawURLEncoding.EncodeToString(secret[:])
		if err := host.WriteFile(file, []byte(token+"\n")); err != nil {
			return "", fmt.Errorf("web: the token cannot be kept: %w", err)
		}
		return token, nil
	}
	if err != nil {
		return "", fmt.Errorf("web: token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if len(token) < tokenLeast || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		mend := "give it one"
		if makes {
			mend = "remove it, and another is made"
		}
		return "", fmt.Errorf("web: %s holds no token (one line of %d or more characters, without spaces): %s", file, tokenLeast, mend)
	}
	return token, nil
}

// readSmall reads a file that others may not read.
func readSmall(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > maxTokenFile:
		return nil, fmt.Errorf("%s is no small file", file)
	case info.Mode().Perm()&0o007 != 0:
		return nil, fmt.Errorf("everybody can read or write %s: chmod 0600 %s", file, file)
	}
	return io.ReadAll(io.LimitReader(f, maxTokenFile)) // of the file that was looked at, whatever has its name now
}
