package meta

import (
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

// setRetained makes the message the retained one of its topic; with absent
// only where there is none.
func (s *state) setRetained(c *metapb.Command, record []byte, absent bool) result {
	m, err := message.Decode(record)
	if err != nil {
		return result{err: err}
	}
	key, st := routeKey(m.Mountpoint, m.Topic), stampOf(c)
	old, ok := s.retained.Get(key)
	switch {
	case absent && ok:
		return result{existed: []bool{true}}
	case s.merging(c) && (ok && !st.After(old.Stamp) || s.buried(tombRetained, key, st)):
		return result{existed: []bool{ok}}
	case ok:
		st = s.settled(c, old.Stamp)
	}
	s.retained.Set(key, &Retained{Message: m, Stamp: st})
	s.emit(RetainedChanged{Mountpoint: m.Mountpoint, Topic: m.Topic, Message: m})
	return result{existed: []bool{ok}}
}

func (s *state) deleteRetained(c *metapb.Command, r *metapb.DeleteRetained) result {
	key, st := routeKey(r.GetMountpoint(), r.GetTopic()), stampOf(c)
	old, ok := s.retained.Get(key)
	if ok && s.merging(c) && old.Stamp.After(st) {
		return result{existed: []bool{true}}
	}
	if at := r.GetExpiredAt(); at != 0 && (!ok || !old.Message.Expired(at)) {
		return result{existed: []bool{false}} // replaced meanwhile
	}
	if ok {
		st = s.settled(c, old.Stamp)
		s.retained.Delete(key)
		s.emit(RetainedChanged{Mountpoint: r.GetMountpoint(), Topic: r.GetTopic()})
	}
	s.bury(tombRetained, key, st)
	return result{existed: []bool{ok}}
}

// tombsBefore reports whether there is a tombstone that trimTombstones(index)
// would forget. It looks at a few: the rest follows soon.
func (s *state) tombsBefore(index uint64) bool {
	found, looked := false, 0
	s.tombs.Scan(func(_ string, t tombstone) bool {
		found = t.index <= index
		looked++
		return !found && looked < 1000
	})
	return found
}
