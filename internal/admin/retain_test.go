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

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/message"
)

func TestEveryFieldOfARetainedMessageCanBeFilled(t *testing.T) {
	m := &message.Message{Expires: 1, Publisher: "p"}
	fds := (*pb.RetainedRow)(nil).ProtoReflect().Descriptor().Fields()
	for i := range fds.Len() {
		row := &pb.RetainedRow{}
		if fill := retainFields[string(fds.Get(i).Name())]; fill != nil {
			fill(row, m)
		}
		if !row.ProtoReflect().Has(fds.Get(i)) {
			t.Errorf("%s is not filled", fds.Get(i).Name())
		}
	}
	if len(retainFields) != fds.Len() {
		t.Errorf("%d fields are filled, %d exist", len(retainFields), fds.Len())
	}
}

func retained(t *testing.T, conn grpc.ClientConnInterface, req *pb.ShowRetainedRequest) ([]string, *pb.ShowRetainedSummary, error) {
	t.Helper()
	stream, err := pb.NewRetainServiceClient(conn).ShowRetained(t.Context(), req)
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
			rows = append(rows, r.GetTopic())
		}
		if resp.GetSummary() != nil {
			return rows, resp.GetSummary(), nil
		}
	}
}

func someRetained() *fake {
	f := &fake{}
	for i := range 200 {
		f.retained = append(f.retained, &message.Message{Topic: fmt.Sprintf("a/%03d", i), Payload: make([]byte, i%7), QoS: byte(i % 3)})
	}
	f.retained[10].Expires = 1
	f.retained = append(f.retained, &message.Message{Topic: "b", Payload: []byte("x")}, &message.Message{Mountpoint: "mp", Topic: "a/001"})
	return f
}

