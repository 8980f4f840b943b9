package bench

import (
	"context"
	"log/slog"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

// MochiRole is the argument with which scripts/bench becomes a mochi server.
const MochiRole = "mochi"

// RunMochi serves with a bare mochi in memory until ctx ends. Tests give it
// hooks that make it misbehave.
func RunMochi(ctx context.Context, addr string, hooks ...mqtt.Hook) error {
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumClientWritesPending = queueLimit
	caps.MaximumInflight, caps.ReceiveMaximum = 8192, 8192
	s := mqtt.New(&mqtt.Options{Capabilities: caps, Logger: slog.New(slog.DiscardHandler)})
	if err := s.AddHook(&auth.AllowHook{}, nil); err != nil {
		return err
	}
	for _, h := range hooks {
		if err := s.AddHook(h, nil); err != nil {
			return err
		}
	}
	if err := s.AddListener(listeners.NewTCP(listeners.Config{ID: "bench", Address: addr})); err != nil {
		return err
	}
	if err := s.Serve(); err != nil {
		return err
	}
	<-ctx.Done()
	return s.Close()
}
