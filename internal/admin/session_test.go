package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/message"
)

func TestEveryFieldOfARowCanBeFilled(t *testing.T) {
	src := source{
		session: &Session{StartedAt: time.Unix(1, 0)},
		conn:    &Connection{StartedAt: time.Unix(1, 0)},
		sub:     &message.Subscription{},
		msg:     &QueuedMessage{Message: &message.Message{}},
	}
	fds := (*pb.SessionRow)(nil).ProtoReflect().Descriptor().Fields()
	for i := range fds.Len() {
		fd := fds.Get(i)
		f, ok := rowFields[string(fd.Name())]
		if !ok {
			t.Errorf("%s is not filled", fd.Name())
			continue
		}
		row := &pb.SessionRow{}
		f.fill(row, &src)
		if !row.ProtoReflect().Has(fd) {
			t.Errorf("%s was filled into another field", fd.Name())
		}
	}
	if len(rowFields) != fds.Len() {
		t.Errorf("%d fields are filled, %d exist", len(rowFields), fds.Len())
	}
}

// list runs ShowSessions and returns the rows as text.
func list(t *testing.T, conn grpc.ClientConnInterface, req *pb.ShowSessionsRequest) ([]string, *pb.ShowSessionsSummary, error) {
	t.Helper()
	stream, err := pb.NewSessionServiceClient(conn).ShowSessions(t.Context(), req)
	if err != nil {
		return nil, nil, err
	}
	var rows []string
	for {
		resp, err := stream.Recv()
		if err != nil {
			return rows, nil, err
		}
		for _, r := range resp.GetRows() {
			rows = append(rows, strings.Join(strings.Fields(r.String()), " "))
		}
		if resp.GetSummary() != nil {
			return rows, resp.GetSummary(), nil
		}
	}
}

func online(node, client, user string, port uint16) *Session {
	return &Session{
		ID: message.SessionID{ClientID: client}, Node: node, State: "online", CleanSession: true,
		Connections: []Connection{{User: user, PeerHost: "10.0.0.9", PeerPort: port, Protocol: 5}},
	}
}

func eq(field, value string) *pb.Filter {
	return &pb.Filter{Field: field, Operator: pb.Filter_OPERATOR_EQUAL, Value: value}
}

func re(field, value string) *pb.Filter {
	return &pb.Filter{Field: field, Operator: pb.Filter_OPERATOR_MATCH, Value: value}
}

func threeSessions() *fake {
	return &fake{
		sessions: []*Session{
			online("n1", "a1", "ann", 1),
			online("n1", "a2", "bob", 2),
			{ID: message.SessionID{ClientID: "b1"}, Node: "n1", State: "offline", OfflineMessages: 2},
		},
		subs: func(_ context.Context, id message.SessionID) ([]message.Subscription, error) {
			if id.ClientID == "a1" {
				return []message.Subscription{{Filter: "x/#", QoS: 2}, {Filter: "y", QoS: 1}}, nil
			}
			return nil, nil
		},
		msgs: func(_ context.Context, id message.SessionID) ([]QueuedMessage, error) {
			if id.ClientID != "b1" {
				return nil, nil
			}
			return []QueuedMessage{{Message: &message.Message{Topic: "t", Payload: []byte("p1")}, QoS: 1}}, nil
		},
	}
}

