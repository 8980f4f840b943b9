package cli

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/clitest"
	"github.com/mqadmin/mqadmin/internal/cli/command"
)

// walk calls fn for every command of ours.
func walk(cmd *cobra.Command, fn func(*cobra.Command)) {
	fn(cmd)
	for _, c := range cmd.Commands() {
		if c.Name() != "completion" {
			walk(c, fn)
		}
	}
}

func TestSanityOfTheTree(t *testing.T) {
	flagName := regexp.MustCompile(`^[a-z][a-z0-9-_]*$`)
	enum := regexp.MustCompile(`\{[a-z0-9_-]+(\|[a-z0-9_-]+)*\}`)
	f, _, _ := clitest.Factory(t, &clitest.API{})
	walk(newRoot(f), func(c *cobra.Command) {
		path := c.CommandPath()
		if c.Short == "" || c.Long == "" || c.Runnable() && c.Example == "" {
			t.Errorf("%s: Short, Long or Example is missing", path)
		}
		if strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: Short ends in a full stop", path)
		}
		if c.Runnable() && c.Args == nil && c.Name() != "help" {
			t.Errorf("%s ignores its words", path)
		}
		short := map[string]string{}
		visit := func(fl *pflag.Flag) {
			if !flagName.MatchString(fl.Name) {
				t.Errorf("%s: flag name %q", path, fl.Name)
			}
			if fl.Usage == "" && fl.Name != "help" {
				t.Errorf("%s: --%s has no usage text", path, fl.Name)
			}
			if old := short[fl.Shorthand]; fl.Shorthand != "" && old != "" && old != fl.Name {
				t.Errorf("%s: -%s is both %s and %s", path, fl.Shorthand, old, fl.Name)
			}
			short[fl.Shorthand] = fl.Name
			if enum.MatchString(fl.Usage) && fl.Name != "statename" && fl.Name != "deliver_mode" {
				if _, ok := completion(c, fl.Name); !ok {
					t.Errorf("%s: the values of --%s are not completed", path, fl.Name)
				}
			}
		}
		c.LocalFlags().VisitAll(visit)
		c.InheritedFlags().VisitAll(visit)
	})
}

func completion(c *cobra.Command, flag string) (cobra.CompletionFunc, bool) {
	for ; c != nil; c = c.Parent() {
		if fn, ok := c.GetFlagCompletionFunc(flag); ok {
			return fn, true
		}
	}
	return nil, false
}

