package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/testing/protocmp"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/message"
)

// ending is a broker that notes which sessions are ended.
func ending(node string, clients int) (*fake, func() []string) {
	var mu sync.Mutex
	var ended []string
	f := &fake{}
	for i := range clients {
		f.sessions = append(f.sessions, online(node, fmt.Sprintf("%s-%03d", node, i), "", 1))
	}
	f.owner = func(id message.SessionID) (string, bool) {
		owner, _, _ := strings.Cut(id.ClientID, "-")
		if owner == "nobody" {
			return "", false
		}
		return owner, owner == node
	}
	f.disconnect = func(_ context.Context, r DisconnectRequest) (DisconnectResult, error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case strings.HasPrefix(r.ID.ClientID, "nobody"):
			return DisconnectResult{}, nil
		case strings.HasSuffix(r.ID.ClientID, "-007"):
			return DisconnectResult{}, errors.New("it hangs")
		}
		ended = append(ended, r.ID.ClientID)
		return DisconnectResult{Disconnected: true, Cleaned: r.Cleanup}, nil
	}
	return f, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Sorted(slices.Values(ended))
	}
}

func disconnectAll(t *testing.T, conn grpc.ClientConnInterface, req *pb.DisconnectSessionsRequest) (*pb.DisconnectResult, []*pb.DisconnectProgress, error) {
	t.Helper()
	stream, err := pb.NewSessionServiceClient(conn).DisconnectSessions(t.Context(), req)
	var reports []*pb.DisconnectProgress
	for err == nil {
		var resp *pb.DisconnectSessionsResponse
		if resp, err = stream.Recv(); err != nil {
			break
		}
		if r := resp.GetResult(); r != nil {
			return r, reports, nil
		}
		reports = append(reports, resp.GetProgress())
	}
	return nil, reports, err
}

func TestDisconnectSome(t *testing.T) {
	f1, ended1 := ending("n1", 20)
	f2, ended2 := ending("n2", 20)
	f1.sessions[3].Connections = nil // offline: nothing to end
	f1.sessions[4].Plugin = true
	peers := fakePeers{"n2": start(t, f2, nil, as(adminID)), "n3": nil}
	conn := start(t, f1, func(c *Config) { c.Peers = peers }, as(adminID))
	res, reports, err := disconnectAll(t, conn, &pb.DisconnectSessionsRequest{Count: 25, ExcludeClientIds: []string{"n1-000", "n2-001"}, Cleanup: true})
	if err != nil {
		t.Fatal(err)
	}
	// 16 of n1 and its one failure, then 8 of n2, of which one fails.
	want := &pb.DisconnectResult{Disconnected: 23, Cleaned: 23, Failed: 2, Failures: []*pb.NodeFailure{
		{Node: "n1", Message: "n1-007: it hangs"}, {Node: "n2", Message: "n2-007: it hangs"},
	}}
	if d := cmp.Diff(want, res, protocmp.Transform()); d != "" {
		t.Error(d)
	}
	if len(ended1()) != 16 || len(ended2()) != 7 || slices.Contains(ended1(), "n1-000") || slices.Contains(ended2(), "n2-001") {
		t.Errorf("ended %q and %q", ended1(), ended2())
	}
	if last := reports[len(reports)-1]; last.GetDone() != 25 || last.GetTotal() != 25 {
		t.Errorf("the last report: %v", last)
	}
	res, _, err = disconnectAll(t, conn, &pb.DisconnectSessionsRequest{Count: 1000, ValidateOnly: true})
	if err != nil || res.GetDisconnected() != 38 || len(res.GetFailures()) != 1 || res.GetFailures()[0].GetNode() != "n3" || len(ended1()) != 16 {
		t.Errorf("a dry run: %v, %v", res, err)
	}
	res, _, err = disconnectAll(t, conn, &pb.DisconnectSessionsRequest{Count: 3, Nodes: []string{"n2"}})
	if err != nil || res.GetDisconnected() != 3 || len(ended2()) != 10 || len(ended1()) != 16 {
		t.Errorf("of one node: %v, %v", res, err)
	}
	if _, _, err = disconnectAll(t, conn, &pb.DisconnectSessionsRequest{Count: 3, Nodes: []string{"n1", "n9"}}); reasonOf(err) != "NODE_UNKNOWN" {
		t.Errorf("of an unknown node: %v", err)
	}
}

