// Package kv is vmq-admin's argument grammar on top of cobra: key=value words
// and flags are two spellings of the same thing, show columns are flags whose
// value is optional, and whatever is not understood is an error that says what
// was meant.
package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Arg is one key of a command: key=value, --key value and --key=value set it.
type Arg struct {
	Key      string
	Usage    string
	Value    *string
	Required bool
	// Bare: a word without "=" is this key's value (cluster join NODE). Of
	// several such keys the words are the values, in order.
	Bare bool
	// Enum are the values that it may have; nil allows any. They are completed.
	Enum []string
	// Complete returns candidates for the value; Search those that begin with
	// what was typed, where there are too many to list. Both are optional.
	Complete func(ctx context.Context) []string
	Search   func(ctx context.Context, typed string) []string
}

// Annotations that this package puts on commands and flags.
const (
	// KeyFlag marks a flag that Bind made for a key.
	KeyFlag = "mqadmin_key"
	// optionalValue marks a flag whose value may be left out.
	optionalValue = "mqadmin_optional"
)

// Column is the value of an optional-value flag that was given without one.
const Column = "\x00column"

// Error is a line that the grammar does not accept. Hint may be empty.
type Error struct{ Message, Hint string }

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// once is a string that may be set a single time, in whichever spelling.
type once struct {
	key   string
	value *string
	enum  []string
	set   bool
}

func (o *once) String() string {
	if o.value == nil {
		return ""
	}
	return *o.value
}
func (o *once) Type() string { return "value" }
func (o *once) Set(s string) error {
	if o.set {
		return fmt.Errorf("%s is given twice", o.key)
	}
	if s == "" {
		return fmt.Errorf("%s has an empty value", o.key)
	}
	if o.enum != nil && !slices.Contains(o.enum, s) {
		return fmt.Errorf("%s=%s: valid values are {%s}", o.key, s, strings.Join(o.enum, "|"))
	}
	o.set, *o.value = true, s
	return nil
}

// Bind gives cmd its keys: a flag for each, the check of its words, the usage
// line and completion.
func Bind(cmd *cobra.Command, args ...Arg) {
	for i := range args {
		a := &args[i]
		if a.Enum != nil {
			a.Usage += " {" + strings.Join(a.Enum, "|") + "}"
			a.Complete = func(context.Context) []string { return a.Enum }
		}
		f := cmd.Flags().VarPF(&once{key: a.Key, value: a.Value, enum: a.Enum}, a.Key, "", a.Usage)
		if a.completes() {
			_ = cmd.RegisterFlagCompletionFunc(a.Key, flagCompleter(*a))
		}
		f.Annotations = map[string][]string{KeyFlag: {"true"}}
		word := a.Key + "=<" + strings.ReplaceAll(a.Key, "-", " ") + ">"
		if !a.Required {
			word = "[" + word + "]"
		}
		cmd.Use += " " + word
	}
	cmd.DisableFlagsInUseLine = true
	cmd.Use += " [flags]"
	cmd.Args = func(cmd *cobra.Command, words []string) error { return set(cmd, args, words) }
	cmd.ValidArgsFunction = completer(args)
}

func set(cmd *cobra.Command, args []Arg, words []string) error {
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		if !ok {
			key, value = bare(cmd, args), w
			if key == "" {
				return unexpected(args, w)
			}
		}
		if !known(args, key) {
			return unknownKey(cmd, args, key)
		}
		if err := cmd.Flags().Set(key, value); err != nil {
			cause := errors.Unwrap(err) // pflag wraps what once.Set said
			if cause == nil {
				cause = err
			}
			return &Error{Message: cause.Error()}
		}
	}
	for _, a := range args {
		if a.Required && !cmd.Flags().Changed(a.Key) {
			return &Error{Message: a.Key + " is missing"}
		}
	}
	return nil
}

// bare returns the key of the next word without "=": the first that has none
// yet, or when all have, the last, so that the word is refused as its second.
func bare(cmd *cobra.Command, args []Arg) (key string) {
	for _, a := range args {
		if !a.Bare {
			continue
		}
		if key = a.Key; !cmd.Flags().Changed(key) {
			return key
		}
	}
	return key
}

