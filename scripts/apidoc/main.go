// Command apidoc writes docs/api.md from the comments of the .proto files: it
// reads what buf build makes of them, a set of descriptors with their source
// positions, on stdin.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

const intro = `# The admin API

Generated from the comments in ` + "`proto/`" + ` by ` + "`make proto`" + `; do not edit. gRPC, package ` + "`mqadmin.v1`" + `.

| where | who |
|---|---|
| ` + "`admin.socket`" + `, a unix socket | root, the broker's user and ` + "`admin.socket.group`" + `, by the kernel's word: admins |
| ` + "`admin.listener`" + `, TLS 1.3 | a client certificate signed by ` + "`admin.cafile`" + ` whose organizational unit is a role, or an API key of the scope mgmt in the metadata ` + "`authorization: Bearer KEY`" + ` |

Every call needs a role, and each role includes those before it: viewer, operator, admin. The metadata ` + "`mqadmin-node: NAME`" + ` lets
another member answer. Errors carry a google.rpc.ErrorInfo with the domain ` + "`mqadmin`" + ` and a reason of [ErrorReason](#errorreason).
gRPC's reflection (for viewers) and health service are there.
`

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "apidoc:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	raw, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(raw, set); err != nil {
		return fmt.Errorf("reading the descriptors: %w", err)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return fmt.Errorf("reading the descriptors: %w", err)
	}
	d := &doc{w: bufio.NewWriter(out)}
	fmt.Fprint(d.w, intro)
	for _, f := range set.GetFile() { // in the order of their names
		fd, err := files.FindFileByPath(f.GetName())
		if err != nil {
			return err
		}
		if fd.Package() == "mqadmin.v1" {
			d.file(fd)
		}
	}
	return d.w.Flush()
}

type doc struct{ w *bufio.Writer }

func (d *doc) file(fd protoreflect.FileDescriptor) {
	for i := range fd.Services().Len() {
		d.service(fd.Services().Get(i))
	}
	if fd.Services().Len() == 0 {
		fmt.Fprintf(d.w, "\n## %s\n", fd.Path())
	}
	for i := range fd.Messages().Len() {
		d.message(fd.Messages().Get(i))
	}
	for i := range fd.Enums().Len() {
		d.enum(fd.Enums().Get(i))
	}
}

func (d *doc) service(sd protoreflect.ServiceDescriptor) {
	fmt.Fprintf(d.w, "\n## %s\n\n%s\n", sd.Name(), comment(sd))
	for i := range sd.Methods().Len() {
		m := sd.Methods().Get(i)
		role, _ := proto.GetExtension(m.Options(), pb.E_Role).(pb.Role)
		stream := ""
		if m.IsStreamingServer() {
			stream = "stream of "
		}
		fmt.Fprintf(d.w, "\n### %s.%s\n\n[%s](#%s) → %s[%s](#%s), role %s\n\n%s\n", sd.Name(), m.Name(),
			m.Input().Name(), anchor(m.Input()), stream, m.Output().Name(), anchor(m.Output()),
			strings.ToLower(strings.TrimPrefix(role.String(), "ROLE_")), comment(m))
	}
}

func (d *doc) message(md protoreflect.MessageDescriptor) {
	fmt.Fprintf(d.w, "\n#### %s\n\n%s\n", local(md), comment(md))
	if md.Fields().Len() > 0 {
		fmt.Fprint(d.w, "\n| field | type | |\n|---|---|---|\n")
	}
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		fmt.Fprintf(d.w, "| `%s` = %d | %s | %s |\n", f.Name(), f.Number(), typeOf(f), cell(comment(f)))
	}
	for i := range md.Messages().Len() {
		if m := md.Messages().Get(i); !m.IsMapEntry() {
			d.message(m)
		}
	}
	for i := range md.Enums().Len() {
		d.enum(md.Enums().Get(i))
	}
}

func (d *doc) enum(ed protoreflect.EnumDescriptor) {
	fmt.Fprintf(d.w, "\n#### %s\n\n%s\n\n| value | |\n|---|---|\n", local(ed), comment(ed))
	for i := range ed.Values().Len() {
		v := ed.Values().Get(i)
		fmt.Fprintf(d.w, "| `%s` = %d | %s |\n", v.Name(), v.Number(), cell(comment(v)))
	}
}

// typeOf names a field's type, with a link to one of ours.
func typeOf(f protoreflect.FieldDescriptor) string {
	if f.IsMap() {
		return "map of " + plainType(f.MapKey()) + " to " + plainType(f.MapValue())
	}
	name := plainType(f)
	switch {
	case f.IsList():
		return "repeated " + name
	case f.HasOptionalKeyword():
		return "optional " + name
	case f.ContainingOneof() != nil:
		return name + ", one of `" + string(f.ContainingOneof().Name()) + "`"
	}
	return name
}

func plainType(f protoreflect.FieldDescriptor) string {
	var t protoreflect.Descriptor
	switch {
	case f.Message() != nil:
		t = f.Message()
	case f.Enum() != nil:
		t = f.Enum()
	default:
		return f.Kind().String()
	}
	if t.ParentFile().Package() != "mqadmin.v1" {
		return string(t.FullName())
	}
	return "[" + local(t) + "](#" + anchor(t) + ")"
}

// local is the name without the package, Outer.Inner for a nested type.
func local(d protoreflect.Descriptor) string {
	return strings.TrimPrefix(string(d.FullName()), "mqadmin.v1.")
}

func anchor(d protoreflect.Descriptor) string {
	return strings.ToLower(strings.ReplaceAll(local(d), ".", ""))
}

// comment is what stands above the descriptor.
func comment(d protoreflect.Descriptor) string {
	text := d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "\n")
}

// cell puts a comment into one cell of a table.
func cell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}
