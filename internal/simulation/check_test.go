package simulation_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/session"
	"github.com/mqadmin/mqadmin/internal/simulation"
)

// An allowance is what the promises except, or what is known to be wrong: a
// checker that meets it counts it instead of failing.
type allowance string

// The allowances. The first are the exceptions that the promises name; the
// others are defects, and go when those are mended.
const (
	allowClientReset   allowance = "the session was not there at reconnect: what was in flight from the client is at least once (P4)"
	allowUnreachable   allowance = "the owner was unreachable at a takeover: the parts of the queue keep their own order only (P4)"
	allowMovedSender   allowance = "the publisher moved while the message was in flight: at least once (P4)"
	allowCleanUnlinked allowance = "a clean session on a node whose links were down (P1)"

	// Frames for one session, and those of shared groups, have no place in the
	// spool (peer.ErrLinkDown): what a former node should pass on to an owner that
	// it cannot reach is lost.
	defectLost   allowance = "DEFECT: lost to a session that moved, or one of a shared group, while a node was away (P1, P4)"
	defectTwice  allowance = "DEFECT: QoS 2 twice to a session that moved, or to a shared group, while a node was away (P4, P5)"
	defectOwners allowance = "DEFECT: a connection that was taken over is still open on another node (P3)"
)

// checker looks at what a workload has left.
type checker struct {
	w       *workload
	allowed map[allowance]int
	failed  int
}

// report fails the test, with what is known about a client or message.
func (k *checker) report(about, format string, args ...any) {
	if k.failed++; k.failed > 3 {
		return
	}
	publisher, _, _ := strings.Cut(about, ":")
	words := []string{"start", "serves", "kill", "power", "stop", "cut off", "heal", "tear", "slow", "declared dead", " " + publisher + " "}
	for _, a := range args {
		if s, ok := a.(string); ok && s != "" {
			words = append(words, s+" CONN", s+" DISC", s+" conn", s+" TAKE", s+" SUB")
		}
	}
	k.w.c.T.Errorf("seed %d: %s\n%s", k.w.seed, fmt.Sprintf(format, args...), k.w.c.History.Around(150, about, words...))
}

func (k *checker) allow(a allowance) { k.allowed[a]++ }

// check goes through the promises.
func (k *checker) check() {
	for _, s := range k.w.subs {
		if s.group == "" {
			k.reached(s)
		}
		k.order(s)
	}
	k.shared()
	k.owners()
	k.retained()
}

// matches is for the filters of the workload only.
func matches(filter, topic string) bool {
	if i := strings.LastIndexByte(filter, '/'); strings.HasPrefix(filter, "$share/") {
		filter = filter[i-1:]
	}
	return filter == topic || strings.HasPrefix(topic, "t/") && (filter == "t/+" || filter == "t/#")
}

// counts are how often each payload came.
func counts(s *subscriber) map[string]int {
	out := map[string]int{}
	for _, r := range s.Got() {
		out[r.Payload]++
	}
	return out
}

// each visits the messages that a subscription was there for.
func (k *checker) each(s *subscriber, fn func(p *publisher, m *simulation.Sending)) {
	if !s.ready {
		return
	}
	for _, p := range k.w.pubs {
		for _, m := range p.sent {
			if matches(s.filter, m.Topic) && m.Began.After(s.since) {
				fn(p, m)
			}
		}
	}
}

// disturbed reports whether the defects that are known may have touched a
// message: some node was away when it was sent, or not long before or after.
// With -strict none is excused.
func (k *checker) disturbed(m *simulation.Sending) bool {
	const near = 30 * time.Second
	return !*strict && k.w.trouble.of(nil, near, m.Began, m.Began.Add(near))
}

// reached checks P1, P2 and P4 of a subscriber: what was acknowledged came, of
// QoS 2 once.
func (k *checker) reached(s *subscriber) {
	got := counts(s)
	k.each(s, func(_ *publisher, m *simulation.Sending) {
		n := got[m.Payload]
		switch {
		case m.Kept && n == 0 && !s.Durable && k.w.trouble.of(nil, 10*time.Second, m.Began, m.KeptAt):
			k.allow(allowCleanUnlinked)
		case m.Kept && n == 0 && k.disturbed(m):
			k.allow(defectLost)
		case m.Kept && n == 0:
			k.report(m.Payload, "P1: %s never got %s, which was acknowledged", s.ID, m.Payload)
		case n > 1 && m.QoS == 2 && m.Lost:
			k.allow(allowClientReset)
		case n > 1 && m.QoS == 2 && m.Moved:
			k.allow(allowMovedSender)
		case n > 1 && m.QoS == 2 && s.Durable && k.disturbed(m):
			k.allow(defectTwice)
		case n > 1 && m.QoS == 2 && s.Durable:
			k.report(m.Payload, "P1: %s got %s %d times", s.ID, m.Payload, n)
		case n > 1 && m.QoS == 0:
			k.report(m.Payload, "P1: %s got %s of QoS 0 %d times", s.ID, m.Payload, n)
		}
	})
}

