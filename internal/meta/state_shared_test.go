package meta

import (
	"testing"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

// TestGroupsEndWithTheRegistration: a clean session's shared memberships end
// when its connection does, and when another registration takes its client id.
func TestGroupsEndWithTheRegistration(t *testing.T) {
	for name, end := range map[string]func(message.Epoch) *metapb.Command{
		"release": func(e message.Epoch) *metapb.Command {
			return &metapb.Command{Op: &metapb.Command_Release{Release: &metapb.Release{Client: "c", Epoch: epochToPB(e)}}}
		},
		"delete": func(message.Epoch) *metapb.Command {
			return &metapb.Command{Op: &metapb.Command_DeleteSession{DeleteSession: &metapb.DeleteSession{Client: "c"}}}
		},
		"clean registration":   func(message.Epoch) *metapb.Command { return registerCmd("c", true, false) },
		"durable registration": func(message.Epoch) *metapb.Command { return registerCmd("c", false, true) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMaker()
			s, index := twoMembers(t, m)
			apply := func(node uint64, c *metapb.Command) result {
				t.Helper()
				r, err := s.apply(index, m.from(node, c))
				if err != nil || r.err != nil {
					t.Fatal(err, r.err)
				}
				index++
				return r
			}
			join := func(client string, e message.Epoch, filter string) {
				t.Helper()
				apply(1, &metapb.Command{Op: &metapb.Command_JoinShared{JoinShared: &metapb.JoinShared{
					Client: client, Epoch: epochToPB(e), Subscription: &metapb.Subscription{Filter: filter, Qos: 2},
				}}})
			}
			other := apply(1, registerCmd("c2", true, false)).reg.Epoch
			epoch := apply(1, registerCmd("c", true, false)).reg.Epoch
			join("c2", other, "$share/g/a")
			join("c", epoch, "$share/g/a")
			join("c", epoch, "$share/g/b")
			s.takeEvents()

			apply(2, end(epoch))
			var left []string
			for _, e := range s.takeEvents() {
				if e, ok := e.(SharedChanged); ok && !e.Present && e.Member.Session.ClientID == "c" {
					left = append(left, e.Member.Subscription.Filter)
				}
			}
			if len(left) != 2 || left[0] != "$share/g/a" || left[1] != "$share/g/b" {
				t.Errorf("observers were told that c left %q", left)
			}
			if s.shared.Len() != 1 {
				t.Errorf("%d members are left, want that of c2", s.shared.Len())
			}
		})
	}
}
