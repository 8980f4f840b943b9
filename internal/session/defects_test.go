package session

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// However many SUBSCRIBE and UNSUBSCRIBE packets a client sends at once, they
// take effect in their order.
func TestSubscribesInOrder(t *testing.T) {
	n := newNode(t)
	block := make(chan struct{})
	var order []string
	n.router.subscribe = func(_ Subject, subs []message.Subscription) ([]SubscribeResult, error) {
		<-block
		order = append(order, subs[0].Filter)
		return make([]SubscribeResult, len(subs)), nil
	}
	c := n.join(packet.V5, &packet.Connect{ClientID: "a", CleanStart: true})
	const many = 3 * maxWaitingSubscribes
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range many {
			c.send(&packet.Subscribe{PacketID: uint16(i + 1), Subscriptions: []message.Subscription{{Filter: fmt.Sprint("f", i)}}})
		}
	}()
	for n.metric("mqtt_subscribe_received") < maxWaitingSubscribes+2 {
		runtime.Gosched()
	}
	for range many {
		block <- struct{}{}
	}
	<-sent
	for i := range many {
		if a := expect[*packet.Suback](c); int(a.PacketID) != i+1 {
			t.Fatalf("SUBACK %d is that of %d", i+1, a.PacketID)
		}
	}
	for i := range many { // the last SUBACK came after the last subscription
		if want := fmt.Sprint("f", i); order[i] != want {
			t.Fatalf("subscription %d was %s, want %s", i, order[i], want)
		}
	}
}

// Retained messages that wait for the client's acknowledgements keep neither
// the reader from these nor later subscriptions from being answered.
func TestRetainedFeedDoesNotStopTheReader(t *testing.T) {
	n := newNode(t, with(func(s *Settings) { s.MaxOnline, s.MaxInflight = 5, 1 }))
	const topics, subs = 8, 3 * maxWaitingSubscribes
	for i := range topics {
		name := fmt.Sprint("r/", i)
		n.router.retained[name] = &message.Message{Topic: name, Payload: []byte("x"), QoS: 1, Retain: true}
	}
	c := n.join(packet.V311, &packet.Connect{ClientID: "a", CleanStart: true})
	go func() {
		for i := range subs {
			c.send(&packet.Subscribe{PacketID: uint16(i + 1), Subscriptions: []message.Subscription{{Filter: "r/#", QoS: 1}}})
		}
		c.send(&packet.Pingreq{})
	}()
	for acks, pong := 0, false; !pong || acks < subs; { // no PUBLISH is acknowledged until all is answered
		switch c.recv().(type) {
		case *packet.Suback:
			acks++
		case *packet.Pingresp:
			pong = true
		}
	}
}

// A subscription that is under way when the connection ends is over before the
// end is told: else it would outlive the session.
func TestSubscriptionEndsWithItsConnection(t *testing.T) {
	n := newNode(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	calls := 0
	n.router.subscribe = func(_ Subject, subs []message.Subscription) ([]SubscribeResult, error) {
		calls++
		close(entered)
		<-leave
		n.registrar.mu.Lock()
		defer n.registrar.mu.Unlock()
		if len(n.registrar.ends) > 0 {
			t.Error("the end was told before the subscription was over")
		}
		return make([]SubscribeResult, len(subs)), nil
	}
	c := n.join(packet.V311, &packet.Connect{ClientID: "a", CleanStart: true})
	for i := range 3 {
		c.send(&packet.Subscribe{PacketID: uint16(i + 1), Subscriptions: []message.Subscription{{Filter: "f"}}})
	}
	<-entered
	c.send(&packet.Disconnect{})
	c.closed()
	close(leave)
	n.wg.Wait()
	if calls != 1 {
		t.Errorf("%d subscriptions were entered, want only the one under way", calls)
	}
}

// The former connection of a session is over before its successor goes on.
func TestTakeoverWaitsForTheFormerConnection(t *testing.T) {
	n := newNode(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	n.router.subscribe = func(_ Subject, subs []message.Subscription) ([]SubscribeResult, error) {
		entered <- struct{}{}
		<-leave
		return make([]SubscribeResult, len(subs)), nil
	}
	a := n.join(packet.V5, &packet.Connect{ClientID: "a", CleanStart: true})
	a.send(&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: "f"}}})
	<-entered
	b := n.dial(packet.V5)
	b.send(&packet.Connect{Version: packet.V5, ClientID: "a", CleanStart: true, ReceiveMaximum: 10, RequestProblem: true})
	if d := expect[*packet.Disconnect](a); d.Reason != packet.SessionTakenOver {
		t.Fatalf("reason %v", d.Reason)
	}
	close(leave)
	if k := expect[*packet.Connack](b); k.Reason != packet.Success {
		t.Fatalf("CONNACK %v", k.Reason)
	}
	n.registrar.mu.Lock()
	defer n.registrar.mu.Unlock()
	if len(n.registrar.ends) != 1 {
		t.Errorf("%d ends were told before CONNACK, want that of the former connection", len(n.registrar.ends))
	}
}