func TestFiltersAndFields(t *testing.T) {
	conn := start(t, threeSessions(), nil, as(adminID))
	for name, tc := range map[string]struct {
		fields  []string
		filters []*pb.Filter
		want    []string
	}{
		"one column":            {[]string{"client_id"}, nil, []string{`client_id:"a1"`, `client_id:"a2"`, `client_id:"b1"`}},
		"text equals":           {[]string{"client_id"}, []*pb.Filter{eq("user", "bob")}, []string{`client_id:"a2"`}},
		"boolean equals":        {[]string{"client_id"}, []*pb.Filter{eq("is_online", "false")}, []string{`client_id:"b1"`}},
		"integer equals":        {[]string{"client_id"}, []*pb.Filter{eq("peer_port", "1")}, []string{`client_id:"a1"`}},
		"regular expression":    {[]string{"client_id"}, []*pb.Filter{re("client_id", "^a"), re("user", "n")}, []string{`client_id:"a1"`}},
		"a row per sub":         {[]string{"topic"}, []*pb.Filter{eq("client_id", "a1")}, []string{`topic:"x/#"`, `topic:"y"`}},
		"a column hides no row": {[]string{"client_id", "topic"}, []*pb.Filter{eq("client_id", "a2")}, []string{`client_id:"a2"`}},
		"filter on a sub":       {[]string{"client_id"}, []*pb.Filter{eq("qos", "1")}, []string{`client_id:"a1"`}},
		"messages":              {[]string{"payload", "routing_key"}, []*pb.Filter{eq("payload", "p1")}, []string{`routing_key:"t" payload:"p1"`}},
		"two rows of one match": {[]string{"client_id"}, []*pb.Filter{re("topic", ".")}, []string{`client_id:"a1"`, `client_id:"a1"`}},
	} {
		got, sum, err := list(t, conn, &pb.ShowSessionsRequest{Fields: tc.fields, Filters: tc.filters})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if sum.GetTotal() != uint64(len(tc.want)) {
			t.Errorf("%s: total %d", name, sum.GetTotal())
		}
	}
}

func TestBadQueriesAreRefused(t *testing.T) {
	conn := start(t, threeSessions(), nil, as(adminID))
	for reason, reqs := range map[string][]*pb.ShowSessionsRequest{
		"UNKNOWN_FIELD": {{Fields: []string{"nope"}}, {Filters: []*pb.Filter{eq("nope", "1")}}},
		"INVALID_ARGUMENT": {
			{Filters: []*pb.Filter{eq("is_online", "maybe")}},
			{Filters: []*pb.Filter{eq("peer_port", "many")}},
			{Filters: []*pb.Filter{re("user", "(")}},
			{Filters: []*pb.Filter{{Field: "user"}}},
			{RowTimeout: durationpb.New(-1)},
		},
	} {
		for _, req := range reqs {
			if _, _, err := list(t, conn, req); reasonOf(err) != reason {
				t.Errorf("%v: %v", req, err)
			}
		}
	}
}

func TestLimitKeepsCounting(t *testing.T) {
	conn := start(t, threeSessions(), nil, as(adminID))
	rows, sum, err := list(t, conn, &pb.ShowSessionsRequest{Limit: 2})
	if err != nil || len(rows) != 2 || sum.GetShown() != 2 || sum.GetTotal() != 3 {
		t.Errorf("%v, %v, %v", rows, sum, err)
	}
}

func TestScopeIsHandedDown(t *testing.T) {
	f := threeSessions()
	var got string
	f.scope = func(s Scope) {
		if s.ClientID != nil {
			got = *s.ClientID
		}
	}
	conn := start(t, f, nil, as(adminID))
	if _, _, err := list(t, conn, &pb.ShowSessionsRequest{Filters: []*pb.Filter{eq("client_id", "a1")}}); err != nil || got != "a1" {
		t.Errorf("scope %q, %v", got, err)
	}
}

func TestSlowRowsAreSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := threeSessions()
		f.subs = func(ctx context.Context, id message.SessionID) ([]message.Subscription, error) {
			if id.ClientID == "a2" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return nil, nil
		}
		conn := start(t, f, nil, as(adminID))
		rows, sum, err := list(t, conn, &pb.ShowSessionsRequest{Fields: []string{"client_id", "topic"}})
		if err != nil || len(rows) != 2 || sum.GetSkipped() != 1 {
			t.Errorf("%v, %v, %v", rows, sum, err)
		}
	})
}

// fakePeers are members that answer through conns.
type fakePeers map[string]grpc.ClientConnInterface

