package simulation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"strings"
	"time"

	"github.com/mqadmin/mqadmin/internal/broker"
	"github.com/mqadmin/mqadmin/internal/cluster"
	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/logging"
	"github.com/mqadmin/mqadmin/internal/peer"
)

// Node is one host with a broker, or without while that is down.
type Node struct {
	Name    string
	c       *Cluster
	number  int
	disk    *Disk
	host    *endpoint
	running *process
}

// process is one run of a broker.
type process struct {
	b    *broker.Broker
	stop context.CancelFunc
	done chan struct{}
	log  *logging.Logger
}

func (c *Cluster) node(number int) *Node {
	return &Node{Name: fmt.Sprintf("n%d", number), c: c, number: number, disk: NewDisk()}
}

// address is where clients connect, port where other nodes do.
func (n *Node) address() string { return fmt.Sprintf("127.0.0.1:%d", 18830+n.number) }
func (n *Node) port() string    { return fmt.Sprintf("127.0.0.1:%d", 44100+n.number) }

// config is that of a broker without a configuration file, on loopback: it
// lets every client publish and subscribe.
func (n *Node) config() (*config.Config, error) {
	settings := map[string]string{
		"nodename": n.Name + "@127.0.0.1", "data_dir": "/var/lib/broker", "run_dir": "/run/broker", "log_dir": "/var/log/broker",
		"allow_anonymous": "on", "listener.tcp.default": n.address(), "listener.vmq.clustering": n.port(),
		"listener.http.default": fmt.Sprintf("127.0.0.1:%d", 8880+n.number),
		"shutdown_timeout":      "2s", "leveldb.maximum_memory": "8MB", "metadata.snapshot_min_bytes": "64KB",
		"log.audit": "off", // it would be a file of this system
	}
	maps.Copy(settings, n.c.o.Settings)
	return config.Default(config.Options{Flags: settings})
}

// system is what the node's broker gets instead of the operating system.
func (n *Node) system(host *endpoint, disk *Disk) *broker.System {
	listen := func(_, address string) (net.Listener, error) { return n.c.Net.listen(host, address) }
	return &broker.System{
		Disk:    disk,
		LockDir: func(string) (io.Closer, error) { return io.NopCloser(strings.NewReader("")), nil },
		Listen:  listen,
		ListenAdmin: func(string, string) (net.Listener, error) {
			return listen("unix", fmt.Sprintf("127.0.0.1:%d", 46100+n.number))
		},
		Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			conn, err := n.c.Net.dial(ctx, host, address)
			if err != nil {
				return nil, err
			}
			return conn, nil
		},
		Secret: func(string) peer.Secret { return secret() },
	}
}

// Start starts the broker on what its disk holds, and returns when it serves
// clients.
func (n *Node) Start() error {
	if n.running != nil {
		return errors.New("it runs already")
	}
	cfg, err := n.config()
	if err != nil {
		return err
	}
	log, err := logging.New(logging.Options{Console: "off"})
	if err != nil {
		return err
	}
	log.Logger = slog.New(logs{h: n.c.History, who: n.Name, level: n.c.o.Level})
	n.host = &endpoint{host: n.Name}
	n.c.Net.booted(n.host)
	n.c.History.Add(n.Name, "start")
	b, err := n.open(broker.Options{Config: cfg, Logger: log, System: n.system(n.host, n.disk)})
	if err != nil {
		n.c.Net.kill(n.host, false)
		return errors.Join(err, log.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &process{b: b, stop: stop, done: make(chan struct{}), log: log}
	serving := make(chan struct{})
	var failed error
	n.c.wg.Go(func() {
		defer close(p.done)
		failed = b.Run(ctx, func(string) { close(serving) })
		_ = log.Close()
	})
	select {
	case <-serving:
		n.running = p
		n.c.History.Add(n.Name, "serves")
		return nil
	case <-p.done:
		stop()
		return fmt.Errorf("it ended at its start: %w", failed)
	case <-time.After(patience):
		n.c.Net.kill(n.host, false)
		stop()
		return errors.New("it does not come to serving clients")
	}
}

// open is broker.New, which must come to an end.
func (n *Node) open(o broker.Options) (*broker.Broker, error) {
	type opened struct {
		b   *broker.Broker
		err error
	}
	done := make(chan opened, 1)
	n.c.wg.Go(func() {
		b, err := broker.New(o)
		done <- opened{b, err}
	})
	select {
	case r := <-done:
		return r.b, r.err
	case <-time.After(patience):
		return nil, errors.New("it does not come to reading its disk")
	}
}

// Running reports whether the broker runs.
func (n *Node) Running() bool { return n.running != nil && !n.running.over() }

// over reports whether the broker has ended by itself, as one that has left.
func (p *process) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Parts are those of the running broker.
func (n *Node) Parts() broker.Parts { return n.running.b.Parts() }

// Kill ends the process as kill -9 does: what it wrote stays.
func (n *Node) Kill() { n.crash("kill -9", false) }

// PowerOff ends the host: what was not synced is lost, and nobody is told.
func (n *Node) PowerOff() { n.crash("power off", true) }

// crash takes the node off the network, then its disk as it is; what the
// process does afterwards nobody sees. It ends by itself.
func (n *Node) crash(how string, power bool) {
	if n.running == nil {
		return
	}
	n.c.History.Add(n.Name, "%s", how)
	n.c.Net.kill(n.host, power)
	n.c.rngMu.Lock()
	if power {
		n.disk = n.disk.AfterPowerLoss(n.c.rng)
	} else {
		n.disk = n.disk.AfterKill(n.c.rng)
	}
	n.c.rngMu.Unlock()
	n.running.stop()
	n.running = nil
}

// Stop ends the broker in good order.
func (n *Node) Stop() {
	if n.running == nil {
		return
	}
	n.c.History.Add(n.Name, "stop")
	n.running.stop()
	<-n.running.done
	n.c.Net.kill(n.host, false)
	n.running = nil
}

// Join makes the node a member of another's cluster.
func (n *Node) Join(other *Node) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return n.Parts().Cluster.Join(ctx, other.Name+"@"+other.port(), func(p cluster.Progress) {
		n.c.History.Add(n.Name, "join: %s", p.Text)
	})
}

// Leave takes the node called name out of the cluster, with its queues; asked
// of any node.
func (n *Node) Leave(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r := cluster.LeaveRequest{Node: name, KillSessions: true, Interval: time.Second, Timeout: time.Second}
	_, err := n.Parts().Cluster.Leave(ctx, r, func(p cluster.LeaveProgress) {
		n.c.History.Add(n.Name, "leave: %s", p.Text)
	})
	return err
}

// FullName is what the node is called in the cluster.
func (n *Node) FullName() string { return n.Name + "@127.0.0.1" }

// settled reports what the node still misses.
func (n *Node) settled() error {
	if !n.Running() {
		return nil
	}
	v := n.Parts().Cluster.Members()
	running := 0
	for _, m := range v.Members {
		if m.Running {
			running++
		}
	}
	want := 0
	for _, o := range n.c.Nodes {
		if o.Running() {
			want++
		}
	}
	switch {
	case !v.Status.Quorum || v.Status.Provisional:
		return errors.New("no quorum")
	case running != want:
		return fmt.Errorf("sees %d of %d nodes", running, want)
	}
	return nil
}
