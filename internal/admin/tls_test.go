package admin

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/admin/admintest"
)

func TestMutualTLSGivesRolesByCertificate(t *testing.T) {
	ca := admintest.New(t)
	certFile, keyFile := ca.Issue("broker", "")
	serverCfg, err := ServerTLS(certFile, keyFile, ca.File)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{members: func(context.Context) (View, error) { return View{}, nil }}
	s := newServer(t, f)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l, TLSTransport(serverCfg)) }()
	stranger := admintest.New(t)
	for name, tc := range map[string]struct {
		from *admintest.Authority
		unit string
		want codes.Code
	}{
		"viewer":     {ca, "viewer", codes.OK},
		"admin":      {ca, "admin", codes.OK},
		"no role":    {ca, "", codes.PermissionDenied},
		"other unit": {ca, "sales", codes.PermissionDenied},
		"stranger":   {stranger, "admin", codes.Unavailable},
		"none":       {nil, "", codes.Unauthenticated},
	} {
		cfg := &tls.Config{RootCAs: ca.Pool, ServerName: "localhost", MinVersion: tls.VersionTLS13}
		if tc.from != nil {
			cert, err := tls.LoadX509KeyPair(tc.from.Issue("client", tc.unit))
			if err != nil {
				t.Fatal(err)
			}
			cfg.Certificates = []tls.Certificate{cert}
		}
		err := show(t, l.Addr().String(), credentials.NewTLS(cfg))
		if status.Code(err) != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	if err := show(t, l.Addr().String(), insecure.NewCredentials()); status.Code(err) != codes.Unavailable {
		t.Errorf("plaintext: %v", err)
	}
	s.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func show(t *testing.T, addr string, creds credentials.TransportCredentials) error {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = pb.NewClusterServiceClient(conn).ShowCluster(t.Context(), &pb.ShowClusterRequest{})
	return err
}

func TestBadTLSFilesAreNamed(t *testing.T) {
	ca := admintest.New(t)
	cert, key := ca.Issue("broker", "")
	if _, err := ServerTLS("nope.pem", key, ca.File); err == nil || !strings.Contains(err.Error(), "nope.pem") {
		t.Error(err)
	}
	if _, err := ServerTLS(cert, key, key); err == nil || !strings.Contains(err.Error(), "no certificate in") {
		t.Error(err)
	}
}

func TestServerCredentialsServeNoClient(t *testing.T) {
	if _, _, err := TLSTransport(nil).ClientHandshake(t.Context(), "", nil); err == nil {
		t.Error("server credentials served a client")
	}
}

func TestSecretsAreRedacted(t *testing.T) {
	secret := &descriptorpb.FieldOptions{DebugRedact: new(true)}
	field := func(name string, n int32, kind descriptorpb.FieldDescriptorProto_Type, o *descriptorpb.FieldOptions) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{
			Name: &name, JsonName: &name, Number: &n, Type: &kind, Options: o,
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("t.proto"), Package: new("t"), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: new("M"), Field: []*descriptorpb.FieldDescriptorProto{
			field("name", 1, descriptorpb.FieldDescriptorProto_TYPE_STRING, nil),
			field("key", 2, descriptorpb.FieldDescriptorProto_TYPE_STRING, secret),
			field("blob", 3, descriptorpb.FieldDescriptorProto_TYPE_BYTES, secret),
		}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	md := file.Messages().Get(0)
	m := dynamicpb.NewMessage(md)
	m.Set(md.Fields().ByName("name"), protoreflect.ValueOfString("visible"))
	m.Set(md.Fields().ByName("key"), protoreflect.ValueOfString("hunter2"))
	m.Set(md.Fields().ByName("blob"), protoreflect.ValueOfBytes([]byte("hunter2")))
	before := proto.Clone(m)
	got := arguments(m)
	if strings.Contains(got, "hunter2") || strings.Contains(got, "blob") || !strings.Contains(got, "visible") || !strings.Contains(got, "***") {
		t.Errorf("got %s", got)
	}
	if !proto.Equal(before, m) {
		t.Error("the request itself was changed")
	}
}
