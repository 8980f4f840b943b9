package admin

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/topic"
)

// Retained are the retained messages of the cluster.
type Retained interface {
	// Each calls fn with them, from that mountpoint and topic on in this order,
	// expired ones too, until fn returns false. No lock may be held around it.
	Each(ctx context.Context, mountpoint, topic string, fn func(*message.Message) bool) error
	// Delete removes the retained message of a topic.
	Delete(ctx context.Context, mountpoint, topic string) error
	// DeleteExpired removes it if it has expired at that time, and tells
	// whether it has.
	DeleteExpired(ctx context.Context, mountpoint, topic string, at time.Time) (bool, error)
}

type retainService struct {
	pb.UnsafeRetainServiceServer // a new method must not compile until written
	s                            *Server
}

// retainSchema describes the rows of retain show.
var retainSchema = &schema{
	noun:     "retained messages",
	row:      (*pb.RetainedRow)(nil).ProtoReflect().Type(),
	defaults: []string{"payload", "topic"},
	keys:     []string{"mountpoint", "topic"},
}

// retainFields fills RetainedRow by field name; a test proves it complete.
var retainFields = map[string]func(*pb.RetainedRow, *message.Message){
	"payload": func(r *pb.RetainedRow, m *message.Message) {
		if r.Payload = m.Payload; r.Payload == nil {
			r.Payload = []byte{} // present and empty
		}
	},
	"topic":        func(r *pb.RetainedRow, m *message.Message) { r.Topic = text(m.Topic) },
	"mountpoint":   func(r *pb.RetainedRow, m *message.Message) { r.Mountpoint = text(m.Mountpoint) },
	"qos":          func(r *pb.RetainedRow, m *message.Message) { r.Qos = new(uint32(m.QoS)) },
	"payload_size": func(r *pb.RetainedRow, m *message.Message) { r.PayloadSize = new(int64(len(m.Payload))) },
	"publisher": func(r *pb.RetainedRow, m *message.Message) {
		if m.Publisher != "" {
			r.Publisher = text(m.Publisher)
		}
	},
	"expires_at": func(r *pb.RetainedRow, m *message.Message) {
		if m.Expires != 0 {
			r.ExpiresAt = &m.Expires
		}
	},
}

func (rs retainService) ShowRetained(req *pb.ShowRetainedRequest, stream grpc.ServerStreamingServer[pb.ShowRetainedResponse]) error {
	q, err := newQuery(retainSchema, req)
	if err != nil {
		return err
	}
	if f := req.GetTopicFilter(); f != "" {
		if err := checkFilter(f); err != nil {
			return err
		}
	}
	rows := batches[*pb.RetainedRow]{send: func(rows []*pb.RetainedRow) error { return stream.Send(&pb.ShowRetainedResponse{Rows: rows}) }}
	sum := &pb.ShowRetainedSummary{}
	page, err := q.page(req, rows.add, func(sel *selection) error { return rs.walk(stream.Context(), q, req, sel, sum) })
	if err != nil {
		return err
	}
	if err := rows.flush(); err != nil {
		return err
	}
	sum.Shown, sum.Total, sum.Before, sum.NextPageToken = page.shown, page.total, page.before, page.next
	return stream.Send(&pb.ShowRetainedResponse{Summary: sum})
}

// walk gives the retained messages that a request is about to sel, and counts
// those that have expired.
func (rs retainService) walk(ctx context.Context, q *query, req *pb.ShowRetainedRequest, sel *selection, sum *pb.ShowRetainedSummary) error {
	mountpoint, name := "", ""
	only := equals(req, "mountpoint")
	if only != nil {
		mountpoint = *only
	}
	if after, ok := q.afterRow().(*pb.RetainedRow); ok && !q.sorted {
		mountpoint, name = after.GetMountpoint(), after.GetTopic()
	}
	accept := q.accept("topic")
	now := time.Now().UnixMilli()
	var failed error
	err := rs.s.cfg.Retained.Each(ctx, mountpoint, name, func(m *message.Message) bool {
		switch {
		case only != nil && m.Mountpoint != *only:
			return false
		case accept != nil && !accept(m.Topic), req.GetTopicFilter() != "" && !topic.Match(req.GetTopicFilter(), m.Topic):
			return true
		}
		row := &pb.RetainedRow{}
		for _, f := range q.filled {
			retainFields[f](row, m)
		}
		switch {
		case !pass(q.base, row):
		case m.Expired(now):
			sum.Expired++
		default:
			failed = sel.add(row)
		}
		return failed == nil && ctx.Err() == nil
	})
	return errors.Join(failed, err)
}

