package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/daemon"
	"github.com/mqadmin/mqadmin/internal/logging"
	"github.com/mqadmin/mqadmin/internal/version"
)

// Exit codes of the broker's command line.
const (
	exitFailed = 1 // the operation failed
	exitConfig = 2 // bad configuration or arguments; nothing was started
)

// vernemqConfig is where `vernemq` (a symlink to broker) looks for its file.
const vernemqConfig = "/etc/vernemq/vernemq.conf"

// Stdio is where a command reads and writes.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
	Environ  []string
}

// command is one invocation of the program.
type command struct {
	name                            string // that it was called by
	stdio                           Stdio
	config, dataDir, runDir, logDir string
}

// Main runs the command line args (program name first) and returns the exit
// code: 0 done, 1 failed, 2 bad configuration or arguments.
func Main(ctx context.Context, args []string, stdio Stdio) int {
	c := &command{name: filepath.Base(args[0]), stdio: stdio}
	root := c.root()
	root.SetArgs(args[1:])
	root.SetIn(stdio.In)
	root.SetOut(stdio.Out)
	root.SetErr(stdio.Err)
	err := root.ExecuteContext(ctx)
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(stdio.Err, "error: %v\nrun \"%s --help\"\n", err, c.name)
		return exitConfig
	case errors.Is(err, config.ErrConfig):
		fmt.Fprintf(stdio.Err, "error: %v\n", err)
		return exitConfig
	}
	fmt.Fprintf(stdio.Err, "error: %v\n", err)
	return exitFailed
}

// usageError is a mistake on the command line.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() }
func (u *usageError) Unwrap() error { return u.err }

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:           c.name,
		Short:         "Clustered MQTT broker",
		Long:          "An MQTT 3.1, 3.1.1 and 5.0 broker that forms a cluster. Without --config it serves\nthis machine only, with its data under ./data.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := root.PersistentFlags()
	f.StringVar(&c.config, "config", "", "configuration `file`")
	f.StringVar(&c.dataDir, "data-dir", "", "`directory` of metadata and messages")
	f.StringVar(&c.runDir, "run-dir", "", "`directory` of the admin socket and the pid file")
	f.StringVar(&c.logDir, "log-dir", "", "`directory` of log files")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.CompletionOptions.HiddenDefaultCmd = true
	add := func(use, short, example string, run func(cmd *cobra.Command) error) {
		root.AddCommand(&cobra.Command{
			Use: use, Short: short, Example: "  " + c.name + " " + example, Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd) },
		})
	}
	add("console", "Run in the foreground", "console --config broker.conf", c.console)
	add("start", "Run in the background and wait until it serves", "start --config broker.conf", c.start)
	add("stop", "Stop the broker that runs in the background", "stop --config broker.conf", c.stop)
	add("restart", "Stop and start", "restart --config broker.conf", c.restart)
	add("ping", "Tell whether the broker runs", "ping", c.ping)
	add("chkconfig", "Check the configuration and start nothing", "chkconfig --config broker.conf", c.chkconfig)
	add("version", "Print the version", "version", func(cmd *cobra.Command) error {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), version.String())
		return err
	})
	root.AddCommand(c.configCommand(), c.passwdCommand())
	return root
}

// noArgs refuses stray words with the nearest command.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += fmt.Sprintf(" (did you mean %s?)", strings.Join(near, " or "))
	}
	return &usageError{errors.New(text)}
}

func (c *command) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Show settings", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use: "effective", Short: "Print every setting with its value; secrets are hidden", Example: "  " + c.name + " config effective", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			return cfg.Effective(cmd.OutOrStdout())
		},
	}, &cobra.Command{
		Use: "describe KEY...", Short: "Explain settings", Example: "  " + c.name + " config describe max_inflight_messages",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{errors.New("name a setting, as in: config describe max_inflight_messages")}
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return config.Keys(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			for _, key := range args {
				text, err := cfg.Describe(key)
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), text)
			}
			return nil
		},
	})
	return cmd
}

// configFile is the file in use: --config, BROKER_CONFIG, or VerneMQ's own when
// called as vernemq. "" means none.
func (c *command) configFile() string {
	if c.config != "" {
		return c.config
	}
	for _, kv := range c.stdio.Environ {
		if v, ok := strings.CutPrefix(kv, "BROKER_CONFIG="); ok && v != "" {
			return v
		}
	}
	if c.name == "vernemq" {
		return vernemqConfig
	}
	return ""
}

// load reads the configuration; nothing else happens.
func (c *command) load() (*config.Config, error) {
	flags := map[string]string{}
	for key, v := range map[string]string{"data_dir": c.dataDir, "run_dir": c.runDir, "log_dir": c.logDir} {
		if v != "" {
			flags[key] = v
		}
	}
	var environ []string
	for _, kv := range c.stdio.Environ {
		if !strings.HasPrefix(kv, "BROKER_CONFIG=") {
			environ = append(environ, kv)
		}
	}
	o := config.Options{Environ: environ, Flags: flags}
	if file := c.configFile(); file != "" {
		return config.Load(file, o)
	}
	return config.Default(o)
}

