package admin

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	diff "github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/message"
)

// pages asks for page after page until there is no more.
func pages(t *testing.T, conn grpc.ClientConnInterface, req *pb.ShowSessionsRequest) (rows []string, calls int) {
	t.Helper()
	for {
		got, sum, err := list(t, conn, req)
		if err != nil {
			t.Fatal(err)
		}
		calls++
		if int(sum.GetBefore()) != len(rows) || int(sum.GetShown()) != len(got) {
			t.Errorf("page %d: before %d, shown %d; %d rows were there and %d came", calls, sum.GetBefore(), sum.GetShown(), len(rows), len(got))
		}
		rows = append(rows, got...)
		if sum.GetNextPageToken() == "" {
			if int(sum.GetTotal()) != len(rows) {
				t.Errorf("total %d, %d rows came", sum.GetTotal(), len(rows))
			}
			return rows, calls
		}
		req.PageToken = sum.GetNextPageToken()
	}
}

// spread puts sessions with some subscriptions and numbers on three nodes.
func spread(t *testing.T) (grpc.ClientConnInterface, *[3]int) {
	t.Helper()
	var nodes [3]*fake
	var asked [3]int
	for i := range nodes {
		nodes[i] = threeSessions()
		nodes[i].sessions = nil
		nodes[i].scope = func(Scope) { asked[i]++ }
	}
	for i := range 30 {
		n := i % 3
		s := online(fmt.Sprintf("n%d", n+1), fmt.Sprintf("c%02d", i), "u", uint16(i%4))
		s.OnlineMessages = int64(i * 7 % 10)
		if i%5 == 0 {
			s.Connections, s.State = nil, "offline"
		}
		if i%10 == 0 {
			s.ID.Mountpoint = "mp"
		}
		nodes[n].sessions = append(nodes[n].sessions, s)
	}
	for _, n := range nodes {
		slices.SortFunc(n.sessions, func(a, b *Session) int { return cmp.Compare(a.ID.Key(), b.ID.Key()) })
	}
	peers := fakePeers{"n2": start(t, nodes[1], nil, as(adminID)), "n3": start(t, nodes[2], nil, as(adminID))}
	nodes[0].locate = func(s Scope) ([]string, bool) { return []string{"n3"}, *s.ClientID != "lost" }
	return start(t, nodes[0], func(c *Config) { c.Peers = peers }, as(adminID)), &asked
}

func TestPagesTogetherAreTheWholeList(t *testing.T) {
	conn, _ := spread(t)
	for name, req := range map[string]*pb.ShowSessionsRequest{
		"by key":                  {Fields: []string{"client_id", "node"}},
		"without the key":         {Fields: []string{"peer_port"}},
		"filtered":                {Fields: []string{"client_id"}, Filters: []*pb.Filter{re("client_id", "[13579]$")}},
		"ordered":                 {Fields: []string{"client_id", "online_messages"}, OrderBy: []*pb.Order{{Field: "online_messages"}}},
		"descending":              {Fields: []string{"client_id"}, OrderBy: []*pb.Order{{Field: "online_messages", Descending: true}, {Field: "peer_port"}}},
		"by a value not all have": {Fields: []string{"client_id", "peer_port"}, OrderBy: []*pb.Order{{Field: "peer_port", Descending: true}}},
	} {
		want, calls := pages(t, conn, req)
		if calls != 1 {
			t.Errorf("%s: %d pages without a limit", name, calls)
		}
		for _, limit := range []uint32{1, 4, 7} {
			req.Limit, req.PageToken = limit, ""
			got, calls := pages(t, conn, req)
			if d := diff.Diff(want, got); d != "" {
				t.Errorf("%s, %d at a time: %s", name, limit, d)
			}
			if n := (len(want) + int(limit) - 1) / int(limit); calls != n {
				t.Errorf("%s, %d at a time: %d pages, want %d", name, limit, calls, n)
			}
		}
	}
}

// TestRowsOfOneSessionGoOverThePage pages through rows that are equal in all
// that orders them.
func TestRowsOfOneSessionGoOverThePage(t *testing.T) {
	f := threeSessions()
	conn := start(t, f, nil, as(adminID))
	for _, order := range [][]*pb.Order{nil, {{Field: "user"}}} {
		got, calls := pages(t, conn, &pb.ShowSessionsRequest{
			Fields: []string{"topic"}, Filters: []*pb.Filter{eq("user", "ann")}, Limit: 1, OrderBy: order,
		})
		if d := diff.Diff([]string{`topic:"x/#"`, `topic:"y"`}, got); d != "" || calls != 2 {
			t.Errorf("%d calls: %s", calls, d)
		}
	}
}

