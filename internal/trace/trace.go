// Package trace shows an operator the packets of one client as they come and
// go. It costs nothing while nobody looks: a connection asks one atomic
// pointer per packet.
package trace

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/session"
)

// Options say whom to look at and how much to show.
type Options struct {
	ID message.SessionID
	// More than RateMax packets within RateInterval end the trace: it must not
	// load a broker that has enough to do. 0 is 10 within 100 ms.
	RateMax      int
	RateInterval time.Duration
	// Payload is how many bytes of a payload are shown; negative all of it.
	Payload int
}

// Defaults of vmq-admin trace client.
const (
	DefaultRateMax      = 10
	DefaultRateInterval = 100 * time.Millisecond
	DefaultPayload      = 200
)

// Direction of an event.
type Direction byte

// What an event is about.
const (
	Note     Direction = iota // a sentence
	Received                  // a packet of the client
	Sent                      // a packet to it
)

// Event is one line of a trace.
type Event struct {
	At        time.Time
	Direction Direction
	// Connection tells connections of one client apart.
	Connection string
	// Packet is its name, Text the packet in VerneMQ's words, Details the lines
	// below it.
	Packet, Text string
	Details      []string
	// Payload of a PUBLISH or will, cut to Options.Payload bytes.
	Payload    []byte
	HasPayload bool
	Cut        bool
}

// Errors of Run.
var (
	// ErrRunning: only one trace runs at a time.
	ErrRunning = errors.New("cannot start trace as another trace is already running")
)

// Sessions is what is traced; *session.Manager is one.
type Sessions interface {
	// Trace makes connections show their packets to t; nil ends that.
	Trace(t session.Tracer)
	Get(id message.SessionID) (session.Info, bool)
}

// Tracer runs one trace at a time.
type Tracer struct {
	sessions Sessions

	mu      sync.Mutex // guards what follows
	running *run
}

// New returns a Tracer that traces nothing yet.
func New(s Sessions) *Tracer { return &Tracer{sessions: s} }

// pending is how many events may wait for whoever reads them.
const pending = 256

// run is one trace.
type run struct {
	o       Options
	events  chan Event
	dropped atomic.Int64
	end     context.CancelCauseFunc

	mu    sync.Mutex // guards what follows
	since time.Time
	count int
}

var (
	errRate    = errors.New("Trace rate limit triggered.")          //nolint:revive,staticcheck // VerneMQ's words
	errStopped = errors.New("Trace terminated by external action.") //nolint:revive,staticcheck // as above
	errDone    = errors.New("done")
)

// Run shows events to emit until ctx ends, the rate limit or StopAll ends the
// trace, or emit fails.
func (t *Tracer) Run(ctx context.Context, o Options, emit func(Event) error) error {
	o.defaults()
	ctx, end := context.WithCancelCause(ctx)
	defer end(errDone)
	r := &run{o: o, events: make(chan Event, pending), end: end}
	if err := t.start(r); err != nil {
		return err
	}
	defer t.stop(r)
	if err := t.greet(o, emit); err != nil {
		return err
	}
	for {
		select {
		case e := <-r.events:
			if err := emit(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return r.farewell(context.Cause(ctx), emit)
		}
	}
}

func (o *Options) defaults() {
	if o.RateMax == 0 {
		o.RateMax = DefaultRateMax
	}
	if o.RateInterval == 0 {
		o.RateInterval = DefaultRateInterval
	}
}

func (t *Tracer) start(r *run) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running != nil {
		return ErrRunning
	}
	t.running = r
	t.sessions.Trace(r)
	return nil
}

func (t *Tracer) stop(r *run) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running == r {
		t.running = nil
		t.sessions.Trace(nil)
	}
}

// StopAll ends the trace that runs, and reports how many there were.
func (t *Tracer) StopAll() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running == nil {
		return 0
	}
	t.running.end(errStopped)
	t.running = nil
	t.sessions.Trace(nil)
	return 1
}

// greet tells what there is to trace at present.
func (t *Tracer) greet(o Options, emit func(Event) error) error {
	text := "No sessions found for client " + quoted(o.ID.ClientID)
	if i, ok := t.sessions.Get(o.ID); ok && len(i.Connections) > 0 {
		text = fmt.Sprintf("Starting trace for %d existing sessions for client %s", len(i.Connections), quoted(o.ID.ClientID))
	}
	return emit(Event{At: time.Now(), Text: text})
}

// farewell writes what still waits and why the trace ends. Who looked knows it
// when it was himself.
func (r *run) farewell(cause error, emit func(Event) error) error {
	for len(r.events) > 0 {
		if err := emit(<-r.events); err != nil {
			return err
		}
	}
	if n := r.dropped.Load(); n > 0 {
		if err := emit(Event{At: time.Now(), Text: fmt.Sprintf("%d packets were not shown because they could not be written in time.", n)}); err != nil {
			return err
		}
	}
	switch {
	case errors.Is(cause, errRate), errors.Is(cause, errStopped):
		return emit(Event{At: time.Now(), Text: cause.Error()})
	}
	return cause
}

// Wants implements session.Tracer.
func (r *run) Wants(id message.SessionID) bool { return id == r.o.ID }

// Packet implements session.Tracer.
func (r *run) Packet(p session.Traced) {
	if !r.allowed(p.At) {
		r.end(errRate)
		return
	}
	r.put(r.event(p))
}

// Ended implements session.Tracer.
func (r *run) Ended(connection string) {
	r.put(Event{At: time.Now(), Connection: connection, Text: "Trace session for " + connection + " stopped"})
}

func (r *run) put(e Event) {
	select {
	case r.events <- e:
	default:
		r.dropped.Add(1)
	}
}

// allowed counts a packet; false when there were too many in the interval.
func (r *run) allowed(at time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at.Sub(r.since) >= r.o.RateInterval {
		r.since, r.count = at, 0
	}
	r.count++
	return r.count <= r.o.RateMax
}
