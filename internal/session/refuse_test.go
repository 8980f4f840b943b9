package session

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/packet"
)

func TestRefuse(t *testing.T) {
	connect := func(v byte) []byte {
		return packet.Append(nil, v, &packet.Connect{Version: v, ClientID: "a", CleanStart: true})
	}
	for name, c := range map[string]struct{ in, want []byte }{
		"3.1":           {connect(3), []byte{0x20, 2, 0, 3}},
		"3.1.1":         {connect(4), []byte{0x20, 2, 0, 3}},
		"5":             {connect(5), []byte{0x20, 3, 0, 0x9F, 0}},
		"other packet":  {[]byte{0xC0, 0}, nil},
		"rubbish":       {[]byte("GET / HTTP/1.1\r\n\r\n"), nil},
		"unknown level": {[]byte("\x10\x0d\x00\x04MQTT\x07\x02\x00\x00\x00\x01a"), []byte{0x20, 2, 0, 1}},
		"half":          {connect(4)[:5], nil},
		"too large":     {[]byte{0x10, 0xff, 0xff, 0xff, 0x7f}, nil},
	} {
		m := New(Config{Metrics: metrics.New()})
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			m.Refuse(near)
			near.Close()
		}()
		go func() {
			for i := range c.in { // in pieces, as a network may bring it
				if _, err := far.Write(c.in[i : i+1]); err != nil {
					return
				}
			}
			if c.want == nil {
				far.Close()
			}
		}()
		got, _ := io.ReadAll(far)
		<-done
		far.Close()
		if !bytes.Equal(got, c.want) {
			t.Errorf("%s: % x, want % x", name, got, c.want)
		}
	}
}
