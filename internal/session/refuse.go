package session

import (
	"errors"
	"net"

	"github.com/mqadmin/mqadmin/internal/packet"
)

// maxRefusedConnect bounds the CONNECT of a client that is refused anyway, in
// bytes.
const maxRefusedConnect = 16 << 10

// Refuse answers a client for which a listener has no room: it reads CONNECT and
// answers 3, server unavailable (MQTT 5: 0x9F, connection rate exceeded). The
// caller sets a deadline and closes. Anything but a CONNECT gets no answer
// [MQTT-3.1.0-1].
func (m *Manager) Refuse(nc net.Conn) {
	dec := packet.Decoder{MaxSize: maxRefusedConnect}
	buf := make([]byte, 0, 512)
	for {
		n, err := nc.Read(buf[len(buf):cap(buf)])
		m.count.bytesReceived.Add(n)
		buf = buf[:len(buf)+n]
		p, _, decodeErr := dec.Decode(buf)
		pe, _ := errors.AsType[*packet.Error](decodeErr)
		connect, ok := p.(*packet.Connect)
		switch {
		case ok:
			m.count.connectReceived[levelOf(connect.Version)].Inc()
			m.refuse(nc, connect.Version, packet.ConnectionRateExceeded)
			return
		case pe != nil && pe.Version != 0:
			m.refuse(nc, pe.Version, pe.Reason)
			return
		case decodeErr != nil, err != nil:
			return
		}
		if len(buf) == cap(buf) {
			buf = append(buf, make([]byte, len(buf))...)[:len(buf)]
		}
	}
}

// refuse writes a CONNACK with a refusal.
func (m *Manager) refuse(nc net.Conn, version byte, r packet.Reason) {
	m.count.connack(version, r)
	n, _ := nc.Write(packet.Append(nil, version, &packet.Connack{Reason: r})) // the connection ends either way
	m.count.bytesSent.Add(n)
}

// levelOf is the index of a protocol level's counters.
func levelOf(version byte) int {
	if version == packet.V5 {
		return v5
	}
	return v4
}
