package clitest

import (
	"context"

	"google.golang.org/grpc"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// BrokerAPI answers the calls about the broker itself.
type BrokerAPI struct {
	SetSettingsFunc      func(*pb.SetSettingsRequest) (*pb.SetSettingsResponse, error)
	ResetSettingsFunc    func(*pb.ResetSettingsRequest) (*pb.ResetSettingsResponse, error)
	ShowSettingsFunc     func(*pb.ShowSettingsRequest) (*pb.ShowSettingsResponse, error)
	DescribeSettingsFunc func(*pb.DescribeSettingsRequest) (*pb.DescribeSettingsResponse, error)
}

func (a *BrokerAPI) register(g *grpc.Server) {
	pb.RegisterSettingServiceServer(g, settingServer{api: a})
}

// unary calls fn, or what answers "unimplemented" when there is none.
func unary[Q, A any](ctx context.Context, r Q, fn func(Q) (A, error), none func(context.Context, Q) (A, error)) (A, error) {
	if fn == nil {
		return none(ctx, r)
	}
	return fn(r)
}

type settingServer struct {
	pb.UnimplementedSettingServiceServer
	api *BrokerAPI
}

func (s settingServer) SetSettings(ctx context.Context, r *pb.SetSettingsRequest) (*pb.SetSettingsResponse, error) {
	return unary(ctx, r, s.api.SetSettingsFunc, s.UnimplementedSettingServiceServer.SetSettings)
}

func (s settingServer) ResetSettings(ctx context.Context, r *pb.ResetSettingsRequest) (*pb.ResetSettingsResponse, error) {
	return unary(ctx, r, s.api.ResetSettingsFunc, s.UnimplementedSettingServiceServer.ResetSettings)
}

func (s settingServer) ShowSettings(ctx context.Context, r *pb.ShowSettingsRequest) (*pb.ShowSettingsResponse, error) {
	return unary(ctx, r, s.api.ShowSettingsFunc, s.UnimplementedSettingServiceServer.ShowSettings)
}

func (s settingServer) DescribeSettings(ctx context.Context, r *pb.DescribeSettingsRequest) (*pb.DescribeSettingsResponse, error) {
	return unary(ctx, r, s.api.DescribeSettingsFunc, s.UnimplementedSettingServiceServer.DescribeSettings)
}
