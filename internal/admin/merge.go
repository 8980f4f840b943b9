package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// feed is one node's part of a list: rows in order, then how it ended. sum and
// err may be read once rows is closed.
type feed struct {
	name string
	rows chan *pb.SessionRow
	head *pb.SessionRow
	sum  *pb.ShowSessionsSummary
	err  error
}

// sessions answers a query: the rows of this node and, unless q is local, of
// those others that may have some, merged in order. What is held in memory
// is a few rows of each node, however long the list. A member that fails is
// named in the summary; a failure of this node ends the call.
func (s *Server) sessions(ctx context.Context, q *sessionQuery, emit func(*pb.SessionRow) error) (*pb.ShowSessionsSummary, error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel() // runs first: it ends the feeds

	local := s.start(ctx, &wg, "", func(emit func(*pb.SessionRow) error) (*pb.ShowSessionsSummary, error) {
		return s.walk(ctx, q, emit)
	})
	feeds := []*feed{local}
	for _, name := range s.asked(q) {
		feeds = append(feeds, s.start(ctx, &wg, name, func(emit func(*pb.SessionRow) error) (*pb.ShowSessionsSummary, error) {
			return s.ask(ctx, name, q, emit)
		}))
	}
	out := newOutlet(q.query, func(m proto.Message) error { return emit(m.(*pb.SessionRow)) }) //nolint:forcetypeassert // feeds have no others
	for row := next(feeds, q.rowOrder()); row != nil; row = next(feeds, q.rowOrder()) {
		if err := out.add(row); err != nil { // once it is full the feeds still count
			return nil, err
		}
	}
	if err := out.close(); err != nil {
		return nil, err
	}
	sum := &pb.ShowSessionsSummary{Shown: out.shown, Before: out.before()}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if local.err != nil {
		return nil, local.err
	}
	for _, f := range feeds {
		if f.err != nil {
			sum.Failures = append(sum.Failures, &pb.NodeFailure{Node: f.name, Message: status.Convert(f.err).Message()})
			continue
		}
		sum.Total += f.sum.GetTotal()
		sum.Skipped += f.sum.GetSkipped()
	}
	slices.SortFunc(sum.GetFailures(), func(a, b *pb.NodeFailure) int { return cmp.Compare(a.GetNode(), b.GetNode()) })
	var err error
	sum.NextPageToken, err = out.next(sum.GetTotal(), q.request)
	sum.Total += sum.GetBefore()
	return sum, err
}

// asked returns the other members that a query is about: all, or for one client
// id those that the registry names.
func (s *Server) asked(q *sessionQuery) []string {
	if s.cfg.Peers == nil || q.localOnly {
		return nil
	}
	names := s.cfg.Peers.Names()
	if q.scope.ClientID == nil {
		return names
	}
	found, ok := s.cfg.Sessions.Locate(q.scope)
	if !ok {
		return names
	}
	return slices.DeleteFunc(names, func(n string) bool { return !slices.Contains(found, n) })
}

func (s *Server) start(ctx context.Context, wg *sync.WaitGroup, name string,
	run func(func(*pb.SessionRow) error) (*pb.ShowSessionsSummary, error),
) *feed {
	f := &feed{name: name, rows: make(chan *pb.SessionRow, batchRows)}
	wg.Go(func() {
		defer close(f.rows)
		f.sum, f.err = s.guardFeed(func() (*pb.ShowSessionsSummary, error) {
			return run(func(row *pb.SessionRow) error {
				select {
				case f.rows <- row:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		})
	})
	return f
}

// guardFeed keeps a panic in a feed's goroutine, where no interceptor sees it,
// to the one call.
func (s *Server) guardFeed(run func() (*pb.ShowSessionsSummary, error)) (sum *pb.ShowSessionsSummary, err error) {
	err = s.guard(context.Background(), "ShowSessions", func(context.Context) (err error) {
		sum, err = run()
		return err
	})
	return sum, err
}

// next takes the smallest of the feeds' first rows; nil when all have ended.
func next(feeds []*feed, order func(a, b *pb.SessionRow) int) *pb.SessionRow {
	var least *feed
	for _, f := range feeds {
		if f.head == nil {
			f.head = <-f.rows // nil once closed
		}
		if f.head != nil && (least == nil || order(f.head, least.head) < 0) {
			least = f
		}
	}
	if least == nil {
		return nil
	}
	row := least.head
	least.head = nil
	return row
}

// rowOrder is the order of the rows; that of the keys without reflection.
func (q *sessionQuery) rowOrder() func(a, b *pb.SessionRow) int {
	if !q.sorted {
		return compareRows
	}
	return func(a, b *pb.SessionRow) int { return q.compare(a, b) }
}

func compareRows(a, b *pb.SessionRow) int {
	return cmp.Or(
		cmp.Compare(a.GetMountpoint(), b.GetMountpoint()),
		cmp.Compare(a.GetClientId(), b.GetClientId()),
		cmp.Compare(a.GetNode(), b.GetNode()),
	)
}

// errSilent: a member did not go on within the peer timeout.
var errSilent = errors.New("no answer")

// ask lets another member answer the same query about itself.
func (s *Server) ask(ctx context.Context, name string, q *sessionQuery, emit func(*pb.SessionRow) error) (*pb.ShowSessionsSummary, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := s.cfg.PeerTimeout()
	silence := time.AfterFunc(limit, func() {
		cancel(fmt.Errorf("%w within %s", errSilent, limit))
	})
	defer silence.Stop()
	sum, err := s.receive(ctx, name, q, emit, silence, limit)
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		err = cause
	}
	return sum, err
}

// receive runs the timer silence only while it waits for the member, not while
// the reader of the list is slow.
func (s *Server) receive(ctx context.Context, name string, q *sessionQuery, emit func(*pb.SessionRow) error, silence *time.Timer, limit time.Duration) (*pb.ShowSessionsSummary, error) {
	conn, err := s.cfg.Peers.Conn(ctx, name)
	if err != nil {
		return nil, err
	}
	stream, err := pb.NewSessionServiceClient(conn).ShowSessions(ctx, q.remote)
	if err != nil {
		return nil, err
	}
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the answer ended without a summary")
		}
		if err != nil {
			return nil, err
		}
		silence.Stop()
		for _, row := range resp.GetRows() {
			if err := emit(row); err != nil {
				return nil, err
			}
		}
		if resp.GetSummary() != nil {
			return resp.GetSummary(), nil
		}
		silence.Reset(limit)
	}
}
