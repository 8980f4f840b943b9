package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// Client is an MQTT client that keeps its session over connections, as the
// specification wants it (MQTT 5.0 §4.1, §4.3, §4.4).
type Client struct {
	ID      string
	Version byte
	// Durable sessions outlive their connections.
	Durable bool
	// AckOnly is how many PUBLISHes it acknowledges on each connection; 0 for all,
	// negative for none.
	AckOnly int
	c       *Cluster

	mu      sync.Mutex
	conn    *Conn
	node    *Node
	number  int // of connections so far
	taken   int // PUBLISHes on this one
	connack chan *packet.Connack
	answers map[uint16]chan []packet.Reason
	pid     uint16
	open    []*Sending
	have    map[uint16]bool // QoS 2 received and not released
	got     []Received
	gone    chan struct{} // closed when the connection is
	// resets counts the times that the broker had no session of a durable client
	// that had one.
	resets int
	had    bool
	ends   []*Conn // all connections so far
}

// Sending is a message on its way to the broker.
type Sending struct {
	Topic, Payload string
	QoS            byte
	Retain         bool
	// Began is when it was first written.
	Began time.Time
	// Node took it first; Moved says that the client was connected to another
	// one before it was complete.
	Node     *Node
	Moved    bool
	pid      uint16
	received bool
	// Kept is set once the broker is responsible: PUBACK or PUBREC came.
	Kept   bool
	KeptAt time.Time
	// Refused has the reason of a negative acknowledgement.
	Refused packet.Reason
	// Lost: the session in which it was sent is gone, what became of it is not
	// known.
	Lost bool
	done chan struct{}
}

// Done is closed when the exchange is over.
func (s *Sending) Done() <-chan struct{} { return s.done }

// Received is a message that came, once per exchange.
type Received struct {
	Topic, Payload string
	QoS            byte
	Retain, Dup    bool
	At             time.Time
	// Connection on which it came, counted from 1.
	Connection int
}

// Errors of a client.
var (
	ErrGone    = errors.New("the connection is gone")
	ErrNoReply = errors.New("no answer in time")
)

// RefusedError is an answer with a reason of failure.
type RefusedError struct{ Reason packet.Reason }

func (e *RefusedError) Error() string { return fmt.Sprintf("refused with 0x%02X", byte(e.Reason)) }

// answerTime is how long a client waits for an answer.
const answerTime = 30 * time.Second

// Client makes a client; it connects with Connect.
func (c *Cluster) Client(id string, version byte, durable bool) *Client {
	return &Client{ID: id, Version: version, Durable: durable, c: c, have: map[uint16]bool{}}
}

// Connect connects to a node and takes the session up again. It reports whether
// the node had one.
func (cl *Client) Connect(n *Node) (present bool, err error) {
	cl.Drop()
	return cl.connect(n)
}

// TakeOver is Connect while the former connection is still open, as when the
// client has lost it and the broker has not noticed.
func (cl *Client) TakeOver(n *Node) (present bool, err error) {
	cl.mu.Lock()
	cl.conn = nil
	cl.mu.Unlock()
	return cl.connect(n)
}

// Abort sends CONNECT and closes the connection at once.
func (cl *Client) Abort(n *Node) error {
	conn, err := cl.c.Net.dial(context.Background(), cl.c.clients, n.address())
	if err != nil {
		return err
	}
	cl.c.History.Add(cl.ID, "CONNECT to %s, and gone", n.Name)
	cl.send(conn, cl.packet())
	return conn.Close()
}

func (cl *Client) packet() *packet.Connect {
	p := &packet.Connect{
		Version: cl.Version, ClientID: cl.ID, CleanStart: !cl.Durable, ReceiveMaximum: 20, RequestProblem: true,
	}
	if cl.Version == 5 && cl.Durable {
		p.SessionExpiry, p.HasSessionExpiry = message.NeverExpires, true
	}
	return p
}

