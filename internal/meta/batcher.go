package meta

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// chunk is what one source handed to the leader at once.
type chunk struct {
	commands [][]byte
	// fail is told once that some of the commands may not be in the log.
	fail func(error)
}

// batcher makes log entries of what all sources hand in, greedily: what comes
// while entries are being written goes into the next one.
type batcher struct {
	raft *raft.Raft
	// followers reports whether anyone but the leader waits for commits.
	followers func() bool
	took      *latencies

	mu    sync.Mutex
	queue []chunk
	kick  chan struct{}
	slots chan struct{}
}

func newBatcher(r *raft.Raft, followers func() bool, took *latencies) *batcher {
	return &batcher{raft: r, followers: followers, took: took, kick: make(chan struct{}, 1), slots: make(chan struct{}, maxInFlight)}
}

// submit queues a chunk; chunks of one source keep their order.
func (b *batcher) submit(c chunk) {
	b.mu.Lock()
	b.queue = append(b.queue, c)
	b.mu.Unlock()
	signal(b.kick)
}

// cut takes the next entry's worth from the queue.
func (b *batcher) cut() (commands [][]byte, sources []func(error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	bytes := 0
	for len(b.queue) > 0 {
		c := &b.queue[0]
		took := 0
		for _, cmd := range c.commands {
			if len(commands) == maxBatchCommands || len(commands) > 0 && bytes+len(cmd) > maxBatchBytes {
				break
			}
			commands, bytes, took = append(commands, cmd), bytes+len(cmd), took+1
		}
		if took > 0 {
			sources = append(sources, c.fail)
		}
		if c.commands = c.commands[took:]; len(c.commands) > 0 {
			break
		}
		b.queue = b.queue[1:]
	}
	return commands, sources
}

// entry is a log entry on its way.
type entry struct {
	future  raft.ApplyFuture
	sources []func(error)
	at      time.Time
}

// run writes entries until ctx ends, then fails what is left.
func (b *batcher) run(ctx context.Context) {
	var wg sync.WaitGroup
	entries := make(chan entry, maxInFlight)
	wg.Go(func() { b.collect(entries) })
	defer func() {
		close(entries)
		wg.Wait()
		b.abort(context.Canceled)
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.kick:
		}
		for ctx.Err() == nil {
			select {
			case b.slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			commands, sources := b.cut()
			if len(commands) == 0 {
				<-b.slots
				break
			}
			b.took.commands.Observe(int64(len(commands)))
			now := time.Now()
			entries <- entry{b.raft.Apply(encodeEntry(commands), 0), sources, now}
		}
	}
}

// collect waits for entries in order. When the queue runs dry it adds a
// barrier: its replication carries the commit index, so that followers apply
// within a millisecond instead of at the next heartbeat.
func (b *batcher) collect(entries <-chan entry) {
	for e := range entries {
		err := e.future.Error()
		<-b.slots
		if err != nil {
			for _, fail := range e.sources {
				fail(err)
			}
			b.abort(err)
			continue
		}
		b.took.commit.Since(e.at)
		b.mu.Lock()
		dry := len(b.queue) == 0
		b.mu.Unlock()
		if dry && len(b.slots) == 0 && b.followers() {
			b.raft.Barrier(0)
		}
	}
}

// abort fails everything queued: behind a lost entry it would leave a gap.
func (b *batcher) abort(err error) {
	b.mu.Lock()
	queue := b.queue
	b.queue = nil
	b.mu.Unlock()
	for _, c := range queue {
		c.fail(err)
	}
}
