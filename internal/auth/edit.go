package auth

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Errors of editing a password file.
var (
	// ErrUserName: the name cannot stand in a password file.
	ErrUserName = errors.New("user name must be UTF-8, not empty, without colon or control characters, and not begin with #")
	// ErrNoUser: the file has no entry of that name.
	ErrNoUser = errors.New("no such user")
	// ErrNoPassword: the password is empty.
	ErrNoPassword = errors.New("password must not be empty")
)

// PasswordFile is the content of a password file for editing, as broker passwd
// does. Comments and the order of the entries stay. It touches no disk: the
// caller reads the file, and writes Bytes to a new file of mode 0600 that it
// renames into place.
type PasswordFile struct {
	path  string
	lines []string
}

// NewPasswordFile returns an empty file (broker passwd -c). path is for error
// messages.
func NewPasswordFile(path string) *PasswordFile { return &PasswordFile{path: path} }

// ParsePasswordFile reads a file for editing. Entries whose passwords are not
// hashed yet are allowed, for HashAll.
func ParsePasswordFile(path string, data []byte) (*PasswordFile, error) {
	f := &PasswordFile{path: path}
	err := eachLine(data, func(n int, line []byte) error {
		if name, _, ok := strings.Cut(string(line), ":"); !blankOrComment(line) && (!ok || name == "") {
			return &ParseError{File: path, Line: n, Msg: "want user:hash"}
		}
		f.lines = append(f.lines, string(line))
		return nil
	})
	if err != nil {
		return nil, err
	}
	for len(f.lines) > 0 && f.lines[len(f.lines)-1] == "" {
		f.lines = f.lines[:len(f.lines)-1]
	}
	return f, nil
}

// Set adds a user or replaces the password of one. A SCRAM entry stays one: a
// new password must not lock out the clients that use it.
func (f *PasswordFile) Set(name string, password []byte, o HashOptions) error {
	if err := checkUserName(name); err != nil {
		return fmt.Errorf("setting user %q: %w", name, err)
	}
	if len(password) == 0 {
		return fmt.Errorf("setting user %q: %w", name, ErrNoPassword)
	}
	i := slices.IndexFunc(f.lines, isUser(name))
	if i >= 0 && strings.HasPrefix(f.lines[i], name+":"+scramPrefix) {
		o.SCRAM = true
	}
	h, err := newHash(password, o)
	if err != nil {
		return fmt.Errorf("setting user %q: %w", name, err)
	}
	line := name + ":" + h
	if i < 0 {
		f.lines = append(f.lines, line)
		return nil
	}
	f.lines[i] = line
	// A second entry would win over the new one when the file is loaded.
	f.lines = slices.Concat(f.lines[:i+1], slices.DeleteFunc(slices.Clone(f.lines[i+1:]), isUser(name)))
	return nil
}

// Delete removes a user (broker passwd -D).
func (f *PasswordFile) Delete(name string) error {
	n := len(f.lines)
	f.lines = slices.DeleteFunc(f.lines, isUser(name))
	if len(f.lines) == n {
		return fmt.Errorf("deleting user %q from %s: %w", name, f.path, ErrNoUser)
	}
	return nil
}

// HashAll replaces every plain text password by its hash (broker passwd -U)
// and returns how many. What is hashed already stays.
func (f *PasswordFile) HashAll(o HashOptions) (int, error) {
	n := 0
	for i, line := range f.lines {
		if blankOrComment([]byte(line)) {
			continue
		}
		name, password, _ := strings.Cut(line, ":")
		if _, err := parseHash(strings.TrimRight(password, " \t")); err == nil {
			continue
		}
		if password == "" || looksHashed(password) {
			return n, &ParseError{File: f.path, Line: i + 1, Msg: "neither a password nor a hash of a known form"}
		}
		h, err := newHash([]byte(password), o)
		if err != nil {
			return n, err
		}
		f.lines[i] = name + ":" + h
		n++
	}
	return n, nil
}

// looksHashed reports a damaged or foreign hash, which must not be hashed as if
// it were the password.
func looksHashed(s string) bool {
	return strings.HasPrefix(s, "$6$") || strings.HasPrefix(s, "$7$") || strings.HasPrefix(s, "$argon2") ||
		strings.HasPrefix(s, scramPrefix)
}

// Users returns the user names in order.
func (f *PasswordFile) Users() []string {
	var out []string
	for _, line := range f.lines {
		if name, _, ok := strings.Cut(line, ":"); ok && !blankOrComment([]byte(line)) {
			out = append(out, name)
		}
	}
	return out
}

// Bytes returns the content to write.
func (f *PasswordFile) Bytes() []byte {
	var b bytes.Buffer
	for _, line := range f.lines {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// isUser returns a predicate for the lines of one user.
func isUser(name string) func(string) bool {
	return func(line string) bool {
		return strings.HasPrefix(line, name+":") && !blankOrComment([]byte(line))
	}
}

// checkUserName reports names that could not be read back.
func checkUserName(name string) error {
	if name == "" || len(name) > 65535 || !utf8.ValidString(name) || strings.Contains(name, ":") ||
		strings.HasPrefix(name, "#") || strings.TrimSpace(name) == "" || strings.ContainsFunc(name, unicode.IsControl) {
		return ErrUserName
	}
	return nil
}