func known(args []Arg, key string) bool {
	for _, a := range args {
		if a.Key == key {
			return true
		}
	}
	return false
}

func keys(args []Arg) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = a.Key
	}
	return out
}

func unexpected(args []Arg, word string) error {
	e := &Error{Message: fmt.Sprintf("unexpected argument %q", word)}
	if len(args) == 0 {
		return e
	}
	e.Hint = "valid keys are " + strings.Join(keys(args), "=, ") + "="
	return e
}

func unknownKey(cmd *cobra.Command, args []Arg, key string) error {
	e := &Error{Message: fmt.Sprintf("unknown key %q", key)}
	dashed := strings.ReplaceAll(key, "_", "-")
	switch s := Suggest(dashed, keys(args)); {
	case s != "":
		e.Message += fmt.Sprintf(" (did you mean %q?)", s)
	case cmd.Flags().Lookup(key) != nil:
		e.Hint = key + " is a flag: --" + key
	case len(args) > 0:
		e.Hint = "valid keys are " + strings.Join(keys(args), "=, ") + "="
	}
	return e
}

// NoWords is the Args of a command without keys.
func NoWords(_ *cobra.Command, words []string) error {
	if len(words) == 0 {
		return nil
	}
	return unexpected(nil, words[0])
}

// Group is the Args of a command that only has subcommands.
func Group(cmd *cobra.Command, words []string) error {
	if len(words) == 0 {
		return nil
	}
	e := &Error{
		Message: fmt.Sprintf("unknown command %q", words[0]),
		Hint:    fmt.Sprintf("run %q for the list", cmd.CommandPath()+" --help"),
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(append(names, c.Name()), c.Aliases...)
		}
	}
	if s := Suggest(words[0], names); s != "" {
		e.Message += fmt.Sprintf(" (did you mean %q?)", s)
	}
	return e
}

// flagCompleter completes --key VALUE.
func flagCompleter(a Arg) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return a.candidates(cmd.Context(), typed), cobra.ShellCompDirectiveNoFileComp
	}
}

func completer(args []Arg) cobra.CompletionFunc {
	return func(cmd *cobra.Command, words []string, typed string) ([]string, cobra.ShellCompDirective) {
		key, value, hasValue := strings.Cut(typed, "=")
		next := bareAt(args, words)
		var out []string
		for _, a := range args {
			switch {
			case hasValue && a.Key == key && a.completes():
				for _, v := range a.candidates(cmd.Context(), value) {
					out = append(out, key+"="+v)
				}
			case hasValue:
			case a.Bare && a.Key == next && a.completes():
				out = append(out, a.candidates(cmd.Context(), typed)...)
			case !cmd.Flags().Changed(a.Key) && (!a.Bare || !a.completes()):
				out = append(out, a.Key+"=\t"+a.Usage)
			}
		}
		d := cobra.ShellCompDirectiveNoFileComp
		if len(out) > 0 && strings.Contains(out[0], "=\t") {
			d |= cobra.ShellCompDirectiveNoSpace
		}
		return out, d
	}
}

func (a Arg) completes() bool { return a.Complete != nil || a.Search != nil }

func (a Arg) candidates(ctx context.Context, typed string) []string {
	if a.Search != nil {
		return a.Search(ctx, typed)
	}
	return a.Complete(ctx)
}

// bareAt returns the key whose value a word without "=" behind these words is.
func bareAt(args []Arg, words []string) string {
	n := 0
	for _, w := range words {
		if !strings.Contains(w, "=") {
			n++
		}
	}
	for _, a := range args {
		if a.Bare {
			if n == 0 {
				return a.Key
			}
			n--
		}
	}
	return ""
}

// Optional marks a flag as one whose value may be left out and may also be the
// following word; without a value it is given none.
func Optional(f *pflag.Flag, none string) {
	f.NoOptDefVal = none
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[optionalValue] = []string{"true"}
}

// IsOptional reports whether f was marked by Optional.
func IsOptional(f *pflag.Flag) bool { return f.Annotations[optionalValue] != nil }
