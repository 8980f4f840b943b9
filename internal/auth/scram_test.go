package auth

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// rfc7677 is the example of RFC 7677 §3 as an entry: user "user", password
// "pencil".
const rfc7677 = "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

func scramPlugin(entries ...string) *Passwd {
	file := memory{data: strings.Join(entries, "\n")}
	return NewPasswd(FileOptions{Path: "users", ReadFile: file.read, Metrics: metrics.New()})
}

// TestSCRAMExample plays the exchange of RFC 7677 §3.
func TestSCRAMExample(t *testing.T) {
	p := scramPlugin(rfc7677)
	p.scram.WithNonceGenerator(func() string { return "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0" })
	a := &hook.Auth{Method: SCRAMMethod, Data: []byte("n,,n=user,r=rOprNGfwEbeRWgbNEkqO")}
	ans, res := p.OnAuth(t.Context(), a)
	if want := "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"; !res.Allowed() || !ans.Continue || string(ans.Data) != want {
		t.Fatalf("%+v %s", res, ans.Data)
	}
	a.State = ans.State
	a.Data = []byte("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
	ans, res = p.OnAuth(t.Context(), a)
	if want := "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="; !res.Allowed() || ans.Continue || string(ans.Data) != want || ans.Username != "user" {
		t.Fatalf("%+v %+v", res, ans)
	}
}

// talk runs a whole exchange.
func talk(t *testing.T, p *Passwd, user, password, authz string, empty bool) (hook.AuthAnswer, hook.Result) {
	t.Helper()
	c, err := scram.SHA256.NewClient(user, password, authz)
	if err != nil {
		t.Fatal(err)
	}
	conv := c.NewConversation()
	a := &hook.Auth{Method: SCRAMMethod}
	if empty {
		ans, res := p.OnAuth(t.Context(), a)
		if !res.Allowed() || !ans.Continue || len(ans.Data) != 0 {
			t.Fatalf("%+v %+v", ans, res)
		}
		a.State = ans.State
	}
	challenge := ""
	for {
		text, err := conv.Step(challenge)
		if err != nil {
			t.Fatal(err)
		}
		a.Data = []byte(text)
		ans, res := p.OnAuth(t.Context(), a)
		if !res.Allowed() || !ans.Continue {
			return ans, res
		}
		challenge, a.State = string(ans.Data), ans.State
	}
}

func TestSCRAMUsers(t *testing.T) {
	p := scramPlugin(rfc7677, entry7(t, "bob", "pw"))
	for _, c := range []struct {
		user, password, authz string
		empty                 bool
		want                  packet.Reason
	}{
		{"user", "pencil", "", false, packet.Success},
		{"user", "pencil", "", true, packet.Success},
		{"user", "pencil", "user", false, packet.Success},
		{"user", "pencil", "root", false, packet.BadUserNameOrPassword},
		{"user", "wrong", "", false, packet.BadUserNameOrPassword},
		{"bob", "pw", "", false, packet.BadUserNameOrPassword},
		{"nobody", "pw", "", false, packet.BadUserNameOrPassword},
	} {
		ans, res := talk(t, p, c.user, c.password, c.authz, c.empty)
		if res.Reason != c.want || (ans.Username == c.user) == c.want.Failed() {
			t.Errorf("%+v: %+v, %+v", c, res, ans)
		}
	}
}

// TestSCRAMTellsNoNames: the first answer to a name that is not in the file
// looks like that to one that is, and stays the same.
func TestSCRAMTellsNoNames(t *testing.T) {
	h, err := newHash([]byte("pw"), HashOptions{SCRAM: true})
	if err != nil {
		t.Fatal(err)
	}
	p := scramPlugin("known:"+h, entry7(t, "other", "pw"))
	first := func(name string) (salt, iterations string) {
		ans, res := p.OnAuth(t.Context(), &hook.Auth{Method: SCRAMMethod, Data: []byte("n,,n=" + name + ",r=abc")})
		if !res.Allowed() || !ans.Continue {
			t.Fatalf("%s: %+v", name, res)
		}
		f := strings.Split(string(ans.Data), ",")
		return f[1], f[2]
	}
	salt, iterations := first("known")
	for _, name := range []string{"other", "nobody"} {
		s, i := first(name)
		if again, _ := first(name); len(s) != len(salt) || i != iterations || again != s {
			t.Errorf("%s: %s %s, again %s; known: %s %s", name, s, i, again, salt, iterations)
		}
	}
}

func TestSCRAMIsNotForAll(t *testing.T) {
	if _, res := scramPlugin(rfc7677).OnAuth(t.Context(), &hook.Auth{Method: "SCRAM-SHA-1", Data: []byte("n,,n=user,r=abc")}); res.Verdict != hook.Next {
		t.Errorf("another method: %+v", res)
	}
	if _, res := scramPlugin("broken").OnAuth(t.Context(), &hook.Auth{Method: SCRAMMethod, Data: []byte("n,,n=user,r=abc")}); res.Verdict != hook.Next {
		t.Errorf("no file: %+v", res)
	}
	for _, data := range []string{"junk", "n,,n=user", "p=tls-unique,,n=user,r=abc", "n,,m=x,n=user,r=abc", "n,,n==,r=abc"} {
		if _, res := scramPlugin(rfc7677).OnAuth(t.Context(), &hook.Auth{Method: SCRAMMethod, Data: []byte(data)}); res.Reason != packet.BadUserNameOrPassword {
			t.Errorf("%s: %+v", data, res)
		}
	}
}

// TestSCRAMEntryAndPassword: a SCRAM entry also serves clients that send their
// password, and who has completed a method is not asked for one.
func TestSCRAMEntryAndPassword(t *testing.T) {
	p := scramPlugin(rfc7677)
	ask := func(r hook.Register) hook.Result {
		r.Client = hook.Client{Username: "user", HasUsername: true}
		_, res := p.AuthOnRegister(t.Context(), &r)
		return res
	}
	if res := ask(hook.Register{HasPassword: true, Password: []byte("pencil")}); !res.Allowed() {
		t.Errorf("%+v", res)
	}
	if res := ask(hook.Register{HasPassword: true, Password: []byte("crayon")}); res.Reason != packet.BadUserNameOrPassword {
		t.Errorf("%+v", res)
	}
	if res := ask(hook.Register{Method: "X"}); res.Verdict != hook.Next {
		t.Errorf("%+v", res)
	}
}

func TestSCRAMEntries(t *testing.T) {
	b := base64.StdEncoding.EncodeToString
	good, short := b(make([]byte, 32)), b(make([]byte, 31))
	for _, c := range []struct{ entry, want string }{
		{"SCRAM-SHA-256$4096:c2FsdA==$" + good + ":" + good, ""},
		{"SCRAM-SHA-256$4096:c2FsdA==$" + good, "want SCRAM-SHA-256$iter"},
		{"SCRAM-SHA-256$4096", "want SCRAM-SHA-256$iter"},
		{"SCRAM-SHA-256$0:c2FsdA==$" + good + ":" + good, "iterations"},
		{"SCRAM-SHA-256$99999999:c2FsdA==$" + good + ":" + good, "iterations"},
		{"SCRAM-SHA-256$x:c2FsdA==$" + good + ":" + good, "iterations"},
		{"SCRAM-SHA-256$4096:$" + good + ":" + good, "salt"},
		{"SCRAM-SHA-256$4096:c2FsdA==$" + short + ":" + good, "hash"},
		{"SCRAM-SHA-256$4096:c2FsdA==$" + good + ":" + short, "want SCRAM-SHA-256$iter"},
	} {
		_, err := parseHash(c.entry)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.entry, err, c.want)
		}
	}
}