func TestWhatEndsOrDeletesIsMarked(t *testing.T) {
	f, _, _ := clitest.Factory(t, &clitest.API{})
	var got []string
	walk(newRoot(f), func(c *cobra.Command) {
		if c.Annotations[command.Destructive] != "" {
			got = append(got, c.CommandPath())
		}
	})
	if want := destructive(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// destructive lists the commands that end or delete something.
func destructive() []string {
	return []string{
		"mqadmin api-key delete", "mqadmin clients kick",
		"mqadmin cluster force-leave", "mqadmin cluster leave", "mqadmin config reset", "mqadmin context remove",
		"mqadmin listener delete", "mqadmin listener stop", "mqadmin node stop", "mqadmin plugin disable",
		"mqadmin retain delete", "mqadmin retain delete-expired",
		"mqadmin session disconnect", "mqadmin session disconnect batch", "mqadmin session disconnect clients",
		"mqadmin session reauthorize", "mqadmin session unsubscribe",
		"mqadmin set",
		"mqadmin subscriptions del",
	}
}

// everything answers every call and notes which.
func everything(called map[string]bool) *clitest.API {
	return &clitest.API{
		ShowClusterFunc: func(*pb.ShowClusterRequest) (*pb.ShowClusterResponse, error) {
			called["ShowCluster"] = true
			return &pb.ShowClusterResponse{HasQuorum: true}, nil
		},
		JoinClusterFunc: func(_ *pb.JoinClusterRequest, send func(*pb.JoinClusterResponse)) error {
			called["JoinCluster"] = true
			send(&pb.JoinClusterResponse{Event: &pb.JoinClusterResponse_Result{Result: &pb.JoinResult{}}})
			return nil
		},
		LeaveClusterFunc: func(_ *pb.LeaveClusterRequest, send func(*pb.LeaveClusterResponse)) error {
			called["LeaveCluster"] = true
			send(&pb.LeaveClusterResponse{Event: &pb.LeaveClusterResponse_Result{Result: &pb.LeaveResult{}}})
			return nil
		},
		StatusFunc: func() (*pb.GetNodeStatusResponse, error) {
			called["GetNodeStatus"] = true
			return &pb.GetNodeStatusResponse{}, nil
		},
		PingFunc: func() (*pb.PingNodeResponse, error) {
			called["PingNode"] = true
			return &pb.PingNodeResponse{Ready: true}, nil
		},
		ShowSessionsFunc: func(_ *pb.ShowSessionsRequest, send func(*pb.ShowSessionsResponse)) error {
			called["ShowSessions"] = true
			send(&pb.ShowSessionsResponse{Summary: &pb.ShowSessionsSummary{}})
			return nil
		},
		DisconnectFunc: func(*pb.DisconnectSessionRequest) (*pb.DisconnectSessionResponse, error) {
			called["DisconnectSession"] = true
			return &pb.DisconnectSessionResponse{Disconnected: true}, nil
		},
		DisconnectAllFunc: func(_ *pb.DisconnectSessionsRequest, send func(*pb.DisconnectSessionsResponse)) error {
			called["DisconnectSessions"] = true
			send(&pb.DisconnectSessionsResponse{Event: &pb.DisconnectSessionsResponse_Result{Result: &pb.DisconnectResult{}}})
			return nil
		},
		SubscribeFunc: func(*pb.SubscribeSessionRequest) (*pb.SubscribeSessionResponse, error) {
			called["SubscribeSession"] = true
			return &pb.SubscribeSessionResponse{}, nil
		},
		UnsubscribeFunc: func(*pb.UnsubscribeSessionRequest) error { called["UnsubscribeSession"] = true; return nil },
		ReauthorizeFunc: func(*pb.ReauthorizeSessionRequest) (*pb.ReauthorizeSessionResponse, error) {
			called["ReauthorizeSession"] = true
			return &pb.ReauthorizeSessionResponse{}, nil
		},
		ShowRetainedFunc: func(_ *pb.ShowRetainedRequest, send func(*pb.ShowRetainedResponse)) error {
			called["ShowRetained"] = true
			send(&pb.ShowRetainedResponse{Summary: &pb.ShowRetainedSummary{}})
			return nil
		},
		DeleteRetainedFunc: func(*pb.DeleteRetainedRequest) (*pb.DeleteRetainedResponse, error) {
			called["DeleteRetained"] = true
			return &pb.DeleteRetainedResponse{}, nil
		},
		DeleteExpiredFunc: func() (*pb.DeleteExpiredRetainedResponse, error) {
			called["DeleteExpiredRetained"] = true
			return &pb.DeleteExpiredRetainedResponse{}, nil
		},
		ShowRoutesFunc: func(_ *pb.ShowRoutesRequest, send func(*pb.ShowRoutesResponse)) error {
			called["ShowRoutes"] = true
			send(&pb.ShowRoutesResponse{Summary: &pb.ShowRoutesSummary{}})
			return nil
		},
		ShowMetricsFunc: func(*pb.ShowMetricsRequest) (*pb.ShowMetricsResponse, error) {
			called["ShowMetrics"] = true
			return &pb.ShowMetricsResponse{}, nil
		},
		ResetMetricsFunc: func() error { called["ResetMetrics"] = true; return nil },
		BrokerAPI:        everythingOfBroker(called),
		CreateAPIKeyFunc: func(*pb.CreateApiKeyRequest) (*pb.CreateApiKeyResponse, error) {
			called["CreateApiKey"] = true
			return &pb.CreateApiKeyResponse{}, nil
		},
		DeleteAPIKeyFunc: func(*pb.DeleteApiKeyRequest) error { called["DeleteApiKey"] = true; return nil },
		ShowAPIKeysFunc: func(*pb.ShowApiKeysRequest) (*pb.ShowApiKeysResponse, error) {
			called["ShowApiKeys"] = true
			return &pb.ShowApiKeysResponse{}, nil
		},
		ShowAuditFunc: func(*pb.ShowAuditRequest, func(*pb.ShowAuditResponse)) error { called["ShowAudit"] = true; return nil },
	}
}

// TestExamplesWork runs every example of every help page, and so finds that
// every call of the API is reachable from a command.
func TestExamplesWork(t *testing.T) {
	called := map[string]bool{}
	f, _, stderr := clitest.Factory(t, everything(called))
	home := t.TempDir()
	f.Getenv = func(name string) string { return map[string]string{"XDG_CONFIG_HOME": home}[name] }
	var lines []string
	walk(newRoot(f), func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			lines = append(lines, strings.TrimSpace(line))
		}
	})
	for _, line := range lines {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "mqadmin" {
			t.Errorf("example %q", line)
			continue
		}
		for i, w := range words {
			words[i] = strings.Trim(w, "'")
		}
		f.Globals = command.Globals{}
		if err := f.SaveProfiles(&command.Profiles{Current: "prod", Contexts: map[string]command.Profile{"prod": {Socket: "/s"}}}); err != nil {
			t.Fatal(err)
		}
		if code := execute(t.Context(), f, words[1:]); code != 0 {
			t.Errorf("%s: exit %d: %s", line, code, stderr)
		}
	}
	protoregistry.GlobalFiles.RangeFilesByPackage("mqadmin.v1", func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Services().Len() {
			for j := range fd.Services().Get(i).Methods().Len() {
				if name := string(fd.Services().Get(i).Methods().Get(j).Name()); !called[name] {
					t.Errorf("no example calls %s", name)
				}
			}
		}
		return true
	})
}

