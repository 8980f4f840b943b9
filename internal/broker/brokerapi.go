package broker

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/admin"
	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/logging"
	"github.com/mqadmin/mqadmin/internal/trace"
)

// logAPI implements admin.Logs.
type logAPI struct{ b *Broker }

// List implements admin.Logs.
func (a logAPI) List(context.Context) ([]*pb.LogHandler, error) {
	var out []*pb.LogHandler
	for _, h := range a.b.log.Handlers() {
		out = append(out, &pb.LogHandler{Logger: h.Name, Level: h.Level(), Type: h.Type, File: h.File})
	}
	return out, nil
}

// levelSettings are the loggers whose level is a setting that can change.
var levelSettings = map[string]string{"console": "log.console.level", "syslog": "log.syslog.level"}

// SetLevel implements admin.Logs.
func (a logAPI) SetLevel(ctx context.Context, logger, level string) error {
	known := slices.ContainsFunc(a.b.log.Handlers(), func(h logging.Handler) bool { return h.Name == logger && h.Level() != "" })
	if !known {
		return admin.NewError(pb.ErrorReason_ERROR_REASON_LOGGER_UNKNOWN, fmt.Sprintf("there is no logger %q with a level", logger), "logger", logger)
	}
	if key := levelSettings[logger]; key != "" {
		_, err := settingAPI(a).Set(ctx, admin.SetRequest{Changes: []admin.Change{{Key: key, Value: level}}})
		return err
	}
	l, err := logging.ParseLevel(level)
	if err == nil {
		err = a.b.log.SetLevel(logger, l)
	}
	if err != nil {
		return &admin.Error{Reason: pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, Err: err, Metadata: map[string]string{"argument": "level", "value": level}}
	}
	return nil
}

// tlsAPI implements admin.Certificates.
type tlsAPI struct{ b *Broker }

// List implements admin.Certificates. Keys and revocation lists hold none.
func (a tlsAPI) List(context.Context) ([]*pb.Certificate, []*pb.FileFailure, error) {
	var out []*pb.Certificate
	var failures []*pb.FileFailure
	files := a.b.secretFiles()
	slices.Sort(files)
	for _, file := range slices.Compact(files) {
		list, err := certificatesOf(file)
		if err != nil {
			failures = append(failures, &pb.FileFailure{File: file, Message: err.Error()})
		}
		out = append(out, list...)
	}
	return out, failures, nil
}

func certificatesOf(file string) ([]*pb.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		if cause := errors.Unwrap(err); cause != nil {
			err = cause // the rest repeats the path
		}
		return nil, err
	}
	var out []*pb.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return out, err
		}
		out = append(out, &pb.Certificate{
			File: file, NotBefore: timestamppb.New(c.NotBefore), NotAfter: timestamppb.New(c.NotAfter),
			Cn: c.Subject.CommonName, Issuer: c.Issuer.String(), San: otherNames(c),
		})
	}
	return out, nil
}

func otherNames(c *x509.Certificate) []string {
	out := slices.Concat(c.DNSNames, c.EmailAddresses)
	for _, ip := range c.IPAddresses {
		out = append(out, ip.String())
	}
	for _, u := range c.URIs {
		out = append(out, u.String())
	}
	return out
}

// Reload implements admin.Certificates.
func (a tlsAPI) Reload(context.Context) ([]*pb.FileFailure, error) {
	err := a.b.reloadSecrets()
	if err == nil {
		return nil, nil
	}
	var out []*pb.FileFailure
	for line := range strings.Lines(err.Error()) {
		name, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		out = append(out, &pb.FileFailure{File: name, Message: text})
	}
	return out, nil
}

// traceAPI implements admin.Traces.
type traceAPI struct{ b *Broker }

// Client implements admin.Traces.
func (a traceAPI) Client(ctx context.Context, r admin.TraceRequest, emit func(*pb.TraceClientResponse) error) error {
	o := trace.Options{ID: r.ID, RateMax: r.RateMax, RateInterval: r.RateInterval, Payload: r.Payload}
	if r.Payload < 0 {
		o.Payload = trace.DefaultPayload
	}
	return a.b.tracer.Run(ctx, o, func(e trace.Event) error {
		out := &pb.TraceClientResponse{
			Time: timestamppb.New(e.At), Direction: pb.TraceDirection(e.Direction), Connection: e.Connection,
			Packet: e.Packet, Text: strings.ToValidUTF8(e.Text, "\uFFFD"), Details: e.Details, PayloadCut: e.Cut,
		}
		if e.HasPayload {
			out.Payload = append([]byte{}, e.Payload...)
		}
		return emit(out)
	})
}

// StopAll implements admin.Traces.
func (a traceAPI) StopAll(context.Context) (int, error) { return a.b.tracer.StopAll(), nil }

// pluginAPI implements admin.Plugins.
type pluginAPI struct{ b *Broker }

// List implements admin.Plugins: what is attached, in order, then what is
// turned off.
func (a pluginAPI) List(context.Context) ([]*pb.Plugin, error) {
	b := a.b
	var out []*pb.Plugin
	on := map[string]bool{}
	for _, p := range b.hooks.Plugins() {
		on[p.Name] = true
		out = append(out, describePlugin(p.Name, p.Points, true))
	}
	for _, p := range builtinPlugins() {
		if !on[p.name] {
			out = append(out, describePlugin(p.name, hook.PointsOf(p.kind), false))
		}
	}
	return out, nil
}

// describePlugin lists the hooks of one. What is called is a method of the same
// name.
func describePlugin(name string, points []hook.Point, on bool) *pb.Plugin {
	p := &pb.Plugin{Plugin: name, Type: "application", Enabled: on}
	if _, ok := config.Lookup("plugins." + name); !ok || name == "local_only" {
		p.Type = "internal"
	}
	for _, at := range points {
		p.Hooks = append(p.Hooks, at.String())
		p.Functions = append(p.Functions, name+":"+at.String())
	}
	return p
}

// Enable implements admin.Plugins.
func (a pluginAPI) Enable(_ context.Context, name string) (bool, error) {
	return a.turn(name, true)
}

// Disable implements admin.Plugins.
func (a pluginAPI) Disable(_ context.Context, name string) (bool, error) {
	return a.turn(name, false)
}

func (a pluginAPI) turn(name string, on bool) (bool, error) {
	if !slices.ContainsFunc(builtinPlugins(), func(p filePlugin) bool { return p.name == name }) {
		text := "there is no plugin " + name
		if s, ok := config.Lookup("plugins." + name); ok && s.Key == "plugins."+name {
			text = name + " is not part of this version"
		}
		return false, admin.NewError(pb.ErrorReason_ERROR_REASON_PLUGIN_UNKNOWN, text, "plugin", name)
	}
	return a.b.turnPlugin(name, on)
}
