package peer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRandomCuts sends under random cuts, delays, orders of answers and codes:
// every frame arrives once and in order, every done says what the receiver
// said, once.
func TestRandomCuts(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) { randomCuts(t, uint64(seed), nil) })
		})
	}
}

func randomCuts(t *testing.T, seed uint64, spool *memSpool) {
	rng := rand.New(rand.NewPCG(seed, 1))
	f := newFabric()
	one, in := pair(t, f, func(c *Config) {
		if spool != nil {
			c.Spool = spool
		}
	})
	f.mu.Lock()
	f.rng = rand.New(rand.NewPCG(seed, 2))
	f.mu.Unlock()
	answers := map[string]Code{}
	in.mu.Lock()
	in.answer = func(fr Frame, done func(Code)) {
		in.mu.Lock()
		code := Code(0)
		if rng.IntN(10) == 0 {
			code = CodeFull
		}
		answers[fr.Message.Topic] = code
		delay := time.Duration(rng.IntN(20)) * time.Millisecond
		in.mu.Unlock()
		time.AfterFunc(delay, func() { done(code) })
	}
	in.mu.Unlock()
	out := newOutcomes()
	var want []string
	for i := range 400 {
		name := fmt.Sprintf("%d-%04d", i%3, i) // QoS first
		fr := publish(name, byte(i%3))
		in.mu.Lock()
		fr.Message.Payload = make([]byte, rng.IntN(4000))
		pause, cut := time.Duration(rng.IntN(8))*time.Millisecond, rng.IntN(60)
		in.mu.Unlock()
		want = append(want, name)
		one.Send(2, fr, out.of(name))
		pass(pause)
		switch cut {
		case 0:
			f.cut(true)
		case 1:
			f.cut(false)
		case 2, 3, 4:
			f.mu.Lock()
			f.down = false
			f.mu.Unlock()
		}
	}
	f.mu.Lock()
	f.down = false
	f.mu.Unlock()
	pass(30 * time.Second)
	check := func(what string, want, got []string) {
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("seed %d: %s: %s", seed, what, d)
		}
	}
	got := in.topics()
	if spool == nil {
		check("received", want, got)
	}
	for q := range 3 { // with a spool QoS 0 goes beside it
		only := func(s string) bool { return !strings.HasPrefix(s, fmt.Sprint(q)) }
		check(fmt.Sprintf("QoS %d", q), slices.DeleteFunc(slices.Clone(want), only), slices.DeleteFunc(slices.Clone(got), only))
	}
	for _, name := range want {
		if got, want := out.get(name), answers[name].String(); got != want && (spool == nil || got != CodeAccepted.String()) {
			t.Errorf("seed %d: outcome of %s is %q, the receiver said %q", seed, name, got, want)
		}
	}
	if n := one.buffered(2); n != 0 {
		t.Errorf("seed %d: %d bytes are still buffered", seed, n)
	}
}
