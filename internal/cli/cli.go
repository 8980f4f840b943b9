// Package cli is mqadmin, the command line of the cluster: vmq-admin's lines,
// sent to a broker over the admin API. It knows nothing that the API does not
// tell it.
package cli

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mqadmin/mqadmin/internal/cli/apikey"
	"github.com/mqadmin/mqadmin/internal/cli/audit"
	"github.com/mqadmin/mqadmin/internal/cli/cluster"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
	"github.com/mqadmin/mqadmin/internal/cli/legacy"
	"github.com/mqadmin/mqadmin/internal/cli/listener"
	"github.com/mqadmin/mqadmin/internal/cli/log"
	"github.com/mqadmin/mqadmin/internal/cli/metrics"
	"github.com/mqadmin/mqadmin/internal/cli/node"
	"github.com/mqadmin/mqadmin/internal/cli/output"
	"github.com/mqadmin/mqadmin/internal/cli/plugin"
	"github.com/mqadmin/mqadmin/internal/cli/profile"
	"github.com/mqadmin/mqadmin/internal/cli/retain"
	"github.com/mqadmin/mqadmin/internal/cli/session"
	"github.com/mqadmin/mqadmin/internal/cli/setting"
	"github.com/mqadmin/mqadmin/internal/cli/tls"
	"github.com/mqadmin/mqadmin/internal/cli/trace"
	"github.com/mqadmin/mqadmin/internal/version"
)

// System is everything of the process that a command may touch.
type System struct {
	In                    io.Reader
	Out, Err              io.Writer
	InTTY, OutTTY, ErrTTY bool
	Getenv                func(string) string
}

// Process returns the streams and environment of this process.
func Process() System {
	return System{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		InTTY:  term.IsTerminal(int(os.Stdin.Fd())),
		OutTTY: term.IsTerminal(int(os.Stdout.Fd())),
		ErrTTY: term.IsTerminal(int(os.Stderr.Fd())),
		Getenv: os.Getenv,
	}
}

// Run runs the command line args, whose first word is how the program was
// called, and returns its exit code. Called as vmq-admin it names itself so.
func Run(ctx context.Context, args []string, sys System) int {
	f := &command.Factory{
		Name:   programName(args),
		IO:     command.IO{In: sys.In, Out: sys.Out, Err: sys.Err, InTTY: sys.InTTY, OutTTY: sys.OutTTY, ErrTTY: sys.ErrTTY},
		Getenv: sys.Getenv,
	}
	command.Connect(f)
	defer f.Close()
	var words []string
	if len(args) > 1 {
		words = args[1:]
	}
	return execute(ctx, f, words)
}

func programName(args []string) string {
	if len(args) > 0 {
		if n := strings.TrimSuffix(filepath.Base(args[0]), ".exe"); n == "vmq-admin" {
			return n
		}
	}
	return "mqadmin"
}

func execute(ctx context.Context, f *command.Factory, words []string) int {
	root := newRoot(f)
	root.SetArgs(kv.Normalize(root, words))
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return command.ExitOK
	}
	path := strings.TrimSpace(strings.TrimPrefix(cmd.CommandPath(), root.Name()))
	failure := command.Explain(ctx, err, f.Name, path)
	if format := formatOf(words); format != "" { // the flags may not have been parsed
		f.Format = format
	}
	f.Report(failure)
	return failure.Code
}

// formatOf finds a valid --format in a line that may have mistakes elsewhere.
func formatOf(words []string) string {
	found := ""
	for i, w := range words {
		value := ""
		switch {
		case strings.HasPrefix(w, "--format="):
			value = strings.TrimPrefix(w, "--format=")
		case (w == "--format" || w == "-o") && i+1 < len(words):
			value = words[i+1]
		}
		if slices.Contains(output.Formats(), value) {
			found = value
		}
	}
	return found
}

// Tree returns all commands, for those who describe them.
func Tree() *cobra.Command {
	f := &command.Factory{Name: "mqadmin", Getenv: func(string) string { return "" }}
	command.Connect(f)
	return newRoot(f)
}

func newRoot(f *command.Factory) *cobra.Command {
	root := command.NewGroup(f.Name, "Run a cluster of MQTT brokers",
		"Watches and steers a cluster of MQTT brokers through one of its members: the one on this host, or that of\n"+
			"--address. Arguments are written key=value, flags as usual; both may be mixed.",
		"  mqadmin cluster show\n  mqadmin session show",
		append([]*cobra.Command{
			cluster.New(f), session.New(f), retain.New(f), node.New(f), metrics.New(f), apikey.New(f), audit.New(f), profile.New(f), newVersion(f), newExitCodes(), newEnvironment(),
			listener.New(f), log.New(f), plugin.New(f), tls.New(f), trace.New(f),
		}, setting.New(f)...)...)
	root.AddCommand(legacy.New(f)...)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.DisableSuggestions = true // kv.Group suggests, at every level
	root.SetOut(f.IO.Out)
	root.SetErr(f.IO.Err)
	root.SetIn(f.IO.In)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { help(cmd, f.IO.Out) })
	root.SetUsageFunc(func(cmd *cobra.Command) error { help(cmd, f.IO.Err); return nil })
	root.SetFlagErrorFunc(flagError)
	globals(f, root)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		f.TimeoutSet = root.PersistentFlags().Changed("timeout")
		if f.TimeoutSet && f.Timeout <= 0 {
			return command.Usage("--timeout must be a positive time, such as 30s")
		}
		if f.Color != "" && !slices.Contains(command.Colours(), f.Color) {
			return command.Usage("--color %q: valid values are {%s}", f.Color, strings.Join(command.Colours(), "|"))
		}
		if _, err := output.ParseFormat(f.Format, command.Formats(cmd)...); err != nil {
			f.Format = ""
			return command.Usage("%v", err)
		}
		return nil
	}
	root.SetHelpCommand(newHelp(root))
	f.Equip(root)
	return root
}