// TestSCRAMEntryStaysOne: a new password does not lock out SCRAM clients.
func TestSCRAMEntryStaysOne(t *testing.T) {
	f, err := ParsePasswordFile("users", []byte(rfc7677+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Set("user", []byte("chalk"), HashOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.HashAll(HashOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, res := talk(t, scramPlugin(string(f.Bytes())), "user", "chalk", "", false); !res.Allowed() {
		t.Errorf("%+v", res)
	}
	if _, err := newHash([]byte("pw"), HashOptions{SCRAM: true, Iterations: -1}); err == nil {
		t.Error("negative iterations were taken")
	}
}

// FuzzSCRAM gives strangers' bytes as the one and the other message of a client:
// nobody gets in without the password, and nothing breaks.
func FuzzSCRAM(f *testing.F) {
	f.Add([]byte("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"), []byte("c=biws,r=rOprNGfwEbeRWgbNEkqO1,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
	f.Add([]byte("n,a=user,n=us=2Cer,r=a"), []byte("c=,r=,p="))
	f.Add([]byte("p=tls-exporter,,n=user,r=a"), []byte{})
	f.Add([]byte{}, []byte("y,,n=user,r=a,x=1"))
	p := scramPlugin(rfc7677)
	p.scram.WithNonceGenerator(func() string { return "1" })
	f.Fuzz(func(t *testing.T, first, second []byte) {
		a := &hook.Auth{Method: SCRAMMethod}
		for _, data := range [][]byte{first, second, second} {
			a.Data = data
			ans, res := p.OnAuth(t.Context(), a)
			if !res.Allowed() {
				return
			}
			if !ans.Continue {
				t.Fatalf("%q and %q proved to be %q", first, second, ans.Username)
			}
			a.State = ans.State
		}
	})
}
