package queue

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// pulled is what a connection has been given and not acknowledged.
func pulled(a *Attachment) (out []Out) {
	for list := a.Pull(nil, 64); len(list) > 0; list = a.Pull(nil, 64) {
		out = append(out, list...)
	}
	return out
}

func names(list []Out) (out []string) {
	for _, o := range list {
		out = append(out, string(o.Message.Payload))
	}
	return out
}

// settled pulls until want messages have come.
func settled(a *Attachment, k *consumer, want int) (out []Out) {
	for len(out) < want {
		out = append(out, next(a, k))
	}
	return append(out, pulled(a)...)
}

func (r *rig) same(want, got []string) {
	r.t.Helper()
	if d := cmp.Diff(want, got); d != "" && len(want)+len(got) > 0 {
		r.t.Fatal(d)
	}
}

func (r *rig) send(n int) {
	r.t.Helper()
	for range n {
		_, err := r.deliver(2)
		r.must(err)
	}
}

var wide = Options{MaxOnline: -1, MaxOffline: -1}

func sharedRig(t fataler, mode DeliverMode) *rig {
	r := newRig(t, true)
	r.mode = mode
	return r
}

func leaving(a *Attachment) { a.Detach(DetachOptions{Expiry: message.NeverExpires}) }

func TestShareFanout(t *testing.T) {
	r := sharedRig(t, Fanout)
	defer func() { r.stop() }()
	a, ka := r.attach(wide)
	b, kb := r.attach(wide)
	r.send(5)
	fromA, fromB := settled(a, ka, 5), settled(b, kb, 5)
	r.same(numbers(1, 5), names(fromA))
	r.same(numbers(1, 5), names(fromB))
	if len(ka.closed)+len(kb.closed) > 0 {
		t.Fatal("a connection was taken over")
	}
	if i, _ := r.m.Info(sid); i.Inflight != 10 || i.State != Online || i.Pending != 0 {
		t.Fatalf("%+v", i)
	}
	for _, o := range fromA { // what one has is not done before the other has it, too
		r.must(a.Pubrec(o.PacketID, false))
	}
	for range fromA {
		r.must(a.Pubcomp(next(a, ka).PacketID))
	}
	r.stop() // without a word from either
	r.start()
	if n := r.m.Len(); n != 1 {
		t.Fatalf("%d queues", n)
	}
	c, kc := r.attach(wide)
	r.same(numbers(1, 5), r.drain(c, kc, 5))
	r.same(nil, names(pulled(c)))
}

// What was there before the others came, and only that, goes to them when a
// connection ends.
func TestShareFanoutLeave(t *testing.T) {
	for _, first := range []bool{true, false} {
		r := sharedRig(t, Fanout)
		r.open(wide, false)
		r.send(3)
		a, ka := r.attach(wide)
		r.same(numbers(1, 3), names(settled(a, ka, 3)))
		b, kb := r.attach(wide)
		r.send(2)
		c, kc := r.attach(wide)
		r.send(2)
		if first { // the oldest leaves
			leaving(a)
			r.same([]string{"4", "5", "6", "7", "1", "2", "3"}, r.drain(b, kb, 7))
			r.same([]string{"6", "7", "1", "2", "3"}, r.drain(c, kc, 5)) // 4 and 5 came before it
		} else { // the second leaves, whose messages the first has
			leaving(b)
			r.same(numbers(6, 7), r.drain(c, kc, 2))
		}
		r.same(nil, names(pulled(c)))
		leaving(c)
		if first {
			leaving(b)
		} else {
			r.same(numbers(4, 7), names(settled(a, ka, 4)))
			leaving(a)
		}
		d, kd := r.attach(wide)
		if first {
			r.same(nil, names(pulled(d)))
		} else {
			r.same(numbers(1, 7), r.drain(d, kd, 7))
		}
		if i, _ := r.m.Info(sid); i.Pending+i.Inflight != 0 {
			t.Fatalf("%+v", i)
		}
		r.stop()
	}
}

func TestShareBalance(t *testing.T) {
	r := sharedRig(t, Balance)
	defer func() { r.stop() }()
	a, ka := r.attach(wide)
	b, kb := r.attach(wide)
	r.send(6)
	fromA, fromB := settled(a, ka, 3), settled(b, kb, 3)
	r.same([]string{"1", "3", "5"}, names(fromA))
	r.same([]string{"2", "4", "6"}, names(fromB))
	r.must(a.Pubrec(fromA[0].PacketID, false)) // its client has it
	leaving(a)
	r.same([]string{"3", "5"}, names(settled(b, kb, 2)))
	leaving(b) // the last one leaves its state to the session
	if i, _ := r.m.Info(sid); i.State != Offline || i.Pending+i.Inflight != 5 {
		t.Fatalf("%+v", i)
	}
	c, kc := r.attach(wide)
	var ids []uint16
	list := settled(c, kc, 5)
	for _, o := range list {
		if !o.Dup {
			t.Errorf("%s without DUP", o.Message.Payload)
		}
		ids = append(ids, o.PacketID)
	}
	for _, o := range fromB {
		if !slices.Contains(ids, o.PacketID) {
			t.Errorf("packet identifier %d of %s is not kept", o.PacketID, o.Message.Payload)
		}
	}
	r.same([]string{"2", "4", "6", "3", "5"}, names(list))
}

