package admin

import (
	"context"
	"time"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// Logs are the loggers of this node.
type Logs interface {
	List(ctx context.Context) ([]*pb.LogHandler, error)
	SetLevel(ctx context.Context, logger, level string) error
}

type logService struct {
	pb.UnsafeLogServiceServer // a new method must not compile until written
	s                         *Server
}

func (v logService) ShowLoggers(ctx context.Context, _ *pb.ShowLoggersRequest) (*pb.ShowLoggersResponse, error) {
	list, err := v.s.cfg.Logs.List(ctx)
	return &pb.ShowLoggersResponse{Loggers: list}, err
}

func (v logService) SetLogLevel(ctx context.Context, req *pb.SetLogLevelRequest) (*pb.SetLogLevelResponse, error) {
	switch {
	case req.GetLogger() == "":
		return nil, missing("logger", "no logger was named")
	case req.GetLevel() == "":
		return nil, missing("level", "no level was named")
	}
	return &pb.SetLogLevelResponse{}, v.s.cfg.Logs.SetLevel(ctx, req.GetLogger(), req.GetLevel())
}

// Certificates are the configured ones of this node.
type Certificates interface {
	// List reads every configured file now.
	List(ctx context.Context) ([]*pb.Certificate, []*pb.FileFailure, error)
	// Reload makes every listener read its files again.
	Reload(ctx context.Context) ([]*pb.FileFailure, error)
}

type tlsService struct {
	pb.UnsafeTLSServiceServer // a new method must not compile until written
	s                         *Server
}

func (v tlsService) ShowCertificates(ctx context.Context, _ *pb.ShowCertificatesRequest) (*pb.ShowCertificatesResponse, error) {
	list, failures, err := v.s.cfg.Certificates.List(ctx)
	return &pb.ShowCertificatesResponse{Certificates: list, Failures: failures, Now: timestamp(time.Now())}, err
}

func (v tlsService) ReloadCertificates(ctx context.Context, _ *pb.ReloadCertificatesRequest) (*pb.ReloadCertificatesResponse, error) {
	failures, err := v.s.cfg.Certificates.Reload(ctx)
	return &pb.ReloadCertificatesResponse{Failures: failures}, err
}
