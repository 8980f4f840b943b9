package admin

import (
	"context"

	"google.golang.org/grpc"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// Settings are those of this node.
type Settings interface {
	// Set gives settings other values, all or none.
	Set(ctx context.Context, r SetRequest) ([]SettingChanged, error)
	// Reset takes back what was set.
	Reset(ctx context.Context, r ResetRequest) ([]SettingChanged, error)
	// List returns settings: those named, in their order, or all that have a
	// value, of one app or of all ("").
	List(ctx context.Context, keys []string, app string) ([]Setting, error)
	// Describe returns the documentation of a setting and its value.
	Describe(ctx context.Context, key string) (string, error)
}

// Change is one setting and its new value, as in the file.
type Change struct{ Key, Value string }

// SetRequest has new values.
type SetRequest struct {
	Changes []Change
	// ValidateOnly: check and change nothing.
	ValidateOnly bool
	// Everywhere: every member gets them.
	Everywhere bool
}

// ResetRequest says what to take back: everything unless a field restricts it.
type ResetRequest struct {
	App, Key      string
	Local, Global bool
}

// SettingChanged tells what became of one setting.
type SettingChanged struct {
	Key, Value, Former, Origin string
	// NewConnectionsOnly: open connections keep the former value.
	NewConnectionsOnly bool
	// Warning tells why the setting has no effect; "" when it has.
	Warning string
}

// Setting is a setting, its value and where that comes from.
type Setting struct {
	Key, Value, App, Place string
	Origin                 pb.SettingOrigin
	Runtime                bool
	Words                  []string
}

type settingService struct {
	pb.UnsafeSettingServiceServer // a new method must not compile until written
	s                             *Server
}

// SetSettings checks a change here before any other member is asked.
func (v settingService) SetSettings(ctx context.Context, req *pb.SetSettingsRequest) (*pb.SetSettingsResponse, error) {
	if len(req.GetChanges()) == 0 {
		return nil, missing("key", "no setting was named")
	}
	r := SetRequest{ValidateOnly: req.GetValidateOnly(), Everywhere: req.GetAll() || req.GetEverywhere()}
	for _, c := range req.GetChanges() {
		r.Changes = append(r.Changes, Change{Key: c.GetKey(), Value: c.GetValue()})
	}
	if req.GetAll() {
		check := r
		check.ValidateOnly = true
		if _, err := v.s.cfg.Settings.Set(ctx, check); err != nil {
			return nil, err
		}
	}
	answers, err := members[[]*pb.SettingChanged]{
		s: v.s,
		local: func(ctx context.Context) ([]*pb.SettingChanged, error) {
			changed, err := v.s.cfg.Settings.Set(ctx, r)
			return changedToProto(changed), v.s.toStatus(err)
		},
		remote: func(ctx context.Context, conn grpc.ClientConnInterface) ([]*pb.SettingChanged, error) {
			resp, err := pb.NewSettingServiceClient(conn).SetSettings(ctx, &pb.SetSettingsRequest{
				Changes: req.GetChanges(), ValidateOnly: r.ValidateOnly, Everywhere: r.Everywhere,
			})
			return firstChanges(resp.GetNodes()), err
		},
	}.ask(ctx, target{req.GetNode(), req.GetAll()})
	return &pb.SetSettingsResponse{Nodes: changedNodes(answers)}, err
}

func (v settingService) ResetSettings(ctx context.Context, req *pb.ResetSettingsRequest) (*pb.ResetSettingsResponse, error) {
	r := ResetRequest{App: req.GetApp(), Key: req.GetKey(), Local: req.GetLocal(), Global: req.GetGlobal()}
	answers, err := members[[]*pb.SettingChanged]{
		s: v.s,
		local: func(ctx context.Context) ([]*pb.SettingChanged, error) {
			changed, err := v.s.cfg.Settings.Reset(ctx, r)
			return changedToProto(changed), v.s.toStatus(err)
		},
		remote: func(ctx context.Context, conn grpc.ClientConnInterface) ([]*pb.SettingChanged, error) {
			resp, err := pb.NewSettingServiceClient(conn).ResetSettings(ctx, &pb.ResetSettingsRequest{
				App: r.App, Key: r.Key, Local: r.Local, Global: r.Global,
			})
			return firstChanges(resp.GetNodes()), err
		},
	}.ask(ctx, target{req.GetNode(), req.GetAll()})
	return &pb.ResetSettingsResponse{Nodes: changedNodes(answers)}, err
}

func firstChanges(nodes []*pb.NodeSettingsChanged) []*pb.SettingChanged {
	if len(nodes) == 0 {
		return nil
	}
	return nodes[0].GetChanges()
}

func changedNodes(answers []answer[[]*pb.SettingChanged]) []*pb.NodeSettingsChanged {
	var out []*pb.NodeSettingsChanged
	for _, a := range answers {
		out = append(out, &pb.NodeSettingsChanged{Node: a.node, Changes: a.value, Error: a.text(), Unreachable: a.unreachable()})
	}
	return out
}

func changedToProto(changes []SettingChanged) []*pb.SettingChanged {
	var out []*pb.SettingChanged
	for _, c := range changes {
		out = append(out, &pb.SettingChanged{
			Key: c.Key, Value: c.Value, Former: c.Former, Origin: c.Origin, NewConnectionsOnly: c.NewConnectionsOnly, Warning: c.Warning,
		})
	}
	return out
}

func (v settingService) ShowSettings(ctx context.Context, req *pb.ShowSettingsRequest) (*pb.ShowSettingsResponse, error) {
	answers, err := members[[]*pb.Setting]{
		s: v.s,
		local: func(ctx context.Context) ([]*pb.Setting, error) {
			list, err := v.s.cfg.Settings.List(ctx, req.GetKeys(), req.GetApp())
			return settingsToProto(list), v.s.toStatus(err)
		},
		remote: func(ctx context.Context, conn grpc.ClientConnInterface) ([]*pb.Setting, error) {
			resp, err := pb.NewSettingServiceClient(conn).ShowSettings(ctx, &pb.ShowSettingsRequest{Keys: req.GetKeys(), App: req.GetApp()})
			if err != nil || len(resp.GetNodes()) == 0 {
				return nil, err
			}
			return resp.GetNodes()[0].GetSettings(), nil
		},
	}.ask(ctx, target{req.GetNode(), req.GetAll()})
	resp := &pb.ShowSettingsResponse{}
	for _, a := range answers {
		resp.Nodes = append(resp.Nodes, &pb.NodeSettings{Node: a.node, Settings: a.value, Error: a.text()})
	}
	return resp, err
}

func settingsToProto(list []Setting) []*pb.Setting {
	out := make([]*pb.Setting, len(list))
	for i, s := range list {
		out[i] = &pb.Setting{
			Key: s.Key, Value: s.Value, Origin: s.Origin, Place: s.Place, Runtime: s.Runtime, App: s.App, Words: s.Words,
		}
	}
	return out
}

func (v settingService) DescribeSettings(ctx context.Context, req *pb.DescribeSettingsRequest) (*pb.DescribeSettingsResponse, error) {
	if len(req.GetKeys()) == 0 {
		return nil, missing("key", "no setting was named")
	}
	resp := &pb.DescribeSettingsResponse{}
	for _, key := range req.GetKeys() {
		text, err := v.s.cfg.Settings.Describe(ctx, key)
		if err != nil {
			return nil, err
		}
		resp.Settings = append(resp.Settings, &pb.SettingDescription{Key: key, Text: text})
	}
	return resp, nil
}
