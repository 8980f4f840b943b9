package admin

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// Defaults of session show, as in vmq-admin.
const (
	defaultLimit      = 100
	defaultRowTimeout = 100 * time.Millisecond
)

// Fields are sent when none are asked for; rows are ordered by the key fields.
var (
	defaultFields = []string{"client_id", "is_online", "mountpoint", "peer_host", "peer_port", "user"}
	keyFields     = []string{"mountpoint", "client_id", "node"}
)

// query is a checked ShowSessionsRequest.
type query struct {
	fill       []fill                         // for the fields asked for, filters and the sort key
	base       []filter                       // on the session itself, before anything is read for it
	detail     []filter                       // on its subscriptions and messages
	strip      []protoreflect.FieldDescriptor // filled and not asked for
	needs      group                          // groups of the fields above
	limit      uint64
	rowTimeout time.Duration
	localOnly  bool
	scope      Scope
	remote     *pb.ShowSessionsRequest // what the other members are asked
}

func newQuery(req *pb.ShowSessionsRequest) (*query, error) {
	q := &query{limit: uint64(req.GetLimit()), rowTimeout: defaultRowTimeout, localOnly: req.GetLocalOnly()}
	if q.limit == 0 {
		q.limit = defaultLimit
	}
	if d := req.GetRowTimeout(); d != nil {
		if q.rowTimeout = d.AsDuration(); q.rowTimeout <= 0 {
			return nil, NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, "the row timeout must be positive", "argument", "rowtimeout")
		}
	}
	asked := req.GetFields()
	if len(asked) == 0 {
		asked = defaultFields
	}
	for _, f := range req.GetFilters() {
		if err := q.addFilter(f); err != nil {
			return nil, err
		}
	}
	filled := slices.Concat(asked, keyFields)
	for _, f := range req.GetFilters() {
		filled = append(filled, f.GetField())
	}
	slices.Sort(filled)
	descriptors := (*pb.SessionRow)(nil).ProtoReflect().Descriptor().Fields()
	for _, name := range slices.Compact(filled) {
		f, ok := rowFields[name]
		if !ok {
			return nil, unknownField(name)
		}
		q.fill = append(q.fill, f.fill)
		q.needs |= f.group
		if !slices.Contains(asked, name) {
			q.strip = append(q.strip, descriptors.ByName(protoreflect.Name(name)))
		}
	}
	q.remote = proto.CloneOf(req)
	q.remote.Fields = slices.Compact(slices.Sorted(slices.Values(slices.Concat(asked, keyFields))))
	q.remote.LocalOnly = true
	return q, nil
}

func unknownField(name string) *Error {
	return NewError(pb.ErrorReason_ERROR_REASON_UNKNOWN_FIELD, fmt.Sprintf("sessions have no field %q", name), "field", name)
}

// filter is one condition; it fails on an absent field.
type filter struct {
	fd    protoreflect.FieldDescriptor
	match func(protoreflect.Value) bool
}

func (q *query) addFilter(f *pb.SessionFilter) error {
	known, ok := rowFields[f.GetField()]
	if !ok {
		return unknownField(f.GetField())
	}
	out := filter{fd: (*pb.SessionRow)(nil).ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(f.GetField()))}
	switch f.GetOperator() {
	case pb.SessionFilter_OPERATOR_EQUAL:
		want, err := parseValue(out.fd, f.GetValue())
		if err != nil {
			return err
		}
		out.match = want
		value := f.GetValue()
		switch f.GetField() {
		case "client_id":
			q.scope.ClientID = &value
		case "mountpoint":
			q.scope.Mountpoint = &value
		}
	case pb.SessionFilter_OPERATOR_MATCH:
		re, err := regexp.Compile(f.GetValue())
		if err != nil {
			return badFilter(f.GetField(), f.GetValue(), "is no regular expression: "+err.Error())
		}
		out.match = func(v protoreflect.Value) bool { return re.MatchString(valueText(v)) }
	default:
		return badFilter(f.GetField(), f.GetValue(), "has no operator")
	}
	if known.group == ofSession {
		q.base = append(q.base, out)
	} else {
		q.detail = append(q.detail, out)
	}
	return nil
}

func badFilter(field, value, why string) *Error {
	return NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT,
		fmt.Sprintf("filter on %s: %q %s", field, value, why), "argument", field, "value", value)
}

// parseValue compares as the field's type does, so that port 01883 is 1883.
func parseValue(fd protoreflect.FieldDescriptor, s string) (func(protoreflect.Value) bool, error) {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		want, err := strconv.ParseBool(s)
		if err != nil {
			return nil, badFilter(string(fd.Name()), s, "is neither true nor false")
		}
		return func(v protoreflect.Value) bool { return v.Bool() == want }, nil
	case protoreflect.Int64Kind:
		want, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, badFilter(string(fd.Name()), s, "is no integer")
		}
		return func(v protoreflect.Value) bool { return v.Int() == want }, nil
	case protoreflect.Uint32Kind:
		want, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return nil, badFilter(string(fd.Name()), s, "is no integer")
		}
		return func(v protoreflect.Value) bool { return v.Uint() == want }, nil
	default: // string, bytes
		return func(v protoreflect.Value) bool { return valueText(v) == s }, nil
	}
}

func valueText(v protoreflect.Value) string {
	if b, ok := v.Interface().([]byte); ok {
		return string(b)
	}
	return v.String()
}

func pass(filters []filter, row *pb.SessionRow) bool {
	m := row.ProtoReflect()
	for _, f := range filters {
		if !m.Has(f.fd) || !f.match(m.Get(f.fd)) {
			return false
		}
	}
	return true
}