func TestRetained(t *testing.T) {
	conn := start(t, someRetained(), nil, as(adminID))
	topic := []string{"topic"}
	for name, tc := range map[string]struct {
		req     *pb.ShowRetainedRequest
		total   uint64
		expired uint64
		first   string
	}{
		"all":         {&pb.ShowRetainedRequest{Fields: topic}, 201, 1, "a/000"},
		"filter":      {&pb.ShowRetainedRequest{Fields: topic, TopicFilter: "+/00+"}, 0, 0, ""},
		"wildcard":    {&pb.ShowRetainedRequest{Fields: topic, TopicFilter: "a/#", Filters: []*pb.Filter{eq("mountpoint", "")}}, 199, 1, "a/000"},
		"mountpoint":  {&pb.ShowRetainedRequest{Fields: topic, Filters: []*pb.Filter{eq("mountpoint", "mp")}}, 1, 0, "a/001"},
		"by size":     {&pb.ShowRetainedRequest{Fields: topic, OrderBy: []*pb.Order{{Field: "payload_size", Descending: true}}}, 201, 1, "a/006"},
		"comparisons": {&pb.ShowRetainedRequest{Fields: topic, Filters: []*pb.Filter{{Field: "payload_size", Operator: pb.Filter_OPERATOR_GREATER, Value: "5"}}}, 28, 0, "a/006"},
	} {
		want := tc.total
		if tc.req.GetTopicFilter() == "+/00+" {
			if _, _, err := retained(t, conn, tc.req); reasonOf(err) != "INVALID_ARGUMENT" {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var rows []string
		for {
			tc.req.Limit = 60
			got, sum, err := retained(t, conn, tc.req)
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, got...)
			if sum.GetTotal() != want || tc.req.GetPageToken() == "" && sum.GetExpired() != tc.expired {
				t.Errorf("%s: %v", name, sum)
			}
			if tc.req.PageToken = sum.GetNextPageToken(); tc.req.GetPageToken() == "" {
				break
			}
		}
		if len(rows) != int(want) || rows[0] != tc.first {
			t.Errorf("%s: %d rows, the first %q", name, len(rows), rows[0])
		}
	}
}

func TestDeleteRetained(t *testing.T) {
	f := someRetained()
	var mu sync.Mutex
	var gone []string
	f.deleted = func(_ context.Context, mountpoint, topic string) error {
		mu.Lock()
		defer mu.Unlock()
		gone = append(gone, mountpoint+topic)
		return nil
	}
	c := pb.NewRetainServiceClient(start(t, f, nil, as(adminID)))
	for _, tc := range []struct {
		req  *pb.DeleteRetainedRequest
		want uint64
		gone []string
	}{
		{&pb.DeleteRetainedRequest{Topic: "a/003"}, 1, []string{"a/003"}},
		{&pb.DeleteRetainedRequest{Topic: "a/0031"}, 0, nil},
		{&pb.DeleteRetainedRequest{Topic: "#", Mountpoint: "mp"}, 1, []string{"mpa/001"}},
		{&pb.DeleteRetainedRequest{Topic: "a/#", ValidateOnly: true}, 200, nil},
	} {
		gone = nil
		resp, err := c.DeleteRetained(t.Context(), tc.req)
		if d := cmp.Diff(tc.gone, gone); d != "" || err != nil || resp.GetDeleted() != tc.want {
			t.Errorf("%v: %v, %v, %s", tc.req, resp, err, d)
		}
	}
	gone = nil
	resp, err := c.DeleteRetained(t.Context(), &pb.DeleteRetainedRequest{Topic: "a/#"})
	if slices.Sort(gone); err != nil || resp.GetDeleted() != 200 || len(slices.Compact(gone)) != 200 {
		t.Errorf("%v, %v, %d calls", resp, err, len(gone))
	}
	for _, topic := range []string{"", "a/#/b"} {
		if _, err := c.DeleteRetained(t.Context(), &pb.DeleteRetainedRequest{Topic: topic}); err == nil {
			t.Errorf("%q was accepted", topic)
		}
	}
	f.deleted = func(context.Context, string, string) error { return errors.New("no majority") }
	if _, err := c.DeleteRetained(t.Context(), &pb.DeleteRetainedRequest{Topic: "#"}); err == nil || !strings.Contains(err.Error(), "no majority") {
		t.Errorf("a failure: %v", err)
	}
}

func TestDeleteExpiredRetained(t *testing.T) {
	f := someRetained()
	f.retained[20].Expires = 5
	f.retained[20].Topic = "replaced"
	f.deleted = func(context.Context, string, string) error { return nil }
	resp, err := pb.NewRetainServiceClient(start(t, f, nil, as(adminID))).DeleteExpiredRetained(t.Context(), &pb.DeleteExpiredRetainedRequest{})
	if err != nil || resp.GetExpired() != 1 {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestRoutes(t *testing.T) {
	f := &fake{}
	for i := range 50 {
		f.routes = append(f.routes, Route{Filter: fmt.Sprintf("t/%02d", 49-i), Node: fmt.Sprint("n", i%3)})
	}
	f.routes = append(f.routes, Route{Filter: "t/00", Group: "g", Node: "n1"}, Route{Filter: "t/00", Node: "n7"})
	conn := start(t, f, nil, as(adminID))
	req := &pb.ShowRoutesRequest{Fields: []string{"topic", "node", "group"}, Limit: 9}
	var rows []string
	for {
		stream, err := pb.NewRouteServiceClient(conn).ShowRoutes(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		var sum *pb.ShowRoutesSummary
		for sum == nil {
			resp, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range resp.GetRows() {
				rows = append(rows, r.GetTopic()+" "+r.GetGroup()+" "+r.GetNode())
			}
			sum = resp.GetSummary()
		}
		if sum.GetTotal() != 52 {
			t.Errorf("%v", sum)
		}
		if req.PageToken = sum.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
	}
	if len(rows) != 52 || rows[0] != "t/00 g n1" || rows[1] != "t/00  n1" || rows[2] != "t/00  n7" {
		t.Errorf("%d rows: %q", len(rows), rows[:3])
	}
}
