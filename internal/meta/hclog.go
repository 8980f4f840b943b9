package meta

import (
	"context"
	"io"
	"log"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// hclogger gives Raft's messages to slog. Its debug and trace messages are
// dropped: they come with every heartbeat.
type hclogger struct {
	log  *slog.Logger
	name string
	args []any
}

func (h *hclogger) emit(level slog.Level, msg string, args []any) {
	if h.log.Enabled(context.Background(), level) {
		h.log.Log(context.Background(), level, msg, append(args[:len(args):len(args)], "part", h.name)...)
	}
}

// Log implements hclog.Logger.
func (h *hclogger) Log(level hclog.Level, msg string, args ...any) {
	switch level {
	case hclog.Info:
		h.emit(slog.LevelInfo, msg, args)
	case hclog.Warn:
		h.emit(slog.LevelWarn, msg, args)
	case hclog.Error:
		h.emit(slog.LevelError, msg, args)
	default:
	}
}

// Trace implements hclog.Logger.
func (h *hclogger) Trace(string, ...any) {}

// Debug implements hclog.Logger.
func (h *hclogger) Debug(string, ...any) {}

// Info implements hclog.Logger.
func (h *hclogger) Info(msg string, args ...any) { h.emit(slog.LevelInfo, msg, args) }

// Warn implements hclog.Logger.
func (h *hclogger) Warn(msg string, args ...any) { h.emit(slog.LevelWarn, msg, args) }

// Error implements hclog.Logger.
func (h *hclogger) Error(msg string, args ...any) { h.emit(slog.LevelError, msg, args) }

// IsTrace implements hclog.Logger.
func (h *hclogger) IsTrace() bool { return false }

// IsDebug implements hclog.Logger.
func (h *hclogger) IsDebug() bool { return false }

// IsInfo implements hclog.Logger.
func (h *hclogger) IsInfo() bool { return h.log.Enabled(context.Background(), slog.LevelInfo) }

// IsWarn implements hclog.Logger.
func (h *hclogger) IsWarn() bool { return h.log.Enabled(context.Background(), slog.LevelWarn) }

// IsError implements hclog.Logger.
func (h *hclogger) IsError() bool { return h.log.Enabled(context.Background(), slog.LevelError) }

// ImpliedArgs implements hclog.Logger.
func (h *hclogger) ImpliedArgs() []any { return h.args }

// With implements hclog.Logger.
func (h *hclogger) With(args ...any) hclog.Logger {
	return &hclogger{log: h.log.With(args...), name: h.name, args: append(h.args[:len(h.args):len(h.args)], args...)}
}

// Name implements hclog.Logger.
func (h *hclogger) Name() string { return h.name }

// Named implements hclog.Logger.
func (h *hclogger) Named(name string) hclog.Logger { return h.ResetNamed(h.name + "." + name) }

// ResetNamed implements hclog.Logger.
func (h *hclogger) ResetNamed(name string) hclog.Logger {
	return &hclogger{log: h.log, name: name, args: h.args}
}

// SetLevel implements hclog.Logger; slog decides.
func (h *hclogger) SetLevel(hclog.Level) {}

// GetLevel implements hclog.Logger.
func (h *hclogger) GetLevel() hclog.Level { return hclog.Info }

// StandardLogger implements hclog.Logger.
func (h *hclogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(h.log.Handler(), slog.LevelInfo)
}

// StandardWriter implements hclog.Logger.
func (h *hclogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return h.StandardLogger(nil).Writer()
}
