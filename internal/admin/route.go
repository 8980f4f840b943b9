package admin

import (
	"context"
	"errors"

	"google.golang.org/grpc"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// Routes tells which nodes have subscribers of which filters.
type Routes interface {
	// Each calls fn with every route of the cluster once, in any order, until
	// fn returns false. No lock may be held around it.
	Each(ctx context.Context, fn func(Route) bool) error
}

// Route says that a node has subscribers of a filter; those of a shared group
// if Group is not empty.
type Route struct{ Mountpoint, Group, Filter, Node string }

type routeService struct {
	pb.UnsafeRouteServiceServer // a new method must not compile until written
	s                           *Server
}

// routeSchema describes the rows of routes list. The tables that they come from
// are in other orders.
var routeSchema = &schema{
	noun:     "routes",
	row:      (*pb.RouteRow)(nil).ProtoReflect().Type(),
	defaults: []string{"topic", "node"},
	keys:     []string{"mountpoint", "topic", "group", "node"},
	unsorted: true,
}

func (rs routeService) ShowRoutes(req *pb.ShowRoutesRequest, stream grpc.ServerStreamingServer[pb.ShowRoutesResponse]) error {
	q, err := newQuery(routeSchema, req)
	if err != nil {
		return err
	}
	rows := batches[*pb.RouteRow]{send: func(rows []*pb.RouteRow) error { return stream.Send(&pb.ShowRoutesResponse{Rows: rows}) }}
	page, err := q.page(req, rows.add, func(sel *selection) error {
		ctx := stream.Context()
		var failed error
		err := rs.s.cfg.Routes.Each(ctx, func(r Route) bool {
			row := &pb.RouteRow{Topic: text(r.Filter), Node: text(r.Node), Mountpoint: text(r.Mountpoint)}
			if r.Group != "" {
				row.Group = text(r.Group)
			}
			if pass(q.base, row) {
				failed = sel.add(row)
			}
			return failed == nil && ctx.Err() == nil
		})
		return errors.Join(failed, err)
	})
	if err != nil {
		return err
	}
	if err := rows.flush(); err != nil {
		return err
	}
	return stream.Send(&pb.ShowRoutesResponse{Summary: &pb.ShowRoutesSummary{
		Shown: page.shown, Total: page.total, Before: page.before, NextPageToken: page.next,
	}})
}