// order checks that the messages of one publisher, topic and QoS came in the
// order in which they were sent, each when it came first.
func (k *checker) order(s *subscriber) {
	if s.group != "" || !s.Durable {
		return
	}
	last, seen := map[string]string{}, map[string]bool{}
	for _, r := range s.Got() {
		if seen[r.Payload] {
			continue
		}
		seen[r.Payload] = true
		i := strings.LastIndexByte(r.Payload, ':')
		flow := r.Payload[:i]
		if strings.HasPrefix(flow, "roamer") {
			continue // on the way over different nodes
		}
		if before := last[flow]; before > r.Payload {
			if s.apart > 0 {
				k.allow(allowUnreachable)
				continue
			}
			k.report(r.Payload, "P4: %s got %s after %s", s.ID, r.Payload, before)
		}
		last[flow] = max(last[flow], r.Payload)
	}
}

// shared checks P5: a message to the group went to one member.
func (k *checker) shared() {
	sum := map[string]int{}
	var since time.Time
	for _, s := range k.w.subs {
		if s.group == "" {
			continue
		}
		for payload, n := range counts(s) {
			sum[payload] += n
		}
		if since.IsZero() || s.ready && s.since.Before(since) {
			since = s.since
		}
	}
	if since.IsZero() {
		return
	}
	for _, p := range k.w.pubs {
		for _, m := range p.sent {
			if !matches("t/+", m.Topic) || !m.Began.After(since) {
				continue
			}
			n := sum[m.Payload]
			switch {
			case m.Kept && n == 0 && k.disturbed(m):
				k.allow(defectLost)
			case m.Kept && n == 0:
				k.report(m.Payload, "P5: nobody of the group got %s", m.Payload)
			case n > 1 && m.QoS == 2 && (m.Lost || m.Moved):
				k.allow(allowMovedSender)
			case n > 1 && m.QoS == 2 && k.disturbed(m):
				k.allow(defectTwice)
			case n > 1 && m.QoS == 2:
				k.report(m.Payload, "P5: the group got %s %d times", m.Payload, n)
			}
		}
	}
}

// owners checks P3: every client id has one live connection at most, and what
// a client left behind has been closed.
func (k *checker) owners() {
	owners := map[message.SessionID][]string{}
	for _, n := range k.w.c.Nodes {
		n.Parts().Sessions.Each(func(i session.Info) bool {
			if i.Online {
				owners[i.ID] = append(owners[i.ID], n.Name)
			}
			return true
		})
	}
	for id, nodes := range owners {
		if len(nodes) > 1 && !*strict && k.w.trouble.any() {
			k.allow(defectOwners)
		} else if len(nodes) > 1 {
			k.report(id.ClientID, "P3: %s is connected to %v", id.ClientID, nodes)
		}
	}
	for _, s := range k.w.subs {
		if n := s.Stale(); n > 0 && !*strict && k.w.trouble.any() {
			k.allow(defectOwners)
		} else if n > 0 {
			k.report(s.ID, "P3: %s still has %d former connections", s.ID, n)
		}
		if s.Durable && s.Resets() > 0 {
			k.report(s.ID, "P4: the session of %s was gone %d times", s.ID, s.Resets())
		}
	}
}

// retained checks that every node has the same values, none older than what was
// acknowledged last.
func (k *checker) retained() {
	c := k.w.c
	var all [][]string
	for i, n := range c.Nodes {
		cl := connect(c, fmt.Sprint("reader", i), 5, false, n)
		subscribe(c, cl, "r/+", 1)
		time.Sleep(5 * time.Second)
		all = append(all, payloads(cl))
	}
	for i := range all[1:] {
		if !slices.Equal(all[0], all[i+1]) {
			k.report("r/", "retained values differ: %v on %s, %v on %s", all[0], c.Nodes[0].Name, all[i+1], c.Nodes[i+1].Name)
		}
	}
	for _, p := range k.w.pubs {
		i := slices.IndexFunc(all[0], func(v string) bool { return strings.HasPrefix(v, p.ID+":") })
		var value, last *simulation.Sending
		for _, m := range p.sent {
			if !m.Retain {
				continue
			}
			if m.Kept && (last == nil || m.KeptAt.After(last.KeptAt)) {
				last = m
			}
			if i >= 0 && m.Payload == all[0][i] {
				value = m
			}
		}
		switch {
		case last == nil || value != nil && (!value.Kept || !value.KeptAt.Before(last.KeptAt)):
		case value == nil:
			k.report("r/"+p.ID, "there is no retained value of %s, %s was acknowledged", p.ID, last.Payload)
		default:
			k.report("r/"+p.ID, "the retained value of %s is %s, %s was acknowledged later", p.ID, value.Payload, last.Payload)
		}
	}
}
