package command

import (
	"strings"

	"github.com/spf13/cobra"
)

// Annotations of commands, which the root turns into flags and checks.
const (
	// Destructive: it ends or deletes something.
	Destructive = "mqadmin_destructive"
	// perNode: its answer is one member's, so that --all makes sense.
	perNode = "mqadmin_per_node"
	// offline: it asks no broker.
	offline = "mqadmin_offline"
	// reading: it changes nothing, so that --watch makes sense.
	reading = "mqadmin_reading"
	// group: it only has subcommands.
	group = "mqadmin_group"
	// moreFormats lists formats that only this command has.
	moreFormats = "mqadmin_formats"
)

// MarkDestructive marks commands that end or delete something.
func MarkDestructive(cmds ...*cobra.Command) { mark(Destructive, "true", cmds) }

// MarkPerNode marks commands whose answer is that of one member. They get
// --all, which asks all of them and merges.
func MarkPerNode(cmds ...*cobra.Command) { mark(perNode, "true", cmds) }

// MarkOffline marks commands that ask no broker. They get no --node.
func MarkOffline(cmds ...*cobra.Command) { mark(offline, "true", cmds) }

// MarkReading marks commands that change nothing and end. They get --watch.
func MarkReading(cmds ...*cobra.Command) { mark(reading, "true", cmds) }

// MoreFormats gives one command formats that others do not have.
func MoreFormats(cmd *cobra.Command, formats ...string) {
	mark(moreFormats, strings.Join(formats, " "), []*cobra.Command{cmd})
}

// Formats returns the formats that only cmd has.
func Formats(cmd *cobra.Command) []string { return strings.Fields(cmd.Annotations[moreFormats]) }

func mark(key, value string, cmds []*cobra.Command) {
	for _, cmd := range cmds {
		if cmd.Annotations == nil {
			cmd.Annotations = map[string]string{}
		}
		cmd.Annotations[key] = value
	}
}
