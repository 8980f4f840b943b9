package listener

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

// Options are what a Manager needs. Listen and Serve are required; ReadFile is
// for TLS.
type Options struct {
	// Listen opens a socket: net.Listen in the broker.
	Listen func(network, address string) (net.Listener, error)
	// Serve has the connection until it calls ended, which closes it. For tcp
	// without PROXY protocol conn is what Listen's listener returned; if that is
	// a socket (a syscall.Conn), Serve is called in the accept loop and must
	// return at once. Other connections are over when it returns.
	Serve func(conn net.Conn, info *Info, ended func())
	// Refuse answers a connection beyond MaxConnections of a plain tcp listener
	// within its deadline; nil closes it without an answer.
	Refuse func(conn net.Conn)
	// Handler returns what an http or https listener serves.
	Handler func(c *Config) (http.Handler, error)
	// ReadFile returns the content of certificate files.
	ReadFile func(path string) ([]byte, error)
	// OnPanic is told of a panic of Serve, for the crash log; the connection is
	// closed and the others go on.
	OnPanic func(value any, stack []byte, info *Info)
	Logger  *slog.Logger
	Metrics *metrics.Registry
}

// Manager holds the listeners of a broker.
type Manager struct {
	o Options

	mu     sync.Mutex // guards what follows and serialises the operations
	closed bool
	all    map[Key]*entry
}

// New returns a Manager without listeners.
func New(o Options) *Manager {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnPanic == nil {
		o.OnPanic = func(any, []byte, *Info) {}
	}
	return &Manager{o: o, all: map[Key]*entry{}}
}

// Start opens a new listener and serves it. A *BindError says why it cannot be
// opened.
func (m *Manager) Start(c Config) error {
	if err := c.check(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return fmt.Errorf("starting %s: %w", c.Key, ErrClosed)
	}
	if m.all[c.Key] != nil {
		return fmt.Errorf("starting %s: %w", c.Key, ErrExists)
	}
	e, err := newEntry(c, &m.o)
	if err != nil {
		return err
	}
	if err := e.open(); err != nil {
		return err
	}
	m.all[c.Key] = e
	return nil
}

// Suspend closes the listening socket; connections go on.
func (m *Manager) Suspend(k Key) error { return m.Stop(k, false) }

// Stop closes the listening socket and, with kill, the connections: the state
// becomes suspended or stopped. The listener is kept for Resume.
func (m *Manager) Stop(k Key, kill bool) error {
	return m.with(k, "stopping", func(e *entry) error {
		e.shut(kill)
		return nil
	})
}

// Resume opens a suspended or stopped listener again.
func (m *Manager) Resume(k Key) error {
	return m.with(k, "resuming", (*entry).open)
}

// Delete stops a listener, closes its connections and forgets it.
func (m *Manager) Delete(k Key) error {
	return m.with(k, "deleting", func(e *entry) error {
		e.shut(true)
		m.o.Metrics.Remove(tlsError, e.label())
		delete(m.all, k)
		return nil
	})
}

// with runs an operation on one listener.
func (m *Manager) with(k Key, doing string, fn func(*entry) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.all[k]
	switch {
	case m.closed:
		return fmt.Errorf("%s %s: %w", doing, k, ErrClosed)
	case e == nil:
		return fmt.Errorf("%s %s: %w", doing, k, ErrUnknown)
	}
	return fn(e)
}

// SuspendAll closes all listening sockets for MQTT, as cluster leave does
// first; metrics and health are served on.
func (m *Manager) SuspendAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.all {
		if e.cfg.Type.MQTT() {
			e.shut(false)
		}
	}
}

// ResumeAll opens what SuspendAll or Suspend closed; stopped listeners stay so.
func (m *Manager) ResumeAll() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	var errs []error
	for _, e := range m.all {
		if e.state() == Suspended {
			errs = append(errs, e.open())
		}
	}
	return errors.Join(errs...)
}

// Reload reads the certificate files of all listeners again. Those that cannot
// be used leave the former ones in force, which is logged once for as long as
// the reason is the same, and shown by the gauge listener_tls_error.
// Connections are not touched.
func (m *Manager) Reload() error {
	var errs []error
	for _, e := range m.entries() {
		if e.secrets != nil {
			errs = append(errs, e.secrets.reload(e.log))
		}
	}
	return errors.Join(errs...)
}

// Files lists the certificate files of all listeners, for whoever watches them.
func (m *Manager) Files() []string {
	var out []string
	for _, e := range m.entries() {
		if e.secrets != nil {
			out = append(out, e.secrets.files()...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Find returns the listener of an address and port, as listener stop names it.
func (m *Manager) Find(address string, port int) (Key, bool) {
	for _, s := range m.List() {
		if s.Address == address && s.Port == port {
			return s.Config.Key, true
		}
	}
	return Key{}, false
}

// List returns all listeners, ordered by type and name.
func (m *Manager) List() []Status {
	entries := m.entries()
	out := make([]Status, len(entries))
	for i, e := range entries {
		out[i] = e.status()
	}
	return out
}

// entries returns all listeners, ordered by type and name.
func (m *Manager) entries() []*entry {
	m.mu.Lock()
	out := make([]*entry, 0, len(m.all))
	for _, e := range m.all {
		out = append(out, e)
	}
	m.mu.Unlock()
	slices.SortFunc(out, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.cfg.Type, b.cfg.Type), cmp.Compare(a.cfg.Name, b.cfg.Name))
	})
	return out
}

// Close stops all listeners for good, closes their connections and waits for
// Serve to return from each, but not longer than ctx.
func (m *Manager) Close(ctx context.Context) error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	entries := m.entries()
	for _, e := range entries {
		e.shut(true)
	}
	done := make(chan struct{})
	go func() { // ends with the last connection, whatever ctx says
		defer close(done)
		for _, e := range entries {
			e.wg.Wait()
		}
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("closing listeners: connections are still being served: %w", ctx.Err())
	}
}

// hostPort splits what a listener is bound to.
func hostPort(network, address string) (string, int) {
	if network == "unix" {
		return address, 0
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address, 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return address, 0
	}
	return host, n
}
