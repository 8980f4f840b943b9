package hook

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/topic"
)

// maxString is the longest string that MQTT can carry [MQTT-1.5.4].
const maxString = 65535

// check reports what the modifiers ask for and cannot be.
func (m *RegisterModifiers) check() error {
	if id := m.SubscriberID; id != nil {
		if id.ClientID == "" {
			return errors.New("client_id is empty")
		}
		if err := checkStrings("subscriber_id", id.ClientID, id.Mountpoint); err != nil {
			return err
		}
	}
	if m.Username != nil {
		if err := checkStrings("username", *m.Username); err != nil {
			return err
		}
	}
	if m.QueueType != nil && *m.QueueType != "fifo" && *m.QueueType != "lifo" {
		return fmt.Errorf("queue_type %q: want fifo or lifo", *m.QueueType)
	}
	for name, v := range map[string]*int{
		"max_online_messages": m.MaxOnlineMessages, "max_offline_messages": m.MaxOfflineMessages,
	} {
		if v != nil && *v < -1 {
			return fmt.Errorf("%s %d: want -1 or more", name, *v)
		}
	}
	for name, v := range map[string]*int{
		"max_message_size": m.MaxMessageSize, "max_message_rate": m.MaxMessageRate,
		"max_inflight_messages": m.MaxInflightMessages, "max_msgs_per_drain_step": m.MaxMsgsPerDrainStep,
	} {
		if v != nil && *v < 0 {
			return fmt.Errorf("%s %d: want 0 or more", name, *v)
		}
	}
	return checkUser(m.User)
}

// apply writes the identity and session modifiers into r and leaves the rest
// to the session.
func (m *RegisterModifiers) apply(r *Register) {
	if m.SubscriberID != nil {
		r.Client.ID = *m.SubscriberID
	}
	if m.Username != nil {
		r.Client.Username, r.Client.HasUsername = *m.Username, true
	}
	if m.CleanStart != nil {
		r.CleanStart = *m.CleanStart
	}
	if m.SessionExpiry != nil {
		r.SessionExpiry, r.HasSessionExpiry = *m.SessionExpiry, true
	}
	r.Modifiers = m
}

// check reports what the modifiers ask for and cannot be.
func (m *PublishModifiers) check() error {
	if m.Topic != nil {
		if err := topic.ValidateName(*m.Topic, 0); err != nil {
			return fmt.Errorf("topic: %w", err)
		}
		if err := checkStrings("topic", *m.Topic); err != nil {
			return err
		}
	}
	if m.QoS != nil && *m.QoS > 2 {
		return fmt.Errorf("qos %d: want 0, 1 or 2", *m.QoS)
	}
	if m.Mountpoint != nil {
		if err := checkStrings("mountpoint", *m.Mountpoint); err != nil {
			return err
		}
	}
	if m.Throttle != nil && *m.Throttle < 0 {
		return fmt.Errorf("throttle %s: want 0 or more", *m.Throttle)
	}
	return m.PropertyModifiers.check()
}

func (m *PublishModifiers) apply(p *Publish) {
	set(&p.Topic, m.Topic)
	set(&p.Payload, m.Payload)
	set(&p.QoS, m.QoS)
	set(&p.Retain, m.Retain)
	set(&p.Mountpoint, m.Mountpoint)
	set(&p.Throttle, m.Throttle)
	set(&p.WillDelay, m.WillDelay)
	if m.MessageExpiry != nil {
		p.Expiry, p.HasExpiry = *m.MessageExpiry, true
	}
	p.Properties = m.PropertyModifiers.apply(p.Properties)
}

func (m *DeliverModifiers) check() error {
	if m.Topic != nil {
		if err := topic.ValidateName(*m.Topic, 0); err != nil {
			return fmt.Errorf("topic: %w", err)
		}
		if err := checkStrings("topic", *m.Topic); err != nil {
			return err
		}
	}
	return m.PropertyModifiers.check()
}

func (m *DeliverModifiers) apply(d *Deliver) {
	set(&d.Topic, m.Topic)
	set(&d.Payload, m.Payload)
	d.Properties = m.PropertyModifiers.apply(d.Properties)
}

