package peer

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
)

// pair starts node 1, which sends, and node 2, which receives; the link is up.
func pair(t *testing.T, f *fabric, sender func(*Config)) (*Port, *inbox) {
	t.Helper()
	in := newInbox()
	two := startPort(t, f, 2, func(c *Config) { c.Receiver = in })
	one := startPort(t, f, 1, func(c *Config) {
		c.Receiver = newInbox()
		if sender != nil {
			sender(c)
		}
	})
	two.SetMembers([]Member{member(1), member(2)})
	one.SetMembers([]Member{member(1), member(2)})
	pass(time.Second)
	if !one.Up(2) {
		t.Fatal("link did not come up")
	}
	return one, in
}

func TestLinkCarriesFrames(t *testing.T) {
	bubble(t, func(t *testing.T) {
		one, in := pair(t, newFabric(), nil)
		out := newOutcomes()
		in.mu.Lock()
		in.answer = func(f Frame, done func(Code)) {
			if f.Message.Topic == "full" {
				done(CodeFull)
				return
			}
			done(CodeAccepted)
		}
		in.mu.Unlock()
		frames := []Frame{publish("a", 0), publish("full", 1), direct("b"), publish("c", 2)}
		for _, f := range frames {
			one.Send(2, f, out.of(f.Message.Topic))
		}
		one.Send(2, publish("nil done", 1), nil)
		one.Send(9, publish("x", 1), out.of("x"))
		synctest.Wait()
		if d := cmp.Diff(frames, in.frames[:4]); d != "" {
			t.Error(d)
		}
		if got := in.from[0]; got != identity(1) {
			t.Errorf("from %+v", got)
		}
		want := map[string]string{"a": "accepted", "full": "full", "b": "accepted", "c": "accepted", "x": ErrUnknownNode.Error()}
		if d := cmp.Diff(want, out.v); d != "" {
			t.Error(d)
		}
		if n := one.buffered(2); n != 0 {
			t.Errorf("%d bytes are still buffered", n)
		}
		if counted(one, "cluster_bytes_sent") == 0 || counted(one, "cluster_bytes_received") == 0 {
			t.Error("bytes were not counted")
		}
	})
}

func TestAnswersInAnyOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		one, in := pair(t, newFabric(), nil)
		dones := map[string]func(Code){}
		in.mu.Lock()
		in.answer = func(f Frame, done func(Code)) { dones[f.Message.Topic] = done }
		in.mu.Unlock()
		out := newOutcomes()
		for _, n := range []string{"1", "2", "3"} {
			one.Send(2, publish(n, 1), out.of(n))
		}
		one.Send(2, direct("d"), out.of("d"))
		synctest.Wait()
		dones["3"](CodeAccepted)
		dones["2"](CodeError)
		dones["d"](CodeOffline)
		synctest.Wait()
		if d := cmp.Diff(map[string]string{"2": "error", "d": "offline"}, out.v); d != "" {
			t.Error(d)
		}
		dones["1"](CodeAccepted)
		dones["1"](CodeFull) // a second answer is not heard
		synctest.Wait()
		if d := cmp.Diff(map[string]string{"1": "accepted", "2": "error", "3": "accepted", "d": "offline"}, out.v); d != "" {
			t.Error(d)
		}
	})
}

func TestDirectFailsWhenTheLinkDoes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFabric()
		one, in := pair(t, f, nil)
		in.mu.Lock()
		in.answer = func(Frame, func(Code)) {}
		in.mu.Unlock()
		out := newOutcomes()
		one.Send(2, direct("written"), out.of("written"))
		synctest.Wait()
		f.cut(true)
		synctest.Wait()
		one.Send(2, direct("late"), out.of("late"))
		want := map[string]string{"written": ErrUnknownOutcome.Error(), "late": ErrLinkDown.Error()}
		if d := cmp.Diff(want, out.v); d != "" {
			t.Error(d)
		}
	})
}

func TestBufferIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFabric()
		one, in := pair(t, f, func(c *Config) { c.BufferSize = 3000; c.MaxFrame = 2500 })
		f.cut(true)
		synctest.Wait()
		out := newOutcomes()
		large := publish("too large", 1)
		large.Message.Payload = make([]byte, 2500)
		one.Send(2, large, out.of("too large"))
		n := 0
		for ; one.buffered(2)+300 < 3000; n++ {
			one.Send(2, publish(fmt.Sprint(n), 1), out.of(fmt.Sprint(n)))
		}
		for _, q := range []byte{0, 1} {
			big := publish(fmt.Sprintf("big %d", q), q)
			big.Message.Payload = make([]byte, 1000)
			one.Send(2, big, out.of(big.Message.Topic))
		}
		want := map[string]string{
			"too large": ErrTooLarge.Error(), "big 0": ErrBufferFull.Error(), "big 1": ErrBufferFull.Error(),
		}
		if d := cmp.Diff(want, out.v); d != "" {
			t.Error(d)
		}
		if got := counted(one, "cluster_bytes_dropped"); got < 1000 || got > 1500 {
			t.Errorf("dropped %d bytes, want those of the QoS 0 frame", got)
		}
		f.cut(false)
		pass(5 * time.Second)
		if got := len(in.topics()); got != n {
			t.Errorf("%d frames arrived, want %d", got, n)
		}
	})
}

