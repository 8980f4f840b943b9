package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// raw is a packet of a first byte and a body of strings (length-prefixed),
// bytes, and []byte.
func raw(first int, parts ...any) []byte {
	b := body(parts...)
	return append(appendVarint([]byte{byte(first)}, len(b)), b...)
}

// body: int is one byte, uint16 and uint32 are themselves, string is
// length-prefixed, []byte is as it is.
func body(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case uint16:
			b = binary.BigEndian.AppendUint16(b, p)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, p)
		case string:
			b = appendString(b, p)
		case []byte:
			b = append(b, p...)
		default:
			panic("unknown part")
		}
	}
	return b
}

// props is a property block with its length.
func props(parts ...any) []byte { return appendBlock(nil, body(parts...)) }

// connect5 is a v5 CONNECT with these connect flags, properties and payload.
func connect5(flags int, properties []byte, payload ...any) []byte {
	return raw(0x10, append([]any{"MQTT", 5, flags, uint16(60), properties}, payload...)...)
}

func connect4(flags int, payload ...any) []byte {
	return raw(0x10, append([]any{"MQTT", 4, flags, uint16(60)}, payload...)...)
}

func connect3(flags int, payload ...any) []byte {
	return raw(0x10, append([]any{"MQIsdp", 3, flags, uint16(60)}, payload...)...)
}

// decode decodes one packet that must fill b, and every strict prefix of it
// as incomplete.
func decode(t testing.TB, d Decoder, b []byte) Packet {
	t.Helper()
	p, n, err := d.Decode(b)
	if err != nil {
		t.Fatalf("Decode(% x): %v", b[:min(len(b), 40)], err)
	}
	if p == nil || n != len(b) {
		t.Fatalf("Decode(% x) = %v, took %d of %d", b[:min(len(b), 40)], p, n, len(b))
	}
	return p
}

func refused(d Decoder, b []byte) *Error {
	p, n, err := d.Decode(b)
	var e *Error
	if !errors.As(err, &e) || p != nil || n != 0 {
		return nil
	}
	return e
}

var long = bytes.Repeat([]byte("x"), 70000)
