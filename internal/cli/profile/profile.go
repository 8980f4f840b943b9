// Package profile has the commands for contexts: named ways to reach a broker.
package profile

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

// New returns the command "context".
func New(f *command.Factory) *cobra.Command {
	return command.NewGroup("context", "Name the brokers that you talk to",
		"A context is a name for an address and what is needed there. The current one, or that of --context, counts\n"+
			"unless flags or the environment name a broker. They stand in mqadmin/config.yaml below $XDG_CONFIG_HOME, or\n"+
			"~/.config. Keys and certificates stay in files of their own.",
		"  mqadmin context list",
		newAdd(f), newList(f), newShow(f), newUse(f), newRemove(f))
}

func newAdd(f *command.Factory) *cobra.Command {
	var name string
	var p command.Profile
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Enter a context, or replace it",
		Long: "Names the socket or the address of a broker, and the files that are needed there. The first context becomes the\n" +
			"current one. An API key is never written into the file: name the file that holds it.",
		Example: "  mqadmin context add prod address=mqtt1.example.com:8443 cacert=/etc/mq/ca.pem token-file=/etc/mq/token\n" +
			"  mqadmin context add name=local socket=/run/mqadmin/admin.sock",
		RunE: func(*cobra.Command, []string) error { return add(f, name, p) },
	}
	kv.Bind(cmd,
		kv.Arg{Key: "name", Usage: "its name", Value: &name, Required: true, Bare: true},
		kv.Arg{Key: "socket", Usage: "path of an admin socket", Value: &p.Socket},
		kv.Arg{Key: "address", Usage: "host:port of an admin listener", Value: &p.Address},
		kv.Arg{Key: "cacert", Usage: "file with the authority of the broker's certificate", Value: &p.CACert},
		kv.Arg{Key: "cert", Usage: "file with the client certificate", Value: &p.Cert},
		kv.Arg{Key: "key", Usage: "file with its key", Value: &p.Key},
		kv.Arg{Key: "token-file", Usage: "file with an API key", Value: &p.TokenFile},
		kv.Arg{Key: "server-name", Usage: "name in the broker's certificate", Value: &p.ServerName})
	command.MarkOffline(cmd)
	return cmd
}

func add(f *command.Factory, name string, p command.Profile) error {
	switch {
	case (p.Socket == "") == (p.Address == ""):
		return command.Usage("a context has either socket= or address=")
	case p.Socket != "" && p != (command.Profile{Socket: p.Socket}):
		return command.Usage("a context with socket= needs nothing else")
	case (p.Cert == "") != (p.Key == ""):
		return command.Usage("cert= and key= belong together")
	}
	for _, path := range []*string{&p.Socket, &p.CACert, &p.Cert, &p.Key, &p.TokenFile} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("finding %s: %w", *path, err)
		}
		*path = abs
	}
	all, err := f.LoadProfiles()
	if err != nil {
		return err
	}
	all.Contexts[name] = p
	if all.Current == "" {
		all.Current = name
	}
	if err := f.SaveProfiles(all); err != nil {
		return err
	}
	return f.Done("Done")
}

func newList(f *command.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the contexts",
		Long:    "One row per context, ordered by name.",
		Example: "  mqadmin context list",
		Args:    kv.NoWords,
		RunE: func(*cobra.Command, []string) error {
			all, err := f.LoadProfiles()
			if err != nil {
				return err
			}
			return table(f, all, slices.Sorted(maps.Keys(all.Contexts)))
		},
	}
	command.MarkOffline(cmd)
	return cmd
}

func table(f *command.Factory, all *command.Profiles, names []string) error {
	t := f.Table("Name", "Current", "Socket", "Address", "CACert", "Cert", "Key", "TokenFile", "ServerName")
	for _, name := range names {
		p := all.Contexts[name]
		row := []any{name, name == all.Current}
		for _, v := range []string{p.Socket, p.Address, p.CACert, p.Cert, p.Key, p.TokenFile, p.ServerName} {
			if v == "" {
				row = append(row, nil)
			} else {
				row = append(row, v)
			}
		}
		if err := t.Row(row...); err != nil {
			return err
		}
	}
	return t.Close()
}

// named returns a command about one context.
func named(f *command.Factory, cmd *cobra.Command, required bool, run func(all *command.Profiles, name string) error) *cobra.Command {
	var name string
	cmd.RunE = func(*cobra.Command, []string) error {
		all, err := f.LoadProfiles()
		if err != nil {
			return err
		}
		if name == "" {
			name = all.Current
		}
		if _, ok := all.Contexts[name]; !ok {
			return command.Usage("there is no context %q", name)
		}
		return run(all, name)
	}
	kv.Bind(cmd, kv.Arg{
		Key: "name", Usage: "its name", Value: &name, Required: required, Bare: true,
		Complete: f.ContextNames,
	})
	command.MarkOffline(cmd)
	return cmd
}

func newShow(f *command.Factory) *cobra.Command {
	return named(f, &cobra.Command{
		Use:     "show",
		Short:   "Print one context, by default the current one",
		Long:    "Prints what the context says; files are named, not read.",
		Example: "  mqadmin context show\n  mqadmin context show prod",
	}, false, func(all *command.Profiles, name string) error { return table(f, all, []string{name}) })
}

func newUse(f *command.Factory) *cobra.Command {
	return named(f, &cobra.Command{
		Use:     "use",
		Short:   "Make a context the current one",
		Long:    "From then on it counts for every command that names no broker. MQADMIN_CONTEXT does the same for one shell.",
		Example: "  mqadmin context use prod",
	}, true, func(all *command.Profiles, name string) error {
		all.Current = name
		if err := f.SaveProfiles(all); err != nil {
			return err
		}
		return f.Done("Done")
	})
}

func newRemove(f *command.Factory) *cobra.Command {
	cmd := named(f, &cobra.Command{
		Use:     "remove",
		Aliases: []string{"rm"},
		Short:   "Forget a context",
		Long:    "The files that it names stay. If it is the current one, there is none afterwards.",
		Example: "  mqadmin context remove prod",
	}, true, func(all *command.Profiles, name string) error {
		if err := f.Confirm(fmt.Sprintf("The context %s is forgotten. Go on?", name)); err != nil {
			return err
		}
		delete(all.Contexts, name)
		if all.Current == name {
			all.Current = ""
		}
		if err := f.SaveProfiles(all); err != nil {
			return err
		}
		return f.Done("Done")
	})
	command.MarkDestructive(cmd)
	return cmd
}
