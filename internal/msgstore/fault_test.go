package msgstore

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

// faulty is a disk on which operations can be made to fail.
type faulty struct {
	fail atomic.Pointer[func(errorfs.Op) bool]
}

func (f *faulty) wrap(fs vfs.FS) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if p := f.fail.Load(); p != nil && (*p)(op) {
			return fmt.Errorf("%s: %w", op.Path, syscall.ENOSPC)
		}
		return nil
	}))
}

func (f *faulty) set(fn func(errorfs.Op) bool) { f.fail.Store(&fn) }
func (f *faulty) clear()                       { f.fail.Store(nil) }

func isWrite(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsWrite }

// Every way in which a disk fails: batches fail with ErrUnavailable until it
// works again, then go through without a restart, and nothing acknowledged is
// missing.
func TestDiskFailure(t *testing.T) {
	for name, fails := range map[string]func(errorfs.Op) bool{
		"full": isWrite,
		"log write": func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".log")
		},
		"fsync": func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
		},
		"new log":  func(op errorfs.Op) bool { return op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".log") },
		"table":    func(op errorfs.Op) bool { return isWrite(op) && strings.HasSuffix(op.Path, ".sst") },
		"manifest": func(op errorfs.Op) bool { return isWrite(op) && strings.Contains(op.Path, "MANIFEST") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testDiskFailure(t, fails)
		})
	}
}

func testDiskFailure(t *testing.T, fails func(errorfs.Op) bool) {
	var disk faulty
	events := make(chan error, 1000)
	var logged strings.Builder
	c := testConfig(disk.wrap(vfs.NewMem()))
	c.memTable = 64 << 10 // so that every kind of file is written
	c.RetryInterval = 5 * time.Millisecond
	c.OnFailure = func(err error) { events <- err }
	c.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelInfo}))
	c.Metrics = metrics.New()
	s := open(t, c)
	var seq uint64
	put := func() error {
		seq++
		return commitErr(s, func(b *Batch) { b.Enqueue(sid("c"), seq, msg(seq, 500), Entry{QoS: 1}) })
	}
	acked := []uint64{}
	for range 20 {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		acked = append(acked, seq)
	}
	for round := range 3 {
		disk.set(fails)
		for {
			err := put()
			if err == nil {
				acked = append(acked, seq)
				continue
			}
			if !errors.Is(err, ErrUnavailable) {
				t.Fatal(err)
			}
			break
		}
		if err := <-events; !errors.Is(err, ErrUnavailable) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("round %d: OnFailure(%v)", round, err)
		}
		disk.clear()
		for err := range events { // a try that was under way may fail once more
			if err == nil {
				break
			}
		}
		acked = append(acked, recommit(t, s, seq, put)...)
		seq = acked[len(acked)-1]
	}
	checkHas(t, s, acked)
	mustAudit(t, s)
	closeStore(t, s)
	if !strings.Contains(logged.String(), "unavailable") || !strings.Contains(logged.String(), "available again") {
		t.Errorf("log:\n%s", logged.String())
	}
	if s.n.failed.Value() == 0 {
		t.Error("no failed batch was counted")
	}
}

// recommit repeats the batch whose outcome is unknown, as a caller would.
func recommit(t *testing.T, s *Store, seq uint64, put func() error) []uint64 {
	t.Helper()
	again := func() error {
		return commitErr(s, func(b *Batch) { b.Enqueue(sid("c"), seq, msg(seq, 500), Entry{QoS: 1}) })
	}
	if err := again(); err != nil {
		t.Fatalf("after the disk works again: %v", err)
	}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	return []uint64{seq, seq + 1}
}

func checkHas(t *testing.T, s *Store, acked []uint64) {
	t.Helper()
	have := map[uint64]bool{}
	for _, q := range seqs(t, s, sid("c")) {
		have[q] = true
	}
	for _, q := range acked {
		if !have[q] {
			t.Errorf("acknowledged %d is missing", q)
		}
	}
}

// While the disk is away, callers get an error and are not kept waiting, reads
// say so, and Close still works.
func TestUnavailable(t *testing.T) {
	var disk faulty
	down := make(chan error, 10)
	c := testConfig(disk.wrap(vfs.NewMem()))
	c.RetryInterval = time.Hour
	c.OnFailure = func(err error) { down <- err }
	c.Metrics = metrics.New()
	s := open(t, c)
	gauge := func() int64 {
		for _, m := range c.Metrics.Samples() {
			if m.Name == "message_store_unavailable" {
				return m.Value
			}
		}
		return -1
	}
	if gauge() != 0 {
		t.Error("the gauge starts at 1")
	}
	disk.set(isWrite)
	for range 3 {
		if err := commitErr(s, func(b *Batch) { b.PutMeta("k", []byte("v")) }); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%v", err)
		}
	}
	<-down
	if gauge() != 1 || !errors.Is(s.Err(), ErrUnavailable) {
		t.Errorf("gauge %d, %v", gauge(), s.Err())
	}
	if _, err := s.ReadQueue(sid("c"), 0, 1); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v", err)
	}
	closeStore(t, s)
}

