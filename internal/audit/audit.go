// Package audit writes down who did what to the cluster, one line of JSON per
// call, in a file that is rotated, and reads it again.
package audit

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/mqadmin/mqadmin/internal/logging"
)

// Entry is one call.
type Entry struct {
	Time time.Time `json:"time"` // when it ended
	Node string    `json:"node"` // that wrote the entry
	// Caller is a uid, certificate, API key or node; For, whom a node acted for.
	Caller string `json:"caller"`
	For    string `json:"for,omitempty"`
	// Remote is the caller's address, if it came over the network.
	Remote string `json:"remote,omitempty"`
	Method string `json:"method"`
	// Arguments are the request as JSON, without secrets.
	Arguments string `json:"arguments,omitempty"`
	// Target is the member that was to answer, if it was another one.
	Target string        `json:"target,omitempty"`
	Code   string        `json:"code"`
	Error  string        `json:"error,omitempty"`
	Took   time.Duration `json:"took_ns"`
}

// Log is the file.
type Log struct{ file logging.Rotating }

// Open opens the file, or makes it.
func Open(f logging.File) (*Log, error) {
	file, err := logging.OpenFile(f)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return &Log{file}, nil
}

// Add writes one entry.
func (l *Log) Add(e Entry) error {
	e.Time = e.Time.UTC()
	b, err := json.Marshal(e)
	if err == nil {
		_, err = l.file.Write(append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("writing the audit log: %w", err)
	}
	return nil
}

// Reopen opens the file at its path again, after somebody has renamed it.
func (l *Log) Reopen() error { return l.file.Reopen() }

// Close closes the file.
func (l *Log) Close() error { return l.file.Close() }

// Query chooses entries; zero fields choose all.
type Query struct {
	Limit int
	Since time.Time
	// Caller is a part of Entry.Caller or Entry.For, Method of Entry.Method.
	Caller, Method string
	Failed         bool
}

func (q Query) match(e Entry) bool {
	return !e.Time.Before(q.Since) &&
		(strings.Contains(e.Caller, q.Caller) || e.For != "" && strings.Contains(e.For, q.Caller)) &&
		strings.Contains(e.Method, q.Method) && (!q.Failed || e.Code != "OK")
}

// Read returns the newest q.Limit entries that pass, oldest first. Lines that
// cannot be read, such as the last one of a process that was killed, are left
// out.
func (l *Log) Read(q Query) ([]Entry, error) {
	var out []Entry
	for _, name := range l.file.Files() {
		if len(out) >= q.Limit {
			break
		}
		older, err := read(name, q, q.Limit-len(out))
		if errors.Is(err, fs.ErrNotExist) {
			continue // rotated away in this moment
		}
		if err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		out = append(older, out...)
	}
	return out, nil
}

// maxLine bounds a line: arguments are cut long before.
const maxLine = 1 << 20

// read returns the last entries of one file that pass.
func read(name string, q Query, limit int) ([]Entry, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, err
		}
		r = z
	}
	var ring []Entry
	next := 0
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e Entry
		if json.Unmarshal(bytes.TrimSpace(lines.Bytes()), &e) != nil || !q.match(e) {
			continue
		}
		if len(ring) < limit {
			ring = append(ring, e)
			continue
		}
		ring[next] = e
		next = (next + 1) % limit
	}
	return append(ring[next:], ring[:next]...), lines.Err()
}