func (p fakePeers) Names() []string {
	var names []string
	for n := range p {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (p fakePeers) Conn(_ context.Context, name string) (grpc.ClientConnInterface, error) {
	if c := p[name]; c != nil {
		return c, nil
	}
	return nil, errors.New("link is down")
}

func TestMembersAreMergedInOrder(t *testing.T) {
	n2 := start(t, &fake{sessions: []*Session{online("n2", "a0", "", 1), online("n2", "a1", "", 2), online("n2", "z", "", 3)}}, nil, as(adminID))
	conn := start(t, threeSessions(), func(c *Config) { c.Peers = fakePeers{"n2": n2, "n3": nil} }, as(adminID))
	rows, sum, err := list(t, conn, &pb.ShowSessionsRequest{Fields: []string{"client_id", "peer_port"}, Limit: 5})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`client_id:"a0" peer_port:1`, `client_id:"a1" peer_port:1`, `client_id:"a1" peer_port:2`,
		`client_id:"a2" peer_port:2`, `client_id:"b1"`,
	}
	if d := cmp.Diff(want, rows); d != "" {
		t.Error(d)
	}
	if sum.GetShown() != 5 || sum.GetTotal() != 6 || len(sum.GetFailures()) != 1 || sum.GetFailures()[0].GetNode() != "n3" {
		t.Errorf("summary %v", sum)
	}
	rows, _, err = list(t, conn, &pb.ShowSessionsRequest{LocalOnly: true})
	if err != nil || len(rows) != 3 {
		t.Errorf("local only: %v, %v", rows, err)
	}
}

func TestSilentMemberDoesNotHoldUpTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := &fake{sessions: []*Session{online("n2", "c", "", 1)}, subs: func(ctx context.Context, _ message.SessionID) ([]message.Subscription, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		n2 := start(t, stuck, nil, as(adminID))
		conn := start(t, &fake{sessions: []*Session{online("n1", "a", "", 1)}}, func(c *Config) { c.Peers = fakePeers{"n2": n2} }, as(adminID))
		rows, sum, err := list(t, conn, &pb.ShowSessionsRequest{
			Fields: []string{"client_id", "topic"}, RowTimeout: durationpb.New(time.Hour),
		})
		if err != nil || len(rows) != 1 || len(sum.GetFailures()) != 1 {
			t.Fatalf("%v, %v, %v", rows, sum, err)
		}
		if got := sum.GetFailures()[0].GetMessage(); got != "no answer within 5s" {
			t.Errorf("failure %q", got)
		}
	})
}

func TestDisconnectOnActsLocallyThere(t *testing.T) {
	want := DisconnectRequest{ID: message.SessionID{Mountpoint: "mp", ClientID: "c"}, Cleanup: true, LocalOnly: true}
	conn := start(t, &fake{disconnect: func(_ context.Context, r DisconnectRequest) (DisconnectResult, error) {
		if r != want {
			t.Errorf("got %+v", r)
		}
		return DisconnectResult{Disconnected: true, Node: "n1"}, nil
	}}, nil, as(adminID))
	res, err := DisconnectOn(t.Context(), conn, DisconnectRequest{ID: want.ID, Cleanup: true})
	if err != nil || res != (DisconnectResult{Disconnected: true, Node: "n1"}) {
		t.Errorf("%+v, %v", res, err)
	}
}

// BenchmarkShowSessions lists with a regular expression over many sessions.
func BenchmarkShowSessions(b *testing.B) {
	f := &fake{}
	for i := range 100_000 {
		f.sessions = append(f.sessions, online("n1", fmt.Sprintf("client-%06d", i), "u", 1))
	}
	q, err := newSessionQuery(&pb.ShowSessionsRequest{Filters: []*pb.Filter{re("client_id", "9$")}, Limit: 1000})
	if err != nil {
		b.Fatal(err)
	}
	s := &Server{cfg: Config{Sessions: f}}
	for b.Loop() {
		if _, err := s.sessions(b.Context(), q, func(*pb.SessionRow) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