// A client that sends and does not read is not read either.
func TestAnswersNotReadAreBounded(t *testing.T) {
	for name, p := range map[string]packet.Packet{
		"PUBREL":         ackOf(packet.TypePubrel, 7),
		"QoS 2 repeated": &packet.Publish{Topic: "t", QoS: 2, PacketID: 7, Dup: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, with(func(s *Settings) { s.ReceiveMaxBroker = 100 }))
			c := n.dial(packet.V5)
			c.connect(&packet.Connect{ClientID: "a", CleanStart: true})
			var held func(PublishResult)
			n.router.publish = func(_ *message.Message, _ PublishOptions, done func(PublishResult)) {
				if held == nil { // the first is not answered: all acknowledgements wait
					held = done
					return
				}
				done(PublishResult{})
			}
			c.send(&packet.Publish{Topic: "t", QoS: 1, PacketID: 1})
			var b []byte
			for range 1000 {
				b = packet.Append(b, c.version, p)
			}
			for i := 0; ; i++ {
				if i > 4*65535/1000 {
					t.Fatalf("%d packets were taken, and their answers kept", i*1000)
				}
				c.nc.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
				if _, err := c.nc.Write(b); err != nil {
					break
				}
			}
			held(PublishResult{})
		})
	}
}

// A session that another node takes while it is being registered here is not
// connected here.
func TestTakenOverWhileRegistering(t *testing.T) {
	n := newNode(t)
	id := message.SessionID{ClientID: "a"}
	n.registrar.registered = func() {
		n.m.Disconnect(id, DisconnectOptions{Reason: packet.SessionTakenOver})
	}
	c := n.dial(packet.V5)
	if a := c.connect(&packet.Connect{ClientID: "a"}); a.Reason != packet.ServerUnavailable {
		t.Fatalf("CONNACK %v", a.Reason)
	}
	c.closed()
	n.wg.Wait()
	if len(n.registrar.ends) != 1 {
		t.Errorf("%d ends were told, want that of the registration", len(n.registrar.ends))
	}
	if n.queues.Get(id) != nil {
		t.Error("the queue is still there")
	}
}

// The topics of the broker itself are no client's to write, by a will neither.
func TestWillToTheBrokersTopics(t *testing.T) {
	n := newNode(t)
	c := n.dial(packet.V5)
	a := c.connect(&packet.Connect{ClientID: "a", CleanStart: true, Will: &packet.Will{Topic: "$SYS/x", Payload: []byte("w")}})
	if a.Reason != packet.NotAuthorized {
		t.Fatalf("CONNACK %v", a.Reason)
	}
}

// Clients that give up and come again while the first registration hangs must
// not wait in line: of those only the newest is registered.
func TestOnlyTheNewestConnectWaits(t *testing.T) {
	n := newNode(t)
	hang := make(chan struct{})
	var registered atomic.Int32
	n.registrar.registered = func() {
		registered.Add(1)
		<-hang
	}
	waiting := func() int {
		n.m.mu.Lock()
		defer n.m.mu.Unlock()
		if l := n.m.locks[message.SessionID{ClientID: "same"}]; l != nil {
			return l.refs
		}
		return 0
	}
	var clients []*client
	for i := range 10 {
		c := n.dial(5)
		c.send(&packet.Connect{Version: 5, ClientID: "same", ReceiveMaximum: 1, RequestProblem: true})
		clients = append(clients, c)
		for waiting() <= i {
			runtime.Gosched()
		}
	}
	close(hang)
	for i, c := range clients {
		want := packet.ServerUnavailable
		if i == 0 || i == len(clients)-1 {
			want = packet.Success
		}
		if a := expect[*packet.Connack](c); a.Reason != want {
			t.Errorf("connection %d: CONNACK %v, want %v", i, a.Reason, want)
		}
	}
	if d := expect[*packet.Disconnect](clients[0]); d.Reason != packet.SessionTakenOver {
		t.Errorf("the first was disconnected with %v", d.Reason)
	}
	clients[9].send(&packet.Pingreq{})
	expect[*packet.Pingresp](clients[9])
	if got := registered.Load(); got != 2 {
		t.Errorf("%d registrations", got)
	}
}
