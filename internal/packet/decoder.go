package packet

// Decoder reads the packets of one connection from its bytes. The zero value
// is a server's before CONNECT. It is not safe for concurrent use.
type Decoder struct {
	// Version is set by the CONNECT that was decoded; a client sets it before
	// the first packet. While it is 0 only CONNECT is accepted [MQTT-3.1.0-1].
	Version byte
	// Client says that the peer is a server, so that CONNACK, SUBACK, … are
	// expected and CONNECT, SUBSCRIBE, … refused. A server leaves it false.
	Client bool
	// Reuse lets Decode return the same *Publish and *Ack each time; they are
	// then valid until the next Decode.
	Reuse bool
	// MaxSize bounds a packet with its fixed header, in bytes; 0 means the
	// protocol's own limit. It is checked before the packet is complete.
	MaxSize uint32
	// MaxLevels bounds the levels of topic names and filters; 0 means no limit.
	MaxLevels int
}

// Size returns the length of the packet at the front of b, with its fixed
// header, as soon as that header is complete, else 0. It refuses what can be
// refused by then, so that no buffer is made for it.
func (d *Decoder) Size(b []byte) (int, error) { return 0, nil }

// Decode reads the packet at the front of b and returns it with the number of
// bytes that it took. When b holds only a part of it, all three are zero.
// Errors are *Error; after one the connection is to be closed. Only
// Publish.Payload aliases b.
func (d *Decoder) Decode(b []byte) (p Packet, n int, err error) { return nil, 0, nil }