func (cl *Client) connect(n *Node) (present bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	conn, err := cl.c.Net.dial(ctx, cl.c.clients, n.address())
	if err != nil {
		return false, err
	}
	ack, gone := make(chan *packet.Connack, 1), make(chan struct{})
	cl.mu.Lock()
	cl.conn, cl.node, cl.connack, cl.gone = conn, n, ack, gone
	cl.number++
	cl.taken = 0
	cl.ends = append(cl.ends, conn)
	cl.answers = map[uint16]chan []packet.Reason{}
	number := cl.number
	cl.mu.Unlock()
	cl.c.mu.Lock()
	cl.c.open[conn] = true
	cl.c.mu.Unlock()
	cl.c.wg.Go(func() { cl.read(conn, number, gone) })
	cl.c.History.Add(cl.ID, "CONNECT #%d to %s", number, n.Name)
	cl.send(conn, cl.packet())
	select {
	case a := <-ack:
		cl.c.History.Add(cl.ID, "CONNACK #%d 0x%02X present=%v", number, byte(a.Reason), a.SessionPresent)
		if a.Reason.Failed() {
			cl.Drop()
			return false, &RefusedError{a.Reason}
		}
		return a.SessionPresent, nil
	case <-gone:
		return false, ErrGone
	case <-ctx.Done():
		cl.Drop()
		return false, ErrNoReply
	}
}

func (cl *Client) send(conn *Conn, p packet.Packet) {
	_, _ = conn.Write(packet.Append(nil, cl.Version, p)) // a broken connection is seen by its reader
}

// Drop ends the connection without DISCONNECT, if there is one.
func (cl *Client) Drop() {
	cl.mu.Lock()
	conn, gone := cl.conn, cl.gone
	cl.mu.Unlock()
	if conn == nil {
		return
	}
	_ = conn.Close()
	<-gone
}

// Disconnect ends the connection in good order.
func (cl *Client) Disconnect() {
	cl.mu.Lock()
	conn := cl.conn
	cl.mu.Unlock()
	if conn != nil {
		cl.c.History.Add(cl.ID, "DISCONNECT")
		cl.send(conn, &packet.Disconnect{})
		cl.Drop()
	}
}

// Connected returns the node of the connection, nil without one.
func (cl *Client) Connected() *Node {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.conn == nil {
		return nil
	}
	return cl.node
}

// Stale counts former connections that nobody has closed yet.
func (cl *Client) Stale() int {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	n := 0
	for _, conn := range cl.ends {
		select {
		case <-conn.closed:
		default:
			if conn != cl.conn {
				n++
			}
		}
	}
	return n
}

// Gone is closed when the present connection is.
func (cl *Client) Gone() <-chan struct{} {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.gone
}

// Number counts the connections so far.
func (cl *Client) Number() int {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.number
}

// Resets counts the times that the broker no longer had the session.
func (cl *Client) Resets() int {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.resets
}

// Got returns all that came so far.
func (cl *Client) Got() []Received {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return slices.Clone(cl.got)
}

// Open counts the exchanges that are not over, in both directions.
func (cl *Client) Open() int {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return len(cl.open) + len(cl.have)
}

// ask sends a request and waits for its answer.
func (cl *Client) ask(what string, request func(pid uint16) packet.Packet) error {
	cl.mu.Lock()
	conn, gone, number := cl.conn, cl.gone, cl.number
	if conn == nil {
		cl.mu.Unlock()
		return ErrGone
	}
	pid := cl.nextPID()
	answer := make(chan []packet.Reason, 1)
	cl.answers[pid] = answer
	cl.mu.Unlock()
	cl.c.History.Add(cl.ID, "%s #%d", what, number)
	cl.send(conn, request(pid))
	timer := time.NewTimer(answerTime)
	defer timer.Stop()
	select {
	case r := <-answer:
		cl.c.History.Add(cl.ID, "%s: %x", what, r)
		for _, x := range r {
			if x.Failed() {
				return &RefusedError{x}
			}
		}
		return nil
	case <-gone:
		return ErrGone
	case <-timer.C:
		return ErrNoReply
	}
}

