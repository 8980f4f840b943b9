package admin

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/apikey"
)

type keyService struct {
	pb.UnsafeApiKeyServiceServer // a new method must not compile until written
	s                            *Server
}

// errNoKeys: this server was made without them.
var errNoKeys = status.Error(codes.Unimplemented, "this node has no API keys")

func (k keyService) CreateApiKey(ctx context.Context, req *pb.CreateApiKeyRequest) (*pb.CreateApiKeyResponse, error) { //nolint:revive,staticcheck // the name is that of the generated code
	if k.s.cfg.Keys == nil {
		return nil, errNoKeys
	}
	var expires time.Time
	if req.GetExpiresAt() != nil {
		expires = req.GetExpiresAt().AsTime()
	}
	secret, key, err := k.s.cfg.Keys.Create(ctx, apikey.Request{
		Secret: req.GetSecret(), Scope: req.GetScope(), Role: req.GetKeyRole(), Expires: expires, CreatedBy: actor(ctx),
	})
	if err != nil {
		return nil, err
	}
	return &pb.CreateApiKeyResponse{Secret: secret, Key: k.toProto(key)}, nil
}

func (k keyService) DeleteApiKey(ctx context.Context, req *pb.DeleteApiKeyRequest) (*pb.DeleteApiKeyResponse, error) { //nolint:revive,staticcheck // the name is that of the generated code
	if k.s.cfg.Keys == nil {
		return nil, errNoKeys
	}
	if req.GetKey() == "" {
		return nil, missing("key", "no key was given")
	}
	if err := k.s.cfg.Keys.Delete(ctx, req.GetKey(), req.GetScope()); err != nil {
		return nil, err
	}
	return &pb.DeleteApiKeyResponse{}, nil
}

func (k keyService) ShowApiKeys(_ context.Context, req *pb.ShowApiKeysRequest) (*pb.ShowApiKeysResponse, error) { //nolint:revive,staticcheck // the name is that of the generated code
	if k.s.cfg.Keys == nil {
		return nil, errNoKeys
	}
	keys, err := k.s.cfg.Keys.List(req.GetScope())
	if err != nil {
		return nil, err
	}
	resp := &pb.ShowApiKeysResponse{}
	for _, key := range keys {
		resp.Keys = append(resp.Keys, k.toProto(key))
	}
	return resp, nil
}

func (k keyService) toProto(key apikey.Key) *pb.ApiKey {
	return &pb.ApiKey{
		Id: key.ID(), Scope: key.Scope, KeyRole: key.Role, ExpiresAt: timestamp(key.Expires), Expired: k.s.cfg.Keys.Expired(key),
		CreatedAt: timestamp(key.Created), CreatedBy: key.CreatedBy,
	}
}

// actor is the first caller of a call: whom the interceptor found.
func actor(ctx context.Context) string {
	md, _ := metadata.FromOutgoingContext(ctx)
	if a := md.Get(actorKey); len(a) > 0 {
		return a[0]
	}
	return ""
}
