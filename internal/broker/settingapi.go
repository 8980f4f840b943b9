package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/admin"
	"github.com/mqadmin/mqadmin/internal/config"
)

// settingAPI implements admin.Settings.
type settingAPI struct{ b *Broker }

// Set implements admin.Settings.
func (a settingAPI) Set(_ context.Context, r admin.SetRequest) ([]admin.SettingChanged, error) {
	values := make([]config.Override, len(r.Changes))
	for i, c := range r.Changes {
		values[i] = config.Override{Key: c.Key, Value: c.Value, Everywhere: r.Everywhere}
	}
	before, after, err := a.b.live.set(values, r.ValidateOnly)
	if err != nil {
		return nil, settingError(err)
	}
	var keys []string
	for _, v := range values {
		key, err := config.CanonicalKey(v.Key)
		if err != nil {
			return nil, settingError(err)
		}
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	changed := changes(before, after, keys)
	a.tellLog(changed, r.ValidateOnly)
	return changed, nil
}

// Reset implements admin.Settings.
func (a settingAPI) Reset(_ context.Context, r admin.ResetRequest) ([]admin.SettingChanged, error) {
	key := ""
	if r.Key != "" {
		var err error
		if key, err = config.CanonicalKey(r.Key); err != nil {
			return nil, settingError(err)
		}
	}
	if err := checkApp(r.App); err != nil {
		return nil, err
	}
	var keys []string
	before, after, err := a.b.live.reset(func(o config.Override) bool {
		drop := (key == "" || o.Key == key) && (r.App == "" || config.App(o.Key) == r.App) &&
			(r.Local == r.Global || o.Everywhere == r.Global)
		if drop {
			keys = append(keys, o.Key)
		}
		return drop
	})
	if err != nil {
		return nil, settingError(err)
	}
	changed := changes(before, after, keys)
	a.tellLog(changed, false)
	return changed, nil
}

// tellLog notes in the log what holds now, beside the audit line of whoever
// asked for it.
func (a settingAPI) tellLog(changed []admin.SettingChanged, try bool) {
	for _, c := range changed {
		if !try && c.Value != c.Former {
			a.b.log.Info("a setting was changed", "setting", c.Key, "value", c.Value, "former", c.Former, "origin", c.Origin)
		}
	}
}

func changes(before, after *config.Config, keys []string) []admin.SettingChanged {
	out := make([]admin.SettingChanged, len(keys))
	for i, key := range keys {
		s, _ := config.Lookup(key)
		out[i] = admin.SettingChanged{
			Key: key, Value: after.Show(key), Former: before.Show(key), Origin: after.Origin(key).String(), NewConnectionsOnly: s.Connect,
		}
		if s.Status == config.NoEffect || s.Status == config.NotYet {
			out[i].Warning = s.Reason
		}
	}
	return out
}

// settingError gives an error of the settings its reason.
func settingError(err error) error {
	reason := pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT
	switch {
	case errors.Is(err, config.ErrUnknown):
		reason = pb.ErrorReason_ERROR_REASON_SETTING_UNKNOWN
	case errors.Is(err, config.ErrRestart):
		reason = pb.ErrorReason_ERROR_REASON_SETTING_NEEDS_RESTART
	}
	return &admin.Error{Reason: reason, Err: err}
}

func checkApp(app string) error {
	if app != "" && !slices.Contains(config.Apps(), app) {
		return admin.NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT,
			fmt.Sprintf("there is no app %q: valid values are %v", app, config.Apps()), "argument", "app", "value", app)
	}
	return nil
}

// List implements admin.Settings.
func (a settingAPI) List(_ context.Context, keys []string, app string) ([]admin.Setting, error) {
	c := a.b.live.config()
	if err := checkApp(app); err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		keys = c.Keys()
	}
	var out []admin.Setting
	for _, name := range keys {
		key, err := config.CanonicalKey(name)
		if err != nil {
			return nil, settingError(err)
		}
		if app != "" && config.App(key) != app {
			continue
		}
		s, _ := config.Lookup(key)
		at := c.Origin(key)
		out = append(out, admin.Setting{
			Key: name, Value: c.Show(key), App: config.App(key), Place: at.String(), Origin: originOf(at), Runtime: s.Runtime, Words: words(s),
		})
	}
	return out, nil
}

func words(s config.Setting) []string {
	if s.Type == config.TypeFlag {
		return append([]string{"on", "off"}, s.Words...)
	}
	return s.Words
}

func originOf(o config.Origin) pb.SettingOrigin {
	switch o.Kind {
	case config.FromDefault:
	case config.FromFile:
		return pb.SettingOrigin_SETTING_ORIGIN_FILE
	case config.FromEnvironment:
		return pb.SettingOrigin_SETTING_ORIGIN_ENVIRONMENT
	case config.FromFlag:
		return pb.SettingOrigin_SETTING_ORIGIN_FLAG
	case config.FromRuntime:
		if o.Everywhere {
			return pb.SettingOrigin_SETTING_ORIGIN_SET_ALL
		}
		return pb.SettingOrigin_SETTING_ORIGIN_SET
	}
	return pb.SettingOrigin_SETTING_ORIGIN_DEFAULT
}

// Describe implements admin.Settings.
func (a settingAPI) Describe(_ context.Context, key string) (string, error) {
	text, err := a.b.live.config().Describe(key)
	if err != nil {
		return "", settingError(err)
	}
	return text, nil
}