func TestShareBalancePassesOverTheFull(t *testing.T) {
	r := sharedRig(t, Balance)
	defer r.stop()
	narrow := Options{MaxInflight: 1, MaxOnline: 1, MaxOffline: -1}
	a, ka := r.attach(narrow)
	b, kb := r.attach(wide)
	r.send(10)
	r.same([]string{"1"}, names(settled(a, ka, 1)))
	got := names(settled(b, kb, 8)) // one waits behind the window of the first
	r.same([]string{"2", "4", "5", "6", "7", "8", "9", "10"}, got)
	if n := r.metric("queue_message_drop"); n != 0 {
		t.Fatalf("%d dropped", n)
	}
}

func TestShareMoves(t *testing.T) {
	for _, mode := range []DeliverMode{Fanout, Balance} {
		r := sharedRig(t, mode)
		_, ka := r.attach(wide)
		_, kb := r.attach(wide)
		r.send(6)
		h, err := r.m.Take(t.Context(), sid, 0, 100, yes)
		r.must(err)
		var got []string
		for _, s := range h.Entries {
			got = append(got, string(s.Message.Payload))
		}
		slices.Sort(got)
		r.same(numbers(1, 6), got)
		for _, k := range []*consumer{ka, kb} {
			if reason := <-k.closed; reason != packet.SessionTakenOver {
				t.Error(reason)
			}
		}
		r.stop()
	}
}

func TestShareEnds(t *testing.T) {
	r := sharedRig(t, Fanout)
	defer r.stop()
	_, ka := r.attach(wide)
	b, kb := r.attach(wide)
	r.send(1)
	if !r.m.Delete(sid) {
		t.Fatal("no session")
	}
	for _, k := range []*consumer{ka, kb} {
		if reason := <-k.closed; reason != packet.AdministrativeAction {
			t.Error(reason)
		}
	}
	if b.Detach(DetachOptions{Expiry: 10}) {
		t.Error("a connection left a session that had ended")
	}
	r.stop()
	r.start()
	if n := r.m.Len(); n != 0 {
		t.Fatalf("%d queues are left", n)
	}
}

// The packet identifier of a QoS 2 PUBLISH means another message when another
// client uses the session.
func TestShareForgetsInbound(t *testing.T) {
	for _, crash := range []bool{false, true} {
		r := sharedRig(t, Fanout)
		a, _ := r.attach(wide)
		id := func() message.ID { r.seq++; return message.ID{Origin: 1, Sequence: r.seq} }
		first, _ := a.Receive(5, id, nil)
		done := make(chan error, 1)
		a.q.Arrived(5, first, func(err error) { done <- err })
		r.must(<-done)
		a.q.Routed(5, first, Outcome{})
		if crash {
			r.stop()
			r.start()
		} else {
			leaving(a)
		}
		b, _ := r.attach(wide)
		if got, state := b.Receive(5, id, nil); state != InboundNew || got == first {
			t.Errorf("crash %v: state %d", crash, state)
		}
		if n := r.metric("queue_inbound_forgotten"); n != 1 {
			t.Errorf("crash %v: counted %d", crash, n)
		}
		r.stop()
	}
}

// However connections come and go, each message is with at least one of them,
// or with the session.
func TestShareComeAndGo(t *testing.T) {
	for _, mode := range []DeliverMode{Fanout, Balance} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			r := sharedRig(t, mode)
			defer func() { r.stop() }()
			seen := map[string]bool{}
			note := func(a *Attachment, upTo int) {
				for _, o := range a.Pull(nil, upTo) {
					if o.Release {
						r.must(a.Pubcomp(o.PacketID))
						continue
					}
					seen[string(o.Message.Payload)] = true
					r.must(a.Pubrec(o.PacketID, false))
				}
			}
			var list []*Attachment
			for round := range 60 {
				a, _ := r.attach(Options{MaxInflight: 3, MaxOnline: -1, MaxOffline: -1})
				list = append(list, a)
				r.send(5)
				for i, a := range list {
					note(a, 1+(round+i)%4)
				}
				switch {
				case round%7 == 6: // all at once
					for _, a := range list {
						leaving(a)
					}
					list = nil
				case round%3 == 2:
					i := round % len(list)
					leaving(list[i])
					list = slices.Delete(list, i, i+1)
				}
				if round == 30 {
					list = nil
					r.stop()
					r.start()
				}
			}
			for _, a := range list {
				leaving(a)
			}
			a, k := r.attach(wide)
			for {
				i, _ := r.m.Info(sid)
				if i.Pending+i.Inflight == 0 {
					break
				}
				if o := next(a, k); o.Release {
					r.must(a.Pubcomp(o.PacketID))
				} else {
					seen[string(o.Message.Payload)] = true
					r.must(a.Pubrec(o.PacketID, false))
				}
			}
			if len(seen) != 300 {
				t.Fatalf("%d of 300 messages", len(seen))
			}
		})
	}
}