func checkFilter(f string) error {
	if err := topic.ValidateFilter(f, 0); err != nil {
		return NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, "topic filter: "+err.Error(), "argument", "topic", "value", f)
	}
	return nil
}

func (rs retainService) DeleteRetained(ctx context.Context, req *pb.DeleteRetainedRequest) (*pb.DeleteRetainedResponse, error) {
	filter := req.GetTopic()
	if filter == "" {
		return nil, missing("topic", "no topic was given")
	}
	if err := checkFilter(filter); err != nil {
		return nil, err
	}
	first := filter
	if topic.HasWildcard(filter) {
		first = ""
	}
	n, err := rs.each(ctx, req.GetMountpoint(), first, func(m *message.Message) (bool, bool) {
		done := m.Mountpoint != req.GetMountpoint() || first != "" && m.Topic != filter
		return topic.Match(filter, m.Topic), done
	}, func(m *message.Message) (bool, error) {
		if req.GetValidateOnly() {
			return true, nil
		}
		return true, rs.s.cfg.Retained.Delete(ctx, m.Mountpoint, m.Topic)
	})
	return &pb.DeleteRetainedResponse{Deleted: n}, err
}

func (rs retainService) DeleteExpiredRetained(ctx context.Context, _ *pb.DeleteExpiredRetainedRequest) (*pb.DeleteExpiredRetainedResponse, error) {
	now := time.Now()
	n, err := rs.each(ctx, "", "", func(m *message.Message) (bool, bool) {
		return m.Expired(now.UnixMilli()), false
	}, func(m *message.Message) (bool, error) {
		return rs.s.cfg.Retained.DeleteExpired(ctx, m.Mountpoint, m.Topic, now)
	})
	return &pb.DeleteExpiredRetainedResponse{Expired: n}, err
}

// retainWorkers is how many retained messages are deleted at once: they share
// the entries of the metadata's log.
const retainWorkers = 256

// each calls do for the retained messages that chosen accepts, several at once,
// until chosen says that there are no more or do has failed. It counts those
// for which do has answered true.
func (rs retainService) each(ctx context.Context, mountpoint, first string,
	chosen func(*message.Message) (is, done bool), do func(*message.Message) (bool, error),
) (uint64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan *message.Message)
	var wg sync.WaitGroup
	var count atomic.Uint64
	for range retainWorkers {
		wg.Go(func() {
			for m := range next {
				done, err := do(m)
				if err != nil {
					cancel(err)
				}
				if done && err == nil {
					count.Add(1)
				}
			}
		})
	}
	err := rs.s.cfg.Retained.Each(ctx, mountpoint, first, func(m *message.Message) bool {
		is, done := chosen(m)
		if done || !is {
			return !done
		}
		select {
		case next <- m:
			return true
		case <-ctx.Done():
			return false
		}
	})
	close(next)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return count.Load(), err
}

// batches sends rows some at a time.
type batches[R proto.Message] struct {
	send func([]R) error
	rows []R
}

func (b *batches[R]) add(row proto.Message) error {
	b.rows = append(b.rows, row.(R)) //nolint:forcetypeassert // a list has rows of one type
	if len(b.rows) < batchRows {
		return nil
	}
	return b.flush()
}

func (b *batches[R]) flush() error {
	if len(b.rows) == 0 {
		return nil
	}
	err := b.send(slices.Clip(b.rows))
	b.rows = nil
	return err
}
