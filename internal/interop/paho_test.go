package interop

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// durableExpiry keeps an MQTT 5 session for longer than any test runs, in
// seconds.
const durableExpiry uint32 = 3600

// pahos are the two libraries of Eclipse for Go; their first and second entry
// have different versions.
func pahos() []library {
	everywhere := func(string) string { return "" }
	return []library{
		{name: "paho.golang v5", version: 5, missing: everywhere, connect: connectPaho5},
		{name: "paho.mqtt.golang v3.1.1", version: 4, missing: everywhere, connect: connectPaho3(4)},
		{name: "paho.mqtt.golang v3.1", version: 3, missing: everywhere, connect: connectPaho3(3)},
	}
}

// open opens what the libraries call a connection. WebSockets are those of
// paho.mqtt.golang, which paho.golang leaves to its user.
func open(ctx context.Context, b *broker, transport string) (net.Conn, error) {
	switch transport {
	case "tls":
		d := tls.Dialer{Config: b.tls()}
		return d.DialContext(ctx, "tcp", b.addr[transport])
	case "ws":
		return mqtt.NewWebsocket(b.url(transport), nil, patience, nil, nil)
	case "wss":
		return mqtt.NewWebsocket(b.url(transport), b.tls(), patience, nil, nil)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", b.addr[transport])
}

// inbox keeps messages in the order of their arrival, however many.
type inbox struct {
	mu   sync.Mutex
	list []received
	more chan struct{} // a token when list has grown
	gone chan struct{} // closed with the connection
	once sync.Once
}

func newInbox() *inbox { return &inbox{more: make(chan struct{}, 1), gone: make(chan struct{})} }

func (i *inbox) put(m received) {
	i.mu.Lock()
	i.list = append(i.list, m)
	i.mu.Unlock()
	select {
	case i.more <- struct{}{}:
	default:
	}
}

func (i *inbox) end() { i.once.Do(func() { close(i.gone) }) }

func (i *inbox) take() (m received, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.list) == 0 {
		return m, false
	}
	m, i.list = i.list[0], i.list[1:]
	return m, true
}

// Next implements peer.
func (i *inbox) Next(ctx context.Context) (received, error) {
	for {
		if m, ok := i.take(); ok {
			return m, nil
		}
		select {
		case <-i.more:
		case <-i.gone:
			if m, ok := i.take(); ok {
				return m, nil
			}
			return received{}, errors.New("the connection is gone")
		case <-ctx.Done():
			return received{}, ctx.Err()
		}
	}
}

type paho5 struct {
	*inbox
	c       *paho.Client
	conn    net.Conn
	present bool
}

func connectPaho5(ctx context.Context, b *broker, transport string, w who) (peer, error) {
	conn, err := open(ctx, b, transport)
	if err != nil {
		return nil, err
	}
	p := &paho5{inbox: newInbox(), conn: packets.NewThreadSafeConn(conn)}
	p.c = paho.NewClient(paho.ClientConfig{
		Conn: p.conn, PacketTimeout: patience,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			p.put(received{r.Packet.Topic, string(r.Packet.Payload), r.Packet.QoS, r.Packet.Retain})
			return true, nil
		}},
		OnClientError:      func(error) { p.end() },
		OnServerDisconnect: func(*paho.Disconnect) { p.end() },
	})
	cp := &paho.Connect{ClientID: w.ID, CleanStart: !w.Durable, KeepAlive: 60, Properties: &paho.ConnectProperties{RequestProblemInfo: true}}
	if w.Durable {
		expiry := durableExpiry
		cp.Properties.SessionExpiryInterval = &expiry
	}
	if w.Will != nil {
		cp.WillMessage = &paho.WillMessage{Topic: w.Will.Topic, Payload: []byte(w.Will.Payload), QoS: w.Will.QoS}
	}
	ack, err := p.c.Connect(ctx, cp)
	if err != nil {
		conn.Close()
		return nil, err
	}
	p.present = ack.SessionPresent
	_, err = p.c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: w.Filter, QoS: 2}}})
	return p, err
}

// Present implements peer.
func (p *paho5) Present() (flag, known bool) { return p.present, true }

// Publish implements peer.
func (p *paho5) Publish(ctx context.Context, m received) error {
	_, err := p.c.Publish(ctx, &paho.Publish{Topic: m.Topic, Payload: []byte(m.Payload), QoS: m.QoS, Retain: m.Retain})
	return err
}

// Close implements peer.
func (p *paho5) Close(context.Context) error { return p.c.Disconnect(&paho.Disconnect{}) }

// Drop implements peer.
func (p *paho5) Drop() { p.conn.Close() }

type paho3 struct {
	*inbox
	c       mqtt.Client
	conn    net.Conn
	present bool
}

func connectPaho3(version uint) func(context.Context, *broker, string, who) (peer, error) {
	return func(ctx context.Context, b *broker, transport string, w who) (peer, error) {
		conn, err := open(ctx, b, transport)
		if err != nil {
			return nil, err
		}
		p := &paho3{inbox: newInbox(), conn: conn}
		o := mqtt.NewClientOptions().AddBroker(b.url(transport)).SetClientID(w.ID).SetProtocolVersion(version).
			SetCleanSession(!w.Durable).SetAutoReconnect(false).SetConnectRetry(false).SetResumeSubs(false).
			SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return conn, nil }).
			SetConnectionLostHandler(func(mqtt.Client, error) { p.end() }).
			SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
				p.put(received{m.Topic(), string(m.Payload()), m.Qos(), m.Retained()})
			})
		if w.Will != nil {
			o.SetWill(w.Will.Topic, w.Will.Payload, w.Will.QoS, false)
		}
		p.c = mqtt.NewClient(o)
		token := p.c.Connect()
		if err := wait3(ctx, token); err != nil {
			conn.Close()
			return nil, err
		}
		p.present = token.(*mqtt.ConnectToken).SessionPresent()
		sub := p.c.Subscribe(w.Filter, 2, nil).(*mqtt.SubscribeToken)
		if err := wait3(ctx, sub); err != nil {
			return nil, err
		}
		if code := sub.Result()[w.Filter]; code != 2 {
			return nil, fmt.Errorf("SUBACK 0x%02X", code)
		}
		return p, nil
	}
}

func wait3(ctx context.Context, token mqtt.Token) error {
	select {
	case <-token.Done():
		return token.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Present implements peer; MQTT 3.1 has no such flag.
func (p *paho3) Present() (flag, known bool) {
	r := p.c.OptionsReader()
	return p.present, r.ProtocolVersion() != 3
}

// Publish implements peer.
func (p *paho3) Publish(ctx context.Context, m received) error {
	return wait3(ctx, p.c.Publish(m.Topic, m.QoS, m.Retain, m.Payload))
}

// Close implements peer.
func (p *paho3) Close(context.Context) error {
	p.c.Disconnect(uint(patience.Milliseconds()))
	return nil
}

// Drop implements peer.
func (p *paho3) Drop() { p.conn.Close() }
