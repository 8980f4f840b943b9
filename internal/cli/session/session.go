// Package session has the commands that show and end MQTT sessions.
package session

import (
	"github.com/spf13/cobra"

	"github.com/mqadmin/mqadmin/internal/cli/command"
)

// New returns the command "session".
func New(f *command.Factory) *cobra.Command {
	return command.NewGroup("session", "Show, change and end MQTT sessions",
		"Sessions of all members, online and offline.",
		"  mqadmin session show",
		newShow(f, nil), newDisconnect(f, nil), newUnsubscribe(f, nil), newReauthorize(f, nil))
}
