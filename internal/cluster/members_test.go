package cluster

import (
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
)

// A member is away since its link went down or, if that never was up, since it
// was seen: not since this node's own start.
func TestAwaySince(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(1000+s), 0) }
	l := links{since: map[message.NodeID]link{}}
	m := &meta.Member{ID: 2, Up: true, Incarnation: 1}
	check := func(want int, wantAway bool) {
		t.Helper()
		since, away := l.awaySince(m)
		if away != wantAway || away && !since.Equal(at(want)) {
			t.Errorf("away %v since %v, want %v since %v", away, since, wantAway, at(want))
		}
	}
	l.sight([]*meta.Member{m}, at(10)) // it has just been admitted
	l.sight([]*meta.Member{m}, at(11))
	check(10, true)
	l.since[2] = link{up: true, at: at(12)}
	check(0, false)
	l.since[2] = link{at: at(20)}
	l.sight([]*meta.Member{m}, at(21))
	check(20, true)
	m.Up = false // declared down
	l.sight([]*meta.Member{m}, at(30))
	m = &meta.Member{ID: 2, Up: true, Incarnation: 2}
	l.sight([]*meta.Member{m}, at(40)) // back; the link follows
	check(40, true)
}
