package simulation_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/mqadmin/mqadmin/internal/simulation"
)

// Names of topics: ordinary ones, and those with retained values, of which
// each has one publisher.
const topics = 2

// workload is clients that publish, subscribe, move and drop, under faults.
type workload struct {
	c       *simulation.Cluster
	seed    uint64
	until   time.Time
	wg      sync.WaitGroup
	pubs    []*publisher
	subs    []*subscriber
	trouble trouble
}

// publisher has a durable session on one node, to which it always returns, or
// roams.
type publisher struct {
	*simulation.Client
	w      *workload
	rng    *rand.Rand
	home   *simulation.Node
	roams  bool
	mu     sync.Mutex
	sent   []*simulation.Sending
	number int
}

// subscriber reads one filter.
type subscriber struct {
	*simulation.Client
	w      *workload
	rng    *rand.Rand
	filter string
	group  string // of a shared subscription
	qos    byte
	stays  bool // on one node
	node   *simulation.Node

	mu sync.Mutex
	// asked and since are when SUBSCRIBE was written and SUBACK was there; of a
	// clean session those of its present connection.
	since   time.Time
	ready   bool
	present *simulation.Node // owner of its session, as far as it knows
	apart   int              // takeovers from an owner that could not be reached
}

// trouble is which nodes were disturbed when.
type trouble struct {
	mu    sync.Mutex
	spans []*span
}

type span struct {
	node     *simulation.Node
	from, to time.Time // to is zero while it lasts
}

func (t *trouble) begin(n *simulation.Node) *span {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &span{node: n, from: time.Now()}
	t.spans = append(t.spans, s)
	return s
}

func (t *trouble) end(s *span) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.to = time.Now()
}

// of reports whether a node, or with nil any, was disturbed in some time before
// or in an interval.
func (t *trouble) of(n *simulation.Node, before time.Duration, from, to time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.spans {
		if (n == nil || s.node == n) && s.from.Before(to) && (s.to.IsZero() || s.to.Add(before).After(from)) {
			return true
		}
	}
	return false
}

func (t *trouble) any() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.spans) > 0
}

// source returns randomness of its own for a part of the workload, so that what
// one does changes nothing for the others.
func (w *workload) source(part uint64) *rand.Rand { return rand.New(rand.NewPCG(w.seed, 100+part)) }

func (w *workload) anyNode(rng *rand.Rand) *simulation.Node {
	return w.c.Nodes[rng.IntN(len(w.c.Nodes))]
}

func (w *workload) over() bool { return !time.Now().Before(w.until) }

// newWorkload makes the clients; run starts them.
func newWorkload(c *simulation.Cluster, seed uint64) *workload {
	w := &workload{c: c, seed: seed}
	for i, n := range c.Nodes {
		w.publisher(fmt.Sprint("p", i), n, false)
	}
	w.publisher("roamer", c.Nodes[0], true)
	for i := range 2 {
		w.subscriber(fmt.Sprint("mover", i), []string{"t/+", "t/0"}[i], "", true, false)
	}
	w.subscriber("stayer", "t/#", "", true, true)
	w.subscriber("clean", "t/#", "", false, true)
	for i := range 3 {
		w.subscriber(fmt.Sprint("share", i), "$share/g/t/+", "g", true, i == 0)
	}
	return w
}

func (w *workload) publisher(id string, n *simulation.Node, roams bool) {
	rng := w.source(uint64(len(w.pubs)))
	w.pubs = append(w.pubs, &publisher{
		Client: w.c.Client(id, []byte{4, 5}[rng.IntN(2)], true), w: w, rng: rng, home: n, roams: roams,
	})
}

func (w *workload) subscriber(id, filter, group string, durable, stays bool) {
	rng := w.source(50 + uint64(len(w.subs)))
	w.subs = append(w.subs, &subscriber{
		Client: w.c.Client(id, []byte{4, 5}[rng.IntN(2)], durable), w: w, rng: rng, filter: filter, group: group,
		qos: 2, stays: stays, node: w.anyNode(rng),
	})
}

