package cluster

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestGroupTakesMoreWhileItIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g group
		var ran atomic.Int32
		for range 10 {
			g.Go(func() { time.Sleep(time.Second); ran.Add(1) })
		}
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		g.Wait(short)
		if n := ran.Load(); n != 0 {
			t.Errorf("%d ran before the first could", n)
		}
		go g.Go(func() { ran.Add(1) })
		g.Wait(t.Context())
		if n := ran.Load(); n != 11 {
			t.Errorf("%d of 11 ran", n)
		}
		g.Close()
		g.Go(func() { ran.Add(1) })
		if n := ran.Load(); n != 12 {
			t.Error("after Close nothing runs")
		}
	})
}