// Subscribe returns when SUBACK is there.
func (cl *Client) Subscribe(filter string, qos byte) error {
	return cl.ask("SUBSCRIBE "+filter, func(pid uint16) packet.Packet {
		return &packet.Subscribe{PacketID: pid, Subscriptions: []message.Subscription{{Filter: filter, QoS: qos}}}
	})
}

// Unsubscribe returns when UNSUBACK is there.
func (cl *Client) Unsubscribe(filter string) error {
	return cl.ask("UNSUBSCRIBE "+filter, func(pid uint16) packet.Packet {
		return &packet.Unsubscribe{PacketID: pid, Filters: []string{filter}}
	})
}

// nextPID returns a free packet identifier; the caller holds mu.
func (cl *Client) nextPID() uint16 {
	for {
		cl.pid++
		used := slices.ContainsFunc(cl.open, func(s *Sending) bool { return s.pid == cl.pid })
		if cl.pid != 0 && !used && cl.answers[cl.pid] == nil {
			return cl.pid
		}
	}
}

// Publish writes a message, if there is a connection; of QoS 1 and 2 it is sent
// until it is complete. Its exchange is over when Done is closed.
func (cl *Client) Publish(topic, payload string, qos byte, retain bool) *Sending {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	s := &Sending{Topic: topic, Payload: payload, QoS: qos, Retain: retain, Began: time.Now(), Node: cl.node, done: make(chan struct{})}
	if qos > 0 {
		s.pid = cl.nextPID()
		cl.open = append(cl.open, s)
	} else {
		close(s.done)
	}
	if cl.conn != nil {
		cl.c.History.Add(cl.ID, "PUBLISH %s %s qos=%d retain=%v pid=%d #%d", topic, payload, qos, retain, s.pid, cl.number)
		cl.send(cl.conn, s.packet(false))
	}
	return s
}

func (s *Sending) packet(dup bool) *packet.Publish {
	return &packet.Publish{Topic: s.Topic, Payload: []byte(s.Payload), QoS: s.QoS, Retain: s.Retain, PacketID: s.pid, Dup: dup}
}

// read takes what the broker sends until the connection ends.
func (cl *Client) read(conn *Conn, number int, gone chan struct{}) {
	defer func() {
		_ = conn.Close()
		cl.mu.Lock()
		if cl.conn == conn {
			cl.conn = nil
		}
		cl.mu.Unlock()
		cl.c.mu.Lock()
		delete(cl.c.open, conn)
		cl.c.mu.Unlock()
		cl.c.History.Add(cl.ID, "connection #%d ended", number)
		close(gone)
	}()
	d := packet.Decoder{Client: true, Version: cl.Version}
	var buf []byte
	chunk := make([]byte, 4096)
	for {
		p, n, err := d.Decode(buf)
		if err != nil {
			cl.c.History.fault(fmt.Sprintf("%s got a malformed packet: %v", cl.ID, err))
			return
		}
		if p == nil {
			if n, err = conn.Read(chunk); err != nil {
				return
			}
			buf = append(buf, chunk[:n]...)
			continue
		}
		cl.take(conn, number, p)
		buf = buf[n:]
	}
}

// take handles one packet.
func (cl *Client) take(conn *Conn, number int, p packet.Packet) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.conn != conn {
		return // the client knows nothing any more of this connection
	}
	switch p := p.(type) {
	case *packet.Connack:
		if !p.Reason.Failed() {
			cl.resume(conn, p.SessionPresent)
		}
		cl.connack <- p
	case *packet.Publish:
		cl.publish(conn, number, p)
	case *packet.Ack:
		cl.ack(conn, p)
	case *packet.Suback:
		cl.answer(p.PacketID, p.Reasons)
	case *packet.Unsuback:
		cl.answer(p.PacketID, p.Reasons)
	case *packet.Disconnect:
		cl.c.History.Add(cl.ID, "got DISCONNECT 0x%02X #%d", byte(p.Reason), number)
	}
}

