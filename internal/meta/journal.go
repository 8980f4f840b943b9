package meta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/mqadmin/mqadmin/internal/file"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

// The overlay journal is a file of the magic and a format byte, then frames:
// length and CRC-32C, four bytes each, big endian, and an encoded Command.
const (
	journalMagic  = "MQOVLY"
	journalFormat = 1
	journalHeader = len(journalMagic) + 1
	frameHeader   = 8
	// maxFrame bounds one command, as maxRecord does in a snapshot.
	maxFrame = 257 << 20
)

var (
	errJournal     = errors.New("overlay journal has an unknown format")
	errJournalLost = errors.New("overlay journal could not be written before; see the log for the cause and restart the node")
)

// journal keeps on disk what was answered without quorum until a quorum has
// it.
type journal struct {
	fs   vfs.FS
	path string
	file vfs.File
	size int64
}

// openJournal opens or makes the journal and returns the commands in it. A
// torn frame at the end was never answered and is cut off.
func openJournal(fs vfs.FS, path string) (*journal, []*metapb.Command, error) {
	b, err := file.Read(fs, path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("opening overlay journal: %w", err)
	}
	commands, good, err := decodeJournal(b)
	if err != nil {
		return nil, nil, fmt.Errorf("opening overlay journal: %w", err)
	}
	j := &journal{fs: fs, path: path}
	if good == 0 {
		b, good = append([]byte(journalMagic), journalFormat), journalHeader
	}
	return j, commands, j.rewrite(b[:good])
}

// decodeJournal reads the file's bytes and says how many are good.
func decodeJournal(b []byte) (commands []*metapb.Command, good int, err error) {
	header := append([]byte(journalMagic), journalFormat)
	if len(b) < len(header) && bytes.HasPrefix(header, b) {
		return nil, 0, nil // torn before the first frame
	}
	if !bytes.HasPrefix(b, header) {
		return nil, 0, errJournal
	}
	good = len(header)
	for {
		rest := b[good:]
		if len(rest) < frameHeader {
			return commands, good, nil
		}
		n := binary.BigEndian.Uint32(rest)
		if n > maxFrame || uint64(len(rest)-frameHeader) < uint64(n) {
			return commands, good, nil
		}
		body := rest[frameHeader : frameHeader+int(n)]
		if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(rest[4:]) {
			return commands, good, nil
		}
		c, err := decodeCommand(body)
		if err != nil {
			return nil, 0, err
		}
		commands = append(commands, c)
		good += frameHeader + int(n)
	}
}

// append writes commands and syncs them.
func (j *journal) append(commands []*metapb.Command) error {
	var out []byte
	for _, c := range commands {
		b, err := proto.Marshal(c)
		if err != nil {
			return fmt.Errorf("writing overlay journal: %w", err)
		}
		out = binary.BigEndian.AppendUint32(out, uint32(len(b)))
		out = binary.BigEndian.AppendUint32(out, crc32.Checksum(b, castagnoli))
		out = append(out, b...)
	}
	if len(out) == 0 {
		return nil
	}
	if j.file == nil {
		return errJournalLost
	}
	if _, err := j.file.WriteAt(out, j.size); err != nil {
		return fmt.Errorf("writing overlay journal: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("writing overlay journal: %w", err)
	}
	j.size += int64(len(out))
	return nil
}

// clear forgets all commands.
func (j *journal) clear() error {
	if j.size == int64(journalHeader) {
		return nil
	}
	return j.rewrite(append([]byte(journalMagic), journalFormat))
}

// rewrite replaces the whole content.
func (j *journal) rewrite(content []byte) (err error) {
	if j.file != nil {
		err = j.file.Close()
		j.file = nil
	}
	if err == nil {
		err = file.Replace(j.fs, j.path, content)
	}
	if err == nil {
		j.file, err = j.fs.OpenReadWrite(j.path, vfs.WriteCategoryUnspecified)
	}
	if err != nil {
		return fmt.Errorf("cutting overlay journal: %w", err)
	}
	j.size = int64(len(content))
	return nil
}

func (j *journal) close() error {
	if j.file == nil { // a rewrite failed
		return nil
	}
	return j.file.Close()
}

// reviveJournal makes ops of a former process's journal. Its connections are
// gone: each session that it registered is released behind that.
func reviveJournal(commands []*metapb.Command, wall int64) []*op {
	var out []*op
	registered := map[[2]string]*metapb.Command{}
	var order [][2]string
	for _, c := range commands {
		if r := c.GetRegister(); r != nil {
			k := [2]string{r.GetMountpoint(), r.GetClient()}
			if registered[k] == nil {
				order = append(order, k)
			}
			registered[k] = c
		}
		out = append(out, &op{cmd: c, overlay: true, journalled: true})
	}
	for _, k := range order {
		c := registered[k]
		r := c.GetRegister()
		out = append(out, &op{overlay: true, journalled: true, cmd: &metapb.Command{
			Origin: c.GetOrigin(), Stamp: c.GetStamp() + 1, Wall: wall, Overlay: true,
			Op: &metapb.Command_Release{Release: &metapb.Release{
				Mountpoint: k[0], Client: k[1], Epoch: &metapb.Epoch{Index: overlayIndex(c.GetStamp())},
				Durable: r.GetDurable(), Expiry: r.GetExpiry(), At: wall,
			}},
		}})
	}
	return out
}