// run lets clients and faults go on for a time, then heals everything and
// lets all come home.
func (w *workload) run(d time.Duration) {
	w.until = time.Now().Add(d)
	for _, s := range w.subs {
		w.wg.Go(s.run)
	}
	for _, p := range w.pubs {
		w.wg.Go(p.run)
	}
	w.faults()
	w.wg.Wait()
	w.finish()
}

// pause sleeps up to most.
func pause(rng *rand.Rand, most time.Duration) {
	time.Sleep(time.Duration(rng.Int64N(int64(most))) + time.Millisecond)
}

// run publishes numbered messages.
func (p *publisher) run() {
	for !p.w.over() {
		if p.Connected() == nil && !p.connect() {
			pause(p.rng, time.Second)
			continue
		}
		switch n := p.rng.IntN(60); {
		case n == 0:
			p.Drop()
		case n == 1:
			p.Disconnect()
		case n == 2 && p.roams:
			p.home = p.w.anyNode(p.rng)
			_, _ = p.TakeOver(p.home)
		case p.stuck():
			p.Drop() // its keep alive would say so
		case p.Open() < 6:
			p.send()
		}
		pause(p.rng, 600*time.Millisecond)
	}
}

func (p *publisher) connect() bool {
	if p.roams {
		p.home = p.w.anyNode(p.rng)
	}
	_, err := p.Connect(p.home)
	return err == nil
}

// stuck reports whether the broker has said nothing for long.
func (p *publisher) stuck() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sent {
		select {
		case <-s.Done():
		default:
			return time.Since(s.Began) > 15*time.Second && p.rng.IntN(10) == 0
		}
	}
	return false
}

func (p *publisher) send() {
	topic, qos, retain := fmt.Sprintf("t/%d", p.rng.IntN(topics)), byte(p.rng.IntN(3)), false
	if p.rng.IntN(5) == 0 {
		topic, qos, retain = "r/"+p.ID, 1, true
	}
	if p.roams {
		qos = min(qos, 1)
	}
	p.number++
	payload := fmt.Sprintf("%s:%s:q%d:%04d", p.ID, topic, qos, p.number)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, p.Publish(topic, payload, qos, retain))
}

// run subscribes, reads and moves.
func (s *subscriber) run() {
	for !s.w.over() {
		if s.Connected() == nil && !s.connect(s.node, s.Connect) {
			pause(s.rng, time.Second)
			continue
		}
		pause(s.rng, 6*time.Second)
		if s.stays && s.w.trouble.of(s.node, 20*time.Second, time.Now(), time.Now()) {
			s.Drop() // its keep alive would say so, when the node is gone
			continue
		}
		switch s.rng.IntN(4) {
		case 0:
			s.Drop()
		case 1:
			s.Disconnect()
		case 2:
			s.move()
			s.connect(s.node, s.TakeOver)
		case 3:
			if s.rng.IntN(3) > 0 {
				s.move()
				s.connect(s.node, s.Connect)
			}
		}
		s.move()
	}
}

func (s *subscriber) move() {
	if !s.stays {
		s.node = s.w.anyNode(s.rng)
	}
}

// connect connects and subscribes, where it has not yet.
func (s *subscriber) connect(n *simulation.Node, how func(*simulation.Node) (bool, error)) bool {
	began := time.Now()
	present, err := how(n)
	if err != nil {
		return false
	}
	s.mu.Lock()
	if s.present != nil && (s.w.trouble.of(s.present, 8*time.Second, began, time.Now()) || s.w.trouble.of(n, 8*time.Second, began, time.Now())) {
		s.apart++
	}
	s.present = n
	done := s.ready && present
	s.mu.Unlock()
	if done {
		return true
	}
	if s.Subscribe(s.filter, s.qos) != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready || !s.Durable {
		s.ready, s.since = true, time.Now()
	}
	return true
}

