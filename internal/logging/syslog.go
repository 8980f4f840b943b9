package logging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Syslog says where records go besides the files.
type Syslog struct {
	// Dial connects to the daemon; nil turns syslog off.
	Dial func(ctx context.Context) (net.Conn, error)
	// Stream says that Dial connects to a stream, where messages need an end.
	Stream bool
	// RFC5424 is the newer format; otherwise it is that of RFC 3164.
	RFC5424  bool
	Level    slog.Level
	Facility int
	// App is APP-NAME; Host the name of this machine, "" leaves it out, as local
	// daemons expect.
	App, Host string
	// MaxPending is how many records may wait while the daemon does not take
	// them; further ones are dropped and counted. 1000 when 0.
	MaxPending int
}

// Facilities of RFC 5424 §6.2.1, by number; words of VerneMQ's that mean the
// same number stand in facilityAliases.
var facilities = []string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "logaudit", "logalert", "clock",
	"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

// ParseFacility reads a word of log.syslog.facility.
func ParseFacility(name string) (int, error) {
	if name == "kernel" {
		name = "kern"
	}
	if i := slices.Index(facilities, name); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("unknown syslog facility %q", name)
}

// severity of RFC 5424 §6.2.1.
func severity(l slog.Level) int {
	for s, least := range []slog.Level{LevelEmergency, LevelAlert, LevelCritical, slog.LevelError, slog.LevelWarn, LevelNotice, slog.LevelInfo} {
		if l >= least {
			return s
		}
	}
	return 7
}

const (
	defaultPending = 1000
	maxSyslogLine  = 8 << 10 // what daemons take at the least is far less, what they take in practice this
	minBackoff     = time.Second
	maxBackoff     = 30 * time.Second
	flushTime      = time.Second
)

// syslogger sends records from a goroutine of its own, because a daemon that
// hangs must not hold up who logs. The goroutine ends with close.
type syslogger struct {
	cfg     Syslog
	lines   chan []byte
	dropped atomic.Int64
	stop    context.CancelFunc
	done    chan struct{}
}

func newSyslogger(c Syslog) *syslogger {
	if c.MaxPending == 0 {
		c.MaxPending = defaultPending
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &syslogger{cfg: c, lines: make(chan []byte, c.MaxPending), stop: stop, done: make(chan struct{})}
	go s.run(ctx)
	return s
}

// put queues a line or drops it.
func (s *syslogger) put(line []byte) {
	select {
	case s.lines <- line:
	default:
		s.dropped.Add(1)
	}
}

func (s *syslogger) run(ctx context.Context) {
	defer close(s.done)
	var conn net.Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for {
		select {
		case line := <-s.lines:
			conn = s.deliver(ctx, conn, line)
		case <-ctx.Done():
			s.flush(conn)
			return
		}
	}
}

// deliver writes a line, connecting again for as long as it takes, and returns
// the connection in use. A line that is being sent when the connection breaks
// is sent again.
func (s *syslogger) deliver(ctx context.Context, conn net.Conn, line []byte) net.Conn {
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		var err error
		if conn == nil {
			conn, err = s.cfg.Dial(ctx)
		}
		if err == nil {
			_ = conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
			if _, err = conn.Write(line); err == nil {
				return conn
			}
			conn.Close()
		}
		conn = nil
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			s.dropped.Add(1)
			return nil
		}
	}
}

// flush writes what waits at the end, for a moment.
func (s *syslogger) flush(conn net.Conn) {
	if conn == nil {
		return
	}
	_ = conn.SetWriteDeadline(time.Now().Add(flushTime))
	for {
		select {
		case line := <-s.lines:
			if _, err := conn.Write(line); err != nil {
				return
			}
		default:
			return
		}
	}
}

func (s *syslogger) close() {
	s.stop()
	<-s.done
}

// syslogHandler turns records into lines of syslog. Attributes are written as in
// the text files; time and level are syslog's own.
type syslogHandler struct {
	s     *syslogger
	level slog.Leveler
	mu    *sync.Mutex // guards buf
	buf   *bytes.Buffer
	text  slog.Handler // writes into buf
}

func newSyslogHandler(s *syslogger, level slog.Leveler) *syslogHandler {
	buf := &bytes.Buffer{}
	return &syslogHandler{s: s, level: level, mu: new(sync.Mutex), buf: buf, text: slog.NewTextHandler(buf, &slog.HandlerOptions{
		Level: slog.LevelDebug, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
				return slog.Attr{}
			}
			return a
		},
	})}
}

// Enabled implements slog.Handler.
func (h *syslogHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// WithAttrs implements slog.Handler.
func (h *syslogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.text = h.text.WithAttrs(attrs)
	return &c
}

// WithGroup implements slog.Handler.
func (h *syslogHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.text = h.text.WithGroup(name)
	return &c
}

// Handle implements slog.Handler.
func (h *syslogHandler) Handle(ctx context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf.Reset()
	if err := h.text.Handle(ctx, r); err != nil {
		return err
	}
	body := bound(strings.TrimRight(h.buf.String(), "\n"), maxSyslogLine)
	h.s.put(h.s.cfg.frame(h.s.cfg.format(r.Time, r.Level, body)))
	return nil
}

// format writes the header of a message.
func (c *Syslog) format(at time.Time, level slog.Level, body string) string {
	pri := c.Facility*8 + severity(level)
	if c.RFC5424 {
		host := c.Host
		if host == "" {
			host = "-"
		}
		return fmt.Sprintf("<%d>1 %s %s %s %d - - %s", pri, at.UTC().Format("2006-01-02T15:04:05.000000Z"), host, c.App, os.Getpid(), body)
	}
	host := ""
	if c.Host != "" {
		host = c.Host + " "
	}
	return fmt.Sprintf("<%d>%s %s%s[%d]: %s", pri, at.Format(time.Stamp), host, c.App, os.Getpid(), body)
}

// frame ends a message: octet counting (RFC 6587 §3.4.1, RFC 5425 §4.3) for the
// newer format on a stream, a line feed for the older, nothing in a datagram.
func (c *Syslog) frame(message string) []byte {
	switch {
	case !c.Stream:
		return []byte(message)
	case c.RFC5424:
		return fmt.Appendf(nil, "%d %s", len(message), message)
	}
	return []byte(message + "\n")
}

// ErrLogger is returned for a word that names no logger.
var ErrLogger = errors.New("unknown logger")
