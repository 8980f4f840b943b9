package trace

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/session"
)

func quoted(s string) string { return strconv.Quote(s) }

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// event writes a packet in VerneMQ's words.
func (r *run) event(p session.Traced) Event {
	e := Event{At: p.At, Direction: Sent, Connection: p.Connection, Packet: p.Packet.Type().String()}
	if p.Received {
		e.Direction = Received
	}
	switch q := p.Packet.(type) {
	case *packet.Connect:
		r.connect(&e, q)
	case *packet.Connack:
		e.Text = fmt.Sprintf("CONNACK(sp: %d, rc: %s)", bit(q.SessionPresent), code(q.Reason))
	case *packet.Publish:
		e.Text = fmt.Sprintf("PUBLISH(d%d, q%d, r%d, m%d, %s) with payload:", bit(q.Dup), q.QoS, bit(q.Retain), q.PacketID, quoted(q.Topic))
		r.payload(&e, q.Payload)
		e.Details = properties(q.Properties)
	case *packet.Ack:
		e.Text = fmt.Sprintf("%s(m%d%s)", q.Kind, q.PacketID, failure(q.Reason))
	case *packet.Subscribe:
		e.Text = fmt.Sprintf("SUBSCRIBE(m%d) with topics:", q.PacketID)
		for _, s := range q.Subscriptions {
			e.Details = append(e.Details, fmt.Sprintf("q:%d, t: %s", s.QoS, quoted(s.Filter)))
		}
	case *packet.Suback:
		e.Text = fmt.Sprintf("SUBACK(m%d, qt[%s])", q.PacketID, codes(q.Reasons))
	case *packet.Unsubscribe:
		e.Text = fmt.Sprintf("UNSUBSCRIBE(m%d) with topics:", q.PacketID)
		for _, f := range q.Filters {
			e.Details = append(e.Details, "t: "+quoted(f))
		}
	case *packet.Unsuback:
		e.Text = fmt.Sprintf("UNSUBACK(m%d%s)", q.PacketID, listed(q.Reasons))
	case *packet.Disconnect:
		e.Text = fmt.Sprintf("DISCONNECT(rc: %s)", code(q.Reason))
	case *packet.Auth:
		e.Text = fmt.Sprintf("AUTH(rc: %s, m: %s)", code(q.Reason), quoted(q.Method)) // the data may hold a proof of a password
	default:
		e.Text = e.Packet + "()"
	}
	return e
}

// connect never shows the password.
func (r *run) connect(e *Event, c *packet.Connect) {
	user := "undefined"
	if c.HasUsername {
		user = quoted(c.Username)
	}
	password := "undefined"
	if c.HasPassword {
		password = "present"
	}
	e.Text = fmt.Sprintf("CONNECT(c: %s, v: %d, u: %s, p: %s, cs: %d, ka: %d)", quoted(c.ClientID), c.Version, user, password, bit(c.CleanStart), c.KeepAlive)
	if w := c.Will; w != nil {
		e.Text += fmt.Sprintf(" with will(q%d, r%d, %s) with payload:", w.QoS, bit(w.Retain), quoted(w.Topic))
		r.payload(e, w.Payload)
	}
}

// payload keeps a copy, because that of the packet is soon another one's.
func (r *run) payload(e *Event, b []byte) {
	e.HasPayload = true
	if r.o.Payload >= 0 && len(b) > r.o.Payload {
		b, e.Cut = b[:r.o.Payload], true
	}
	e.Payload = bytes.Clone(b)
}

func code(r packet.Reason) string { return strconv.Itoa(int(r)) }

func codes(list []packet.Reason) string {
	out := make([]string, len(list))
	for i, r := range list {
		out[i] = code(r)
	}
	return strings.Join(out, ",")
}

func failure(r packet.Reason) string {
	if r == packet.Success {
		return ""
	}
	return ", rc: " + code(r)
}

func listed(list []packet.Reason) string {
	if len(list) == 0 {
		return ""
	}
	return ", rc[" + codes(list) + "]"
}

// properties are those of a message, one a line.
func properties(p *message.Properties) []string {
	if p == nil {
		return nil
	}
	var out []string
	add := func(name, value string) { out = append(out, "p: "+name+": "+value) }
	if p.ContentType != "" {
		add("content_type", quoted(p.ContentType))
	}
	if p.ResponseTopic != "" {
		add("response_topic", quoted(p.ResponseTopic))
	}
	if p.HasCorrelation {
		add("correlation_data", quoted(string(p.CorrelationData)))
	}
	for _, u := range p.User {
		add("user_property", quoted(u.Name)+": "+quoted(u.Value))
	}
	return out
}
