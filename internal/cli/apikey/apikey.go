// Package apikey has the commands that make, list and delete API keys.
package apikey

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

// New returns the command "api-key".
func New(f *command.Factory) *cobra.Command {
	return command.NewGroup("api-key", "Make, list and delete API keys",
		"API keys open this API over TLS (scope mgmt) and modules of HTTP listeners. The cluster keeps their hashes: a\n"+
			"key is shown when it is made, and never again.",
		"  mqadmin api-key show",
		newCreate(f, nil), newAdd(f, nil), newDelete(f, nil), newShow(f, nil))
}

// scopes are what keys open.
func scopes() []string { return []string{"status", "mgmt", "metrics", "health", "api2", "httppub"} }

// roles are what keys of the scope mgmt may do.
func roles() []string { return []string{"viewer", "operator", "admin"} }

type createOptions struct {
	secret, scope, role, expires string
	expiresAt                    time.Time
}

// localTime is VerneMQ's form of a time; it is read as local time.
const localTime = "2006-01-02T15:04:05"

func (o *createOptions) parse() error {
	if o.expires == "" {
		return nil
	}
	for _, form := range []string{time.RFC3339, localTime, time.DateOnly} {
		if t, err := time.ParseInLocation(form, o.expires, time.Local); err == nil {
			o.expiresAt = t
			return nil
		}
	}
	return command.Usage("expires=%s is no time such as 2027-01-31T23:59:59 (local time) or 2027-01-31T23:59:59Z", o.expires)
}

// lifeArgs are the keys that create and add share.
func (o *createOptions) lifeArgs() []kv.Arg {
	return []kv.Arg{
		{Key: "scope", Usage: "what it opens", Value: &o.scope, Enum: scopes()},
		{Key: "role", Usage: "what it may do, in the scope mgmt", Value: &o.role, Enum: roles()},
		{Key: "expires", Usage: "when it ends, such as 2027-01-31T23:59:59", Value: &o.expires},
	}
}

func newCreate(f *command.Factory, runF func(context.Context, createOptions) error) *cobra.Command {
	var o createOptions
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a key and print it, this once",
		Long: "Prints a random key. By default it has the scope mgmt and the role admin, as in VerneMQ: it may do everything\n" +
			"over the admin listener. Give it a role when less will do, and an expiry. Keys of other scopes open modules of\n" +
			"HTTP listeners. expires= is local time unless it ends in Z or an offset.",
		Example: "  mqadmin api-key create\n" +
			"  mqadmin api-key create role=viewer expires=2099-01-31T23:59:59\n" +
			"  mqadmin api-key create scope=metrics",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.parse(); err != nil {
				return err
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return create(cmd.Context(), f, o)
		},
	}
	kv.Bind(cmd, o.lifeArgs()...)
	return cmd
}

func newAdd(f *command.Factory, runF func(context.Context, createOptions) error) *cobra.Command {
	var o createOptions
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Enter a key that exists elsewhere",
		Long: "For keys that are in use with another cluster. The key stands in the shell's history and in the list of\n" +
			"processes: api-key create is better. It must have min_apikey_length characters, and one that can be guessed\n" +
			"is worth nothing.",
		Example: "  mqadmin api-key add key=4Rw1mB3xN8uQ5tYk scope=metrics",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.parse(); err != nil {
				return err
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return create(cmd.Context(), f, o)
		},
	}
	kv.Bind(cmd, append([]kv.Arg{{Key: "key", Usage: "the key", Value: &o.secret, Required: true}}, o.lifeArgs()...)...)
	return cmd
}

func create(ctx context.Context, f *command.Factory, o createOptions) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	req := &pb.CreateApiKeyRequest{Secret: o.secret, Scope: o.scope, KeyRole: o.role}
	if !o.expiresAt.IsZero() {
		req.ExpiresAt = timestamppb.New(o.expiresAt)
	}
	resp, err := pb.NewApiKeyServiceClient(conn).CreateApiKey(ctx, req)
	if err != nil {
		return err
	}
	if o.secret != "" {
		return f.Done("ok")
	}
	f.Note("note: this key is shown only now; its id is %s", resp.GetKey().GetId())
	return f.Done(resp.GetSecret())
}