// faults disturbs one node after the other.
func (w *workload) faults() {
	rng := w.source(99)
	for !w.over() {
		pause(rng, 5*time.Second)
		n := w.anyNode(rng)
		lasts := time.Duration(rng.IntN(9000)) * time.Millisecond
		switch rng.IntN(8) {
		case 0:
			w.down(n, n.Kill, lasts)
		case 1:
			w.down(n, n.PowerOff, lasts)
		case 2:
			w.down(n, n.Stop, lasts)
		case 3:
			w.cutOff(rng, n, lasts)
		case 4:
			w.c.History.Add("net", "tear %s", n.Name)
			for _, o := range w.c.Nodes {
				if o != n {
					w.c.Net.Tear(n.Name, o.Name)
				}
			}
		case 5:
			w.slow(n, lasts)
		case 6:
			w.clients(n)
		case 7:
			if rng.IntN(3) == 0 {
				w.blackout()
			}
		}
	}
}

func (w *workload) start(n *simulation.Node) {
	if err := n.Start(); err != nil {
		w.c.T.Errorf("seed %d: starting %s again: %v\n%s", w.seed, n.Name, err, w.c.History.About(60, n.Name))
	}
}

func (w *workload) down(n *simulation.Node, how func(), lasts time.Duration) {
	s := w.trouble.begin(n)
	how()
	time.Sleep(lasts)
	w.start(n)
	w.trouble.end(s)
}

// blackout takes the power from all nodes.
func (w *workload) blackout() {
	var spans []*span
	for _, n := range w.c.Nodes {
		spans = append(spans, w.trouble.begin(n))
	}
	for _, n := range w.c.Nodes {
		n.PowerOff()
	}
	time.Sleep(time.Second)
	for i, n := range w.c.Nodes {
		w.start(n)
		w.trouble.end(spans[i])
	}
}

// cutOff takes a node off the others' network, in one direction or both.
func (w *workload) cutOff(rng *rand.Rand, n *simulation.Node, lasts time.Duration) {
	way := rng.IntN(3)
	w.c.History.Add("net", "cut off %s: %s", n.Name, []string{"both ways", "it is not heard", "it hears nothing"}[way])
	var spans []*span
	for _, o := range w.c.Nodes {
		spans = append(spans, w.trouble.begin(o)) // each of the others has lost one
		if o == n {
			continue
		}
		if way != 2 {
			w.c.Net.Partition(n.Name, o.Name)
		}
		if way != 1 {
			w.c.Net.Partition(o.Name, n.Name)
		}
	}
	time.Sleep(lasts)
	w.c.Heal()
	for _, s := range spans {
		w.trouble.end(s)
	}
}

func (w *workload) slow(n *simulation.Node, lasts time.Duration) {
	w.c.History.Add("net", "slow")
	s := w.trouble.begin(n)
	w.c.Net.SetDelay(300 * time.Millisecond)
	time.Sleep(lasts)
	w.c.Net.SetDelay(time.Millisecond)
	w.trouble.end(s)
}

// clients breaks the connections of clients to a node.
func (w *workload) clients(n *simulation.Node) {
	w.c.History.Add("net", "clients of %s torn", n.Name)
	w.c.Net.Tear("client", n.Name)
}

// finish lets every client come back and every exchange end.
func (w *workload) finish() {
	w.c.AwaitSettled()
	for _, p := range w.pubs {
		w.c.Await(p.ID+" comes home", func() error {
			if p.Connected() == nil {
				_, err := p.Connect(p.home)
				return err
			}
			return nil
		})
	}
	for _, s := range w.subs {
		w.c.Await(s.ID+" comes home", func() error {
			if s.Connected() == nil && !s.connect(s.node, s.Connect) {
				return fmt.Errorf("%s cannot connect", s.ID)
			}
			return nil
		})
	}
	time.Sleep(40 * time.Second) // longer than any retry
	w.c.Await("everything comes to its end", func() error {
		for _, p := range w.pubs {
			if n := p.Open(); n > 0 {
				// What MQTT 3 cannot refuse is repeated on the next connection.
				_, _ = p.Connect(p.home)
				time.Sleep(5 * time.Second)
				return fmt.Errorf("%s has %d exchanges open", p.ID, n)
			}
		}
		for _, s := range w.subs {
			if n := s.Open(); n > 0 {
				return fmt.Errorf("%s has %d exchanges open", s.ID, n)
			}
		}
		return nil
	})
}