func (cl *Client) answer(pid uint16, r []packet.Reason) {
	if ch := cl.answers[pid]; ch != nil {
		delete(cl.answers, pid)
		ch <- r
	}
}

// resume sends again what is not complete [MQTT-4.4.0-1], or forgets it with
// the session [MQTT-3.2.2-5].
func (cl *Client) resume(conn *Conn, present bool) {
	if !present {
		if cl.had && cl.Durable {
			cl.resets++
			cl.c.History.Add(cl.ID, "the session is gone")
		}
		for _, s := range cl.open {
			if s.Began.IsZero() || cl.had {
				s.Lost = true
				close(s.done)
			}
		}
		if cl.had {
			cl.open = nil
		}
		cl.have = map[uint16]bool{}
	}
	cl.had = true
	for _, s := range cl.open {
		if s.Node == nil {
			s.Node = cl.node
		}
		s.Moved = s.Moved || s.Node != cl.node
		if s.received {
			cl.send(conn, &packet.Ack{Kind: packet.TypePubrel, PacketID: s.pid})
			continue
		}
		cl.c.History.Add(cl.ID, "PUBLISH %s %s qos=%d again pid=%d", s.Topic, s.Payload, s.QoS, s.pid)
		cl.send(conn, s.packet(true))
	}
}

func (cl *Client) publish(conn *Conn, number int, p *packet.Publish) {
	cl.c.History.Add(cl.ID, "got %s %s qos=%d dup=%v pid=%d #%d", p.Topic, p.Payload, p.QoS, p.Dup, p.PacketID, number)
	if p.QoS < 2 || !cl.have[p.PacketID] {
		cl.got = append(cl.got, Received{
			Topic: p.Topic, Payload: string(p.Payload), QoS: p.QoS, Retain: p.Retain, Dup: p.Dup, At: time.Now(), Connection: number,
		})
	}
	if p.QoS == 2 {
		cl.have[p.PacketID] = true
	}
	if cl.taken++; p.QoS == 0 || cl.AckOnly < 0 || cl.AckOnly > 0 && cl.taken > cl.AckOnly {
		return
	}
	kind := packet.TypePuback
	if p.QoS == 2 {
		kind = packet.TypePubrec
	}
	cl.send(conn, &packet.Ack{Kind: kind, PacketID: p.PacketID})
}

func (cl *Client) ack(conn *Conn, a *packet.Ack) {
	if a.Kind == packet.TypePubrel {
		delete(cl.have, a.PacketID)
		cl.send(conn, &packet.Ack{Kind: packet.TypePubcomp, PacketID: a.PacketID})
		return
	}
	i := slices.IndexFunc(cl.open, func(s *Sending) bool { return s.pid == a.PacketID })
	if i < 0 {
		return // of an exchange before a crash
	}
	s := cl.open[i]
	failed := a.Reason.Failed()
	switch {
	case a.Kind == packet.TypePubrec && !failed:
		s.received = true
		s.kept()
		cl.c.History.Add(cl.ID, "PUBREC %s", s.Payload)
		cl.send(conn, &packet.Ack{Kind: packet.TypePubrel, PacketID: s.pid})
		return
	case a.Kind == packet.TypePuback && !failed:
		s.kept()
	case failed && a.Kind != packet.TypePubcomp:
		s.Refused = a.Reason
	}
	cl.c.History.Add(cl.ID, "%v %s 0x%02X", a.Kind, s.Payload, byte(a.Reason))
	cl.open = slices.Delete(cl.open, i, i+1)
	close(s.done)
}

func (s *Sending) kept() {
	if !s.Kept {
		s.Kept, s.KeptAt = true, time.Now()
	}
}
