package broker

import (
	"flag"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/queue"
)

var manySessions = flag.Int("sessions", 0, "list that many sessions and say how long it takes")

// TestManySessions measures the lists over many sessions: docs/performance.md
// has the figures.
func TestManySessions(t *testing.T) {
	n := *manySessions
	if n == 0 {
		t.Skip("measures; with -sessions 100000")
	}
	b := serveBroker(t, "allow_anonymous = on")
	register(t, b, n)
	conn, err := grpc.NewClient("unix:"+b.cfg.String("admin.socket"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := pb.NewSessionServiceClient(conn)
	ask := func(req *pb.ShowSessionsRequest) (rows int, took time.Duration) {
		begin := time.Now()
		stream, err := c.ShowSessions(t.Context(), req)
		for err == nil {
			var resp *pb.ShowSessionsResponse
			if resp, err = stream.Recv(); err == nil {
				rows += len(resp.GetRows())
				if resp.GetSummary() != nil {
					return rows, time.Since(begin)
				}
			}
		}
		t.Fatal(err)
		return 0, 0
	}
	ask(&pb.ShowSessionsRequest{Limit: 1})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for name, req := range map[string]*pb.ShowSessionsRequest{
		"one client id":                  {Filters: []*pb.Filter{{Field: "client_id", Operator: pb.Filter_OPERATOR_EQUAL, Value: fmt.Sprintf("client-%07d", n/2)}}},
		"a regular expression on the id": {Filters: []*pb.Filter{{Field: "client_id", Operator: pb.Filter_OPERATOR_MATCH, Value: "9$"}}},
		"a regular expression on all":    {Filters: []*pb.Filter{{Field: "statename", Operator: pb.Filter_OPERATOR_MATCH, Value: "^off"}}},
		"all rows":                       {Limit: 1 << 31},
		"ordered":                        {OrderBy: []*pb.Order{{Field: "queue_started_at", Descending: true}}},
	} {
		best := time.Hour
		rows := 0
		for range 3 {
			r, took := ask(req)
			rows, best = r, min(best, took)
		}
		t.Logf("%s: %d rows of %d sessions in %v", name, rows, n, best)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("heap before %d KiB, after %d KiB", before.HeapAlloc>>10, after.HeapAlloc>>10)
	endMany(t, b, c)
}

// register makes n clean sessions without a connection: what a list reads of
// them is the same.
func register(t *testing.T, b *Broker, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := w; i < n; i += 64 {
				id := message.SessionID{ClientID: fmt.Sprintf("client-%07d", i)}
				reg, err := b.meta.Register(t.Context(), meta.RegisterRequest{ID: id}, meta.Options{})
				if err == nil {
					_, _, err = b.queues.Open(queue.OpenRequest{ID: id, Epoch: reg.Epoch})
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// endMany connects 10,000 clients, in memory, and disconnects them in a batch.
func endMany(t *testing.T, b *Broker, c pb.SessionServiceClient) {
	t.Helper()
	const n = 10_000
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := w; i < n; i += 32 {
				nc, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addressOf(t, b, "listener.tcp.default"))
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { nc.Close() })
				_, err = nc.Write(packet.Append(nil, packet.V5, &packet.Connect{Version: packet.V5, ClientID: fmt.Sprintf("live-%05d", i), CleanStart: true}))
				if err == nil {
					_, err = nc.Read(make([]byte, 64))
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	begin := time.Now()
	stream, err := c.DisconnectSessions(t.Context(), &pb.DisconnectSessionsRequest{Count: n})
	for err == nil {
		var resp *pb.DisconnectSessionsResponse
		if resp, err = stream.Recv(); err == nil && resp.GetResult() != nil {
			t.Logf("disconnect batch: %d in %v", resp.GetResult().GetDisconnected(), time.Since(begin))
			return
		}
	}
	t.Fatal(err)
}