func TestOrder(t *testing.T) {
	conn, _ := spread(t)
	got, _ := pages(t, conn, &pb.ShowSessionsRequest{
		Fields: []string{"client_id"}, Filters: []*pb.Filter{re("client_id", "^c0")},
		OrderBy: []*pb.Order{{Field: "is_online"}, {Field: "online_messages", Descending: true}},
	})
	want := []string{`client_id:"c05"`, `client_id:"c00"`}                               // offline first: 5, 0
	for _, c := range []string{"c07", "c04", "c01", "c08", "c02", "c09", "c06", "c03"} { // 9, 8, 7, 6, 4, 3, 2, 1
		want = append(want, fmt.Sprintf("client_id:%q", c))
	}
	if d := diff.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestComparisons(t *testing.T) {
	conn := start(t, threeSessions(), nil, as(adminID))
	for _, tc := range []struct {
		field string
		op    pb.Filter_Operator
		value string
		want  []string
	}{
		{"offline_messages", pb.Filter_OPERATOR_GREATER, "1", []string{`client_id:"b1"`}},
		{"offline_messages", pb.Filter_OPERATOR_GREATER_OR_EQUAL, "2", []string{`client_id:"b1"`}},
		{"peer_port", pb.Filter_OPERATOR_LESS, "2", []string{`client_id:"a1"`}},
		{"peer_port", pb.Filter_OPERATOR_LESS_OR_EQUAL, "2", []string{`client_id:"a1"`, `client_id:"a2"`}},
		{"user", pb.Filter_OPERATOR_NOT_EQUAL, "ann", []string{`client_id:"a2"`, `client_id:"b1"`}},
		{"user", pb.Filter_OPERATOR_NOT_MATCH, "^a", []string{`client_id:"a2"`, `client_id:"b1"`}},
		{"client_id", pb.Filter_OPERATOR_GREATER, "a1", []string{`client_id:"a2"`, `client_id:"b1"`}},
		{"is_online", pb.Filter_OPERATOR_LESS, "true", []string{`client_id:"b1"`}},
		{"payload", pb.Filter_OPERATOR_GREATER, "p0", []string{`client_id:"b1"`}},
	} {
		got, _, err := list(t, conn, &pb.ShowSessionsRequest{
			Fields: []string{"client_id"}, Filters: []*pb.Filter{{Field: tc.field, Operator: tc.op, Value: tc.value}},
		})
		if d := diff.Diff(tc.want, got); d != "" || err != nil {
			t.Errorf("%s %s %q: %v %s", tc.field, tc.op, tc.value, err, d)
		}
	}
}

func TestOneClientIsLookedUp(t *testing.T) {
	conn, asked := spread(t)
	rows, sum, err := list(t, conn, &pb.ShowSessionsRequest{Fields: []string{"node"}, Filters: []*pb.Filter{eq("client_id", "c02")}})
	if err != nil || len(sum.GetFailures()) > 0 || *asked != [3]int{1, 0, 1} {
		t.Errorf("%v, %v; the nodes were asked %v times", rows, err, *asked)
	}
	if _, _, err = list(t, conn, &pb.ShowSessionsRequest{Filters: []*pb.Filter{eq("client_id", "lost")}}); err != nil || *asked != [3]int{2, 1, 2} {
		t.Errorf("when the registry may be stale: %v; the nodes were asked %v times", err, *asked)
	}
}

func TestATokenOfAnotherQuestionIsRefused(t *testing.T) {
	conn, _ := spread(t)
	_, sum, err := list(t, conn, &pb.ShowSessionsRequest{Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, req := range []*pb.ShowSessionsRequest{
		{PageToken: "!"},
		{PageToken: "AQ"},
		{PageToken: sum.GetNextPageToken(), Fields: []string{"user"}},
		{PageToken: sum.GetNextPageToken(), Filters: []*pb.Filter{eq("user", "u")}},
		{PageToken: sum.GetNextPageToken(), OrderBy: []*pb.Order{{Field: "user"}}},
		{PageToken: sum.GetNextPageToken()[:20]},
	} {
		if _, _, err := list(t, conn, req); reasonOf(err) != "INVALID_ARGUMENT" {
			t.Errorf("%v: %v", req, err)
		}
	}
}

func TestThePlaceIsHandedDown(t *testing.T) {
	f := threeSessions()
	var got Scope
	f.scope = func(s Scope) { got = s }
	conn := start(t, f, nil, as(adminID))
	req := &pb.ShowSessionsRequest{Limit: 2, Filters: []*pb.Filter{re("client_id", "^.[12]")}}
	_, sum, err := list(t, conn, req)
	if err != nil {
		t.Fatal(err)
	}
	req.PageToken = sum.GetNextPageToken()
	if _, _, err := list(t, conn, req); err != nil || got.From != (message.SessionID{ClientID: "a2"}) {
		t.Errorf("%+v, %v", got.From, err)
	}
	if got.Accept == nil || !got.Accept(message.SessionID{ClientID: "x1"}) || got.Accept(message.SessionID{ClientID: "x3"}) {
		t.Error("what is of no interest is not told")
	}
}
