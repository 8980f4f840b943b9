package broker

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/xdg-go/scram"

	"github.com/mqadmin/mqadmin/internal/auth"
	"github.com/mqadmin/mqadmin/internal/config"
)

// scramAnswer answers the broker's challenges for paho.
type scramAnswer struct{ talk *scram.ClientConversation }

func (s scramAnswer) Authenticate(a *paho.Auth) *paho.Auth {
	data, _ := s.talk.Step(string(a.Properties.AuthData))
	return &paho.Auth{ReasonCode: 0x18, Properties: &paho.AuthProperties{AuthMethod: auth.SCRAMMethod, AuthData: []byte(data)}}
}

func (scramAnswer) Authenticated() {}

// Authentication in steps is off until its method is listed; then the password
// file decides, and clients that ask are told response_information.
func TestAuthenticationMethods(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users")
	file := auth.NewPasswordFile(users)
	if err := file.Set("alice", []byte("sesame"), auth.HashOptions{SCRAM: true, Iterations: 4096}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(users, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		methods, password string
		want              byte
		information       string
	}{
		{"", "sesame", 0x8C, ""},
		{"authentication_methods = OTHER", "sesame", 0x8C, ""},
		{"authentication_methods = OTHER,SCRAM-SHA-256", "sesame", 0, "answers/alice/c"},
		{"authentication_methods = SCRAM-SHA-256", "wrong", 0x86, ""},
		{"authentication_methods = SCRAM-SHA-256\nauthentication_max_rounds = 1", "sesame", 0x87, ""},
	} {
		t.Run(strings.ReplaceAll(c.methods, "\n", " ")+" "+c.password, func(t *testing.T) {
			b := testBroker(t, t.TempDir(), "allow_anonymous = off", "plugins.vmq_passwd = on", "vmq_passwd.password_file = "+users,
				"listener.tcp.allowed_protocol_versions = 5", "response_information = answers/%u/%c", c.methods)
			ctx, cancel := context.WithCancel(t.Context())
			serving, done := make(chan struct{}), make(chan error, 1)
			go func() { done <- b.Run(ctx, func(string) { close(serving) }) }()
			select {
			case <-serving:
			case err := <-done:
				t.Fatal(err)
			}
			defer func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			}()
			conn, err := net.Dial("tcp", b.mqttAddresses())
			if err != nil {
				t.Fatal(err)
			}
			client, err := scram.SHA256.NewClient("alice", c.password, "")
			if err != nil {
				t.Fatal(err)
			}
			s := scramAnswer{client.NewConversation()}
			first, err := s.talk.Step("")
			if err != nil {
				t.Fatal(err)
			}
			cl := paho.NewClient(paho.ClientConfig{Conn: packets.NewThreadSafeConn(conn), AuthHandler: s})
			ack, err := cl.Connect(t.Context(), &paho.Connect{
				ClientID: "c", CleanStart: true, KeepAlive: 60,
				Properties: &paho.ConnectProperties{
					AuthMethod: auth.SCRAMMethod, AuthData: []byte(first), RequestProblemInfo: true, RequestResponseInfo: true,
				},
			})
			if ack == nil || ack.ReasonCode != c.want || ack.Properties.ResponseInfo != c.information {
				t.Fatalf("%+v, %v", ack, err)
			}
			if c.want == 0 {
				_ = cl.Disconnect(&paho.Disconnect{})
			}
		})
	}
}

// Mistakes in these settings stop the start.
func TestAuthenticationSettingsAreChecked(t *testing.T) {
	for _, line := range []string{
		"authentication_max_rounds = 0", "authentication_max_rounds = 1001", "response_information = 'a/#'", "response_information = a/+/b",
	} {
		_, err := config.Parse("test.conf", []byte(line+"\n"), config.Options{})
		if key, _, _ := strings.Cut(line, " "); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
