package msgstore

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mqadmin/mqadmin/internal/message"
)

var (
	update = flag.Bool("update", false, "rewrite the golden files")
	seeds  = flag.Uint64("seeds", 150, "crashes to try")
)

func testConfig(fs vfs.FS) Config {
	return Config{Dir: "store", FS: fs, Logger: slog.New(slog.DiscardHandler)}
}

func open(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openMem(t testing.TB) *Store {
	t.Helper()
	s := open(t, testConfig(vfs.NewMem()))
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// commit fills a batch, commits it and waits.
func commit(t testing.TB, s *Store, fill func(b *Batch)) {
	t.Helper()
	if err := commitErr(s, fill); err != nil {
		t.Fatal(err)
	}
}

func commitErr(s *Store, fill func(b *Batch)) error {
	b := s.NewBatch()
	fill(b)
	done := make(chan error, 1)
	s.Commit(b, func(err error) { done <- err })
	return <-done
}

func sid(name string) message.SessionID { return message.SessionID{ClientID: name} }

// msg returns a message whose body has about n bytes.
func msg(seq uint64, n int) *message.Message {
	m := &message.Message{ID: message.ID{Origin: 1, Incarnation: 1, Sequence: seq}, Topic: "t", QoS: 1}
	if n > 0 {
		m.Payload = make([]byte, n)
		for i := range m.Payload { // incompressible enough
			m.Payload[i] = byte(uint64(i)*2654435761>>7 ^ seq*31 ^ uint64(i)>>3)
		}
	}
	return m
}

func seqs(t testing.TB, s *Store, id message.SessionID) []uint64 {
	t.Helper()
	all, err := s.ReadQueue(id, 0, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	out := []uint64{}
	for _, st := range all {
		out = append(out, st.Seq)
	}
	return out
}

// audit checks the store record by record: references and queues agree,
// bodies have references, headers count what is there.
func audit(s *Store) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.in == nil {
		return errors.New("no instance")
	}
	return auditDB(s.in.db)
}

func auditDB(db *pebble.DB) error {
	type place struct {
		id message.ID
		qs queueSeq
	}
	bodies := map[message.ID]int{}
	refs := map[place]bool{}
	counts := map[uint64]header{}
	first := map[uint64]uint64{}
	headers := map[uint64]header{}
	purge := map[uint64]bool{}
	err := each(db, []byte{0}, []byte{0xff}, func(key, v []byte) (bool, error) {
		switch key[0] {
		case keyMessage:
			m, err := message.Decode(v)
			if err != nil {
				return false, err
			}
			bodies[m.ID] = 0
		case keyQueue:
			r, err := decodeRecord(v)
			if err != nil {
				return false, err
			}
			queue := keySeq(key[:9])
			if _, ok := first[queue]; !ok {
				first[queue] = keySeq(key)
			}
			h := counts[queue]
			h.count++
			h.bytes += uint64(r.size)
			counts[queue] = h
			if r.shared {
				refs[place{r.id, queueSeq{queue, keySeq(key)}}] = true
			}
		case keyHeader:
			h, err := decodeHeader(v)
			if err != nil {
				return false, err
			}
			headers[h.queue] = h
		case keyPurge:
			purge[keySeq(key)] = true
		case keyRef:
			id, rest, err := message.DecodeID(key[1:])
			if err != nil || len(rest) != 16 {
				return false, fmt.Errorf("reference key %x", key)
			}
			p := place{id, queueSeq{keySeq(rest[:8]), keySeq(rest)}}
			if !refs[p] {
				return false, fmt.Errorf("reference %v has no queue record", p)
			}
			if _, ok := bodies[id]; !ok {
				return false, fmt.Errorf("reference %v has no message", p)
			}
			bodies[id]++
			delete(refs, p)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	if len(refs) != 0 {
		return fmt.Errorf("queue records without references: %v", refs)
	}
	for id, n := range bodies {
		if n == 0 {
			return fmt.Errorf("message %v has no reference", id)
		}
	}
	for q, h := range headers {
		c := counts[q]
		if h.count != c.count || h.bytes != c.bytes || c.count > 0 && first[q] < h.head {
			return fmt.Errorf("queue %d: header %+v, found %+v from %d", q, h, c, first[q])
		}
	}
	for q := range counts {
		if _, ok := headers[q]; !ok && !purge[q] {
			return fmt.Errorf("queue %d belongs to nobody", q)
		}
	}
	return nil
}

func mustAudit(t testing.TB, s *Store) {
	t.Helper()
	if err := audit(s); err != nil {
		t.Error(err)
	}
}

// waitPurged waits until no deleted queue is left, by committing batches: the
// committer purges between them.
func waitPurged(t testing.TB, s *Store) {
	t.Helper()
	for {
		commit(t, s, func(b *Batch) { b.PutMeta("tick", []byte{1}) })
		left := false
		err := s.scan("test", keyPurge, func([]byte, []byte) (bool, error) {
			left = true
			return false, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if !left {
			return
		}
	}
}

func equal[T comparable](t testing.TB, got []T, want ...T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
