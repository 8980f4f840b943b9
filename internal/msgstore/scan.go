package msgstore

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mqadmin/mqadmin/internal/message"
)

// scanPage is how many pairs are read at a time; between pages the store may
// change and callbacks may call it.
const scanPage = 256

type pair struct{ key, value []byte }

// scan calls fn for each pair with that kind of key, without holding anything
// meanwhile.
func (s *Store) scan(doing string, kind byte, fn func(key, value []byte) (bool, error)) error {
	next := []byte{kind}
	for next != nil {
		var page []pair
		err := s.read(doing, func(db *pebble.DB) error {
			return each(db, next, []byte{kind + 1}, func(key, v []byte) (bool, error) {
				page = append(page, pair{append([]byte(nil), key...), append([]byte(nil), v...)})
				return len(page) < scanPage, nil
			})
		})
		if err != nil {
			return err
		}
		next = nil
		if len(page) == scanPage {
			next = append(append([]byte(nil), page[scanPage-1].key...), 0)
		}
		for _, p := range page {
			more, err := fn(p.key, p.value)
			if err != nil {
				return fmt.Errorf("%s: %w", doing, err)
			}
			if !more {
				return nil
			}
		}
	}
	return nil
}

// Sessions calls fn with each session record in the order of SessionID.Key
// until it returns false. A record that cannot be decoded ends the walk.
func (s *Store) Sessions(fn func(*message.SessionRecord) bool) error {
	return s.scan("reading sessions", keySession, func(_, v []byte) (bool, error) {
		r, err := message.DecodeSessionRecord(v)
		if err != nil {
			return false, err
		}
		return fn(r), nil
	})
}

// Queues calls fn with each session that has a queue or inbound packet ids,
// until it returns false. QueueInfo.First is a lower bound here.
func (s *Store) Queues(fn func(message.SessionID, QueueInfo) bool) error {
	return s.scan("reading queues", keyHeader, func(key, v []byte) (bool, error) {
		sid, err := parseSessionKey(key)
		if err != nil {
			return false, err
		}
		h, err := decodeHeader(v)
		if err != nil {
			return false, err
		}
		return fn(sid, h.info()), nil
	})
}

// AllInbound calls fn with each received QoS 2 PUBLISH that awaits its PUBREL,
// of whichever session, until it returns false.
func (s *Store) AllInbound(fn func(Inbound) bool) error {
	return s.scan("reading inbound packet ids", keyInbound, func(_, v []byte) (bool, error) {
		in, err := decodeInbound(v)
		if err != nil {
			return false, err
		}
		return fn(in), nil
	})
}

// Settled calls fn with each note of Batch.Settle until it returns false.
func (s *Store) Settled(fn func(id message.ID, destination string) bool) error {
	return s.scan("reading settled destinations", keySettled, func(key, _ []byte) (bool, error) {
		id, rest, err := message.DecodeID(key[1:])
		if err != nil {
			return false, ErrCorrupt
		}
		return fn(id, string(rest)), nil
	})
}

// Wills calls fn with each stored will until it returns false.
func (s *Store) Wills(fn func(sid message.SessionID, will []byte) bool) error {
	return s.scan("reading wills", keyWill, func(key, v []byte) (bool, error) {
		sid, err := parseSessionKey(key)
		if err != nil {
			return false, err
		}
		return fn(sid, v), nil
	})
}
