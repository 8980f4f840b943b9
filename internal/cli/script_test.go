package cli

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/admin"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

func TestMain(m *testing.M) {
	run := func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		os.Exit(Run(ctx, os.Args, Process()))
	}
	testscript.Main(m, map[string]func(){"mqadmin": run, "vmq-admin": run})
}

// TestScript runs the whole program against the real admin service on a unix
// socket, with a made-up broker behind it.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("UPDATE_GOLDEN") != "",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			dir, err := os.MkdirTemp("", "mq") // $WORK may be too long for a socket
			if err != nil {
				return err
			}
			env.Defer(func() { os.RemoveAll(dir) })
			path := filepath.Join(dir, "s")
			env.Setenv("MQADMIN_SOCKET", path)
			env.Setenv("SOCKET", path)
			return serve(env, path)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": exitCode},
	})
}

// exitCode runs a command and checks its exit code: code 2 mqadmin cluster join.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code n command [args]")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if e, ok := err.(interface{ ExitCode() int }); ok {
		got = itoa(e.ExitCode())
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

func serve(env *testscript.Env, path string) error {
	b := &broker{reg: metrics.New()}
	b.reg.Counter("mqtt_pubcomp_sent", "PUBCOMP packets sent.", metrics.Label{Name: "mqtt_version", Value: "4"}).Add(12000)
	b.reg.Counter("mqtt_pubcomp_sent", "PUBCOMP packets sent.", metrics.Label{Name: "mqtt_version", Value: "5"}).Add(8000)
	b.reg.Gauge("retain_messages", "Retained messages.", func() int64 { return 3 })
	cfg := admin.Config{
		Cluster: b, Node: b, Sessions: b, Subscriptions: b, Retained: retained{}, Routes: routes{},
		Metrics: b.reg, MetricsNamespace: "vernemq_", Logger: slog.New(slog.DiscardHandler),
	}
	if strings.HasSuffix(env.WorkDir, "nodes") { // nodes.txtar is about a member that is away
		cfg.Peers = b
	}
	srv, err := admin.New(cfg)
	if err != nil {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	creds, err := admin.UnixTransport("")
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l, creds) }()
	env.Defer(func() { srv.Close(); <-done })
	return nil
}

// broker is one made-up member of a cluster of two.
type broker struct{ reg *metrics.Registry }

func (b *broker) Members(context.Context) (admin.View, error) {
	return admin.View{
		Node: "VerneMQ@192.168.100.123", Leader: "VerneMQ@192.168.100.123", HasQuorum: true, ClusterID: 7,
		Members: []admin.Member{
			{
				Name: "VerneMQ@192.168.100.123", ID: 1, Address: "192.168.100.123:44053", Version: "1.0.0",
				Role: admin.RoleLeader, Running: true, Applied: new(uint64(42)), Lag: new(uint64(0)),
			},
			{Name: "VerneMQ@192.168.100.124", ID: 2, Address: "192.168.100.124:44053", Version: "1.0.0", Role: admin.RoleVoter},
		},
	}, nil
}

// Names and Conn: the other member is away.
func (b *broker) Names() []string { return []string{"VerneMQ@192.168.100.124"} }

func (b *broker) Conn(context.Context, string) (grpc.ClientConnInterface, error) {
	return nil, errors.New("no link to the node")
}

func (b *broker) Join(ctx context.Context, discovery string, progress func(admin.JoinProgress)) (admin.JoinResult, error) {
	switch discovery {
	case "VerneMQ@127.0.0.1":
		return admin.JoinResult{}, admin.NewError(pb.ErrorReason_ERROR_REASON_NODE_UNREACHABLE,
			"nothing answers at 127.0.0.1:44053", "node", discovery, "address", "127.0.0.1:44053")
	case "leaderless@h":
		return admin.JoinResult{}, admin.NewError(pb.ErrorReason_ERROR_REASON_NO_LEADER, "the cluster has no leader")
	case "forever@h":
		<-ctx.Done()
		return admin.JoinResult{}, ctx.Err()
	}
	progress(admin.JoinProgress{Phase: admin.JoinConnect})
	progress(admin.JoinProgress{Phase: admin.JoinCatchUp, Done: 5, Total: 10})
	return admin.JoinResult{Members: []string{"a", "b"}, Dropped: []string{"set max_client_id_size"}}, nil
}

