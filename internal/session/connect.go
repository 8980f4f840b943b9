package session

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/queue"
)

// connect handles the first packet. A client that is refused disturbs no
// session.
func (c *conn) connect(p *packet.Connect) bool {
	c.version, c.bridge = p.Version, p.Bridge
	c.m.count.connectReceived[c.v()].Inc()
	c.dec.MaxSize = packetLimit(c.set.MaxMessageSize)
	c.maxPacket, c.problemInfo = p.MaximumPacketSize, p.RequestProblem
	c.out.owe()
	assigned, reason := c.identify(p)
	switch {
	case reason.Failed():
		return c.fail(reason, "")
	case p.HasAuthMethod:
		return c.authenticate(p, assigned)
	}
	return c.admit(p, assigned)
}

// admit goes on once the client has said all that it has to: permission,
// registration, queue, CONNACK.
func (c *conn) admit(p *packet.Connect, assigned string) bool {
	c.nc.SetReadDeadline(time.Time{})
	r := c.hookRegister(p)
	anonymous := c.set.AllowAnonymous || c.l.Anonymous
	if res := c.l.Chain.AuthOnRegister(c.ctx, r, anonymous); !res.Allowed() {
		c.m.log.Info("client was refused", "client", c.id.String(), "peer", c.l.Peer, "reason", res.Reason.String(), "text", res.Text)
		return c.refuseBy(res)
	}
	c.client = r.Client
	if r.Client.ID != c.id {
		c.id, assigned = r.Client.ID, ""
	}
	c.modify(r.Modifiers)
	if res := c.setWill(p.Will); !res.Allowed() {
		return c.refuseBy(res)
	}
	c.keepAlive = time.Duration(c.limitKeepAlive(p.KeepAlive)) * time.Second
	if p.ClientID != "" { // nobody else knows an id that was made up
		c.mode = c.set.Mode
	}
	c.expiry = c.sessionExpiry(r)
	c.durable = c.expiry > 0
	present, reason := c.register(r, p)
	if reason.Failed() {
		return c.fail(reason, "")
	}
	c.welcome(p, r, assigned, present)
	return true
}

// refuseBy ends the connection because a plugin refused the client.
func (c *conn) refuseBy(r hook.Result) bool {
	kind := packet.TypeConnack
	if c.q != nil {
		kind = packet.TypeDisconnect
	}
	reason := packet.ServerReason(kind, r.Reason, packet.NotAuthorized) // [MQTT-3.2.2-8] [MQTT-3.14.2-1]
	c.terminate(ending{reason: reason, tell: true, text: r.Text, reference: r.ServerReference})
	return false
}

// identify checks protocol level and client id, and makes one up where the
// version allows it to be empty.
func (c *conn) identify(p *packet.Connect) (assigned string, r packet.Reason) {
	allowed := c.l.AllowedVersions
	level := byte(c.level())
	if len(allowed) == 0 {
		allowed = []byte{packet.V31, packet.V311, packet.V31 | 0x80, packet.V311 | 0x80}
	}
	if !slices.Contains(allowed, level) {
		return "", packet.UnsupportedProtocolVersion
	}
	if p.HasAuthMethod && !slices.Contains(c.set.AuthMethods, p.AuthMethod) { // [MQTT-4.12.0-1]
		return "", packet.BadAuthenticationMethod
	}
	name := p.ClientID
	if name == "" {
		if p.Version == packet.V31 || p.Version == packet.V311 && !p.CleanStart { // [MQTT-3.1.3-8]
			return "", packet.ClientIdentifierNotValid
		}
		name = "anon-" + rand.Text()
		if p.Version == packet.V5 { // [MQTT-3.1.3-7]
			assigned = name
		}
	} else if c.set.MaxClientIDSize > 0 && len(name) > c.set.MaxClientIDSize {
		return "", packet.ClientIdentifierNotValid
	}
	c.id = message.SessionID{Mountpoint: c.l.Mountpoint, ClientID: name}
	return assigned, packet.Success
}

