// Package listener has the commands that open, stop and show listeners.
package listener

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

// New returns the command "listener".
func New(f *command.Factory) *cobra.Command {
	return command.NewGroup("listener", "Open, stop and show listeners",
		"Where clients connect. What is started, stopped or deleted here is so until the broker stops: what shall stay belongs\n"+
			"into the configuration file.",
		"  mqadmin listener show",
		newShow(f, nil), newStart(f, nil), newStop(f, nil), newRestart(f, nil), newDelete(f, nil))
}

// place names a listener by where it listens.
type place struct{ address, port string }

// args are the keys of a command about a listener that there is.
func (p *place) args(f *command.Factory) []kv.Arg {
	all := func(pick func(*pb.Listener) string) func(context.Context) []string {
		return func(ctx context.Context) []string {
			var out []string
			for _, l := range list(ctx, f) {
				if v := pick(l); !slices.Contains(out, v) {
					out = append(out, v)
				}
			}
			return out
		}
	}
	return []kv.Arg{
		{Key: "address", Usage: "an IP address, or local:/path of a unix socket", Value: &p.address, Required: true, Complete: all((*pb.Listener).GetAddress)},
		{Key: "port", Usage: "the port; not for a unix socket", Value: &p.port, Complete: all(func(l *pb.Listener) string {
			return strconv.FormatUint(uint64(l.GetPort()), 10)
		})},
	}
}

// list asks for the listeners, for completion.
func list(ctx context.Context, f *command.Factory) []*pb.Listener {
	ctx, cancel := context.WithTimeout(ctx, command.CompletionTimeout)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return nil
	}
	resp, err := pb.NewListenerServiceClient(conn).ShowListeners(ctx, &pb.ShowListenersRequest{})
	if err != nil {
		return nil
	}
	return resp.GetListeners()
}

// parse checks the two.
func (p *place) parse() (*pb.ListenerAddress, error) {
	unix := strings.HasPrefix(p.address, "local:/")
	if _, err := netip.ParseAddr(p.address); err != nil && !unix {
		return nil, command.Usage("address=%s is neither an IP address nor local:/path", p.address)
	}
	switch {
	case unix && p.port != "" && p.port != "0":
		return nil, command.Usage("a unix socket has no port: leave port= out")
	case unix:
		return &pb.ListenerAddress{Address: p.address}, nil
	case p.port == "":
		return nil, &kv.Error{Message: "port is missing"}
	}
	n, err := strconv.ParseUint(p.port, 10, 16)
	if err != nil || n == 0 {
		return nil, command.Usage("port=%s is no number from 1 to 65535", p.port)
	}
	return &pb.ListenerAddress{Address: p.address, Port: uint32(n)}, nil
}

// do runs one call and prints Done.
func do(ctx context.Context, f *command.Factory, call func(context.Context, pb.ListenerServiceClient) error) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	if err := call(ctx, pb.NewListenerServiceClient(conn)); err != nil {
		return err
	}
	return f.Done("Done")
}

// on is one command about a listener that there is.
type on struct {
	use, short, long, example, question string
	kill                                bool // has -k
	call                                func(context.Context, pb.ListenerServiceClient, options) error
}

// options are what such a command was told.
type options struct {
	at   *pb.ListenerAddress
	kill bool
}

func (c on) command(f *command.Factory, runF func(context.Context, options) error) *cobra.Command {
	var p place
	var o options
	cmd := &cobra.Command{
		Use: c.use, Short: c.short, Long: c.long, Example: c.example,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.at, err = p.parse(); err != nil {
				return err
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			if c.question != "" && (o.kill || !c.kill) {
				if err := f.Confirm(fmt.Sprintf(c.question, p.address+":"+p.port)); err != nil {
					return err
				}
			}
			return do(cmd.Context(), f, func(ctx context.Context, client pb.ListenerServiceClient) error { return c.call(ctx, client, o) })
		},
	}
	kv.Bind(cmd, p.args(f)...)
	if c.kill {
		cmd.Flags().BoolVarP(&o.kill, "kill_sessions", "k", false, "close its connections, too")
	}
	command.MarkPerNode(cmd)
	if c.question != "" {
		command.MarkDestructive(cmd)
	}
	return cmd
}

func newStop(f *command.Factory, runF func(context.Context, options) error) *cobra.Command {
	return on{
		use: "stop", short: "Accept no new connections",
		long: "Suspends a listener: clients that are connected stay. With -k they are disconnected and the listener is stopped.\n" +
			"listener restart opens it again.",
		example:  "  mqadmin listener stop address=127.0.0.1 port=1883\n  mqadmin listener stop address=127.0.0.1 port=1883 -k",
		question: "All connections of the listener on %s are closed. Go on?", kill: true,
		call: func(ctx context.Context, c pb.ListenerServiceClient, o options) error {
			_, err := c.StopListener(ctx, &pb.StopListenerRequest{Address: o.at, KillSessions: o.kill})
			return err
		},
	}.command(f, runF)
}

func newRestart(f *command.Factory, runF func(context.Context, options) error) *cobra.Command {
	return on{
		use: "restart", short: "Open one that was stopped",
		long:    "Opens a suspended or stopped listener again, with the options that it had. One that runs is left as it is.",
		example: "  mqadmin listener restart address=127.0.0.1 port=1883",
		call: func(ctx context.Context, c pb.ListenerServiceClient, o options) error {
			_, err := c.RestartListener(ctx, &pb.RestartListenerRequest{Address: o.at})
			return err
		},
	}.command(f, runF)
}

func newDelete(f *command.Factory, runF func(context.Context, options) error) *cobra.Command {
	return on{
		use: "delete", short: "Stop one and forget it",
		long: "Closes a listener and its connections and forgets it, so that another one can be started on its address. One of the\n" +
			"configuration file is back at the next start of the broker.",
		example:  "  mqadmin listener delete address=127.0.0.1 port=1883",
		question: "The listener on %s is closed with all its connections. Go on?",
		call: func(ctx context.Context, c pb.ListenerServiceClient, o options) error {
			_, err := c.DeleteListener(ctx, &pb.DeleteListenerRequest{Address: o.at})
			return err
		},
	}.command(f, runF)
}