func (c *command) chkconfig(cmd *cobra.Command) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings() {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: %v\n", w)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), "config is OK")
	return err
}

func pidFile(cfg *config.Config) string {
	return filepath.Join(cfg.String("run_dir"), "broker.pid")
}

// console runs the broker in this process. A child of `start` comes here too.
func (c *command) console(cmd *cobra.Command) (err error) {
	notify := daemon.NewNotifier()
	defer func() {
		if err != nil {
			notify.Failed(err)
		}
	}()
	cfg, err := c.load()
	if err != nil {
		return err
	}
	options, err := cfg.Logging()
	if err != nil {
		return err
	}
	if err := syslogDial(cfg, &options.Syslog); err != nil {
		return err
	}
	options.Stdout = cmd.ErrOrStderr() // standard output is for the line that says that it serves
	if !notify.Detached() {
		options.Console = onTerminal(options.Console)
	}
	log, err := logging.New(options)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	for _, w := range cfg.Warnings() {
		log.Warn(fmt.Sprint(w))
	}
	if cfg.LocalOnly() {
		log.Info("no configuration file and every MQTT listener on loopback: anonymous clients of this machine may publish and subscribe to everything")
	}
	raiseFileLimit(cfg, log)
	if err := os.MkdirAll(cfg.String("run_dir"), 0o755); err != nil {
		return fmt.Errorf("making the run directory: %w", err)
	}
	pid, err := daemon.WritePIDFile(pidFile(cfg))
	if err != nil {
		return err
	}
	defer func() { _ = pid.Remove() }()
	b, err := New(Options{Config: cfg, Logger: log, Reread: c.load})
	if err != nil {
		return err
	}
	return c.run(cmd, b, notify)
}

// onTerminal adds standard output to where the console log goes.
func onTerminal(console string) string {
	switch console {
	case "file":
		return "both"
	case "off":
		return "console"
	}
	return console
}

// run serves until a signal or an error ends it.
func (c *command) run(cmd *cobra.Command, b *Broker, notify *daemon.Notifier) error {
	ctx, stop := context.WithCancel(cmd.Context())
	defer stop()
	signals := daemon.Catch()
	go signals.Run(ctx, func(s os.Signal) {
		b.log.Info("stopping", "signal", s.String())
		notify.Stopping()
		stop()
	}, func() {
		defer notify.Reloading()()
		b.Reload()
	}, func(s os.Signal) {
		b.log.Error("a second signal ends the process at once", "signal", s.String())
		os.Exit(exitFailed)
	})
	go notify.Watchdog(ctx, func() bool { return true })
	return b.Run(ctx, func(text string) {
		fmt.Fprintln(cmd.OutOrStdout(), text)
		b.log.Info(text, "version", version.String())
		if err := notify.Ready(text); err != nil {
			b.log.Warn("whoever started this process could not be told that it serves", "error", err)
		}
	})
}

// raiseFileLimit makes room for as many connections as the listeners take;
// erlang.max_ports is VerneMQ's name for that.
func raiseFileLimit(cfg *config.Config, log *logging.Logger) {
	want := uint64(cfg.Int("erlang.max_ports"))
	got, err := daemon.RaiseFileLimit(want)
	if cfg.IsSet("erlang.max_ports") && (err != nil || got < want) {
		log.Warn("fewer files can be open than erlang.max_ports asks for, so fewer clients can be connected", "asked", want, "limit", got, "error", err)
	}
}

// startTimeout bounds how long `start` waits.
const startTimeout = 30 * time.Second

func (c *command) start(cmd *cobra.Command) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if pid, err := daemon.Ping(pidFile(cfg)); err == nil {
		return fmt.Errorf("the broker is already running (pid %d)", pid)
	}
	_, message, err := daemon.Start(cmd.Context(), daemon.StartOptions{Args: c.childArgs(), Env: c.childEnv(), Timeout: startTimeout})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), message)
	return err
}

// childArgs repeats this invocation's flags for the process in the background.
func (c *command) childArgs() []string {
	args := []string{"console"}
	for flag, v := range map[string]string{"--config": c.configFile(), "--data-dir": c.dataDir, "--run-dir": c.runDir, "--log-dir": c.logDir} {
		if v != "" {
			args = append(args, flag, v)
		}
	}
	return args
}

func (c *command) childEnv() []string { return c.stdio.Environ }

func (c *command) stop(cmd *cobra.Command) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if err := daemon.Stop(cmd.Context(), pidFile(cfg), cfg.Duration("shutdown_timeout")+10*time.Second); err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), "ok")
	return err
}

func (c *command) restart(cmd *cobra.Command) error {
	if err := c.stop(cmd); err != nil && !errors.Is(err, daemon.ErrNotRunning) {
		return err
	}
	return c.start(cmd)
}

func (c *command) ping(cmd *cobra.Command) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if _, err := daemon.Ping(pidFile(cfg)); err != nil {
		return fmt.Errorf("node %s does not respond to pings: %w", cfg.String("nodename"), err)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), "pong")
	return err
}
