package kv

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Normalize rewrites a command line before cobra parses it: "--user foo" of an
// optional-value flag becomes "--user=foo", and "-" and "_" in flag names are
// one letter. Completion requests are left alone.
func Normalize(root *cobra.Command, args []string) []string {
	if len(args) > 0 && strings.HasPrefix(args[0], "__complete") {
		return args
	}
	cmd, _, err := root.Find(args)
	if err != nil || cmd == nil {
		cmd = root
	}
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		tok := args[i]
		if tok == "--" {
			return append(out, args[i:]...)
		}
		f, name, hasValue := flagOf(cmd, tok)
		if f == nil {
			out = append(out, tok)
			continue
		}
		if strings.HasPrefix(tok, "--") && name != f.Name {
			tok = "--" + f.Name + strings.TrimPrefix(tok, "--"+name)
		}
		next := i+1 < len(args) && !strings.HasPrefix(args[i+1], "-")
		switch {
		case !hasValue && next && IsOptional(f):
			i++
			tok = "--" + f.Name + "=" + args[i]
		case !hasValue && f.NoOptDefVal == "" && i+1 < len(args):
			i++
			out = append(out, tok)
			tok = args[i] // the flag's value, whatever it looks like
		}
		out = append(out, tok)
	}
	return out
}

// flagOf finds the flag that a token names. A group of short flags such as -kc
// names none here, and one with its value attached (-i5) has a value.
func flagOf(cmd *cobra.Command, tok string) (f *pflag.Flag, name string, hasValue bool) {
	if long, ok := strings.CutPrefix(tok, "--"); ok {
		name, _, hasValue = strings.Cut(long, "=")
		return lookup(cmd, name), name, hasValue
	}
	if len(tok) < 2 || tok[0] != '-' {
		return nil, "", false
	}
	name = tok[1:2]
	f = cmd.Flags().ShorthandLookup(name)
	if f == nil {
		f = cmd.InheritedFlags().ShorthandLookup(name)
	}
	return f, name, len(tok) > 2
}

func lookup(cmd *cobra.Command, name string) *pflag.Flag {
	for _, n := range []string{name, strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "_", "-")} {
		if f := cmd.Flags().Lookup(n); f != nil {
			return f
		}
		if f := cmd.InheritedFlags().Lookup(n); f != nil {
			return f
		}
	}
	return nil
}

// Suggest returns the candidate that word is most likely a misspelling of, or
// "".
func Suggest(word string, candidates []string) string {
	best, least := "", len(word)/3+1 // one error in three letters, plus one
	for _, c := range candidates {
		d := distance(strings.ToLower(word), strings.ToLower(c))
		if len(word) >= 3 && strings.HasPrefix(c, word) {
			d = min(d, 1)
		}
		if d <= least && (best == "" || d < least) {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of letters to insert, drop, replace or swap.
func distance(a, b string) int {
	before := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev = prev, row
	}
	return prev[len(b)]
}
