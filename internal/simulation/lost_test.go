package simulation_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/simulation"
)

// TestNothingLostWithAnOwner takes the node of a durable session away while
// messages for it are on their way, lets the client come back elsewhere at
// different moments, and expects every message that was acknowledged.
func TestNothingLostWithAnOwner(t *testing.T) {
	how := map[string]func(n *simulation.Node){
		"kill": (*simulation.Node).Kill, "power": (*simulation.Node).PowerOff, "stop": (*simulation.Node).Stop,
	}
	for name, end := range how {
		for _, when := range []string{"while it is down", "when it is back", "when all is settled"} {
			for _, filter := range []string{"t", "$share/g/t"} {
				t.Run(fmt.Sprint(name, "/", when, "/", filter), func(t *testing.T) {
					bubble(t, simulation.Options{Seed: 3, Nodes: 3}, func(c *simulation.Cluster) {
						ownerGone(c, end, when, filter)
					})
				})
			}
		}
	}
}

// expectKept waits until a client has all payloads; those of QoS 1, which an
// acknowledgement that came too late repeats, at least once.
func expectKept(c *simulation.Cluster, cl *simulation.Client, want []string) {
	c.T.Helper()
	c.Await(cl.ID+" gets its messages", func() error {
		n := map[string]int{}
		for _, r := range cl.Got() {
			if n[r.Payload]++; n[r.Payload] > 1 && r.QoS == 2 {
				c.T.Errorf("%s came twice", r.Payload)
			}
		}
		for _, w := range want {
			if n[w] == 0 {
				return fmt.Errorf("%s is missing", w)
			}
		}
		return nil
	})
}

func ownerGone(c *simulation.Cluster, end func(*simulation.Node), when, filter string) {
	sub := connect(c, "sub", 5, true, c.Nodes[0])
	subscribe(c, sub, filter, 2)
	pub := connect(c, "pub", 5, true, c.Nodes[1])
	var want []string
	send := func(n int, what string) {
		for i := range n {
			payload := fmt.Sprintf("%s %d", what, i)
			s := pub.Publish("t", payload, byte(1+i%2), false)
			<-s.Done()
			switch {
			case s.Kept:
				want = append(want, payload)
			case filter == "t" || what == "settled": // a group whose queues are all out of reach refuses
				c.T.Errorf("%s was refused with 0x%02X", payload, byte(s.Refused))
			}
		}
	}
	send(3, "online")
	sub.Drop()
	send(3, "offline")
	end(c.Nodes[0])
	send(3, "owner down") // nobody has noticed yet
	time.Sleep(2 * time.Second)
	send(3, "owner known to be down")
	back := func() {
		c.Await("the subscriber comes back", func() error {
			present, err := sub.Connect(c.Nodes[2])
			if err == nil && !present {
				c.T.Errorf("the session is gone")
			}
			return err
		})
	}
	if when == "while it is down" {
		back()
		send(3, "moved")
	}
	if err := c.Nodes[0].Start(); err != nil {
		c.T.Fatal(err)
	}
	if when == "when it is back" {
		back()
	}
	send(3, "owner back")
	c.AwaitSettled()
	if when == "when all is settled" {
		back()
	}
	send(3, "settled")
	expectKept(c, sub, want)
}
