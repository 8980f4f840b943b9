package broker

import (
	"context"
	"time"

	"github.com/mqadmin/mqadmin/internal/admin"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/topic"
)

// retainAPI implements admin.Retained.
type retainAPI struct{ b *Broker }

// Each implements admin.Retained.
func (a retainAPI) Each(ctx context.Context, mountpoint, topic string, fn func(*message.Message) bool) error {
	a.b.meta.View().RetainedFrom(mountpoint, topic, func(m *message.Message) bool { return ctx.Err() == nil && fn(m) })
	return ctx.Err()
}

// Delete implements admin.Retained.
func (a retainAPI) Delete(ctx context.Context, mountpoint, topic string) error {
	_, err := a.b.meta.DeleteRetained(ctx, mountpoint, topic, meta.Options{})
	return err
}

// DeleteExpired implements admin.Retained.
func (a retainAPI) DeleteExpired(ctx context.Context, mountpoint, topic string, at time.Time) (bool, error) {
	return a.b.meta.DeleteExpiredRetained(ctx, mountpoint, topic, at)
}

// routeAPI implements admin.Routes.
type routeAPI struct{ b *Broker }

// Each implements admin.Routes.
func (a routeAPI) Each(ctx context.Context, fn func(admin.Route) bool) error {
	v := a.b.meta.View()
	names := map[message.NodeID]string{}
	for _, m := range v.Members() {
		names[m.ID] = m.Name
	}
	name := func(id message.NodeID) string {
		if n, ok := names[id]; ok {
			return n
		}
		return id.String()
	}
	more := true
	v.Routes(func(r meta.Route) bool {
		more = ctx.Err() == nil && fn(admin.Route{Mountpoint: r.Mountpoint, Filter: r.Filter, Node: name(r.Node)})
		return more
	})
	seen := map[admin.Route]bool{} // members of a group on one node are one route
	v.SharedMembers(func(m *meta.SharedMember) bool {
		if !more {
			return false
		}
		_, inner, _ := topic.SplitShare(m.Subscription.Filter)
		r := admin.Route{Mountpoint: m.Session.Mountpoint, Group: m.Group, Filter: inner, Node: name(m.Node)}
		if !seen[r] {
			seen[r] = true
			more = ctx.Err() == nil && fn(r)
		}
		return more
	})
	return ctx.Err()
}