func (c *conn) hookRegister(p *packet.Connect) *hook.Register {
	r := &hook.Register{
		Client: hook.Client{
			ID: c.id, Username: p.Username, HasUsername: p.HasUsername, Version: p.Version,
			Connection: &hook.Connection{Peer: c.l.Peer},
		},
		Password: p.Password, HasPassword: p.HasPassword, CleanStart: p.CleanStart,
		SessionExpiry: p.SessionExpiry, HasSessionExpiry: p.HasSessionExpiry, User: p.User,
	}
	if c.l.ForwardConnection {
		r.Client.Connection = &hook.Connection{
			Peer: c.l.Peer, ListenerName: c.l.Name, ListenerType: c.l.Type, Local: c.l.Local, Certificate: c.l.Certificate,
		}
	}
	if c.l.HasIdentity {
		r.Client.Username, r.Client.HasUsername = c.l.Identity, true
	}
	if x := c.auth; x != nil {
		r.Method = x.method
		if x.user != "" {
			r.Client.Username, r.Client.HasUsername = x.user, true
		}
	}
	return r
}

// put writes v into dst when the modifier is set.
func put[T any](dst, v *T) {
	if v != nil {
		*dst = *v
	}
}

// modify takes the limits that a plugin set for this client.
func (c *conn) modify(m *hook.RegisterModifiers) {
	life := c.l.MaxConnectionLifetime
	if m != nil {
		s := *c.set
		put(&s.AllowRegister, m.AllowRegister)
		put(&s.AllowPublish, m.AllowPublish)
		put(&s.AllowSubscribe, m.AllowSubscribe)
		put(&s.AllowUnsubscribe, m.AllowUnsubscribe)
		put(&s.MaxMessageSize, m.MaxMessageSize)
		put(&s.MaxMessageRate, m.MaxMessageRate)
		put(&s.MaxInflight, m.MaxInflightMessages)
		put(&s.RetryInterval, m.RetryInterval)
		put(&s.UpgradeQoS, m.UpgradeQoS)
		put(&s.MaxOnline, m.MaxOnlineMessages)
		put(&s.MaxOffline, m.MaxOfflineMessages)
		put(&c.policy, m.SharedSubscriptionPolicy)
		if m.QueueType != nil {
			s.LIFO = *m.QueueType == "lifo"
		}
		if d := m.MaxConnectionLifetime; d != nil && *d > 0 && (life == 0 || *d < life) {
			life = *d
		}
		c.set = &s
		c.dec.MaxSize = packetLimit(s.MaxMessageSize)
	}
	if life > 0 {
		c.after(life, func() {
			c.m.count.lifetimeExpired[c.v()].Inc()
			c.terminate(ending{reason: packet.AdministrativeAction, tell: true})
		})
	}
}

// setWill authorizes the will and keeps it until the connection ends.
func (c *conn) setWill(w *packet.Will) hook.Result {
	if w == nil {
		return hook.Allow()
	}
	if strings.HasPrefix(w.Topic, "$") { // as PUBLISH: the broker's own
		return hook.Deny(packet.NotAuthorized, "")
	}
	p := &hook.Publish{
		Client: c.client, Mountpoint: c.id.Mountpoint, Topic: w.Topic, Payload: w.Payload, QoS: w.QoS, Retain: w.Retain,
		Will: true, Expiry: w.Expiry, HasExpiry: w.HasExpiry, WillDelay: w.Delay, Properties: w.Properties,
	}
	if res := c.l.Chain.AuthOnPublish(c.ctx, p); !res.Allowed() {
		c.m.count.publishAuthError[c.v()].Inc()
		return res
	}
	delay := time.Duration(p.WillDelay) * time.Second
	if c.set.MaxLastWillDelay >= 0 {
		delay = min(delay, c.set.MaxLastWillDelay)
	}
	c.will = &queue.Will{
		Message: &message.Message{
			Mountpoint: p.Mountpoint, Topic: p.Topic, Payload: slices.Clone(p.Payload), QoS: p.QoS, Retain: p.Retain,
			Publisher: c.id.ClientID, Properties: p.Properties,
		},
		Delay: delay, Expiry: p.Expiry, HasExpiry: p.HasExpiry, AllowNetsplit: c.set.AllowPublish, SharePolicy: c.policy,
	}
	return hook.Allow()
}