func TestDisconnectNamedClients(t *testing.T) {
	f, ended := ending("n1", 0)
	conn := start(t, f, nil, as(adminID))
	res, _, err := disconnectAll(t, conn, &pb.DisconnectSessionsRequest{ClientIds: []string{"n1-b", "nobody-2", "n1-a", "n1-a", "nobody-1", "n2-c"}})
	want := &pb.DisconnectResult{Disconnected: 3, UnknownClientIds: []string{"nobody-1", "nobody-2"}}
	if d := cmp.Diff(want, res, protocmp.Transform()); d != "" || err != nil || !slices.Equal(ended(), []string{"n1-a", "n1-b", "n2-c"}) {
		t.Errorf("%v, ended %q, %s", err, ended(), d)
	}
	for _, req := range []*pb.DisconnectSessionsRequest{{}, {ClientIds: []string{"a"}, Count: 1}, {ClientIds: []string{"a", ""}}} {
		if _, _, err := disconnectAll(t, conn, req); reasonOf(err) != "MISSING_ARGUMENT" && reasonOf(err) != "INVALID_ARGUMENT" {
			t.Errorf("%v: %v", req, err)
		}
	}
}

// subscribing is a node that takes changes of subscriptions of its own sessions.
func subscribing(node string) *fake {
	f, _ := ending(node, 0)
	f.subscribe = func(_ context.Context, id message.SessionID, sub message.Subscription) (bool, error) {
		return sub == message.Subscription{Filter: "a/#", QoS: 2} && id.Mountpoint == "mp", nil
	}
	f.unsubscribe = func(_ context.Context, _ message.SessionID, filter string, tell bool) (bool, error) {
		return filter == "a/#" && tell, nil
	}
	f.reauthorize = func(_ context.Context, id message.SessionID, user string) ([]string, []string, error) {
		return []string{node, user}, []string{id.ClientID}, nil
	}
	return f
}

func TestSubscriptionsAreChangedWhereTheSessionIs(t *testing.T) {
	peers := fakePeers{"n2": start(t, subscribing("n2"), nil, as(adminID)), "n3": nil}
	c := pb.NewSessionServiceClient(start(t, subscribing("n1"), func(c *Config) { c.Peers = peers }, as(adminID)))
	ctx := t.Context()
	for _, client := range []string{"n1-a", "n2-a"} {
		sub, err := c.SubscribeSession(ctx, &pb.SubscribeSessionRequest{ClientId: client, Mountpoint: "mp", Topic: "a/#", Qos: 2})
		if err != nil || !sub.GetExisted() {
			t.Errorf("%s: %v, %v", client, sub, err)
		}
		if _, err := c.UnsubscribeSession(ctx, &pb.UnsubscribeSessionRequest{ClientId: client, Topic: "a/#", Plugin: true}); err != nil {
			t.Errorf("%s: %v", client, err)
		}
		if _, err := c.UnsubscribeSession(ctx, &pb.UnsubscribeSessionRequest{ClientId: client, Topic: "b"}); reasonOf(err) != "SUBSCRIPTION_UNKNOWN" {
			t.Errorf("%s: %v", client, err)
		}
		re, err := c.ReauthorizeSession(ctx, &pb.ReauthorizeSessionRequest{ClientId: client, Username: "u"})
		if err != nil || re.GetRemoved()[0] != client[:2] || re.GetRemoved()[1] != "u" || re.GetReplaced()[0] != client {
			t.Errorf("%s: %v, %v", client, re, err)
		}
	}
	for client, want := range map[string]string{"nobody-1": "SESSION_UNKNOWN", "n3-a": "NODE_DOWN", "": "MISSING_ARGUMENT"} {
		_, e1 := c.SubscribeSession(ctx, &pb.SubscribeSessionRequest{ClientId: client, Topic: "t"})
		_, e2 := c.UnsubscribeSession(ctx, &pb.UnsubscribeSessionRequest{ClientId: client, Topic: "t"})
		_, e3 := c.ReauthorizeSession(ctx, &pb.ReauthorizeSessionRequest{ClientId: client, Username: "u"})
		for _, err := range []error{e1, e2, e3} {
			if reasonOf(err) != want {
				t.Errorf("%q: %v", client, err)
			}
		}
	}
	for _, req := range []*pb.SubscribeSessionRequest{{ClientId: "n1-a"}, {ClientId: "n1-a", Topic: "t", Qos: 3}} {
		if _, err := c.SubscribeSession(ctx, req); err == nil {
			t.Errorf("%v was accepted", req)
		}
	}
	if _, err := c.ReauthorizeSession(ctx, &pb.ReauthorizeSessionRequest{ClientId: "n1-a"}); reasonOf(err) != "MISSING_ARGUMENT" {
		t.Error(err)
	}
	if _, err := c.UnsubscribeSession(ctx, &pb.UnsubscribeSessionRequest{ClientId: "n1-a"}); reasonOf(err) != "MISSING_ARGUMENT" {
		t.Error(err)
	}
}