// spaceFS tells how much disk is free.
type spaceFS struct {
	vfs.FS
	free atomic.Uint64
}

func (f *spaceFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: f.free.Load()}, nil
}

// Before the disk is full, what adds data is refused and what deletes goes
// through.
func TestLowSpace(t *testing.T) {
	fs := &spaceFS{FS: vfs.NewMem()}
	fs.free.Store(1 << 40)
	changed := make(chan error, 10)
	c := testConfig(fs)
	c.OnFailure = func(err error) { changed <- err }
	s := open(t, c)
	put := func() error { return commitErr(s, func(b *Batch) { b.Enqueue(sid("c"), 1, msg(1, 0), Entry{}) }) }
	if err := put(); err != nil {
		t.Fatal(err)
	}
	fs.free.Store(1 << 20)
	if err := <-changed; !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if err := put(); !errors.Is(err, ErrUnavailable) || !errors.Is(s.Err(), ErrUnavailable) {
		t.Errorf("%v", err)
	}
	commit(t, s, func(b *Batch) { b.Dequeue(sid("c"), 1) })
	fs.free.Store(1 << 40)
	if err := <-changed; err != nil {
		t.Errorf("%v", err)
	}
	if err := put(); err != nil {
		t.Error(err)
	}
	if s.n.refused.Value() != 1 {
		t.Errorf("%d refused", s.n.refused.Value())
	}
	closeStore(t, s)
}

// slowFS holds fsyncs of the log back until it is let go.
type slowFS struct {
	vfs.FS
	hold atomic.Bool
	gate chan struct{}
}

func (f *slowFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return slowFile{file, f}, err
}

type slowFile struct {
	vfs.File
	f *slowFS
}

func (f slowFile) wait() {
	if f.f.hold.Load() {
		<-f.f.gate
	}
}
func (f slowFile) SyncData() error { f.wait(); return f.File.SyncData() }
func (f slowFile) Sync() error     { f.wait(); return f.File.Sync() }

var _ io.Writer = slowFile{}

// What waits while one fsync runs goes into one group; callbacks come in order;
// a callback may commit although the line is full, without a deadlock.
func TestGroupCommit(t *testing.T) {
	fs := &slowFS{FS: vfs.NewMem(), gate: make(chan struct{})}
	c := testConfig(fs)
	c.PendingBytes = 150 * opCost
	s := open(t, c)
	commit(t, s, func(b *Batch) { b.PutMeta("k", nil) })
	before := s.n.groups.Value()
	fs.hold.Store(true)
	var order []int
	extra := make(chan error, 100)
	for i := range 100 {
		b := s.NewBatch()
		b.PutInbound(sid("c"), uint16(i+1), Inbound{})
		s.Commit(b, func(error) {
			order = append(order, i)
			b := s.NewBatch() // 100 more than fit beside those that wait
			for j := range 100 {
				b.DeleteInbound(sid("c"), uint16(j+1))
			}
			s.Commit(b, func(err error) { extra <- err })
		})
	}
	fs.hold.Store(false)
	close(fs.gate)
	for range 100 {
		if err := <-extra; err != nil {
			t.Error(err)
		}
	}
	for i, v := range order {
		if i != v {
			t.Fatalf("callbacks came as %v", order)
		}
	}
	// The first commit took what there was, the second all the rest.
	if n := s.n.groups.Value() - before; n > 2+100 {
		t.Errorf("%d groups", n)
	}
	closeStore(t, s)
}

// Commit waits while too much is on its way, and counts that.
func TestBackPressure(t *testing.T) {
	fs := &slowFS{FS: vfs.NewMem(), gate: make(chan struct{})}
	c := testConfig(fs)
	c.PendingBytes = 10 * opCost
	s := open(t, c)
	fs.hold.Store(true)
	through := make(chan int)
	go func() {
		for i := range 20 {
			b := s.NewBatch()
			b.PutMeta("k", nil)
			s.Commit(b, nil)
			through <- i
		}
		close(through)
	}()
	for range 10 {
		<-through
	}
	select {
	case i := <-through:
		t.Errorf("batch %d did not wait", i)
	case <-time.After(20 * time.Millisecond): // nothing comes: nothing to await
	}
	fs.hold.Store(false)
	close(fs.gate)
	for range through {
	}
	closeStore(t, s)
	if s.n.blocked.Value() == 0 {
		t.Error("waiting was not counted")
	}
}
