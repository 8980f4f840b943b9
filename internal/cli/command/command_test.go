package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
	"github.com/mqadmin/mqadmin/internal/cli/output"
)

// TestExitCodes asserts the code of every gRPC status and of every error of our
// own, and that the help topic names it.
func TestExitCodes(t *testing.T) {
	own := map[codes.Code]int{
		codes.InvalidArgument: 2, codes.Unauthenticated: 4, codes.PermissionDenied: 4,
		codes.Unavailable: 5, codes.DeadlineExceeded: 6, codes.Canceled: 130,
	}
	for c := codes.Canceled; c <= codes.Unauthenticated; c++ {
		want := 1
		if n, ok := own[c]; ok {
			want = n
		}
		if got := Explain(t.Context(), status.Error(c, "x"), "mqadmin", "").Code; got != want {
			t.Errorf("%s: %d, want %d", c, got, want)
		}
	}
	for err, want := range map[error]int{
		errors.New("x"):           1,
		Usage("x"):                2,
		&kv.Error{Message: "x"}:   2,
		Partial("x"):              3,
		ErrRefused:                7,
		context.DeadlineExceeded:  6,
		&Failure{Code: ExitCheck}: 8,
		fmt.Errorf("wrapped: %w", Partial("of this")): 3,
	} {
		got := Explain(t.Context(), err, "mqadmin", "").Code
		if got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
	for _, n := range []int{ExitOK, ExitFailed, ExitUsage, ExitPartial, ExitNotAllowed, ExitUnreachable, ExitTimeout, ExitRefused, ExitCheck, ExitInterrupted, ExitTerminated} {
		if !strings.Contains(ExitCodes, fmt.Sprintf("  %-4d ", n)) {
			t.Errorf("help exit-codes does not tell about %d", n)
		}
	}
}

func TestSignalsGoFirst(t *testing.T) {
	for cause, want := range map[string]int{"interrupt signal received": 130, "terminated signal received": 143} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New(cause))
		if got := Explain(ctx, status.Error(codes.Unavailable, "x"), "mqadmin", "").Code; got != want {
			t.Errorf("%s: %d", cause, got)
		}
	}
}

func detailed(c codes.Code, reason string, meta map[string]string) error {
	st, err := status.New(c, "it failed").WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: "mqadmin", Metadata: meta})
	if err != nil {
		panic(err)
	}
	return st.Err()
}

func TestHintsComeFromTheReason(t *testing.T) {
	for _, tc := range []struct {
		reason string
		meta   map[string]string
		want   string
	}{
		{"NODE_UNKNOWN", nil, "the members are listed by: vmq-admin cluster show"},
		{"RISK_NOT_ACCEPTED", map[string]string{"command": "do it"}, "if that is what you want: do it"},
		{"RISK_NOT_ACCEPTED", nil, ""},
		{"NEWER_THAN_THIS_PROGRAM", nil, ""},
	} {
		f := Explain(t.Context(), detailed(codes.FailedPrecondition, tc.reason, tc.meta), "vmq-admin", "cluster leave")
		if f.Hint != tc.want || f.Reason != tc.reason || f.Message != "cluster leave: it failed" {
			t.Errorf("%s: %+v", tc.reason, f)
		}
	}
}

func TestEveryHintHasAReason(t *testing.T) {
	for name := range hints {
		if _, ok := pb.ErrorReason_value["ERROR_REASON_"+name]; !ok {
			t.Errorf("there is no reason %s", name)
		}
	}
}

func TestErrorsArePrintedForPeopleAndMachines(t *testing.T) {
	e := &Failure{Reason: "R", Message: "a\x1bb", Hint: "do c"}
	json := `{"error":{"code":"R","message":"a\u001bb","hint":"do c"}}` + "\n"
	for format, want := range map[output.Format]string{
		output.Human: "error: a\\x1bb\nhint: do c\n",
		output.CSV:   "error: a\\x1bb\nhint: do c\n",
		output.JSON:  json,
		output.JSONL: json,
		output.YAML:  "error:\n  code: R\n  message: \"a\\u001bb\"\n  hint: \"do c\"\n",
	} {
		var b bytes.Buffer
		f := &Factory{IO: IO{Err: &b}, Globals: Globals{Format: string(format)}}
		f.Report(e)
		if b.String() != want {
			t.Errorf("%s: %q", format, &b)
		}
	}
}

