package conformance

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/coder/websocket"

	"github.com/mqadmin/mqadmin/internal/packet"
)

// wsRows are §6, MQTT over WebSocket.
var wsRows = []row{
	{v311: "MQTT-6.0.0-1", v5: "MQTT-6.0.0-1", run: binaryFramesOnly},
	{v311: "MQTT-6.0.0-2", v5: "MQTT-6.0.0-2", run: framesNeedNotAlign},
	{v311: "MQTT-6.0.0-3", v5: "MQTT-6.0.0-3", run: subprotocolIsNeeded},
	{v311: "MQTT-6.0.0-4", v5: "MQTT-6.0.0-4", run: subprotocolIsAnswered},
}

// ws is a WebSocket to the broker, without MQTT above it.
type ws struct {
	*websocket.Conn
	e   *env
	ctx context.Context
}

func (e *env) ws(subprotocols ...string) (*ws, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	e.Cleanup(cancel)
	c, resp, err := websocket.Dial(ctx, "ws://"+theBroker(e).web+"/mqtt", &websocket.DialOptions{Subprotocols: subprotocols})
	if resp != nil && resp.Body != nil && resp.StatusCode != http.StatusSwitchingProtocols {
		resp.Body.Close()
	}
	if err != nil {
		return nil, err
	}
	e.Cleanup(func() { _ = c.CloseNow() })
	return &ws{Conn: c, e: e, ctx: ctx}, nil
}

// must is ws with the right subprotocol.
func (e *env) mustWS() *ws {
	e.Helper()
	w, err := e.ws("mqtt")
	if err != nil {
		e.Fatal(err)
	}
	return w
}

func (w *ws) write(kind websocket.MessageType, b []byte) {
	w.e.Helper()
	if err := w.Write(w.ctx, kind, b); err != nil {
		w.e.Fatal(err)
	}
}

// collect reads binary frames until they hold n packets.
func (w *ws) collect(n int) (out []packet.Packet) {
	w.e.Helper()
	d := packet.Decoder{Version: w.e.v, Client: true}
	var buf []byte
	for len(out) < n {
		kind, b, err := w.Read(w.ctx)
		if err != nil {
			w.e.Fatal(err)
		}
		if kind != websocket.MessageBinary {
			w.e.Fatalf("a frame of type %v", kind)
		}
		for buf = append(buf, b...); ; {
			p, used, err := d.Decode(buf)
			if err != nil {
				w.e.Fatal(err)
			}
			if p == nil {
				break
			}
			out, buf = append(out, p), buf[used:]
		}
	}
	return out
}

func binaryFramesOnly(e *env) {
	w := e.mustWS()
	w.write(websocket.MessageBinary, e.rawConnect(2, e.id("c")))
	w.collect(1)
	w.write(websocket.MessageText, []byte{0xC0, 0})
	for {
		if _, _, err := w.Read(w.ctx); err != nil {
			if w.ctx.Err() != nil {
				e.Error("a text frame did not end the connection")
			}
			return
		}
	}
}

func framesNeedNotAlign(e *env) {
	w := e.mustWS()
	for _, b := range [][]byte{
		e.rawConnect(2, e.id("c")), raw(0x82, uint16(1), e.none(), e.topic("a"), 0), raw(0x30, e.topic("a"), e.none(), []byte("m")),
	} {
		for _, one := range b {
			w.write(websocket.MessageBinary, []byte{one})
		}
		w.collect(1) // CONNACK, SUBACK, PUBLISH
	}
	w = e.mustWS()
	w.write(websocket.MessageBinary, slices.Concat(e.rawConnect(2, e.id("d")), []byte{0xC0, 0, 0xC0, 0}, raw(0x82, uint16(1), e.none(), e.topic("a"), 1)))
	w.collect(4)
}

func subprotocolIsNeeded(e *env) {
	for _, offered := range [][]string{nil, {"chat"}, {"mqttx"}} {
		if _, err := e.ws(offered...); err == nil {
			e.Errorf("%v was accepted", offered)
		}
	}
}

func subprotocolIsAnswered(e *env) {
	for _, offered := range [][]string{{"mqtt"}, {"chat", "mqtt"}, {"mqtt", "chat"}} {
		w, err := e.ws(offered...)
		if err != nil {
			e.Fatal(err)
		}
		if got := w.Subprotocol(); got != "mqtt" {
			e.Errorf("%v was answered with %q", offered, got)
		}
	}
}
