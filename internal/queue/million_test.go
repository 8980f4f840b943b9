package queue

import (
	"errors"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/msgstore"
)

// messageCount is how long the long queues are; `make soak` makes them a
// million. Few messages are larger, so that all of them would show in memory.
var messageCount = flag.Int("messages", 4000, "length of the long queues")

const (
	// longBytes are in a long queue at least.
	longBytes = 48 << 20
	// flatBytes is what memory may grow by meanwhile: tables that are being
	// written, cache, pages.
	flatBytes = 36 << 20
	// drainBytes is the same while a long queue is emptied, when tables are
	// rewritten as well; it shows with queues that are longer than that.
	drainBytes = 128 << 20
	longPage   = 64
)

// countingStore counts what is read.
type countingStore struct {
	*msgstore.Store
	reads, messages atomic.Int64
}

func (s *countingStore) ReadQueue(id message.SessionID, from uint64, limit int) ([]msgstore.Stored, error) {
	list, err := s.Store.ReadQueue(id, from, limit)
	s.reads.Add(1)
	s.messages.Add(int64(len(list)))
	return list, err
}

func (s *countingStore) Bounds(id message.SessionID) (first, next uint64, n int, err error) {
	s.reads.Add(1)
	return s.Store.Bounds(id)
}

// long is a manager on a real disk.
type long struct {
	*rig
	dir     string
	counts  *countingStore
	payload int
}

func newLong(t *testing.T) *long {
	t.Helper()
	if clustertest.RaceEnabled {
		t.Skip("memory and time are measured without the race detector")
	}
	l := &long{rig: &rig{t: t}, dir: t.TempDir(), payload: max(longBytes / *messageCount, 256)}
	l.start()
	return l
}

func (l *long) start() {
	s, err := msgstore.Open(msgstore.Config{Dir: l.dir, MinFreeBytes: -1, Sync: msgstore.SyncNever, CacheBytes: 8 << 20})
	l.must(err)
	l.registry = metrics.New()
	l.store, l.counts = s, &countingStore{Store: s}
	l.m, err = New(Config{Metrics: l.registry, HeadPage: longPage, Store: l.counts})
	l.must(err)
	l.m.Start()
}

// session makes a session of that name.
func (l *long) session(name string, durable bool, o Options) *Queue {
	l.t.Helper()
	r := OpenRequest{ID: message.SessionID{ClientID: name}, Durable: durable, Options: o}
	if durable {
		r.Expiry = message.NeverExpires
	}
	q, _, err := l.m.Open(r)
	l.must(err)
	return q
}

// publish delivers n messages of QoS 1 and waits for all answers.
func (l *long) publish(q *Queue, n int) (full int) {
	l.t.Helper()
	left := make(chan error, 1024)
	go func() {
		for range n {
			l.seq++
			m := &message.Message{ID: message.ID{Origin: 1, Sequence: l.seq}, Topic: "t", Payload: make([]byte, l.payload), QoS: 1}
			copy(m.Payload, fmt.Sprint(l.seq))
			q.Deliver(Delivery{Message: m, QoS: 1}, func(err error) { left <- err })
		}
	}()
	for range n {
		switch err := <-left; {
		case errors.Is(err, ErrFull):
			full++
		case err != nil:
			l.t.Fatal(err)
		}
	}
	return full
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what finalizers let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// flat fails the test if memory has grown.
func (l *long) flat(t *testing.T, what string, before, limit int64) {
	t.Helper()
	grown := heap() - before
	t.Logf("%s: memory has grown by %.1f MiB", what, float64(grown)/(1<<20))
	if grown > limit {
		t.Errorf("%s: memory has grown by %d MiB", what, grown>>20)
	}
}

// roundTrips measures n messages from delivery to acknowledgement, one at a
// time, and returns the middle.
func (l *long) roundTrips(q *Queue, n int) time.Duration {
	l.t.Helper()
	c := newConsumer()
	a, err := q.Attach(c, unlimited())
	l.must(err)
	took := make([]time.Duration, n)
	for i := range took {
		begin := time.Now()
		l.publish(q, 1)
		l.must(a.Puback(next(a, c).PacketID))
		took[i] = time.Since(begin)
	}
	slices.Sort(took)
	return took[n/2]
}

// inMemory is the number of messages that a queue holds in memory.
func inMemory(q *Queue) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pending.len() + q.win.len()
}