func TestDeadPeerIsNoticed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFabric()
		var events []string
		one, _ := pair(t, f, func(c *Config) {
			c.OnLink = func(n message.NodeID, inc uint32, up bool) {
				events = append(events, fmt.Sprint(n, inc, up))
			}
		})
		pass(time.Minute) // nothing happens: pings keep it up
		began := time.Now()
		f.freeze()
		for one.Up(2) {
			pass(10 * time.Millisecond)
		}
		if d := time.Since(began); d > 1500*time.Millisecond {
			t.Errorf("noticed after %v", d)
		}
		synctest.Wait()
		want := []string{"0000000000000002 1 true", "0000000000000002 1 false"}
		if d := cmp.Diff(want, events); d != "" {
			t.Error(d)
		}
		f.cut(false)
	})
}

func TestLinkWithoutAcknowledgements(t *testing.T) {
	bubble(t, func(t *testing.T) {
		one, in := pair(t, newFabric(), nil)
		in.mu.Lock()
		var held func(Code)
		in.answer = func(_ Frame, done func(Code)) { held = done }
		in.mu.Unlock()
		out := newOutcomes()
		began := time.Now()
		one.Send(2, publish("a", 1), out.of("a"))
		for one.Up(2) {
			pass(10 * time.Millisecond)
		}
		if d := time.Since(began); d < 2*time.Second || d > 2700*time.Millisecond {
			t.Errorf("declared down after %v, want link_ack_timeout", d)
		}
		pass(time.Second)
		held(CodeNoSession) // answered between connections: remembered
		pass(time.Second)
		if got := out.get("a"); got != "no session" {
			t.Errorf("outcome %q", got)
		}
		if got := in.topics(); len(got) != 1 {
			t.Errorf("received %v", got)
		}
	})
}

func TestReceiverHoldsTheSourceBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFabric()
		in := newInbox()
		var mu sync.Mutex
		var held []func(Code)
		in.answer = func(_ Frame, done func(Code)) { mu.Lock(); held = append(held, done); mu.Unlock() }
		two := startPort(t, f, 2, func(c *Config) { c.Receiver = in; c.ReceiveWindow = 1000 })
		one := startPort(t, f, 1, func(c *Config) { c.AckTimeout = time.Hour })
		for _, p := range []*Port{one, two} {
			p.SetMembers([]Member{member(1), member(2)})
		}
		out := newOutcomes()
		for i := range 100 {
			one.Send(2, publish(fmt.Sprint(i), 1), out.of(fmt.Sprint(i)))
		}
		pass(10 * time.Second)
		if n := len(in.topics()); n == 0 || n > 40 {
			t.Errorf("took %d frames with a window of 1000 bytes", n)
		}
		if !one.Up(2) {
			t.Error("a receiver that holds back was taken for dead")
		}
		for range 100 {
			mu.Lock()
			dones := held
			held = nil
			mu.Unlock()
			for _, d := range dones {
				d(CodeAccepted)
			}
			synctest.Wait()
		}
		if n := len(in.topics()); n != 100 {
			t.Errorf("took %d frames in all", n)
		}
	})
}

func TestCloseAndRemovalCallEveryDone(t *testing.T) {
	for _, removal := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			f := newFabric()
			one, in := pair(t, f, nil)
			in.mu.Lock()
			in.answer = func(Frame, func(Code)) {}
			in.mu.Unlock()
			out := newOutcomes()
			one.Send(2, publish("written", 1), out.of("written"))
			one.Send(2, direct("direct"), out.of("direct"))
			synctest.Wait()
			if removal {
				one.SetMembers([]Member{member(1)})
				synctest.Wait()
			} else {
				one.Close()
			}
			one.Send(2, publish("late", 1), out.of("late"))
			late := ErrClosed
			if removal {
				late = ErrUnknownNode
			}
			want := map[string]string{"written": ErrClosed.Error(), "direct": ErrUnknownOutcome.Error(), "late": late.Error()}
			if d := cmp.Diff(want, out.v); d != "" {
				t.Error(d)
			}
			if removal { // and back: the sequence goes on
				in.mu.Lock()
				in.answer = func(_ Frame, done func(Code)) { done(CodeAccepted) }
				in.mu.Unlock()
				one.SetMembers([]Member{member(1), member(2)})
				one.Send(2, publish("again", 1), out.of("again"))
				pass(3 * time.Second)
				if got := in.topics(); !slices.Contains(got, "again") {
					t.Errorf("received %v", got)
				}
			}
		})
	}
}

func TestNewIncarnationInPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFabric()
		one, in := pair(t, f, nil)
		id := one.Identity()
		id.Incarnation = 5
		one.SetIdentity(id)
		out := newOutcomes()
		one.Send(2, publish("a", 1), out.of("a"))
		pass(2 * time.Second)
		if got := out.get("a"); got != "accepted" {
			t.Errorf("outcome %q", got)
		}
		if got := in.from[len(in.from)-1].Incarnation; got != 5 {
			t.Errorf("incarnation %d", got)
		}
	})
}
