package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/scenario"
)

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 20000: "20,000", 1234567: "1,234,567", -999: "-999", -1000: "-1,000"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestWrongNamesEachCounter(t *testing.T) {
	list := []check{{"sent", 10}, {"dropped", 0}, {"received", 10}}
	if err := wrong(list, []counters{{"sent": 4, "received": 7}, {"sent": 6, "received": 3}}); err != nil {
		t.Errorf("right sums: %v", err)
	}
	err := wrong(list, []counters{{"sent": 10, "dropped": 1}, {"received": 9}})
	if err == nil {
		t.Fatal("wrong sums were accepted")
	}
	want := "the sum of dropped is 1, and must be 0\nthe sum of received is 9, and must be 10"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestPrintSums(t *testing.T) {
	var b strings.Builder
	if err := printSums(&b, []string{"n1", "n2"}, []check{{"sent", 1500}}, []counters{{"sent": 1000}, {"sent": 500}}); err != nil {
		t.Fatal(err)
	}
	want := "" +
		"  counter     n1   n2    sum  must be\n" +
		"     sent  1,000  500  1,500    1,500\n\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestProgressGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder
		gaveUp := 0
		progress := (&cluster{out: &b}).progress(func() { gaveUp++ })
		progress(scenario.Progress{Acked: 1000, Received: 999})
		progress(scenario.Progress{Acked: 1000, Received: 999})
		time.Sleep(stallTimeout)
		progress(scenario.Progress{Acked: 1000, Received: 1000})
		time.Sleep(stallTimeout)
		progress(scenario.Progress{Acked: 1000, Received: 1000})
		if gaveUp != 0 {
			t.Error("gave up although messages came")
		}
		time.Sleep(time.Second)
		progress(scenario.Progress{Acked: 1000, Received: 1000})
		if gaveUp != 1 {
			t.Error("did not give up")
		}
		want := "  1,000 acknowledged, 999 received\n  1,000 acknowledged, 1,000 received\n"
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestMosquitto(t *testing.T) {
	if got := mosquitto("127.0.0.1:1883"); got != "-h 127.0.0.1 -p 1883" {
		t.Error(got)
	}
}

func TestRunWithoutPrograms(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var b strings.Builder
	err := run(context.Background(), options{bin: t.TempDir(), messages: 1}, &b)
	if err == nil || !strings.Contains(err.Error(), "starting n") {
		t.Errorf("got %v", err)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	if interrupted(ctx) {
		t.Error("a context that has not ended")
	}
	cancel(errors.New("terminated signal received"))
	if interrupted(ctx) {
		t.Error("SIGTERM")
	}
	ctx, cancel = context.WithCancelCause(context.Background())
	cancel(errors.New("interrupt signal received"))
	if !interrupted(ctx) {
		t.Error("SIGINT")
	}
}