func (b *broker) Leave(_ context.Context, r admin.LeaveRequest, progress func(admin.LeaveProgress)) (admin.LeaveResult, error) {
	switch {
	case r.Node == "dead@h" && !r.AcceptQuorumLoss:
		return admin.LeaveResult{}, admin.NewError(pb.ErrorReason_ERROR_REASON_RISK_NOT_ACCEPTED,
			"removing dead@h needs a majority, and there is none", "node", r.Node,
			"command", "mqadmin cluster leave node=dead@h --accept-risk=quorum-loss")
	case r.Node == "nobody@h":
		return admin.LeaveResult{}, admin.NewError(pb.ErrorReason_ERROR_REASON_NODE_UNKNOWN, "no member is called nobody@h", "node", r.Node)
	case !r.KillSessions:
		return admin.LeaveResult{Outcome: admin.LeaveCordoned}, nil
	}
	progress(admin.LeaveProgress{Phase: admin.LeaveDrain, SessionsOnline: 2})
	progress(admin.LeaveProgress{Phase: admin.LeaveMigrate, QueuesDone: 3, QueuesTotal: 10, MessagesDone: 90, MessagesTotal: 400})
	return admin.LeaveResult{Outcome: admin.LeaveLeft}, nil
}

func (b *broker) Status(context.Context) (admin.Status, error) {
	return admin.Status{Node: "VerneMQ@192.168.100.123", Version: "1.0.0", Ready: true, NumOnline: 2, StartedAt: time.Unix(1700000000, 0)}, nil
}

func (b *broker) Ping(context.Context) (admin.Pong, error) {
	return admin.Pong{Node: "VerneMQ@192.168.100.123", Ready: true}, nil
}

func (b *broker) Each(_ context.Context, _ admin.Scope, fn func(*admin.Session) bool) error {
	for _, s := range []*admin.Session{
		{
			ID: message.SessionID{ClientID: "alpha"}, Node: "VerneMQ@192.168.100.123", State: "online", CleanSession: true,
			Connections: []admin.Connection{{User: "ann", PeerHost: "10.0.0.1", PeerPort: 50123, Protocol: 4}},
		},
		{ID: message.SessionID{ClientID: "evil\x1b[31m"}, Node: "VerneMQ@192.168.100.123", State: "offline", OfflineMessages: 2},
	} {
		if !fn(s) {
			break
		}
	}
	return nil
}

func (b *broker) Locate(admin.Scope) ([]string, bool) { return nil, false }

func (b *broker) Owner(id message.SessionID) (string, bool) {
	if id.ClientID == "nobody" {
		return "", false
	}
	return "VerneMQ@192.168.100.123", true
}

func (b *broker) Subscribe(_ context.Context, _ message.SessionID, sub message.Subscription) (bool, error) {
	return sub.Filter == "sensors/#", nil
}

func (b *broker) Unsubscribe(_ context.Context, _ message.SessionID, filter string, _ bool) (bool, error) {
	return filter == "sensors/#", nil
}

func (b *broker) Reauthorize(_ context.Context, _ message.SessionID, username string) ([]string, []string, error) {
	if username == "mallory" {
		return []string{"sensors/#"}, nil, nil
	}
	return nil, nil, nil
}

func (b *broker) Subscriptions(context.Context, message.SessionID) ([]message.Subscription, error) {
	return []message.Subscription{{Filter: "sensors/#", QoS: 2}}, nil
}

func (b *broker) Messages(context.Context, message.SessionID) ([]admin.QueuedMessage, error) {
	return nil, nil
}

func (b *broker) Disconnect(_ context.Context, r admin.DisconnectRequest) (admin.DisconnectResult, error) {
	if r.ID.ClientID == "nobody" {
		return admin.DisconnectResult{}, nil
	}
	return admin.DisconnectResult{Disconnected: true, Cleaned: r.Cleanup, Node: "VerneMQ@192.168.100.123"}, nil
}

// retained are three made-up messages, of which one has expired.
type retained struct{}

func (retained) Each(_ context.Context, _, from string, fn func(*message.Message) bool) error {
	for _, m := range []*message.Message{
		{Topic: "gone", Payload: []byte("x"), Expires: 1},
		{Topic: "sensors/17", Payload: []byte("21.5"), QoS: 1, Publisher: "sensor-17"},
		{Topic: "sensors/\x1b[31m", Payload: []byte{0xff, '\n'}},
	} {
		if m.Topic >= from && !fn(m) {
			break
		}
	}
	return nil
}

func (retained) Delete(context.Context, string, string) error { return nil }

func (retained) DeleteExpired(context.Context, string, string, time.Time) (bool, error) {
	return true, nil
}

// routes are made-up subscribers.
type routes struct{}

func (routes) Each(_ context.Context, fn func(admin.Route) bool) error {
	for _, r := range []admin.Route{
		{Filter: "sensors/#", Node: "VerneMQ@192.168.100.124"},
		{Filter: "sensors/#", Node: "VerneMQ@192.168.100.123"},
		{Filter: "jobs", Group: "g", Node: "VerneMQ@192.168.100.123"},
	} {
		if !fn(r) {
			break
		}
	}
	return nil
}