func (m *PropertyModifiers) check() error {
	if m.PayloadFormat != nil && *m.PayloadFormat > 1 {
		return fmt.Errorf("payload_format_indicator %d: want 0 or 1", *m.PayloadFormat)
	}
	if m.ContentType != nil {
		if err := checkStrings("content_type", *m.ContentType); err != nil {
			return err
		}
	}
	if m.ResponseTopic != nil {
		if err := topic.ValidateName(*m.ResponseTopic, 0); err != nil {
			return fmt.Errorf("response_topic: %w", err)
		}
		if err := checkStrings("response_topic", *m.ResponseTopic); err != nil {
			return err
		}
	}
	if m.CorrelationData != nil && len(*m.CorrelationData) > maxString {
		return fmt.Errorf("correlation_data: %d bytes, want %d at most", len(*m.CorrelationData), maxString)
	}
	if m.User != nil {
		return checkUser(*m.User)
	}
	return nil
}

// apply returns p changed; p itself may be shared and is never written to.
func (m *PropertyModifiers) apply(p *message.Properties) *message.Properties {
	if *m == (PropertyModifiers{}) {
		return p
	}
	var out message.Properties
	if p != nil {
		out = *p
	}
	set(&out.User, m.User)
	set(&out.ContentType, m.ContentType)
	set(&out.ResponseTopic, m.ResponseTopic)
	if m.PayloadFormat != nil {
		out.PayloadFormat, out.HasFormat = *m.PayloadFormat, true
	}
	if m.CorrelationData != nil {
		out.CorrelationData, out.HasCorrelation = *m.CorrelationData, true
	}
	return &out
}

// check reports what AUTH and CONNACK cannot carry.
func (a *AuthAnswer) check() error {
	if len(a.Data) > maxString {
		return fmt.Errorf("authentication_data: %d bytes, want %d at most", len(a.Data), maxString)
	}
	if err := checkStrings("username", a.Username); err != nil {
		return err
	}
	return checkUser(a.User)
}

// check reports modifiers that do not fit a SUBSCRIBE of n filters.
func (m *SubscribeModifiers) check(n int) error {
	filters := make([]string, len(m.Topics))
	for i, t := range m.Topics {
		filters[i] = t.Subscription.Filter
		if t.Refuse != 0 && t.Refuse < 0x80 {
			return fmt.Errorf("topics[%d]: reason 0x%02x is no refusal", i, byte(t.Refuse))
		}
		if s := t.Subscription; s.QoS > 2 || s.RetainHandling > 2 {
			return fmt.Errorf("topics[%d]: qos %d, retain_handling %d: want 0, 1 or 2", i, s.QoS, s.RetainHandling)
		}
	}
	return checkFilters(filters, n)
}

func (m *SubscribeModifiers) apply(s *Subscribe) {
	subs := make([]message.Subscription, len(m.Topics))
	reasons := make([]packet.Reason, len(m.Topics))
	for i, t := range m.Topics {
		subs[i], reasons[i] = t.Subscription, t.Refuse
	}
	s.Subscriptions = subs
	if slices.ContainsFunc(reasons, func(r packet.Reason) bool { return r >= 0x80 }) {
		s.Reasons = reasons
	}
}

// checkFilters reports replaced filters that are not n valid ones.
func checkFilters(filters []string, n int) error {
	if len(filters) != n {
		return fmt.Errorf("topics: %d given for %d requested", len(filters), n)
	}
	for i, f := range filters {
		if err := topic.ValidateFilter(f, 0); err != nil {
			return fmt.Errorf("topics[%d]: %w", i, err)
		}
		if err := checkStrings(fmt.Sprintf("topics[%d]", i), f); err != nil {
			return err
		}
	}
	return nil
}

// checkUser reports user properties that MQTT cannot carry.
func checkUser(user []message.UserProperty) error {
	for _, u := range user {
		if err := checkStrings("user_property", u.Name, u.Value); err != nil {
			return err
		}
	}
	return nil
}

// checkStrings reports strings that are no MQTT strings [MQTT-1.5.4-1]. The
// text names the field only: the content may be anything.
func checkStrings(field string, values ...string) error {
	for _, s := range values {
		if len(s) > maxString || !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return fmt.Errorf("%s: not a UTF-8 string without NUL of %d bytes at most", field, maxString)
		}
	}
	return nil
}

// set replaces *dst when the modifier is there.
func set[T any](dst *T, v *T) {
	if v != nil {
		*dst = *v
	}
}
