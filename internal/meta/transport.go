package meta

import (
	"errors"
	"sync"

	"github.com/hashicorp/raft"
)

// preVoter is a transport that Raft can use for pre-votes; both of the
// library's are.
type preVoter interface {
	raft.Transport
	raft.WithPreVote
}

// transport lends the caller's transport to one Raft instance: it outlives the
// instance, which would close it, and takes messages from ourselves.
type transport struct {
	preVoter
	in   chan raft.RPC
	stop chan struct{}
	wg   sync.WaitGroup
}

func lend(t raft.Transport) (*transport, error) {
	p, ok := t.(preVoter)
	if !ok {
		return nil, errors.New("raft transport does not support pre-vote")
	}
	l := &transport{preVoter: p, in: make(chan raft.RPC), stop: make(chan struct{})}
	l.wg.Go(l.pump)
	return l, nil
}

func (t *transport) pump() {
	for {
		select {
		case rpc := <-t.preVoter.Consumer():
			select {
			case t.in <- rpc:
			case <-t.stop:
				var resp any
				if _, ok := rpc.Command.(*raft.AppendEntriesRequest); ok {
					resp = &raft.AppendEntriesResponse{} // the library's pipeline in memory takes no nil
				}
				rpc.Respond(resp, raft.ErrRaftShutdown)
				return
			}
		case <-t.stop:
			return
		}
	}
}

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.in }

// elect makes the Raft instance stand for election at once. A sole voter need
// not wait for a leader that cannot be.
func (t *transport) elect(id raft.ServerID) {
	rpc := raft.RPC{
		Command: &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
			ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: []byte(t.LocalAddr()),
		}},
		RespChan: make(chan raft.RPCResponse, 1),
	}
	select {
	case t.in <- rpc:
	case <-t.stop:
	}
}

// giveBack ends the loan.
func (t *transport) giveBack() {
	t.SetHeartbeatHandler(nil)
	close(t.stop)
	t.wg.Wait()
}
