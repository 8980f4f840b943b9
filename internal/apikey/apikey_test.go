package apikey

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

// memory is a Store of one process.
type memory map[string]Key

func at(h Hash, scope string) string { return string(h[:]) + scope }

func (m memory) Key(h Hash, scope string) (Key, bool) { k, ok := m[at(h, scope)]; return k, ok }
func (m memory) Keys() (out []Key) {
	for _, k := range m {
		out = append(out, k)
	}
	return out
}

func (m memory) Put(_ context.Context, k Key) (bool, error) {
	_, ok := m[at(k.Hash, k.Scope)]
	if !ok {
		m[at(k.Hash, k.Scope)] = k
	}
	return ok, nil
}

func (m memory) Drop(_ context.Context, h Hash, scope string) (bool, error) {
	_, ok := m[at(h, scope)]
	delete(m, at(h, scope))
	return ok, nil
}

// ring returns a Keyring whose clock stands at *now.
func ring(change func(*Config)) (*Keyring, memory, *time.Time) {
	now := time.Unix(1_800_000_000, 0)
	store := memory{}
	cfg := Config{Store: store, Now: func() time.Time { return now }, Registry: metrics.New()}
	if change != nil {
		change(&cfg)
	}
	return New(cfg), store, &now
}

func TestAKeyOpensItsScopeUntilItExpires(t *testing.T) {
	r, store, now := ring(nil)
	secret, k, err := r.Create(t.Context(), Request{Scope: Metrics, Expires: now.Add(time.Hour), CreatedBy: "ann"})
	if err != nil || !regexp.MustCompile(`^[0-9A-Za-z]{32}$`).MatchString(secret) {
		t.Fatal(secret, err)
	}
	if strings.Contains(fmt.Sprintf("%+v", store), secret) {
		t.Error("the secret is kept")
	}
	if got, err := r.Check("10.0.0.1:5", secret, Metrics); err != nil || got != k || got.CreatedBy != "ann" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, tc := range []struct{ secret, scope string }{{secret, Status}, {secret + "x", Metrics}, {"", Metrics}, {k.ID(), Metrics}} {
		if _, err := r.Check("", tc.secret, tc.scope); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q for %s: %v", tc.secret, tc.scope, err)
		}
	}
	*now = now.Add(time.Hour)
	if _, err := r.Check("", secret, Metrics); !errors.Is(err, ErrExpired) {
		t.Error(err)
	}
}

func TestCreateChecks(t *testing.T) {
	r, _, now := ring(func(c *Config) { c.MinLength, c.MaxAge, c.MaxKeys = 40, 48*time.Hour, 2 })
	soon := now.Add(time.Hour)
	for text, req := range map[string]Request{
		"invalid scope \"x\": valid values are {status|mgmt|": {Scope: "x", Expires: soon},
		"only keys of the scope mgmt have one":                {Scope: Status, Role: "admin", Expires: soon},
		"invalid role \"root\"":                               {Role: "root", Expires: soon},
		"min_apikey_length is 40":                             {Secret: "short", Expires: soon},
		"longer than 1024":                                    {Secret: strings.Repeat("x", 1025), Expires: soon},
		"is over":                                             {Expires: now.Add(-time.Second)},
		"at most 2 days away":                                 {},
		"invalid expiry: max_apikey_expiry_days":              {Expires: now.Add(72 * time.Hour)},
	} {
		if _, _, err := r.Create(t.Context(), req); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: %v, want %q", req, err, text)
		}
	}
	secret, k, err := r.Create(t.Context(), Request{Expires: soon})
	if err != nil || len(secret) != 40 || k.Scope != Management || k.Role != "admin" {
		t.Errorf("%q %+v %v", secret, k, err)
	}
	if _, _, err := r.Create(t.Context(), Request{Secret: secret, Expires: soon}); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	if _, _, err := r.Create(t.Context(), Request{Secret: secret, Scope: Status, Expires: soon}); err != nil {
		t.Errorf("the same key for something else: %v", err)
	}
	if _, _, err := r.Create(t.Context(), Request{Expires: soon}); !errors.Is(err, ErrFull) || r.full.Value() != 1 {
		t.Errorf("%v, counted %d", err, r.full.Value())
	}
}

func TestDeleteAndList(t *testing.T) {
	r, _, _ := ring(nil)
	a, ka, _ := r.Create(t.Context(), Request{})
	_, kb, _ := r.Create(t.Context(), Request{Scope: Health})
	if all, err := r.List(""); err != nil || len(all) != 2 || all[0] != kb || all[1] != ka {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := r.List("x"); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if err := r.Delete(t.Context(), a, Health); !errors.Is(err, ErrUnknown) {
		t.Errorf("another scope: %v", err)
	}
	if err := r.Delete(t.Context(), a, ""); err != nil {
		t.Error(err)
	}
	if err := r.Delete(t.Context(), kb.ID(), Health); err != nil {
		t.Error(err)
	}
	if all, _ := r.List(""); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}

func TestFailedLoginsAreLimited(t *testing.T) {
	r, _, now := ring(func(c *Config) { c.MaxFailures = 3 })
	secret, _, _ := r.Create(t.Context(), Request{})
	try := func(remote, s string) error { _, err := r.Check(remote, s, Management); return err }
	for range 3 {
		if err := try("10.0.0.1:1", "wrong"); !errors.Is(err, ErrUnknown) {
			t.Fatal(err)
		}
	}
	if err := try("10.0.0.1:2", secret); !errors.Is(err, ErrLimited) || r.limited.Value() != 1 || r.failed.Value() != 3 {
		t.Errorf("%v, counted %d, %d", err, r.limited.Value(), r.failed.Value())
	}
	if err := try("10.0.0.2:1", secret); err != nil {
		t.Errorf("another address: %v", err)
	}
	*now = now.Add(window / 3)
	if err := try("10.0.0.1:3", secret); err != nil {
		t.Errorf("after a while: %v", err)
	}
	for i := range 3 { // one network of IPv6 is one address
		_ = try(fmt.Sprintf("[2001:db8::%d]:1", i), "wrong")
	}
	if err := try("[2001:db8::ffff]:1", secret); !errors.Is(err, ErrLimited) {
		t.Error(err)
	}
}

func TestFailuresAreBounded(t *testing.T) {
	f := newFailures(1)
	now := time.Unix(0, 0)
	for i := range 3 * maxAddresses {
		now = now.Add(time.Millisecond)
		f.add(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), now)
	}
	if len(f.seen) > maxAddresses {
		t.Errorf("%d addresses", len(f.seen))
	}
	if last := 3*maxAddresses - 1; f.allowed(fmt.Sprintf("10.%d.%d.%d", last>>16, last>>8&255, last&255), now) {
		t.Error("the newest was forgotten")
	}
}
