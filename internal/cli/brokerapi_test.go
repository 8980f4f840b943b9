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
	}
}
