package clustertest_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// patience bounds every single wait of these tests; on an idle machine all of
// them take milliseconds, up to the few seconds of an election.
const patience = 20 * time.Second

// durableExpiry keeps an MQTT 5 session for longer than any test runs, in
// seconds.
const durableExpiry uint32 = 3600

// versions are the protocol levels of MQTT 3.1.1 and 5.0.
func versions() []byte { return []byte{4, 5} }

// will is what the broker publishes when a client is gone without DISCONNECT.
type will struct {
	Topic, Payload string
	QoS            byte
	Retain         bool
}

// who describes a client that connects.
type who struct {
	Addr, ID string
	// Version is the protocol level: 3, 4 or 5.
	Version byte
	// Durable asks for a session that outlives the connection: clean session 0,
	// or an expiry.
	Durable bool
	Will    *will
}

// received is one PUBLISH that a client got.
type received struct {
	Topic, Payload string
	QoS            byte
	Retain         bool
	// PacketID and Dup tell a repetition from a second message.
	PacketID uint16
	Dup      bool
}

// client is a paho client of either library behind one set of methods, which
// fail the test when something takes longer than patience.
type client struct {
	who
	// Present is the session present flag of the CONNACK.
	Present bool

	conn  net.Conn
	v3    mqtt.Client
	v5    *paho.Client
	ended chan struct{} // closed when the connection is gone

	mu     sync.Mutex
	inbox  []received
	reason int // of the server's DISCONNECT, −1 without one
	once   sync.Once
}

// connect connects a client and closes it at the end of the test.
func connect(t *testing.T, w who) *client {
	t.Helper()
	c, err := tryConnect(w)
	if err != nil {
		t.Fatalf("connecting %s to %s with version %d: %v", w.ID, w.Addr, w.Version, err)
	}
	t.Cleanup(c.drop)
	return c
}

func tryConnect(w who) (*client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", w.Addr)
	if err != nil {
		return nil, err
	}
	c := &client{who: w, conn: conn, ended: make(chan struct{}), reason: -1}
	if w.Version == 5 {
		err = c.connect5(ctx)
	} else {
		err = c.connect3(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *client) connect3(ctx context.Context) error {
	o := mqtt.NewClientOptions().AddBroker("tcp://" + c.Addr).SetClientID(c.ID).
		SetProtocolVersion(uint(c.Version)).SetCleanSession(!c.Durable).SetOrderMatters(true).
		SetAutoReconnect(false).SetConnectRetry(false).SetResumeSubs(false).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return c.conn, nil }).
		SetConnectionLostHandler(func(mqtt.Client, error) { c.end() }).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
			c.got(received{m.Topic(), string(m.Payload()), m.Qos(), m.Retained(), m.MessageID(), m.Duplicate()})
		})
	if w := c.Will; w != nil {
		o.SetWill(w.Topic, w.Payload, w.QoS, w.Retain)
	}
	c.v3 = mqtt.NewClient(o)
	token := c.v3.Connect()
	if err := wait3(ctx, token); err != nil {
		return err
	}
	c.Present = token.(*mqtt.ConnectToken).SessionPresent()
	return nil
}

// wait3 waits for an operation of the MQTT 3 library.
func wait3(ctx context.Context, token mqtt.Token) error {
	select {
	case <-token.Done():
		return token.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *client) connect5(ctx context.Context) error {
	c.v5 = paho.NewClient(paho.ClientConfig{
		Conn: c.conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			c.got(received{p.Packet.Topic, string(p.Packet.Payload), p.Packet.QoS, p.Packet.Retain, p.Packet.PacketID, p.Packet.Duplicate()})
			return true, nil
		}},
		OnServerDisconnect: func(d *paho.Disconnect) {
			c.mu.Lock()
			c.reason = int(d.ReasonCode)
			c.mu.Unlock()
			c.end()
		},
		OnClientError: func(error) { c.end() },
		PacketTimeout: patience,
	})
	cp := &paho.Connect{ClientID: c.ID, CleanStart: !c.Durable, KeepAlive: 60, Properties: &paho.ConnectProperties{RequestProblemInfo: true}}
	if c.Durable {
		expiry := durableExpiry
		cp.Properties.SessionExpiryInterval = &expiry
	}
	if w := c.Will; w != nil {
		cp.WillMessage = &paho.WillMessage{Topic: w.Topic, Payload: []byte(w.Payload), QoS: w.QoS, Retain: w.Retain}
	}
	ack, err := c.v5.Connect(ctx, cp)
	if err != nil {
		if ack != nil {
			err = fmt.Errorf("CONNACK 0x%02X: %w", ack.ReasonCode, err)
		}
		return err
	}
	c.Present = ack.SessionPresent
	return nil
}