func TestHelpPages(t *testing.T) {
	for _, words := range []string{"", "cluster", "cluster join", "cluster leave", "session show", "session disconnect", "metrics show", "exit-codes"} {
		f, out, _ := clitest.Factory(t, &clitest.API{})
		if code := execute(t.Context(), f, append(strings.Fields(words), "--help")); code != 0 {
			t.Errorf("%s: exit %d", words, code)
		}
		clitest.Golden(t, filepath.Join("help", strings.ReplaceAll("mqadmin "+words, " ", "_")+".txt"), out.String())
	}
}

func TestAnInterruptedCommandSaysSo(t *testing.T) {
	for cause, want := range map[string]int{"interrupt signal received": 130, "terminated signal received": 143} {
		ctx, cancel := context.WithCancelCause(t.Context())
		f, _, stderr := clitest.Factory(t, &clitest.API{JoinClusterFunc: func(*pb.JoinClusterRequest, func(*pb.JoinClusterResponse)) error {
			cancel(errors.New(cause))
			<-ctx.Done()
			return ctx.Err()
		}})
		if code := execute(ctx, f, []string{"cluster", "join", "a@h"}); code != want {
			t.Errorf("exit %d, want %d: %s", code, want, stderr)
		}
	}
}

func TestWithoutABrokerTheErrorNamesThePlaces(t *testing.T) {
	t.Chdir(t.TempDir())
	var stderr bytes.Buffer
	code := Run(t.Context(), []string{"/usr/bin/vmq-admin", "cluster", "show"}, System{
		In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &stderr, Getenv: func(string) string { return "" },
	})
	if code != command.ExitUnreachable || !strings.Contains(stderr.String(), "admin.sock") {
		t.Errorf("exit %d: %s", code, &stderr)
	}
	if code := Run(t.Context(), nil, System{Out: &bytes.Buffer{}, Err: &stderr}); code != 0 {
		t.Errorf("no arguments at all: exit %d", code)
	}
}
