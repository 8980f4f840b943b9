package scenario

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// keepAlive of the scenario's clients, in seconds.
const keepAlive = 30

// v3 is a client of MQTT 3.1.1.
type v3 struct{ c mqtt.Client }

func dialV3(ctx context.Context, address, clientID string, received func([]byte)) (client, error) {
	o := mqtt.NewClientOptions().AddBroker("tcp://" + address).SetClientID(clientID).SetCleanSession(true).
		SetAutoReconnect(false).SetConnectRetry(false).SetKeepAlive(keepAlive * time.Second).SetProtocolVersion(4).
		SetOrderMatters(false).SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { received(m.Payload()) })
	c := &v3{mqtt.NewClient(o)}
	return c, wait(ctx, c.c.Connect())
}

// wait waits for what a paho token stands for.
func wait(ctx context.Context, t mqtt.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *v3) subscribe(ctx context.Context, filter string, qos byte) error {
	return wait(ctx, c.c.Subscribe(filter, qos, nil))
}

func (c *v3) publish(ctx context.Context, topic string, qos byte, payload []byte) error {
	return wait(ctx, c.c.Publish(topic, qos, false, payload))
}

func (c *v3) close() { c.c.Disconnect(250) }

// v5 is a client of MQTT 5.0.
type v5 struct{ c *paho.Client }

func dialV5(ctx context.Context, address, clientID string, received func([]byte)) (client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := paho.NewClient(paho.ClientConfig{
		ClientID: clientID, Conn: conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			received(p.Packet.Payload)
			return true, nil
		}},
	})
	ack, err := c.Connect(ctx, &paho.Connect{ClientID: clientID, CleanStart: true, KeepAlive: keepAlive})
	if err != nil {
		conn.Close()
		return nil, err
	}
	if ack.ReasonCode != 0 {
		return nil, fmt.Errorf("CONNACK 0x%02x", ack.ReasonCode)
	}
	return &v5{c}, nil
}

func (c *v5) subscribe(ctx context.Context, filter string, qos byte) error {
	_, err := c.c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: qos}}})
	return err
}

func (c *v5) publish(ctx context.Context, topic string, qos byte, payload []byte) error {
	_, err := c.c.Publish(ctx, &paho.Publish{Topic: topic, QoS: qos, Payload: payload})
	return err
}

func (c *v5) close() { _ = c.c.Disconnect(&paho.Disconnect{}) }
