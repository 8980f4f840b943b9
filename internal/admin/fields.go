package admin

import (
	"encoding/base64"
	"strings"
	"time"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/message"
)

// group says where a field's value comes from.
type group byte

const (
	ofSession      group = 1 << iota // queue and connection
	ofSubscription                   // one row per subscription
	ofMessage                        // one row per message
)

// source is what one row is made of; nil parts leave their fields absent.
type source struct {
	session *Session
	conn    *Connection
	sub     *message.Subscription
	msg     *QueuedMessage
}

type fill func(r *pb.SessionRow, s *source)

type field struct {
	group group
	fill  fill
}

// sessionSchema describes the rows of session show.
var sessionSchema = &schema{
	noun:     "sessions",
	row:      (*pb.SessionRow)(nil).ProtoReflect().Type(),
	defaults: []string{"client_id", "is_online", "mountpoint", "peer_host", "peer_port", "user"},
	keys:     []string{"mountpoint", "client_id", "node"},
	detail:   func(field string) bool { return rowFields[field].group != ofSession },
}

// rowFields fills SessionRow by field name; a test proves it complete.
var rowFields = map[string]field{
	"node":             {ofSession, func(r *pb.SessionRow, s *source) { r.Node = &s.session.Node }},
	"mountpoint":       {ofSession, func(r *pb.SessionRow, s *source) { r.Mountpoint = text(s.session.ID.Mountpoint) }},
	"client_id":        {ofSession, func(r *pb.SessionRow, s *source) { r.ClientId = text(s.session.ID.ClientID) }},
	"queue_pid":        {ofSession, func(r *pb.SessionRow, s *source) { r.QueuePid = &s.session.QueueName }},
	"queue_size":       {ofSession, fillQueueSize},
	"is_offline":       {ofSession, func(r *pb.SessionRow, s *source) { r.IsOffline = new(s.session.State == "offline") }},
	"is_online":        {ofSession, func(r *pb.SessionRow, s *source) { r.IsOnline = new(s.session.State != "offline") }},
	"statename":        {ofSession, func(r *pb.SessionRow, s *source) { r.Statename = &s.session.State }},
	"deliver_mode":     {ofSession, func(r *pb.SessionRow, s *source) { r.DeliverMode = &s.session.DeliverMode }},
	"offline_messages": {ofSession, func(r *pb.SessionRow, s *source) { r.OfflineMessages = &s.session.OfflineMessages }},
	"online_messages":  {ofSession, func(r *pb.SessionRow, s *source) { r.OnlineMessages = &s.session.OnlineMessages }},
	"num_sessions":     {ofSession, func(r *pb.SessionRow, s *source) { r.NumSessions = new(int64(len(s.session.Connections))) }},
	"clean_session":    {ofSession, func(r *pb.SessionRow, s *source) { r.CleanSession = &s.session.CleanSession }},
	"is_plugin":        {ofSession, func(r *pb.SessionRow, s *source) { r.IsPlugin = &s.session.Plugin }},
	"queue_started_at": {ofSession, func(r *pb.SessionRow, s *source) { r.QueueStartedAt = millis(s.session.StartedAt) }},

	"session_pid":        {ofSession, connField(func(r *pb.SessionRow, c *Connection) { r.SessionPid = &c.Name })},
	"user":               {ofSession, connField(func(r *pb.SessionRow, c *Connection) { r.User = text(c.User) })},
	"peer_host":          {ofSession, connField(func(r *pb.SessionRow, c *Connection) { r.PeerHost = &c.PeerHost })},
	"peer_port":          {ofSession, connField(func(r *pb.SessionRow, c *Connection) { r.PeerPort = new(uint32(c.PeerPort)) })},
	"protocol":           {ofSession, connField(func(r *pb.SessionRow, c *Connection) { r.Protocol = new(uint32(c.Protocol)) })},
	"waiting_acks":       {ofSession, connField(func(r *pb.SessionRow, c *Connection) { r.WaitingAcks = &c.WaitingAcks })},
	"session_started_at": {ofSession, connField(func(r *pb.SessionRow, c *Connection) { r.SessionStartedAt = millis(c.StartedAt) })},

	"topic":    {ofSubscription, subField(func(r *pb.SessionRow, s *message.Subscription) { r.Topic = text(s.Filter) })},
	"qos":      {ofSubscription, subField(func(r *pb.SessionRow, s *message.Subscription) { r.Qos = new(uint32(s.QoS)) })},
	"rap":      {ofSubscription, subField(func(r *pb.SessionRow, s *message.Subscription) { r.Rap = &s.RetainAsPublished })},
	"no_local": {ofSubscription, subField(func(r *pb.SessionRow, s *message.Subscription) { r.NoLocal = &s.NoLocal })},

	"msg_ref":     {ofMessage, msgField(fillRef)},
	"msg_qos":     {ofMessage, msgField(func(r *pb.SessionRow, m *QueuedMessage) { r.MsgQos = new(uint32(m.QoS)) })},
	"routing_key": {ofMessage, msgField(func(r *pb.SessionRow, m *QueuedMessage) { r.RoutingKey = text(m.Message.Topic) })},
	"dup":         {ofMessage, msgField(func(r *pb.SessionRow, m *QueuedMessage) { r.Dup = &m.Dup })},
	"payload":     {ofMessage, msgField(fillPayload)},
}

func fillQueueSize(r *pb.SessionRow, s *source) {
	n := s.session.OfflineMessages + s.session.OnlineMessages
	for _, c := range s.session.Connections {
		n += c.WaitingAcks
	}
	r.QueueSize = &n
}

func fillRef(r *pb.SessionRow, m *QueuedMessage) {
	r.MsgRef = new(base64.StdEncoding.EncodeToString(m.Message.ID.AppendBinary(nil)))
}

func fillPayload(r *pb.SessionRow, m *QueuedMessage) {
	r.Payload = m.Message.Payload
	if r.Payload == nil {
		r.Payload = []byte{} // present and empty
	}
}

func connField(f func(*pb.SessionRow, *Connection)) fill {
	return func(r *pb.SessionRow, s *source) {
		if s.conn != nil {
			f(r, s.conn)
		}
	}
}

func subField(f func(*pb.SessionRow, *message.Subscription)) fill {
	return func(r *pb.SessionRow, s *source) {
		if s.sub != nil {
			f(r, s.sub)
		}
	}
}

func msgField(f func(*pb.SessionRow, *QueuedMessage)) fill {
	return func(r *pb.SessionRow, s *source) {
		if s.msg != nil {
			f(r, s.msg)
		}
	}
}

// text makes sure that no stranger's bytes can spoil the encoding of a row.
func text(s string) *string { return new(strings.ToValidUTF8(s, "\uFFFD")) }

func millis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return new(t.UnixMilli())
}
