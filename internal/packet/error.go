package packet

import "fmt"

// Error is why a packet was refused and what its connection is closed with.
type Error struct {
	// Reason goes into the CONNACK or DISCONNECT that is sent before closing.
	Reason Reason
	// Msg says what was wrong, for the log and the reason string.
	Msg string
	// Type is the packet that was refused, 0 when its first byte was not read.
	Type Type
	// Version is the protocol version in which to answer before closing. 0
	// means to close without a word: 3.x has no server DISCONNECT, and a
	// malformed CONNECT of 3.x gets no CONNACK [MQTT-3.1.4-1]. In answer to a
	// CONNECT it is CONNACK, to any later packet DISCONNECT.
	Version byte
}

// Error returns the packet, what was wrong with it and the reason.
func (e *Error) Error() string {
	if e.Type == 0 {
		return fmt.Sprintf("decoding packet: %s (%s)", e.Msg, e.Reason)
	}
	return fmt.Sprintf("decoding %s: %s (%s)", e.Type, e.Msg, e.Reason)
}
