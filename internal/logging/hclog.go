package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// HCLog returns a logger for hashicorp libraries (raft.Config.Logger) that
// writes to l.
func HCLog(l *slog.Logger) hclog.Logger {
	h := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Off})
	h.RegisterSink(&sink{l})
	return h
}

// sink receives what a hashicorp library logs.
type sink struct{ log *slog.Logger }

// Accept forwards one record.
func (s *sink) Accept(name string, level hclog.Level, msg string, args ...any) {
	ctx, to := context.Background(), slogLevel(level)
	if !s.log.Enabled(ctx, to) {
		return
	}
	attrs := make([]slog.Attr, 0, len(args)/2+1)
	if name != "" {
		attrs = append(attrs, slog.String("component", name))
	}
	for i := 0; i < len(args); i += 2 {
		if i+1 == len(args) {
			attrs = append(attrs, slog.Any("extra", args[i]))
			break
		}
		attrs = append(attrs, slog.Any(fmt.Sprint(args[i]), plain(args[i+1])))
	}
	s.log.LogAttrs(ctx, to, msg, attrs...)
}

// plain turns hclog's own kinds of values into text.
func plain(v any) any {
	switch v := v.(type) {
	case hclog.Format:
		if len(v) == 0 {
			return ""
		}
		return fmt.Sprintf(fmt.Sprint(v[0]), v[1:]...)
	case hclog.Hex:
		return fmt.Sprintf("0x%x", int(v))
	case hclog.Octal:
		return fmt.Sprintf("0%o", int(v))
	case hclog.Binary:
		return fmt.Sprintf("0b%b", int(v))
	case fmt.Stringer:
		return fmt.Sprint(v) // survives a nil pointer
	default:
		return v
	}
}

func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Trace:
		return slog.LevelDebug - 4
	case hclog.Debug:
		return slog.LevelDebug
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}
