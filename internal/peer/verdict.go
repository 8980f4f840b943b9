package peer

import (
	"fmt"

	"github.com/mqadmin/mqadmin/internal/message"
)

// status is the acceptor's answer to a dialer that proved the cookie.
type status byte

// The statuses. Numbers are on the wire.
const (
	statusOK         status = 0
	statusVersion    status = 1
	statusCluster    status = 2
	statusGeneration status = 3
	statusMember     status = 4
	statusNode       status = 5
	statusSelf       status = 6
	statusKind       status = 7
)

// verdicts name each refusal for the counter and for errors.Is.
var verdicts = map[status]struct {
	label string
	err   error
}{
	statusVersion:    {"version", ErrVersion},
	statusCluster:    {"cluster", ErrCluster},
	statusGeneration: {"generation", ErrGeneration},
	statusMember:     {"member", ErrNotMember},
	statusNode:       {"node", ErrWrongNode},
	statusSelf:       {"self", ErrSelf},
	statusKind:       {"kind", ErrProtocol},
}

// judge decides about a dialer that holds the cookie. Raft and links are for
// members of the same cluster and generation; calls may come from a node that
// looks for a cluster.
func judge(own Identity, versions versionRange, h hello, member bool) status {
	kind := Kind(h.kind)
	_, common := h.versions.common(versions)
	any := kind == KindGRPC && h.anyCluster
	switch {
	case kind != KindRaft && kind != KindGRPC && kind != KindLink:
		return statusKind
	case h.id.Node == own.Node:
		return statusSelf
	case !common:
		return statusVersion
	case h.target != 0 && h.target != own.Node:
		return statusNode
	case any:
		return statusOK
	case own.Cluster == 0 || h.id.Cluster != own.Cluster:
		return statusCluster
	case kind == KindGRPC:
		return statusOK
	case h.id.Generation != own.Generation:
		return statusGeneration
	case !member:
		return statusMember
	}
	return statusOK
}

// refusal turns a status into the sentence that `cluster join` shows: what is
// wrong, with names, and what to do.
func refusal(s status, address string, own hello, peer hello) *RefusedError {
	e := &RefusedError{Address: address, Peer: peer.id}
	who := peer.id.Name
	if who == "" {
		who = peer.id.Node.String()
	}
	v, known := verdicts[s]
	if !known {
		e.Reason = ErrProtocol
		e.Detail = fmt.Sprintf("%s refused for a reason that this version does not know (%d): upgrade this node", who, s)
		return e
	}
	e.Reason = v.err
	switch s {
	case statusVersion:
		e.Detail = fmt.Sprintf("%s (%s) speaks %s of the cluster protocol, this node %s: upgrade the older one first",
			who, peer.id.Version, peer.versions, own.versions)
	case statusCluster:
		e.Detail = fmt.Sprintf("%s belongs to %s, this node to %s: `cluster join` one into the other",
			who, clusterWord(peer.id.Cluster), clusterWord(own.id.Cluster))
	case statusGeneration:
		e.Detail = fmt.Sprintf("%s is of generation %d of the cluster, this node of %d, because one of them was recovered without the other: `cluster join` one into the other",
			who, peer.id.Generation.Number, own.id.Generation.Number)
	case statusMember:
		e.Detail = fmt.Sprintf("%s does not know this node as a member: it was removed or has not joined yet; see `cluster show` there", who)
	case statusNode:
		e.Detail = fmt.Sprintf("%s (id %s) answers there, but id %s was expected: its data directory is another one, see `cluster show`",
			who, peer.id.Node, own.target)
	case statusSelf:
		e.Detail = "that is this node itself, or a node with a copy of its data directory: name another node"
	default:
		e.Detail = fmt.Sprintf("%s does not know streams of kind %d: upgrade it first", who, own.kind)
	}
	return e
}

func clusterWord(c message.ClusterID) string {
	if c == 0 {
		return "no cluster yet"
	}
	return "cluster " + c.String()
}