func TestColour(t *testing.T) {
	for _, tc := range []struct {
		flag string
		tty  bool
		env  map[string]string
		want bool
	}{
		{"", false, nil, false},
		{"auto", true, nil, true},
		{"auto", true, map[string]string{"TERM": "dumb"}, false},
		{"auto", true, map[string]string{"NO_COLOR": "1", "FORCE_COLOR": "1"}, false},
		{"auto", false, map[string]string{"FORCE_COLOR": "1"}, true},
		{"auto", false, map[string]string{"CLICOLOR_FORCE": "0"}, false},
		{"always", false, map[string]string{"NO_COLOR": "1"}, true},
		{"never", true, map[string]string{"FORCE_COLOR": "1"}, false},
	} {
		var out, errs bytes.Buffer
		f := &Factory{
			IO: IO{Out: &out, Err: &errs, OutTTY: tc.tty, ErrTTY: tc.tty}, Globals: Globals{Color: tc.flag},
			Getenv: func(k string) string { return tc.env[k] },
		}
		table := f.Table("a")
		if err := errors.Join(table.Row("x"), table.Close()); err != nil {
			t.Fatal(err)
		}
		f.Note("warning: w")
		f.Report(&Failure{Message: "m"})
		for _, b := range []string{out.String(), errs.String()} {
			if got := strings.Contains(b, "\x1b["); got != tc.want {
				t.Errorf("%+v: %q", tc, b)
			}
		}
	}
}

func TestProgressHasBarsOnATerminalAndLinesElsewhere(t *testing.T) {
	for _, tty := range []bool{false, true} {
		var b bytes.Buffer
		p := (&Factory{IO: IO{Err: &b, ErrTTY: tty}}).Progress()
		p.Report("begin")
		p.Report("begin")
		p.Report("moved 1/2 queues", Bar{"queues", 1, 2})
		p.Report("moved 2/2 queues", Bar{"queues", 2, 2})
		p.Report("end")
		p.Close()
		got := b.String()
		if lines := "begin\nmoved 1/2 queues\nmoved 2/2 queues\nend\n"; !tty && got != lines {
			t.Errorf("%q", got)
		}
		if tty && (!strings.HasPrefix(got, "begin\n") || !strings.HasSuffix(got, "end\n") ||
			!strings.Contains(got, "2/2") || strings.Contains(got, "moved")) {
			t.Errorf("%q", got)
		}
	}
}

func TestPromptOnlyAsksPeople(t *testing.T) {
	for _, tc := range []struct {
		in, out, yes bool
		answer       string
		want         error
	}{
		{answer: "n\n"},
		{in: true, answer: "n\n"},
		{in: true, out: true, yes: true, answer: "n\n"},
		{in: true, out: true, answer: "y\n"},
		{in: true, out: true, answer: "YES\n"},
		{in: true, out: true, answer: "\n", want: ErrRefused},
		{in: true, out: true, answer: "", want: ErrRefused},
		{in: true, out: true, answer: "nyet", want: ErrRefused},
	} {
		f := &Factory{IO: IO{In: strings.NewReader(tc.answer), Err: &bytes.Buffer{}, InTTY: tc.in, OutTTY: tc.out}, Globals: Globals{Yes: tc.yes}}
		if err := f.Confirm("Sure?"); !errors.Is(err, tc.want) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

func TestDeadlines(t *testing.T) {
	f := &Factory{}
	ctx, cancel := f.Context(t.Context())
	defer cancel()
	if d, ok := ctx.Deadline(); !ok || time.Until(d) > DefaultTimeout {
		t.Error(d, ok)
	}
	long, cancel := f.LongContext(t.Context())
	defer cancel()
	if _, ok := long.Deadline(); ok {
		t.Error("a long operation has a deadline that nobody asked for")
	}
	f.Timeout, f.TimeoutSet = time.Second, true
	long, cancel = f.LongContext(t.Context())
	defer cancel()
	if d, ok := long.Deadline(); !ok || time.Until(d) > time.Second {
		t.Error(d, ok)
	}
}

// Whoever sees the end of a call's time first, the person reads the same.
func TestTimeoutOfEitherSide(t *testing.T) {
	st, err := status.New(codes.DeadlineExceeded, context.DeadlineExceeded.Error()).WithDetails(&errdetails.ErrorInfo{Reason: "TIMEOUT", Domain: "mqadmin"})
	if err != nil {
		t.Fatal(err)
	}
	here := Explain(t.Context(), context.DeadlineExceeded, "mqadmin", "")
	there := Explain(t.Context(), st.Err(), "mqadmin", "")
	if *here != *there || here.Code != ExitTimeout || !strings.HasPrefix(here.Message, "no answer in time") {
		t.Errorf("%+v and %+v", here, there)
	}
}
