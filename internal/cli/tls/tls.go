// Package tls has the commands about certificates.
package tls

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

// New returns the command "tls".
func New(f *command.Factory) *cobra.Command {
	return command.NewGroup("tls", "Look after certificates",
		"The certificates of all listeners, of the cluster port and of the admin listener. Files that change are read again by\n"+
			"themselves.",
		"  mqadmin tls show",
		newShow(f, nil), newCheck(f, nil), newReload(f, nil))
}

func certificates(ctx context.Context, f *command.Factory) (*pb.ShowCertificatesResponse, error) {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return pb.NewTLSServiceClient(conn).ShowCertificates(ctx, &pb.ShowCertificatesRequest{})
}

// failed names the files that could not be read, after what could be.
func failed(list []*pb.FileFailure) error {
	if len(list) == 0 {
		return nil
	}
	var texts []string
	for _, x := range list {
		texts = append(texts, x.GetFile()+": "+x.GetMessage())
	}
	return command.Partial("%s", strings.Join(texts, "; "))
}

func newShow(f *command.Factory, runF func(context.Context) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "List the configured certificates",
		Long:    "A row for each certificate in each configured file, as the files are now.",
		Example: "  mqadmin tls show",
		Args:    kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context())
			}
			return show(cmd.Context(), f)
		},
	}
	command.MarkPerNode(cmd)
	command.MarkReading(cmd)
	return cmd
}

func show(ctx context.Context, f *command.Factory) error {
	resp, err := certificates(ctx, f)
	if err != nil {
		return err
	}
	t := f.Table("File", "Not_Before", "Not_After", "CN", "Issuer", "SAN")
	for _, c := range resp.GetCertificates() {
		if err := t.Row(c.GetFile(), c.GetNotBefore().AsTime(), c.GetNotAfter().AsTime(), c.GetCn(), c.GetIssuer(), strings.Join(c.GetSan(), ",")); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return failed(resp.GetFailures())
}

// defaultValidity is vmq-admin's: two days.
const defaultValidity = 172800

func newCheck(f *command.Factory, runF func(context.Context, time.Duration) error) *cobra.Command {
	var validity int
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look for certificates that expire",
		Long: "Prints All fine when every certificate is valid now and for some time; otherwise a row for each that is not, with the\n" +
			"seconds until it expires and until it becomes valid, and exits with 8.",
		Example: "  mqadmin tls check\n  mqadmin tls check -v 604800",
		Args:    kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if validity < 0 {
				return command.Usage("--validity must be a number of seconds")
			}
			d := time.Duration(validity) * time.Second
			if runF != nil {
				return runF(cmd.Context(), d)
			}
			return check(cmd.Context(), f, d)
		},
	}
	cmd.Flags().IntVarP(&validity, "validity", "v", defaultValidity, "seconds for which certificates must still be valid")
	command.MarkPerNode(cmd)
	command.MarkReading(cmd)
	return cmd
}

func check(ctx context.Context, f *command.Factory, validity time.Duration) error {
	resp, err := certificates(ctx, f)
	if err != nil {
		return err
	}
	now := resp.GetNow().AsTime()
	var bad []*pb.Certificate
	for _, c := range resp.GetCertificates() {
		if c.GetNotAfter().AsTime().Before(now.Add(validity)) || c.GetNotBefore().AsTime().After(now) {
			bad = append(bad, c)
		}
	}
	if err := failed(resp.GetFailures()); err != nil && bad == nil {
		return err
	}
	if bad == nil {
		return f.Done("All fine")
	}
	t := f.Table("File", "Not_Before", "Not_After", "SecExp", "SecToVal")
	for _, c := range bad {
		before, after := c.GetNotBefore().AsTime(), c.GetNotAfter().AsTime()
		if err := t.Row(c.GetFile(), before, after, seconds(after.Sub(now)), max(seconds(before.Sub(now)), 0)); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return &command.Failure{Code: command.ExitCheck, Reason: "CHECK_FAILED", Message: "certificates expire soon, have expired, or are not valid yet"}
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

func newReload(f *command.Factory, runF func(context.Context) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "clear-pem-cache",
		Aliases: []string{"reload"},
		Short:   "Read certificate files again",
		Long: "Reads the certificates, keys and revocation lists of all listeners again. New connections get them; a file that cannot\n" +
			"be used leaves the former one in force and is named, with exit code 3.",
		Example: "  mqadmin tls clear-pem-cache\n  mqadmin tls reload",
		Args:    kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context())
			}
			return reload(cmd.Context(), f)
		},
	}
	command.MarkPerNode(cmd)
	return cmd
}

func reload(ctx context.Context, f *command.Factory) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	resp, err := pb.NewTLSServiceClient(conn).ReloadCertificates(ctx, &pb.ReloadCertificatesRequest{})
	if err != nil {
		return err
	}
	if err := failed(resp.GetFailures()); err != nil {
		return err
	}
	return f.Done("Done")
}
