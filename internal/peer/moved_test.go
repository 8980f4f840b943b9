package peer

import (
	"testing"
	"time"
)

// A member that was started at another address is dialled there as soon as it
// has come in: who is to lead may have to reach it before the members can be
// corrected.
func TestMovedMemberIsDialledWhereItIs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFabric()
		const moved = "elsewhere:44053"
		one := startPort(t, f, 1, func(c *Config) { c.Receiver = newInbox() })
		two := startPort(t, f, 2, func(c *Config) { c.Receiver, c.Identity.Address = newInbox(), moved })
		one.SetMembers([]Member{member(1), member(2)})
		pass(time.Second)
		if one.Up(2) {
			t.Fatal("reached without having heard of it")
		}
		two.SetMembers([]Member{member(1), member(2)})
		pass(10 * time.Second)
		if !one.Up(2) || !two.Up(1) {
			t.Fatalf("up: %v %v", one.Up(2), two.Up(1))
		}
		if a, id := one.resolve(nodeAddr(2)); a != moved || id != 2 {
			t.Errorf("the former address leads to %s, node %v", a, id)
		}
		now := member(2)
		now.Address = moved
		one.SetMembers([]Member{member(1), now})
		pass(time.Second)
		if a, id := one.resolve(moved); a != moved || id != 2 || !one.Up(2) {
			t.Errorf("with the members corrected: %s, node %v, up %v", a, id, one.Up(2))
		}
		one.SetMembers([]Member{member(1)})
		if _, ok := one.Address(2); ok || len(one.moved) != 0 {
			t.Error("a removed member is remembered")
		}
	})
}
