package broker

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/logging"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// testBroker makes a broker in dir that listens on free ports of loopback, with
// further lines of configuration.
func testBroker(t *testing.T, dir string, lines ...string) *Broker {
	t.Helper()
	return testBrokerWith(t, logging.Options{}, func() []string { return lines }, dir)
}

// testBrokerWith is testBroker with a log, and lines that may change.
func testBrokerWith(t *testing.T, logs logging.Options, lines func() []string, dir string) *Broker {
	t.Helper()
	read := func() (*config.Config, error) {
		return config.Parse("test.conf", []byte(testConfig(dir)+strings.Join(lines(), "\n")+"\n"), config.Options{})
	}
	cfg, err := read()
	if err != nil {
		t.Fatal(err)
	}
	log, err := logging.New(logs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	b, err := New(Options{Config: cfg, Logger: log, Reread: read})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// testConfig puts everything into dir and all listeners on free ports.
func testConfig(dir string) string {
	return fmt.Sprintf("data_dir = %[1]s/data\nrun_dir = %[1]s/run\nlog_dir = %[1]s/log\nallow_anonymous = on\nplugins.vmq_passwd = off\nplugins.vmq_acl = off\n"+
		"listener.tcp.default = 127.0.0.1:0\nlistener.vmq.clustering = 127.0.0.1:0\nlistener.http.default = 127.0.0.1:0\n", dir)
}

// connect sends CONNECT and waits for its answer.
func connect(t *testing.T, address, client string, clean bool) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := c.Write(packet.Append(nil, 4, &packet.Connect{Version: 4, ClientID: client, CleanStart: clean, KeepAlive: 60})); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
}

// The ends of connections that a stop closes are noted in the cluster before
// the node is gone: nobody has to declare it down first.
func TestStopNotesTheEndsOfConnections(t *testing.T) {
	dir := t.TempDir()
	b := testBroker(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	serving, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- b.Run(ctx, func(string) { close(serving) }) }()
	select {
	case <-serving:
	case err := <-done:
		t.Fatal(err)
	}
	const clients = 20
	for i := range clients {
		connect(t, b.mqttAddresses(), fmt.Sprint("clean", i), true)
		connect(t, b.mqttAddresses(), fmt.Sprint("kept", i), false)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	again := testBroker(t, dir)
	defer again.close()
	for i := range clients {
		if _, ok := again.meta.Session(message.SessionID{ClientID: fmt.Sprint("clean", i)}); ok {
			t.Errorf("clean%d is still registered", i)
		}
		if s, ok := again.meta.Session(message.SessionID{ClientID: fmt.Sprint("kept", i)}); !ok || s.Connected() {
			t.Errorf("kept%d is registered as connected", i)
		}
	}
}