func (c *client) got(m received) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inbox = append(c.inbox, m)
}

func (c *client) end() { c.once.Do(func() { close(c.ended) }) }

// subscribe returns when SUBACK is there.
func (c *client) subscribe(t *testing.T, filter string, qos byte) {
	t.Helper()
	if err := c.trySubscribe(filter, qos); err != nil {
		t.Fatalf("%s subscribing to %s: %v", c.ID, filter, err)
	}
}

func (c *client) trySubscribe(filter string, qos byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if c.v5 != nil {
		_, err := c.v5.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: qos}}})
		return err
	}
	token := c.v3.Subscribe(filter, qos, nil).(*mqtt.SubscribeToken)
	if err := wait3(ctx, token); err != nil {
		return err
	}
	if code := token.Result()[filter]; code >= 0x80 {
		return fmt.Errorf("SUBACK 0x%02X", code)
	}
	return nil
}

// publish returns when the broker has acknowledged, for QoS 2 with PUBCOMP.
func (c *client) publish(t *testing.T, topic, payload string, qos byte, retain bool) {
	t.Helper()
	if err := c.tryPublish(topic, payload, qos, retain); err != nil {
		t.Fatalf("%s publishing %q to %s: %v", c.ID, payload, topic, err)
	}
}

func (c *client) tryPublish(topic, payload string, qos byte, retain bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if c.v5 != nil {
		_, err := c.v5.Publish(ctx, &paho.Publish{Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain})
		return err
	}
	return wait3(ctx, c.v3.Publish(topic, qos, retain, payload))
}

// expect waits for as many messages as are named and compares the payloads of
// all that came since the last call, in order.
func (c *client) expect(t *testing.T, payloads ...string) []received {
	t.Helper()
	got := c.take(t, len(payloads))
	if diff := diffOf(payloads, payloadsOf(got)); diff != "" {
		t.Fatalf("%s on %s got other messages (-want +got):\n%s", c.ID, c.Addr, diff)
	}
	return got
}

// expectAll is expect for messages whose order is not promised.
func (c *client) expectAll(t *testing.T, payloads ...string) {
	t.Helper()
	got := payloadsOf(c.take(t, len(payloads)))
	slices.Sort(got)
	if diff := diffOf(slices.Sorted(slices.Values(payloads)), got); diff != "" {
		t.Fatalf("%s on %s got other messages (-want +got):\n%s", c.ID, c.Addr, diff)
	}
}

// take removes everything from the inbox once n messages are there.
func (c *client) take(t *testing.T, n int) []received {
	t.Helper()
	var got []received
	await(t, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.inbox) < n {
			return fmt.Errorf("%s on %s has %d of %d messages: %q", c.ID, c.Addr, len(c.inbox), n, payloadsOf(c.inbox))
		}
		got, c.inbox = c.inbox, nil
		return nil
	})
	return got
}

// peek returns what is in the inbox and leaves it there.
func (c *client) peek() []received {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.inbox)
}

func payloadsOf(list []received) []string {
	out := make([]string, len(list))
	for i, m := range list {
		out[i] = m.Payload
	}
	return out
}

// awaitEnd waits until the broker has closed the connection and returns the
// reason of its DISCONNECT, −1 without one.
func (c *client) awaitEnd(t *testing.T) int {
	t.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		t.Fatalf("the connection of %s to %s is still open", c.ID, c.Addr)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// alive fails the test if the connection is gone.
func (c *client) alive(t *testing.T) {
	t.Helper()
	select {
	case <-c.ended:
		t.Fatalf("the connection of %s to %s was closed (reason %#x)", c.ID, c.Addr, c.reason)
	default:
	}
}

// close disconnects as the protocol wants it.
func (c *client) close() {
	if c.v5 != nil {
		_ = c.v5.Disconnect(&paho.Disconnect{})
	} else {
		c.v3.Disconnect(uint(patience.Milliseconds()))
	}
	c.end()
}

// drop cuts the connection without a word.
func (c *client) drop() { c.conn.Close() }

// await polls until ok returns nil and fails the test after patience.
func await(t *testing.T, ok func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := clustertest.Await(ctx, ok); err != nil {
		t.Fatal(err)
	}
}
