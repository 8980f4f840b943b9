package clitest

import (
	"context"

	"google.golang.org/grpc"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// BrokerAPI answers the calls about the broker itself.
type BrokerAPI struct {
	SetSettingsFunc        func(*pb.SetSettingsRequest) (*pb.SetSettingsResponse, error)
	ResetSettingsFunc      func(*pb.ResetSettingsRequest) (*pb.ResetSettingsResponse, error)
	ShowSettingsFunc       func(*pb.ShowSettingsRequest) (*pb.ShowSettingsResponse, error)
	DescribeSettingsFunc   func(*pb.DescribeSettingsRequest) (*pb.DescribeSettingsResponse, error)
	ShowListenersFunc      func(*pb.ShowListenersRequest) (*pb.ShowListenersResponse, error)
	StartListenerFunc      func(*pb.StartListenerRequest) (*pb.StartListenerResponse, error)
	StopListenerFunc       func(*pb.StopListenerRequest) (*pb.StopListenerResponse, error)
	RestartListenerFunc    func(*pb.RestartListenerRequest) (*pb.RestartListenerResponse, error)
	DeleteListenerFunc     func(*pb.DeleteListenerRequest) (*pb.DeleteListenerResponse, error)
	ShowPluginsFunc        func(*pb.ShowPluginsRequest) (*pb.ShowPluginsResponse, error)
	EnablePluginFunc       func(*pb.EnablePluginRequest) (*pb.EnablePluginResponse, error)
	DisablePluginFunc      func(*pb.DisablePluginRequest) (*pb.DisablePluginResponse, error)
	ShowLoggersFunc        func(*pb.ShowLoggersRequest) (*pb.ShowLoggersResponse, error)
	SetLogLevelFunc        func(*pb.SetLogLevelRequest) (*pb.SetLogLevelResponse, error)
	ShowCertificatesFunc   func(*pb.ShowCertificatesRequest) (*pb.ShowCertificatesResponse, error)
	ReloadCertificatesFunc func(*pb.ReloadCertificatesRequest) (*pb.ReloadCertificatesResponse, error)
	StopTracesFunc         func(*pb.StopTracesRequest) (*pb.StopTracesResponse, error)
	TraceClientFunc        func(*pb.TraceClientRequest, func(*pb.TraceClientResponse)) error
	StopNodeFunc           func(*pb.StopNodeRequest) (*pb.StopNodeResponse, error)
}

func (a *BrokerAPI) register(g *grpc.Server) {
	pb.RegisterSettingServiceServer(g, settingServer{api: a})
	pb.RegisterListenerServiceServer(g, listenerServer{api: a})
	pb.RegisterPluginServiceServer(g, pluginServer{api: a})
	pb.RegisterLogServiceServer(g, logServer{api: a})
	pb.RegisterTLSServiceServer(g, tlsServer{api: a})
	pb.RegisterTraceServiceServer(g, traceServer{api: a})
}

// unary calls fn, or what answers "unimplemented" when there is none.
func unary[Q, A any](ctx context.Context, r Q, fn func(Q) (A, error), none func(context.Context, Q) (A, error)) (A, error) {
	if fn == nil {
		return none(ctx, r)
	}
	return fn(r)
}

// stream is unary for calls that are answered with several messages.
func stream[Q, A any](r *Q, st grpc.ServerStreamingServer[A], fn func(*Q, func(*A)) error, none func(*Q, grpc.ServerStreamingServer[A]) error) error {
	if fn == nil {
		return none(r, st)
	}
	return fn(r, func(m *A) { _ = st.Send(m) })
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

type listenerServer struct {
	pb.UnimplementedListenerServiceServer
	api *BrokerAPI
}

func (s listenerServer) ShowListeners(ctx context.Context, r *pb.ShowListenersRequest) (*pb.ShowListenersResponse, error) {
	return unary(ctx, r, s.api.ShowListenersFunc, s.UnimplementedListenerServiceServer.ShowListeners)
}

func (s listenerServer) StartListener(ctx context.Context, r *pb.StartListenerRequest) (*pb.StartListenerResponse, error) {
	return unary(ctx, r, s.api.StartListenerFunc, s.UnimplementedListenerServiceServer.StartListener)
}

func (s listenerServer) StopListener(ctx context.Context, r *pb.StopListenerRequest) (*pb.StopListenerResponse, error) {
	return unary(ctx, r, s.api.StopListenerFunc, s.UnimplementedListenerServiceServer.StopListener)
}

func (s listenerServer) RestartListener(ctx context.Context, r *pb.RestartListenerRequest) (*pb.RestartListenerResponse, error) {
	return unary(ctx, r, s.api.RestartListenerFunc, s.UnimplementedListenerServiceServer.RestartListener)
}

func (s listenerServer) DeleteListener(ctx context.Context, r *pb.DeleteListenerRequest) (*pb.DeleteListenerResponse, error) {
	return unary(ctx, r, s.api.DeleteListenerFunc, s.UnimplementedListenerServiceServer.DeleteListener)
}

type pluginServer struct {
	pb.UnimplementedPluginServiceServer
	api *BrokerAPI
}

func (s pluginServer) ShowPlugins(ctx context.Context, r *pb.ShowPluginsRequest) (*pb.ShowPluginsResponse, error) {
	return unary(ctx, r, s.api.ShowPluginsFunc, s.UnimplementedPluginServiceServer.ShowPlugins)
}

func (s pluginServer) EnablePlugin(ctx context.Context, r *pb.EnablePluginRequest) (*pb.EnablePluginResponse, error) {
	return unary(ctx, r, s.api.EnablePluginFunc, s.UnimplementedPluginServiceServer.EnablePlugin)
}

func (s pluginServer) DisablePlugin(ctx context.Context, r *pb.DisablePluginRequest) (*pb.DisablePluginResponse, error) {
	return unary(ctx, r, s.api.DisablePluginFunc, s.UnimplementedPluginServiceServer.DisablePlugin)
}

type logServer struct {
	pb.UnimplementedLogServiceServer
	api *BrokerAPI
}

func (s logServer) ShowLoggers(ctx context.Context, r *pb.ShowLoggersRequest) (*pb.ShowLoggersResponse, error) {
	return unary(ctx, r, s.api.ShowLoggersFunc, s.UnimplementedLogServiceServer.ShowLoggers)
}

func (s logServer) SetLogLevel(ctx context.Context, r *pb.SetLogLevelRequest) (*pb.SetLogLevelResponse, error) {
	return unary(ctx, r, s.api.SetLogLevelFunc, s.UnimplementedLogServiceServer.SetLogLevel)
}

type tlsServer struct {
	pb.UnimplementedTLSServiceServer
	api *BrokerAPI
}

func (s tlsServer) ShowCertificates(ctx context.Context, r *pb.ShowCertificatesRequest) (*pb.ShowCertificatesResponse, error) {
	return unary(ctx, r, s.api.ShowCertificatesFunc, s.UnimplementedTLSServiceServer.ShowCertificates)
}

func (s tlsServer) ReloadCertificates(ctx context.Context, r *pb.ReloadCertificatesRequest) (*pb.ReloadCertificatesResponse, error) {
	return unary(ctx, r, s.api.ReloadCertificatesFunc, s.UnimplementedTLSServiceServer.ReloadCertificates)
}

type traceServer struct {
	pb.UnimplementedTraceServiceServer
	api *BrokerAPI
}

func (s traceServer) StopTraces(ctx context.Context, r *pb.StopTracesRequest) (*pb.StopTracesResponse, error) {
	return unary(ctx, r, s.api.StopTracesFunc, s.UnimplementedTraceServiceServer.StopTraces)
}

func (s traceServer) TraceClient(r *pb.TraceClientRequest, st grpc.ServerStreamingServer[pb.TraceClientResponse]) error {
	return stream(r, st, s.api.TraceClientFunc, s.UnimplementedTraceServiceServer.TraceClient)
}

func (s nodeServer) StopNode(ctx context.Context, r *pb.StopNodeRequest) (*pb.StopNodeResponse, error) {
	return unary(ctx, r, s.api.StopNodeFunc, s.UnimplementedNodeServiceServer.StopNode)
}