// sessionExpiry is how long the session outlives this connection, in seconds.
func (c *conn) sessionExpiry(r *hook.Register) uint32 {
	if c.mode != queue.Exclusive { // no connection may end the session of the others
		r.CleanStart = false
	}
	switch {
	case c.mode != queue.Exclusive && r.SessionExpiry == 0:
		return c.set.PersistentExpiry
	case r.HasSessionExpiry:
		return r.SessionExpiry
	case c.version == packet.V5 || r.CleanStart:
		return 0
	}
	return c.set.PersistentExpiry
}

// register makes this node the session's owner and attaches to its queue.
func (c *conn) register(r *hook.Register, p *packet.Connect) (present bool, reason packet.Reason) {
	unlock := c.m.lock(c.id, c)
	if unlock == nil {
		return false, packet.ServerUnavailable
	}
	defer unlock()
	other := c.m.enter(c)
	defer c.m.entered(c)
	if former := c.m.departing(c.id); former != nil {
		<-former.finished // it may have ended the session: that is told first
	}
	var dropped []string // by a clean start
	if r.CleanStart && c.l.Chain.Has(hook.PointOnTopicUnsubscribed) {
		dropped = hook.Filters(c.m.cfg.Router.Subscriptions(c.id))
	}
	reg, err := c.registration(r, other)
	if err != nil {
		switch {
		case errors.Is(err, ErrShutdown):
			return false, packet.ServerShuttingDown
		case !errors.Is(err, ErrNotReady) && c.ctx.Err() == nil:
			c.m.log.Warn("client could not be registered", "client", c.id.String(), "error", err)
		}
		return false, packet.ServerUnavailable
	}
	c.upper = reg.UpperHalf
	c.epoch.Store(&reg.Epoch)
	if c.will != nil {
		c.will.Epoch = reg.Epoch
	}
	present = reg.Present && !r.CleanStart
	if former := c.m.attached(c.id); former != nil && c.mode == queue.Exclusive {
		former.Close(packet.SessionTakenOver)
		<-former.finished // its end must not take away what this one subscribes to
		present = present && former.expiry > 0
		if former.expiry == 0 {
			dropped = nil // told with its end
		}
	}
	if p := c.m.hosted(c.id); p != nil {
		p.Close(packet.SessionTakenOver)
		<-p.gone // as above
	}
	if reason = c.open(r, p, reg); reason.Failed() && c.m.left(c) {
		c.m.cfg.Registrar.Ended(context.Background(), End{
			ID: c.id, Epoch: *c.epoch.Load(), Durable: c.durable, Expiry: c.expiry, At: time.Now(), Reason: reason,
		})
	}
	if len(dropped) > 0 { // not under the session's lock
		c.spawn(func() { c.l.Chain.OnTopicUnsubscribed(c.id, dropped) })
	}
	return present, reason
}

// open takes the queue of a session that has been registered.
func (c *conn) open(r *hook.Register, p *packet.Connect, reg Registration) packet.Reason {
	o := queue.OpenRequest{
		ID: c.id, Epoch: reg.Epoch, Durable: c.durable, Clean: r.CleanStart || !reg.Present, Expiry: c.expiry,
		UpperHalf: reg.UpperHalf, Held: reg.Held, Mode: c.mode, Options: c.queueOptions(p),
	}
	if reg.Record != nil {
		o.Subscriptions = reg.Record.Subscriptions
	}
	q, _, err := c.m.cfg.Queues.Open(o)
	if err == nil {
		var att *queue.Attachment
		if att, err = q.Attach(c, o.Options); err == nil {
			err = c.hold(q, att)
		}
	}
	if err != nil {
		if !errors.Is(err, ErrTakenOver) {
			c.m.log.Error("queue of a session could not be opened", "client", c.id.String(), "error", err)
		}
		return packet.ServerUnavailable
	}
	return packet.Success
}

// hold makes the session this connection's. From here on finish gives it back.
func (c *conn) hold(q *queue.Queue, att *queue.Attachment) error {
	err := c.storeWill(att)
	if err == nil {
		c.startedAt = time.Now()
		err = c.m.attach(c)
	}
	if err != nil {
		if c.will != nil {
			att.ClearWill(c.will)
		}
		att.Detach(queue.DetachOptions{Expiry: c.expiry})
		return err
	}
	c.pending, c.q = att, q
	return nil
}

