package clustertest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Member is a row of `mqadmin cluster show`.
type Member struct {
	Node    string `json:"Node"`
	Running bool   `json:"Running"`
	Role    string `json:"Role"`
	State   string `json:"State"`
}

// Join makes n a member of the cluster of other, as an operator does.
func (n *Node) Join(ctx context.Context, other *Node) error {
	if r := n.Admin(ctx, "cluster", "join", "discovery-node="+other.Discovery()); r.Code != 0 {
		return fmt.Errorf("joining %s to %s: exit code %d:\n%s", n.Name, other.Name, r.Code, r.Stderr)
	}
	return nil
}

// Discovery is the node's name with its cluster port, as `cluster join` takes
// it.
func (n *Node) Discovery() string {
	return n.Name + n.Cluster[strings.LastIndexByte(n.Cluster, ':'):]
}

// Members returns the cluster as this node sees it, ordered by name.
func (n *Node) Members(ctx context.Context) ([]Member, error) {
	return rows[Member](n.Admin(ctx, "cluster", "show", "--format", "json"))
}

// AllRunning returns nil when this node sees exactly the given nodes as
// members, all of them running, and a leader with a majority.
func (n *Node) AllRunning(ctx context.Context, nodes ...*Node) error {
	r := n.Admin(ctx, "cluster", "show", "--format", "json")
	members, err := rows[Member](r)
	if err != nil {
		return err
	}
	if r.Stderr != "" {
		return fmt.Errorf("%s warns: %s", n.Name, strings.TrimSpace(r.Stderr))
	}
	want := map[string]bool{}
	for _, o := range nodes {
		want[o.Name] = true
	}
	for _, m := range members {
		if !m.Running || !want[m.Node] {
			return fmt.Errorf("%s sees %s, running %v", n.Name, m.Node, m.Running)
		}
		delete(want, m.Node)
	}
	if len(want) > 0 {
		return fmt.Errorf("%s does not see %v", n.Name, slices.Sorted(maps.Keys(want)))
	}
	return nil
}

// Session is a row of `mqadmin session show` with the columns that tests and
// the demo compare.
type Session struct {
	Node            string `json:"node"`
	ClientID        string `json:"client_id"`
	IsOnline        bool   `json:"is_online"`
	OfflineMessages int    `json:"offline_messages"`
	OnlineMessages  int    `json:"online_messages"`
	WaitingAcks     int    `json:"waiting_acks"`
}

// Sessions lists the sessions of the whole cluster as this node answers,
// ordered by client id. Those on nodes that do not answer are missing.
func (n *Node) Sessions(ctx context.Context) ([]Session, error) {
	return rows[Session](n.Admin(ctx, "session", "show", "--node", "--client_id", "--is_online", "--offline_messages", "--online_messages", "--waiting_acks",
		"--limit", "100000", "--format", "json"))
}

// Counters returns what `mqadmin metrics show` prints, without the kinds
// ("counter.", "gauge.") in front of the names.
func (n *Node) Counters(ctx context.Context) (map[string]int64, error) {
	r := n.Admin(ctx, "metrics", "show")
	if r.Code != 0 {
		return nil, fmt.Errorf("metrics of %s: %s", n.Name, r.Stderr)
	}
	return ParseMetrics(r.Stdout)
}

// ParseMetrics reads lines such as "counter.mqtt_pubcomp_sent = 20000".
func ParseMetrics(text string) (map[string]int64, error) {
	out := map[string]int64{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " = ")
		if !ok {
			return nil, fmt.Errorf("no metric: %q", line)
		}
		v, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("metric %s: %w", name, err)
		}
		_, name, _ = strings.Cut(name, ".")
		out[name] = v
	}
	return out, nil
}

// partlyDone is mqadmin's exit code when some nodes did not answer.
const partlyDone = 3

// rows reads the JSON table that a command printed, be it of the reachable
// nodes only.
func rows[T any](r Result) ([]T, error) {
	if r.Code != 0 && r.Code != partlyDone {
		return nil, fmt.Errorf("exit code %d: %s", r.Code, r.Stderr)
	}
	var doc struct {
		Table []T `json:"table"`
	}
	if err := json.Unmarshal([]byte(r.Stdout), &doc); err != nil {
		return nil, fmt.Errorf("reading a table: %w: %q", err, r.Stdout)
	}
	return doc.Table, nil
}