// TestLongOfflineQueue: one offline session with a million messages costs disk,
// not memory; a message for it costs no read, an unrelated session does not
// notice, a start does not load it, and its client gets all of it page by page.
func TestLongOfflineQueue(t *testing.T) {
	l := newLong(t)
	defer func() { l.rig.stop() }()
	n := *messageCount
	other := l.session("other", true, unlimited())
	l.roundTrips(other, 100)
	alone := l.roundTrips(other, 1000)
	before := heap()
	q := l.session("long", true, unlimited())
	begin := time.Now()
	l.publish(q, n)
	t.Logf("%d messages of %d bytes for an offline session: %.0f per second", n, l.payload, float64(n)/time.Since(begin).Seconds())
	l.flat(t, "an offline queue", before, flatBytes)
	if k := inMemory(q); k > 0 {
		t.Errorf("%d messages of an offline queue are in memory", k)
	}
	if r := l.counts.messages.Load(); r > 0 {
		t.Errorf("%d messages were read to write %d", r, n)
	}
	beside := l.roundTrips(other, 1000)
	t.Logf("round trip of an unrelated session: %v alone, %v beside", alone, beside)
	if r := l.counts.messages.Load(); r > 0 {
		t.Errorf("an unrelated session made %d messages be read", r)
	}
	if beside > 10*alone+10*time.Millisecond {
		t.Errorf("an unrelated session waits %v instead of %v", beside, alone)
	}

	l.rig.stop()
	before = heap()
	begin = time.Now()
	l.start()
	t.Logf("start with it: %v", time.Since(begin))
	if r := l.counts.reads.Load(); r > 0 {
		t.Errorf("%d reads of queues at the start", r)
	}
	l.flat(t, "a start", before, flatBytes)
	l.drainLong(t, n)
}

// drainLong lets the client of the long queue take everything.
func (l *long) drainLong(t *testing.T, n int) {
	q := l.m.Get(message.SessionID{ClientID: "long"})
	o := unlimited()
	o.MaxInflight = 20
	c := newConsumer()
	before, begin := heap(), time.Now()
	a, err := q.Attach(c, o)
	l.must(err)
	if r := l.counts.messages.Load(); r > longPage {
		t.Errorf("%d messages were read when its client connected", r)
	}
	first, seen := uint64(0), 0
	for seen < n {
		out := next(a, c)
		if first == 0 {
			first = out.Message.ID.Sequence
		}
		if got := out.Message.ID.Sequence - first; got != uint64(seen) {
			t.Fatalf("message %d comes as number %d", got, seen)
		}
		seen++
		l.must(a.Puback(out.PacketID))
		if seen == n/2 {
			if k := inMemory(q); k > 20+longPage {
				t.Errorf("%d messages are in memory", k)
			}
			l.flat(t, "its client half way", before, drainBytes)
		}
	}
	t.Logf("drained: %.0f per second", float64(n)/time.Since(begin).Seconds())
	if r := l.counts.messages.Load(); r > int64(n)+longPage {
		t.Errorf("%d messages were read to deliver %d", r, n)
	}
}

// TestBurstToSlowSubscriber: a burst of a million messages to a client that
// reads nothing fills the memory up to the configured limits only.
func TestBurstToSlowSubscriber(t *testing.T) {
	for _, c := range []struct {
		name       string
		durable    bool
		online     int
		kept, disk int
	}{
		{"durable, unlimited", true, -1, *messageCount, *messageCount},
		{"durable, 1000", true, 1000, 1020, 1020},
		{"clean, 1000", false, 1000, 1020, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLong(t)
			defer l.rig.stop()
			o := Options{MaxOnline: c.online, MaxOffline: c.online, MaxInflight: 20}
			q := l.session("slow", c.durable, o)
			a, err := q.Attach(newConsumer(), o)
			l.must(err)
			before := heap()
			full := l.publish(q, 20)
			a.Pull(nil, 20) // the window is full, and nothing is acknowledged
			full += l.publish(q, *messageCount-20)
			l.flat(t, "a burst", before, flatBytes)
			limit := longPage
			if !c.durable {
				limit = c.online
			}
			if k := inMemory(q); k > 20+limit {
				t.Errorf("%d messages are in memory", k)
			}
			if want := *messageCount - c.kept; full != want || l.metric("queue_message_drop") != int64(want) {
				t.Errorf("%d were refused and %d counted, want %d", full, l.metric("queue_message_drop"), want)
			}
			if _, _, k, err := l.store.Bounds(q.ID()); err != nil || k != c.disk {
				t.Errorf("%d are on disk (%v), want %d", k, err, c.disk)
			}
		})
	}
}
