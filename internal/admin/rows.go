package admin

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/message"
)

// sessionQuery is a checked ShowSessionsRequest.
type sessionQuery struct {
	*query
	fill       []fill // for the fields of query.filled
	needs      group  // groups of these
	rowTimeout time.Duration
	localOnly  bool
	scope      Scope
	request    *pb.ShowSessionsRequest
	remote     *pb.ShowSessionsRequest // what the other members are asked
}

func newSessionQuery(req *pb.ShowSessionsRequest) (*sessionQuery, error) {
	base, err := newQuery(sessionSchema, req)
	if err != nil {
		return nil, err
	}
	q := &sessionQuery{query: base, rowTimeout: defaultRowTimeout, localOnly: req.GetLocalOnly(), request: req}
	if d := req.GetRowTimeout(); d != nil {
		if q.rowTimeout = d.AsDuration(); q.rowTimeout <= 0 {
			return nil, NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, "the row timeout must be positive", "argument", "rowtimeout")
		}
	}
	for _, name := range q.filled {
		f := rowFields[name]
		q.fill = append(q.fill, f.fill)
		q.needs |= f.group
	}
	q.scope = Scope{ClientID: equals(req, "client_id"), Mountpoint: equals(req, "mountpoint")}
	if client, mountpoint := q.accept("client_id"), q.accept("mountpoint"); client != nil || mountpoint != nil {
		q.scope.Accept = func(id message.SessionID) bool {
			return (client == nil || client(id.ClientID)) && (mountpoint == nil || mountpoint(id.Mountpoint))
		}
	}
	if row, ok := q.afterRow().(*pb.SessionRow); ok && !q.sorted {
		q.scope.From = message.SessionID{Mountpoint: row.GetMountpoint(), ClientID: row.GetClientId()}
	}
	q.remote = proto.CloneOf(req)
	q.remote.Limit = uint32(q.limit)
	q.remote.LocalOnly = true
	q.remote.Fields = slices.Clone(q.asked)
	for _, k := range q.order {
		q.remote.Fields = append(q.remote.Fields, string(k.fd.Name()))
	}
	slices.Sort(q.remote.Fields)
	q.remote.Fields = slices.Compact(q.remote.Fields)
	if q.after != nil {
		here := position{row: q.after.row, repeats: q.after.repeats} // before is counted once
		q.remote.PageToken, err = q.token(&here, q.remote)
	}
	return q, err
}

// walk emits this node's rows of the page, in order, and counts all that pass.
func (s *Server) walk(ctx context.Context, q *sessionQuery, emit func(*pb.SessionRow) error) (*pb.ShowSessionsSummary, error) {
	sum := &pb.ShowSessionsSummary{}
	sel := newSelection(q.query, func(m proto.Message) error { return emit(m.(*pb.SessionRow)) }) //nolint:forcetypeassert // expand makes no others
	var failed error
	err := s.cfg.Sessions.Each(ctx, q.scope, func(sess *Session) bool {
		if failed = ctx.Err(); failed != nil {
			return false
		}
		err := s.expand(ctx, q, sess, func(row *pb.SessionRow) error { return sel.add(row) })
		if errors.Is(err, errSlow) {
			sum.Skipped++
			return true
		}
		failed = err
		return err == nil
	})
	if failed != nil {
		err = failed
	}
	if err == nil {
		err = sel.close()
	}
	sum.Shown, sum.Total = sel.emitted, sel.total
	return sum, err
}

// errSlow: a session's details took longer than the row timeout.
var errSlow = errors.New("row timeout")

// expand makes the rows of one session: one for each connection, times its
// subscriptions, times its messages, as far as q needs them. A session that has
// none of these still has one row, without the fields: adding a column never
// hides a row.
func (s *Server) expand(ctx context.Context, q *sessionQuery, sess *Session, emit func(*pb.SessionRow) error) error {
	conns := make([]*Connection, 0, 1)
	for i := range sess.Connections {
		conns = append(conns, &sess.Connections[i])
	}
	if len(conns) == 0 {
		conns = append(conns, nil)
	}
	var det *details
	for _, c := range conns {
		src := source{session: sess, conn: c}
		base := q.row(&src)
		if !pass(q.base, base) {
			continue
		}
		if q.needs&^ofSession == 0 {
			if err := emit(base); err != nil {
				return err
			}
			continue
		}
		if det == nil {
			d, err := s.details(ctx, q, sess.ID)
			if err != nil {
				return err
			}
			det = d
		}
		if err := det.each(&src, func() error {
			row := q.row(&src)
			if !pass(q.detail, row) {
				return nil
			}
			return emit(row)
		}); err != nil {
			return err
		}
	}
	return nil
}

func (q *sessionQuery) row(src *source) *pb.SessionRow {
	row := &pb.SessionRow{}
	for _, fill := range q.fill {
		fill(row, src)
	}
	return row
}

// details are what has to be read for a session.
type details struct {
	subs []message.Subscription
	msgs []QueuedMessage
}

func (s *Server) details(ctx context.Context, q *sessionQuery, id message.SessionID) (*details, error) {
	limited, cancel := context.WithTimeout(ctx, q.rowTimeout)
	defer cancel()
	d := &details{}
	var err error
	if q.needs&ofSubscription != 0 {
		d.subs, err = s.cfg.Sessions.Subscriptions(limited, id)
	}
	if err == nil && q.needs&ofMessage != 0 {
		d.msgs, err = s.cfg.Sessions.Messages(limited, id)
	}
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil, errSlow
	}
	return d, err
}

// each sets src to every combination of a subscription and a message.
func (d *details) each(src *source, fn func() error) error {
	for i := range max(1, len(d.subs)) {
		if src.sub = nil; i < len(d.subs) {
			src.sub = &d.subs[i]
		}
		for j := range max(1, len(d.msgs)) {
			if src.msg = nil; j < len(d.msgs) {
				src.msg = &d.msgs[j]
			}
			if err := fn(); err != nil {
				return err
			}
		}
	}
	return nil
}
