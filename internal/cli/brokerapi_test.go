package cli

import (
	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/clitest"
)

// everythingOfBroker answers every call about the broker itself and notes which.
func everythingOfBroker(called map[string]bool) clitest.BrokerAPI {
	changed := []*pb.NodeSettingsChanged{{Node: "n"}}
	return clitest.BrokerAPI{
		SetSettingsFunc: func(*pb.SetSettingsRequest) (*pb.SetSettingsResponse, error) {
			called["SetSettings"] = true
			return &pb.SetSettingsResponse{Nodes: changed}, nil
		},
		ResetSettingsFunc: func(*pb.ResetSettingsRequest) (*pb.ResetSettingsResponse, error) {
			called["ResetSettings"] = true
			return &pb.ResetSettingsResponse{Nodes: changed}, nil
		},
		ShowSettingsFunc: func(*pb.ShowSettingsRequest) (*pb.ShowSettingsResponse, error) {
			called["ShowSettings"] = true
			return &pb.ShowSettingsResponse{}, nil
		},
		DescribeSettingsFunc: func(*pb.DescribeSettingsRequest) (*pb.DescribeSettingsResponse, error) {
			called["DescribeSettings"] = true
			return &pb.DescribeSettingsResponse{}, nil
		},
		ShowListenersFunc: func(*pb.ShowListenersRequest) (*pb.ShowListenersResponse, error) {
			called["ShowListeners"] = true
			return &pb.ShowListenersResponse{}, nil
		},
		StartListenerFunc: func(*pb.StartListenerRequest) (*pb.StartListenerResponse, error) {
			called["StartListener"] = true
			return &pb.StartListenerResponse{}, nil
		},
		StopListenerFunc: func(*pb.StopListenerRequest) (*pb.StopListenerResponse, error) {
			called["StopListener"] = true
			return &pb.StopListenerResponse{}, nil
		},
		RestartListenerFunc: func(*pb.RestartListenerRequest) (*pb.RestartListenerResponse, error) {
			called["RestartListener"] = true
			return &pb.RestartListenerResponse{}, nil
		},
		DeleteListenerFunc: func(*pb.DeleteListenerRequest) (*pb.DeleteListenerResponse, error) {
			called["DeleteListener"] = true
			return &pb.DeleteListenerResponse{}, nil
		},
		ShowPluginsFunc: func(*pb.ShowPluginsRequest) (*pb.ShowPluginsResponse, error) {
			called["ShowPlugins"] = true
			return &pb.ShowPluginsResponse{}, nil
		},
		EnablePluginFunc: func(*pb.EnablePluginRequest) (*pb.EnablePluginResponse, error) {
			called["EnablePlugin"] = true
			return &pb.EnablePluginResponse{}, nil
		},
		DisablePluginFunc: func(*pb.DisablePluginRequest) (*pb.DisablePluginResponse, error) {
			called["DisablePlugin"] = true
			return &pb.DisablePluginResponse{}, nil
		},
		ShowLoggersFunc: func(*pb.ShowLoggersRequest) (*pb.ShowLoggersResponse, error) {
			called["ShowLoggers"] = true
			return &pb.ShowLoggersResponse{}, nil
		},
		SetLogLevelFunc: func(*pb.SetLogLevelRequest) (*pb.SetLogLevelResponse, error) {
			called["SetLogLevel"] = true
			return &pb.SetLogLevelResponse{}, nil
		},
		ShowCertificatesFunc: func(*pb.ShowCertificatesRequest) (*pb.ShowCertificatesResponse, error) {
			called["ShowCertificates"] = true
			return &pb.ShowCertificatesResponse{}, nil
		},
		ReloadCertificatesFunc: func(*pb.ReloadCertificatesRequest) (*pb.ReloadCertificatesResponse, error) {
			called["ReloadCertificates"] = true
			return &pb.ReloadCertificatesResponse{}, nil
		},
		StopTracesFunc: func(*pb.StopTracesRequest) (*pb.StopTracesResponse, error) {
			called["StopTraces"] = true
			return &pb.StopTracesResponse{}, nil
		},
		StopNodeFunc: func(*pb.StopNodeRequest) (*pb.StopNodeResponse, error) {
			called["StopNode"] = true
			return &pb.StopNodeResponse{}, nil
		},
		TraceClientFunc: func(*pb.TraceClientRequest, func(*pb.TraceClientResponse)) error {
			called["TraceClient"] = true
			return nil
		},
	}
}