// storeWill returns when the will is on disk, or that of a former connection
// will be removed.
func (c *conn) storeWill(att *queue.Attachment) error {
	if c.will == nil {
		att.ClearWill(nil)
		return nil
	}
	stored := make(chan error, 1)
	att.SetWill(c.will, func(err error) { stored <- err })
	return <-stored
}

func (c *conn) queueOptions(p *packet.Connect) queue.Options {
	o := queue.Options{
		MaxInflight: c.set.MaxInflight, MaxOnline: c.set.MaxOnline, MaxOffline: c.set.MaxOffline, LIFO: c.set.LIFO,
		UpgradeQoS: c.set.UpgradeQoS, OverrideMaxOnline: c.set.OverrideMaxOnline, RetryInterval: c.set.RetryInterval,
	}
	if c.version == packet.V5 {
		o.MaxInflight, o.RetryInterval = int(p.ReceiveMaximum), 0
		if n := c.set.ReceiveMaxClient; n > 0 {
			o.MaxInflight = min(o.MaxInflight, n)
		}
	}
	return o
}

// limitKeepAlive returns the keep-alive in seconds that holds, which only MQTT 5
// clients can be told.
func (c *conn) limitKeepAlive(keep uint16) uint16 {
	if limit := c.set.ServerKeepAlive; c.version == packet.V5 && limit > 0 && (keep == 0 || keep > limit) {
		return limit
	}
	return keep
}

// responseInfo is response_information for this client: %c, %u and %m as whole
// levels stand for client id, user name and mountpoint. It is empty when one of
// them cannot be a level of a topic.
func (c *conn) responseInfo() string {
	levels := strings.Split(c.set.ResponseInformation, "/")
	for i, level := range levels {
		switch level {
		case "%c":
			level = c.id.ClientID
		case "%u":
			level = c.client.Username
		case "%m":
			level = c.id.Mountpoint
		default:
			continue
		}
		if level == "" || strings.ContainsAny(level, "/+#") {
			return ""
		}
		levels[i] = level
	}
	return strings.Join(levels, "/")
}

// welcome writes CONNACK and starts what runs beside the reader.
func (c *conn) welcome(p *packet.Connect, r *hook.Register, assigned string, present bool) {
	ack := &packet.Connack{SessionPresent: present, Reason: packet.Success}
	if c.version == packet.V5 {
		if keep := uint16(c.keepAlive / time.Second); keep != p.KeepAlive {
			ack.ServerKeepAlive, ack.HasServerKeepAlive = keep, true
		}
		ack.AssignedClientID = assigned
		if (r.HasSessionExpiry || c.mode != queue.Exclusive) && c.expiry != p.SessionExpiry {
			ack.SessionExpiry, ack.HasSessionExpiry = c.expiry, true
		}
		if n := c.set.ReceiveMaxBroker; n > 0 && n < 65535 {
			ack.ReceiveMaximum = uint16(n)
		}
		ack.MaximumPacketSize = c.dec.MaxSize
		ack.TopicAliasMaximum = uint16(c.set.TopicAliasMaxClient)
		c.told = newToldAliases(p.TopicAliasMaximum, c.set.TopicAliasMaxBroker)
		if r.Modifiers != nil {
			ack.User = r.Modifiers.User
		}
		if p.RequestResponse { // [MQTT-3.1.2-28]
			ack.ResponseInfo = c.responseInfo()
		}
		if x := c.auth; x != nil { // [MQTT-4.12.0-5]
			ack.AuthMethod, ack.AuthData = x.method, x.step.Answer.Data
			ack.User = slices.Concat(ack.User, x.step.Answer.User)
		}
	}
	c.out.direct.Store(c.in.raw != nil && !c.q.Stored())
	if !c.sendConnack(ack) {
		return
	}
	c.round.flush() // what follows may take its time
	if c.keepAlive > 0 {
		c.active.Store(time.Now().UnixNano())
		limit := c.keepAlive * 3 / 2
		c.mu.Lock()
		if c.end == nil {
			c.alive = time.AfterFunc(limit, func() { c.watch(limit) })
		}
		c.mu.Unlock()
	}
	c.l.Chain.OnRegister(r)
	c.l.Chain.OnClientWakeup(c.id)
}
