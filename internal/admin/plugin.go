package admin

import (
	"context"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// Plugins are those of this node.
type Plugins interface {
	List(ctx context.Context) ([]*pb.Plugin, error)
	// Enable and Disable report whether something changed.
	Enable(ctx context.Context, name string) (bool, error)
	Disable(ctx context.Context, name string) (bool, error)
}

type pluginService struct {
	pb.UnsafePluginServiceServer // a new method must not compile until written
	s                            *Server
}

func (v pluginService) ShowPlugins(ctx context.Context, _ *pb.ShowPluginsRequest) (*pb.ShowPluginsResponse, error) {
	list, err := v.s.cfg.Plugins.List(ctx)
	return &pb.ShowPluginsResponse{Plugins: list}, err
}

func (v pluginService) EnablePlugin(ctx context.Context, req *pb.EnablePluginRequest) (*pb.EnablePluginResponse, error) {
	if req.GetPlugin() == "" {
		return nil, missing("name", "no plugin was named")
	}
	changed, err := v.s.cfg.Plugins.Enable(ctx, req.GetPlugin())
	return &pb.EnablePluginResponse{Changed: changed}, err
}

func (v pluginService) DisablePlugin(ctx context.Context, req *pb.DisablePluginRequest) (*pb.DisablePluginResponse, error) {
	if req.GetPlugin() == "" {
		return nil, missing("name", "no plugin was named")
	}
	changed, err := v.s.cfg.Plugins.Disable(ctx, req.GetPlugin())
	return &pb.DisablePluginResponse{Changed: changed}, err
}
