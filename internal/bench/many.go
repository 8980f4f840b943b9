package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// runMany opens many connections and keeps them until the last is there.
func runMany(ctx context.Context, s Spec) (r Result, err error) {
	if r.RSSBefore, err = settledBytes(ctx, s.PID); err != nil {
		return r, err
	}
	cpu, err := cpuSeconds(s.PID)
	if err != nil {
		return r, err
	}
	began := time.Now()
	conns, err := openMany(ctx, s)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.abort()
			}
		}
	}()
	if err != nil {
		return r, err
	}
	end, err := cpuSeconds(s.PID)
	if err != nil {
		return r, err
	}
	r.Units, r.Seconds, r.CPU = int64(s.Connections), time.Since(began).Seconds(), end-cpu
	if s.Kind == Idle {
		r.RSS, err = settledBytes(ctx, s.PID)
	} else {
		r.RSS, err = residentBytes(s.PID)
	}
	return r, err
}

// openMany opens the connections, Parallel at a time.
func openMany(ctx context.Context, s Spec) ([]*connection, error) {
	conns := make([]*connection, s.Connections)
	return conns, parallel(ctx, s.Parallel, len(conns), func(i int) (err error) {
		l := login{address: s.Address, version: s.Version, id: fmt.Sprintf("bench-idle-%d", i)}
		if s.Kind == Idle {
			l.filter, l.qos = fmt.Sprintf("bench/idle/%d", i), s.QoS
		}
		c, err := dial(ctx, l)
		if err == nil {
			conns[i] = c
		}
		return err
	})
}

// parallel calls fn with 0 to n-1 on so many goroutines. It returns the first
// error, after which no more calls begin, or that of ctx.
func parallel(ctx context.Context, workers, n int, fn func(i int) error) error {
	var (
		wg    sync.WaitGroup
		at    atomic.Int64
		first atomic.Pointer[error]
	)
	for range workers {
		wg.Go(func() {
			for i := int(at.Add(1)) - 1; i < n && ctx.Err() == nil && first.Load() == nil; i = int(at.Add(1)) - 1 {
				if err := fn(i); err != nil {
					first.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}

// settledBytes waits until the broker's memory has stopped changing, six
// seconds at least and twenty at most, and returns it.
func settledBytes(ctx context.Context, pid int) (int64, error) {
	var last int64
	for i := range 20 {
		n, err := residentBytes(pid)
		if err != nil {
			return 0, err
		}
		if diff := n - last; i >= 6 && diff < 256<<10 && diff > -256<<10 {
			return n, nil
		}
		last = n
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return last, nil
}
