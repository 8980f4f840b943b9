package broker

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mqadmin/mqadmin/internal/auth"
)

// passwdCommand edits password files, with vmq-passwd's arguments.
func (c *command) passwdCommand() *cobra.Command {
	var create, force, remove, hash bool
	var o auth.HashOptions
	cmd := &cobra.Command{
		Use:     "passwd [-c [-f] | -D | -U] [--scram] FILE [USER]",
		Short:   "Edit a password file",
		Long:    "Adds a user to a password file or changes the password, which is asked for twice, or\nread as one line when standard input is not a terminal. With --scram the client can\nalso authenticate in steps (SCRAM-SHA-256, see authentication_methods), without the\npassword on the wire; mosquitto does not read such entries.",
		Example: "  " + c.name + " passwd -c users.passwd alice",
		Args: func(_ *cobra.Command, args []string) error {
			want := 2
			if hash {
				want = 1
			}
			if len(args) != want {
				return &usageError{fmt.Errorf("passwd takes %d arguments, got %d: passwd [-c [-f] | -D | -U] FILE [USER]", want, len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if force && !create {
				return &usageError{errors.New("-f goes with -c: broker passwd -cf FILE USER")}
			}
			return c.editPasswords(args, create, force, remove, hash, o)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&create, "create", "c", false, "create the file")
	f.BoolVarP(&force, "force", "f", false, "with -c: overwrite it")
	f.BoolVarP(&remove, "delete", "D", false, "delete the user")
	f.BoolVarP(&hash, "hash", "U", false, "hash the plain text passwords in the file")
	f.BoolVar(&o.SCRAM, "scram", false, "store what SCRAM-SHA-256 needs")
	cmd.MarkFlagsMutuallyExclusive("delete", "scram")
	cmd.MarkFlagsMutuallyExclusive("create", "delete", "hash")
	return cmd
}

func (c *command) editPasswords(args []string, create, force, remove, hash bool, o auth.HashOptions) error {
	path := args[0]
	file, err := openPasswords(path, create, force)
	if err != nil {
		return err
	}
	switch {
	case hash:
		n, err := file.HashAll(o)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.stdio.Out, "%d passwords hashed\n", n)
	case remove:
		if err := file.Delete(args[1]); err != nil {
			return fmt.Errorf("%s: %s: %w", path, args[1], err)
		}
	default:
		password, err := c.askPassword()
		if err != nil {
			return err
		}
		if err := file.Set(args[1], password, o); err != nil {
			return err
		}
	}
	return replaceFile(path, file.Bytes())
}

func openPasswords(path string, create, force bool) (*auth.PasswordFile, error) {
	data, err := os.ReadFile(path)
	switch {
	case create && errors.Is(err, fs.ErrNotExist), create && force:
		return auth.NewPasswordFile(path), nil
	case create && err == nil:
		return nil, fmt.Errorf("%s exists; add -f to overwrite it", path)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s does not exist; add -c to create it", path)
	case err != nil:
		return nil, err
	}
	return auth.ParsePasswordFile(path, data)
}

// askPassword asks twice on a terminal, without echo.
func (c *command) askPassword() ([]byte, error) {
	f, ok := c.stdio.In.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		line, err := bufio.NewReader(c.stdio.In).ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("reading the password: %w", err)
		}
		return bytes.TrimRight(line, "\r\n"), nil
	}
	ask := func(prompt string) ([]byte, error) {
		fmt.Fprint(c.stdio.Err, prompt)
		defer fmt.Fprintln(c.stdio.Err)
		return term.ReadPassword(int(f.Fd()))
	}
	first, err := ask("Password: ")
	if err != nil {
		return nil, err
	}
	second, err := ask("Reenter password: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, errors.New("the two passwords differ; nothing was changed")
	}
	return first, nil
}

// replaceFile writes a new file and renames it into place. Owner and mode stay: a
// file that root edits must be readable by the broker's user as before. A link
// stays a link.
func replaceFile(path string, data []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	tmp := path + ".new"
	if err := writeNew(tmp, path, data); err != nil {
		os.Remove(tmp)
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
}

// writeNew writes data to tmp, on disk and with the owner and mode of former, if
// that is there.
func writeNew(tmp, former string, data []byte) error {
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	info, missing := os.Stat(former)
	if err != nil || missing != nil {
		return err
	}
	if err := os.Chmod(tmp, info.Mode().Perm()); err != nil {
		return err
	}
	return keepOwner(tmp, info)
}
