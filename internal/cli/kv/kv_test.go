package kv

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

type result struct {
	client, topic string
	cleanup       bool
	interval      int
	column        []string
}

type list struct{ to *[]string }

func (l list) String() string     { return "" }
func (l list) Type() string       { return "" }
func (l list) Set(s string) error { *l.to = append(*l.to, s); return nil }

// tree is a root with a command that has everything.
func tree(r *result) *cobra.Command {
	root := &cobra.Command{Use: "root", SilenceErrors: true, SilenceUsage: true, Args: Group, RunE: func(*cobra.Command, []string) error { return nil }}
	root.PersistentFlags().String("socket", "", "")
	cmd := &cobra.Command{Use: "do", RunE: func(*cobra.Command, []string) error { return nil }}
	Bind(cmd,
		Arg{Key: "client-id", Value: &r.client, Required: true},
		Arg{Key: "topic", Value: &r.topic, Bare: true})
	cmd.Flags().BoolVarP(&r.cleanup, "cleanup", "c", false, "")
	cmd.Flags().IntVarP(&r.interval, "summary-interval", "i", 5, "")
	Optional(cmd.Flags().VarPF(list{&r.column}, "peer_host", "", ""), Column)
	root.AddCommand(cmd)
	return root
}

func run(r *result, line string) error {
	root := tree(r)
	root.SetArgs(Normalize(root, strings.Fields(line)))
	return root.Execute()
}

func TestAcceptedLines(t *testing.T) {
	for line, want := range map[string]result{
		"do client-id=X":                         {client: "X", interval: 5},
		"do --client-id X":                       {client: "X", interval: 5},
		"do --client-id=X":                       {client: "X", interval: 5},
		"do --client_id=X":                       {client: "X", interval: 5},
		"do client-id=X -c":                      {client: "X", cleanup: true, interval: 5},
		"do -c client-id=X":                      {client: "X", cleanup: true, interval: 5},
		"do client-id=a=b topic=c=d":             {client: "a=b", topic: "c=d", interval: 5},
		"do client-id=X a/b":                     {client: "X", topic: "a/b", interval: 5},
		"do client-id=X -i 7":                    {client: "X", interval: 7},
		"do client-id=X -i7":                     {client: "X", interval: 7},
		"do client-id=X --summary_interval 7":    {client: "X", interval: 7},
		"--socket --odd do client-id=X":          {client: "X", interval: 5},
		"do client-id=X --peer_host":             {client: "X", interval: 5, column: []string{Column}},
		"do client-id=X --peer_host a --cleanup": {client: "X", cleanup: true, interval: 5, column: []string{"a"}},
		"do client-id=X --peer-host=~a":          {client: "X", interval: 5, column: []string{"~a"}},
		"do client-id=X --peer_host -c":          {client: "X", cleanup: true, interval: 5, column: []string{Column}},
		"do client-id=X -- --peer_host":          {client: "X", topic: "--peer_host", interval: 5},
	} {
		var got result
		if err := run(&got, line); err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(result{})); d != "" {
			t.Errorf("%s: %s", line, d)
		}
	}
}

func TestRefusedLines(t *testing.T) {
	for line, want := range map[string]string{
		"do":                               "client-id is missing",
		"do client-id=":                    "client-id has an empty value",
		"do client-id=a client-id=b":       "client-id is given twice",
		"do --client-id=a client-id=b":     "client-id is given twice",
		"do --client-id a --client-id b":   "client-id is given twice",
		"do client_id=a":                   `unknown key "client_id" (did you mean "client-id"?)`,
		"do clientid=a":                    `unknown key "clientid" (did you mean "client-id"?)`,
		"do client-id=a cleanup=true":      `unknown key "cleanup"`,
		"do client-id=a x y":               "topic is given twice",
		"do client-id=a zzzzzzzzzz=1":      `unknown key "zzzzzzzzzz"`,
		"dp client-id=a":                   `unknown command "dp" (did you mean "do"?)`,
		"do client-id=a --peer_host b c d": "topic is given twice",
	} {
		err := run(&result{}, line)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", line, err, want)
		}
	}
}

func TestHints(t *testing.T) {
	err := run(&result{}, "do client-id=a cleanup=true")
	if e, ok := errors.AsType[*Error](err); !ok || e.Hint != "cleanup is a flag: --cleanup" {
		t.Errorf("got %v", err)
	}
	if err := NoWords(nil, []string{"x"}); err == nil || NoWords(nil, nil) != nil {
		t.Error("NoWords let a word pass or refused none")
	}
}

func TestCompletion(t *testing.T) {
	root := tree(&result{})
	cmd, _, _ := root.Find([]string{"do"})
	got, d := cmd.ValidArgsFunction(cmd, nil, "")
	if diff := cmp.Diff([]string{"client-id=\t", "topic=\t"}, got); diff != "" || d&cobra.ShellCompDirectiveNoSpace == 0 {
		t.Error(diff, d)
	}
	args := []string{"__complete", "do", "--peer_host", "x"}
	if diff := cmp.Diff(args, Normalize(root, args)); diff != "" {
		t.Error(diff)
	}
}

func TestSuggest(t *testing.T) {
	names := []string{"show", "join", "leave", "disconnect"}
	for word, want := range map[string]string{
		"jion": "join", "shwo": "show", "disconect": "disconnect", "LEAVE": "leave", "disc": "disconnect", "xyzzy": "", "": "",
	} {
		if got := Suggest(word, names); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

// FuzzNormalize: no line makes the grammar panic, and normalizing changes how
// words are joined and flags are spelled, never what they say, and is done once.
func FuzzNormalize(f *testing.F) {
	f.Add("do client-id=X --peer_host a -c -i 7")
	f.Add("do -- --peer_host - -- =")
	said := strings.NewReplacer("-", "", "_", "", "=", "", " ", "")
	f.Fuzz(func(t *testing.T, line string) {
		_ = run(&result{}, line)
		root, words := tree(&result{}), strings.Fields(line)
		once := Normalize(root, words)
		if got, want := said.Replace(strings.Join(once, "")), said.Replace(strings.Join(words, "")); got != want {
			t.Errorf("%q became %q", words, once)
		}
		if diff := cmp.Diff(once, Normalize(root, once)); diff != "" {
			t.Errorf("%q, normalized again: %s", once, diff)
		}
	})
}
