// Package cluster has the commands that show and change the set of members.
package cluster

import (
	"github.com/spf13/cobra"

	"github.com/mqadmin/mqadmin/internal/cli/command"
)

// New returns the command "cluster".
func New(f *command.Factory) *cobra.Command {
	return command.NewGroup("cluster", "Show and change the members",
		"Brokers that form a cluster share sessions, subscriptions and retained messages.\n"+
			"Any member answers for all of them.",
		"  mqadmin cluster show",
		newShow(f, nil), newJoin(f, nil), newLeave(f, nil), newForceLeave(f))
}