type deleteOptions struct{ key, scope string }

func newDelete(f *command.Factory, runF func(context.Context, deleteOptions) error) *cobra.Command {
	var o deleteOptions
	cmd := &cobra.Command{
		Use:   "delete",
		Short: "Strike a key, on all members",
		Long: "Whoever uses the key is refused from then on; calls that are running go on. The key is named by itself or by\n" +
			"its id, which api-key show prints, and by its scope if that is not mgmt.",
		Example: "  mqadmin api-key delete key=7d865e959b2466f9\n" +
			"  mqadmin api-key delete scope=metrics key=7d865e959b2466f9",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return remove(cmd.Context(), f, o)
		},
	}
	kv.Bind(cmd,
		kv.Arg{Key: "key", Usage: "the key or its id", Value: &o.key, Required: true, Complete: keyIDs(f)},
		kv.Arg{Key: "scope", Usage: "what it opens", Value: &o.scope, Enum: scopes()})
	command.MarkDestructive(cmd)
	return cmd
}

func remove(ctx context.Context, f *command.Factory, o deleteOptions) error {
	if err := f.Confirm("Whoever uses this key is refused from then on. Go on?"); err != nil {
		return err
	}
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	if _, err := pb.NewApiKeyServiceClient(conn).DeleteApiKey(ctx, &pb.DeleteApiKeyRequest{Key: o.key, Scope: o.scope}); err != nil {
		return err
	}
	return f.Done("ok")
}

// keyIDs completes the ids of keys.
func keyIDs(f *command.Factory) func(context.Context) []string {
	return func(ctx context.Context) []string {
		ctx, cancel := context.WithTimeout(ctx, command.CompletionTimeout)
		defer cancel()
		conn, err := f.Conn(ctx)
		if err != nil {
			return nil
		}
		resp, err := pb.NewApiKeyServiceClient(conn).ShowApiKeys(ctx, &pb.ShowApiKeysRequest{})
		if err != nil {
			return nil
		}
		var ids []string
		for _, k := range resp.GetKeys() {
			ids = append(ids, k.GetId())
		}
		return ids
	}
}

func newShow(f *command.Factory, runF func(context.Context, string) error) *cobra.Command {
	var scope string
	cmd := &cobra.Command{
		Use:     "show",
		Aliases: []string{"list"},
		Short:   "List the keys by their ids",
		Long: "One row per key, ordered by scope and id. Key is the id: the beginning of the key's hash, because the key\n" +
			"itself is kept nowhere. Without scope= or with scope=all, those of all scopes.",
		Example: "  mqadmin api-key show\n  mqadmin api-key show scope=mgmt",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), scope)
			}
			return show(cmd.Context(), f, scope)
		},
	}
	kv.Bind(cmd, kv.Arg{Key: "scope", Usage: "only keys that open this", Value: &scope, Enum: append(scopes(), "all")})
	command.MarkReading(cmd)
	return cmd
}

func show(ctx context.Context, f *command.Factory, scope string) error {
	if scope == "all" {
		scope = ""
	}
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	resp, err := pb.NewApiKeyServiceClient(conn).ShowApiKeys(ctx, &pb.ShowApiKeysRequest{Scope: scope})
	if err != nil {
		return err
	}
	t := f.Table("Key", "Scope", "Expires (UTC)", "has expired", "Role", "Created (UTC)", "Created by")
	for _, k := range resp.GetKeys() {
		var role any
		if k.GetKeyRole() != "" {
			role = k.GetKeyRole()
		}
		expires := "never"
		if k.GetExpiresAt() != nil {
			expires = utc(k.GetExpiresAt())
		}
		if err := t.Row(k.GetId(), k.GetScope(), expires, k.GetExpired(), role, utc(k.GetCreatedAt()), k.GetCreatedBy()); err != nil {
			return err
		}
	}
	return t.Close()
}

func utc(t *timestamppb.Timestamp) string { return t.AsTime().UTC().Format(time.RFC3339) }
