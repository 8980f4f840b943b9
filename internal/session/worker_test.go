package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqadmin/mqadmin/internal/packet"
)

func TestLivelyConnections(t *testing.T) {
	c, now := &conn{}, time.Now().UnixNano()
	round := func(gap int64) bool {
		before := now
		now += gap
		c.active.Store(now)
		return c.isLively(before)
	}
	for range 2 {
		for i := range livelyRounds {
			if got, want := round(livelyGap), i == livelyRounds-1; got != want {
				t.Fatalf("%v after %d rounds in a row", got, i+1)
			}
		}
		if !round(1) {
			t.Error("lively for one round only")
		}
		if round(livelyGap + 1) {
			t.Error("lively after a pause")
		}
	}
}

func TestPacketsInPiecesOverSockets(t *testing.T) {
	n := newNode(t, sockets)
	nc, server := n.socketPair()
	n.wg.Go(func() { n.m.Serve(server, &n.info, nil) })
	c := &client{t: t, nc: nc, version: 4, in: make(chan packet.Packet, 64)}
	n.wg.Go(c.read)
	all := packet.Append(nil, 4, &packet.Connect{Version: 4, ClientID: "pieces", CleanStart: true})
	for _, size := range []int{0, 1, len(input{}.small) - 6, len(input{}.small), 3 * len(input{}.small), 2 * readBuffer} {
		all = packet.Append(all, 4, &packet.Publish{Topic: "t", QoS: 1, PacketID: uint16(size + 1), Payload: make([]byte, size)})
	}
	for at, piece := 0, 1; at < len(all); at, piece = at+piece, piece*2 {
		if _, err := nc.Write(all[at:min(at+piece, len(all))]); err != nil {
			t.Fatal(err)
		}
	}
	expect[*packet.Connack](c)
	for range 6 {
		if a := expect[*packet.Ack](c); a.Kind != packet.TypePuback {
			t.Errorf("%+v", a)
		}
	}
	nc.Close()
}

func TestWorkersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w workers
		list := make([]chan *conn, 0, MaxIdleWorkers)
		for range MaxIdleWorkers {
			next := make(chan *conn, 1)
			if !w.rest(next) {
				t.Fatal("fewer may wait than MaxIdleWorkers")
			}
			list = append(list, next)
		}
		if w.rest(make(chan *conn, 1)) {
			t.Error("more wait than MaxIdleWorkers")
		}
		c := &conn{}
		w.run(c)
		if got := <-list[len(list)-1]; got != c {
			t.Error("the worker that worked last did not get the connection")
		}
		w.close()
		for _, next := range list[:len(list)-1] {
			if c, more := <-next; c != nil || more {
				t.Error("a worker goes on after the end")
			}
		}
		if w.rest(list[0]) {
			t.Error("a worker waits after the end")
		}
		time.Sleep(time.Second) // nobody is left
	})
}