func globals(f *command.Factory, root *cobra.Command) {
	fs := root.PersistentFlags()
	fs.StringVarP(&f.Format, "format", "o", string(output.Human), "{"+strings.Join(output.Formats(), "|")+"}")
	fs.StringVar(&f.Color, "color", "auto", "{"+strings.Join(command.Colours(), "|")+"}")
	fs.StringVar(&f.Socket, "socket", "", "path of the broker's admin socket (or "+command.SocketEnv+")")
	fs.StringVar(&f.Address, "address", "", "host:port of a broker's admin listener, with a certificate or an API key")
	fs.StringVar(&f.CACert, "cacert", "", "file with the authority that signed the broker's certificate; without it, the system's")
	fs.StringVar(&f.Cert, "cert", "", "file with the client certificate")
	fs.StringVar(&f.Key, "key", "", "file with its key")
	fs.StringVar(&f.ContextName, "context", "", "name of the context that says where the broker is (or "+command.ContextEnv+")")
	_ = root.RegisterFlagCompletionFunc("context", command.Complete(f.ContextNames))
	fs.StringVar(&f.TokenFile, "token-file", "", "file with an API key (or "+command.TokenFileEnv+", or the key itself in "+command.TokenEnv+")")
	fs.StringVar(&f.ServerName, "server-name", "", "name in the broker's certificate, when it is not the host of --address")
	fs.DurationVar(&f.Timeout, "timeout", command.DefaultTimeout, "how long a call may take")
	fs.BoolVarP(&f.Yes, "yes", "y", false, "do not ask")
	_ = root.RegisterFlagCompletionFunc("format", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return append(output.Formats(), command.Formats(cmd)...), cobra.ShellCompDirectiveNoFileComp
	})
	_ = root.RegisterFlagCompletionFunc("color", cobra.FixedCompletions(command.Colours(), cobra.ShellCompDirectiveNoFileComp))
}

func newVersion(f *command.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the program's version",
		Long:    "Prints the version of this program; cluster show has those of the brokers.",
		Example: "  mqadmin version",
		Args:    kv.NoWords,
		RunE: func(*cobra.Command, []string) error {
			return f.Done(f.Name + " " + version.String())
		},
	}
	command.MarkOffline(cmd)
	return cmd
}

// newExitCodes is a help topic: it runs nothing.
func newExitCodes() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long:  "Exit codes:\n" + command.ExitCodes,
	}
}

// newEnvironment is a help topic: it runs nothing.
func newEnvironment() *cobra.Command {
	return &cobra.Command{
		Use:   "environment",
		Short: "Which environment variables count",
		Long: "Environment variables; flags go before them, they before the context:\n" +
			"  " + command.SocketEnv + "      path of the broker's admin socket, as --socket\n" +
			"  " + command.AddressEnv + "     host:port of a broker's admin listener, as --address\n" +
			"  " + command.TokenFileEnv + "  file with an API key, as --token-file\n" +
			"  " + command.TokenEnv + "       an API key\n" +
			"  " + command.ContextEnv + "     name of a context, as --context\n" +
			"  XDG_CONFIG_HOME     where mqadmin/config.yaml with the contexts is; ~/.config if not set\n" +
			"  NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE, TERM=dumb\n" +
			"                      whether --color=auto colours",
	}
}

func newHelp(root *cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "help [command]...",
		Short:   "Explain a command or topic",
		Long:    "Explains a command, or a topic: exit-codes, environment.",
		Example: "  mqadmin help cluster join\n  mqadmin help exit-codes",
		RunE: func(_ *cobra.Command, words []string) error {
			cmd, rest, err := root.Find(words)
			if err != nil || len(rest) > 0 {
				if cmd == nil {
					cmd = root
				}
				return kv.Group(cmd, append(rest, words...)[:1])
			}
			return cmd.Help()
		},
	}
	command.MarkOffline(cmd)
	return cmd
}

// flagError adds what was probably meant to an unknown flag.
func flagError(cmd *cobra.Command, err error) error {
	e := &kv.Error{Message: err.Error()}
	name, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if ok {
		if s := kv.Suggest(name, flagNames(cmd)); s != "" {
			e.Message += ` (did you mean "--` + s + `"?)`
		}
	}
	return e
}
