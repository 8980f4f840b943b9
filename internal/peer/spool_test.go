package peer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
)

// memSpool is a Spool in memory. Appends become readable after a random delay,
// in order, as with a disk.
type memSpool struct {
	mu      sync.Mutex
	rng     *rand.Rand
	waiting []func()
	busy    bool
	frames  []Spooled
	appends int
	fail    error
	t       *testing.T
}

func (s *memSpool) Append(_ message.NodeID, seq uint64, frame []byte, done func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.appends++
	err := s.fail
	s.waiting = append(s.waiting, func() {
		s.mu.Lock()
		if n := len(s.frames); n > 0 && s.frames[n-1].Seq >= seq {
			s.t.Errorf("sequence %d appended after %d", seq, s.frames[n-1].Seq)
		}
		if err == nil {
			s.frames = append(s.frames, Spooled{seq, frame})
		}
		s.mu.Unlock()
		done(err)
	})
	if !s.busy {
		s.busy = true
		time.AfterFunc(s.delay(), s.commit)
	}
}

func (s *memSpool) delay() time.Duration {
	if s.rng == nil {
		return time.Millisecond
	}
	return time.Duration(s.rng.IntN(10000)) * time.Microsecond
}

func (s *memSpool) commit() {
	s.mu.Lock()
	batch := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	for _, fn := range batch {
		fn()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = len(s.waiting) > 0
	if s.busy {
		time.AfterFunc(s.delay(), s.commit)
	}
}

func (s *memSpool) Read(_ message.NodeID, from uint64, limit int) ([]Spooled, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, _ := slices.BinarySearchFunc(s.frames, from, func(f Spooled, n uint64) int {
		if f.Seq < n {
			return -1
		}
		return 1
	})
	rest := s.frames[i:]
	return slices.Clone(rest[:min(limit, len(rest))]), nil
}

func (s *memSpool) Truncate(_ message.NodeID, upTo uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frames = slices.DeleteFunc(s.frames, func(f Spooled) bool { return f.Seq <= upTo })
	return nil
}

func (s *memSpool) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.frames)
}

func TestSpoolDrainsInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFabric()
		spool := &memSpool{t: t}
		one, in := pair(t, f, func(c *Config) { c.Spool = spool })
		out := newOutcomes()
		one.Send(2, publish("live", 1), out.of("live"))
		synctest.Wait()
		if spool.appends != 0 || out.get("live") != "accepted" {
			t.Errorf("a live frame: %d appends, %q", spool.appends, out.get("live"))
		}
		f.cut(true)
		synctest.Wait()
		want := []string{"live"}
		for i := range 1000 {
			name := fmt.Sprint(i)
			want = append(want, name)
			one.Send(2, publish(name, 1), out.of(name))
		}
		pass(time.Second)
		if out.get("0") != "accepted" || out.get("999") != "accepted" || spool.len() != 1000 {
			t.Errorf("spooled: %q, %q, %d frames", out.get("0"), out.get("999"), spool.len())
		}
		if n := one.buffered(2); n != 0 {
			t.Errorf("%d bytes in memory", n)
		}
		f.cut(false)
		for i := range 3000 { // keeps coming while the spool is emptied
			name := fmt.Sprint("more ", i)
			want = append(want, name)
			one.Send(2, publish(name, 2), out.of(name))
			pass(time.Millisecond)
		}
		pass(3 * time.Second)
		if d := cmp.Diff(want, in.topics()); d != "" {
			t.Error(d)
		}
		if spool.len() != 0 {
			t.Errorf("%d frames are left in the spool", spool.len())
		}
		before := spool.appends
		one.Send(2, publish("last", 1), nil)
		synctest.Wait()
		if spool.appends != before {
			t.Error("the link did not go back to live")
		}
	})
}

func TestUnacknowledgedFramesAreSpooled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFabric()
		spool := &memSpool{t: t}
		one, in := pair(t, f, func(c *Config) { c.Spool = spool })
		out := newOutcomes()
		f.freeze()
		for _, n := range []string{"a", "b"} {
			one.Send(2, publish(n, 1), out.of(n))
		}
		one.Send(2, publish("c", 0), out.of("c"))
		pass(3 * time.Second)
		if d := cmp.Diff(map[string]string{"a": "accepted", "b": "accepted"}, out.v); d != "" {
			t.Error(d)
		}
		f.cut(false)
		pass(3 * time.Second)
		if d := cmp.Diff([]string{"a", "b", "c"}, in.topics()); d != "" {
			t.Error(d)
		}
	})
}

func TestSpoolSurvivesRestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFabric()
		spool := &memSpool{t: t}
		one, in := pair(t, f, func(c *Config) { c.Spool = spool })
		one.Send(2, publish("before", 1), nil)
		synctest.Wait()
		f.cut(true)
		synctest.Wait()
		for i := range 5 {
			one.Send(2, publish(fmt.Sprint(i), 1), nil)
		}
		pass(time.Second)
		one.Close()
		f.cut(false)
		again := startPort(t, f, 1, func(c *Config) { c.Identity.Incarnation = 2; c.Spool = spool })
		again.SetMembers([]Member{member(1), member(2)})
		again.Send(2, publish("after", 1), nil)
		pass(3 * time.Second)
		want := []string{"before", "0", "1", "2", "3", "4", "after"}
		if d := cmp.Diff(want, in.topics()); d != "" {
			t.Error(d)
		}
		if spool.len() != 0 {
			t.Errorf("%d frames are left in the spool", spool.len())
		}
	})
}

func TestSpoolThatFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFabric()
		full := errors.New("disk is full")
		spool := &memSpool{t: t, fail: full}
		one, in := pair(t, f, func(c *Config) { c.Spool = spool })
		f.cut(true)
		synctest.Wait()
		var got error
		one.Send(2, publish("lost", 1), func(_ Code, err error) { got = err })
		pass(time.Second)
		if !errors.Is(got, full) {
			t.Errorf("outcome %v", got)
		}
		f.cut(false)
		pass(3 * time.Second)
		out := newOutcomes()
		one.Send(2, publish("a", 1), out.of("a"))
		synctest.Wait()
		if d := cmp.Diff([]string{"a"}, in.topics()); d != "" || out.get("a") != "accepted" {
			t.Errorf("%s %q", d, out.get("a"))
		}
	})
}

func TestRestartWithoutNewIncarnation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFabric()
		one, in := pair(t, f, nil)
		one.Send(2, publish("before", 1), nil)
		synctest.Wait()
		one.Close()
		again := startPort(t, f, 1, nil)
		again.SetMembers([]Member{member(1), member(2)})
		again.Send(2, publish("after", 1), nil)
		pass(3 * time.Second)
		if d := cmp.Diff([]string{"before", "after"}, in.topics()); d != "" {
			t.Error(d)
		}
	})
}

func TestRandomCutsWithSpool(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				spool := &memSpool{t: t, rng: rand.New(rand.NewPCG(uint64(seed), 3))}
				randomCuts(t, uint64(seed), spool)
				if spool.len() != 0 {
					t.Errorf("seed %d: %d frames are left in the spool", seed, spool.len())
				}
			})
		})
	}
}
