package broker

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mqadmin/mqadmin/internal/file"
	"github.com/mqadmin/mqadmin/internal/message"
)

// metaDir is the part of the data directory that makes a node this node: its
// id lies beside the Raft state, so that whoever wipes the one wipes the other.
const metaDir = "meta"

// identity is who this process is in the cluster.
type identity struct {
	fs          vfs.FS
	dir         string
	node        message.NodeID
	incarnation uint32
}

// openIdentity reads the node id of a data directory, or draws one for a fresh
// directory, and counts this start.
func openIdentity(disk vfs.FS, data string) (*identity, error) {
	id := &identity{fs: disk, dir: filepath.Join(data, metaDir)}
	if err := file.MkdirAll(disk, id.dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the metadata directory: %w", err)
	}
	text, err := file.Read(disk, filepath.Join(id.dir, "node.id"))
	switch {
	case err == nil:
		if id.node, err = message.ParseNodeID(strings.TrimSpace(string(text))); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(id.dir, "node.id"), err)
		}
	case errors.Is(err, fs.ErrNotExist):
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		id.node = message.NodeID(binary.BigEndian.Uint64(b[:]) | 1)
		if err := id.write("node.id", id.node.String()); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("reading the node id: %w", err)
	}
	last := 0
	if text, err := file.Read(disk, filepath.Join(id.dir, "incarnation")); err == nil {
		if last, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
			return nil, fmt.Errorf("%s: want a number: %w", filepath.Join(id.dir, "incarnation"), err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the incarnation: %w", err)
	}
	return id, id.setIncarnation(uint32(last) + 1)
}

func (id *identity) setIncarnation(n uint32) error {
	id.incarnation = n
	return id.write("incarnation", strconv.FormatUint(uint64(n), 10))
}

// write replaces a file of the metadata directory so that a crash leaves the
// old or the new content.
func (id *identity) write(name, text string) error {
	if err := file.Replace(id.fs, filepath.Join(id.dir, name), []byte(text+"\n")); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// messageIDs hands out the ids of accepted messages.
type messageIDs struct {
	node        message.NodeID
	incarnation uint32
	sequence    atomic.Uint64
}

func (m *messageIDs) next() message.ID {
	return message.ID{Origin: m.node, Incarnation: m.incarnation, Sequence: m.sequence.Add(1)}
}
