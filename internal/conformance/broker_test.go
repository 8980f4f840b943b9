package conformance

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mqadmin/mqadmin/internal/auth"
	"github.com/mqadmin/mqadmin/internal/broker"
	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/logging"
)

// outside is the whole broker, with its listeners on loopback, shared by the
// tests that neither wait for time to pass nor need settings of their own.
type outside struct {
	open, guarded, web string // addresses
	stop               func()
}

// Names that the guarded listener knows, and the topics that may be used.
const (
	userName, password = "user", "secret"
	scramName          = "scram"
	allowedTopics      = "t/#"
)

// shared is started by the first test that needs it and stopped by TestMain.
var shared struct {
	once sync.Once
	o    *outside
	err  error
}

func theBroker(t testing.TB) *outside {
	t.Helper()
	shared.once.Do(func() { shared.o, shared.err = startBroker() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.o
}

// freePorts reserves names of listeners on loopback.
func freePorts(n int) ([]string, error) {
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out, nil
}

func startBroker() (_ *outside, err error) {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	cfg, err := brokerConfig(dir, ports)
	if err != nil {
		return nil, err
	}
	log, err := logging.New(logging.Options{})
	if err != nil {
		return nil, err
	}
	b, err := broker.New(broker.Options{Config: cfg, Logger: log})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	serving, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- b.Run(ctx, func(string) { close(serving) }) }()
	o := &outside{open: ports[0], guarded: ports[1], web: ports[2]}
	o.stop = func() {
		cancel()
		if err := <-done; err != nil {
			fmt.Fprintln(os.Stderr, "stopping the broker:", err)
		}
		_ = log.Close()
		os.RemoveAll(dir)
	}
	select {
	case <-serving:
		return o, nil
	case err := <-done:
		cancel()
		return nil, err
	}
}

func brokerConfig(dir string, ports []string) (*config.Config, error) {
	f := auth.NewPasswordFile("passwd")
	if err := f.Set(userName, []byte(password), auth.HashOptions{Iterations: 1000}); err != nil {
		return nil, err
	}
	if err := f.Set(scramName, []byte(password), auth.HashOptions{Iterations: 4096, SCRAM: true}); err != nil {
		return nil, err
	}
	files := map[string][]byte{"passwd": f.Bytes(), "acl": []byte("topic " + allowedTopics + "\nuser " + userName + "\ntopic " + allowedTopics + "\n")}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	text := strings.NewReplacer("DIR", dir, "OPEN", ports[0], "GUARDED", ports[1], "WEB", ports[2]).Replace(`
data_dir = DIR/data
run_dir = DIR/run
log_dir = DIR/log
message_store.sync = never
allow_anonymous = off
authentication_methods = SCRAM-SHA-256
vmq_passwd.password_file = DIR/passwd
vmq_acl.acl_file = DIR/acl
topic_alias_max_client = 10
max_message_size = 100KB
listener.vmq.clustering = 127.0.0.1:0
listener.tcp.open = OPEN
listener.tcp.open.allow_anonymous_override = on
listener.tcp.open.allowed_protocol_versions = 3,4,5,131,132
listener.tcp.guarded = GUARDED
listener.tcp.guarded.allowed_protocol_versions = 3,4,5
listener.ws.web = WEB
listener.ws.web.allow_anonymous_override = on
`)
	return config.Parse("conformance.conf", []byte(text), config.Options{})
}
