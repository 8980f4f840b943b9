package admin

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// Defaults of the lists, as in vmq-admin, and the most rows that are kept in
// memory to be ordered.
const (
	defaultLimit      = 100
	defaultRowTimeout = 100 * time.Millisecond
	maxOrdered        = 10_000
)

// schema is what the rows of a list have.
type schema struct {
	noun     string // what they are, in the plural
	row      protoreflect.MessageType
	defaults []string // fields that are sent when none are asked for
	keys     []string // fields by which rows are ordered
	// detail tells of a field whether it has to be read for a row; nil: none has.
	detail func(field string) bool
	// unsorted: what the rows are made of is not in the order of the keys.
	unsorted bool
}

func (s *schema) field(name string) (protoreflect.FieldDescriptor, error) {
	if fd := s.row.Descriptor().Fields().ByName(protoreflect.Name(name)); fd != nil {
		return fd, nil
	}
	return nil, NewError(pb.ErrorReason_ERROR_REASON_UNKNOWN_FIELD, fmt.Sprintf("%s have no field %q", s.noun, name), "field", name)
}

// request is what the requests of all lists have in common.
type request interface {
	GetFields() []string
	GetFilters() []*pb.Filter
	GetLimit() uint32
	GetOrderBy() []*pb.Order
	GetPageToken() string
}

// query is a checked request.
type query struct {
	schema *schema
	asked  []string                       // fields that are sent
	filled []string                       // those, and what filters and order need
	base   []filter                       // on what a row has anyway
	detail []filter                       // on what has to be read for it
	strip  []protoreflect.FieldDescriptor // filled and not asked for
	order  []orderKey                     // fields by which rows are ordered, then the keys
	sorted bool                           // by other fields than the keys
	limit  uint64
	after  *position // rows up to there are those of former pages
}

type orderKey struct {
	fd         protoreflect.FieldDescriptor
	descending bool
}

func newQuery(s *schema, req request) (*query, error) {
	q := &query{schema: s, limit: cmp.Or(uint64(req.GetLimit()), defaultLimit), sorted: s.unsorted || len(req.GetOrderBy()) > 0}
	if q.asked = req.GetFields(); len(q.asked) == 0 {
		q.asked = s.defaults
	}
	q.filled = slices.Concat(q.asked, s.keys)
	for _, f := range req.GetFilters() {
		if err := q.addFilter(f); err != nil {
			return nil, err
		}
		q.filled = append(q.filled, f.GetField())
	}
	if q.sorted {
		q.limit = min(q.limit, maxOrdered)
	}
	for _, o := range req.GetOrderBy() {
		fd, err := s.field(o.GetField())
		if err != nil {
			return nil, err
		}
		q.order = append(q.order, orderKey{fd, o.GetDescending()})
		q.filled = append(q.filled, o.GetField())
	}
	for _, k := range s.keys {
		q.order = append(q.order, orderKey{fd: s.row.Descriptor().Fields().ByName(protoreflect.Name(k))})
	}
	slices.Sort(q.filled)
	q.filled = slices.Compact(q.filled)
	for _, name := range q.filled {
		fd, err := s.field(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(q.asked, name) {
			q.strip = append(q.strip, fd)
		}
	}
	var err error
	q.after, err = q.parseToken(req)
	return q, err
}

// compare orders rows: absent values last, in either direction.
func (q *query) compare(a, b proto.Message) int {
	x, y := a.ProtoReflect(), b.ProtoReflect()
	for _, k := range q.order {
		hasX, hasY := x.Has(k.fd), y.Has(k.fd)
		c := 0
		switch {
		case hasX && hasY:
			if c = compareValues(k.fd.Kind(), x.Get(k.fd), y.Get(k.fd)); k.descending {
				c = -c
			}
		case hasX:
			c = -1
		case hasY:
			c = 1
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// compareValues orders two values of one kind, false before true.
func compareValues(kind protoreflect.Kind, a, b protoreflect.Value) int {
	switch kind {
	case protoreflect.BoolKind:
		switch {
		case a.Bool() == b.Bool():
			return 0
		case b.Bool():
			return -1
		}
		return 1
	case protoreflect.Int64Kind:
		return cmp.Compare(a.Int(), b.Int())
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return cmp.Compare(a.Uint(), b.Uint())
	case protoreflect.BytesKind:
		return bytes.Compare(a.Bytes(), b.Bytes())
	default:
		return cmp.Compare(a.String(), b.String())
	}
}

// filter is one condition. absent is its answer for a field without a value.
type filter struct {
	fd     protoreflect.FieldDescriptor
	match  func(protoreflect.Value) bool
	absent bool
}

// comparisons says which results of a comparison satisfy an operator.
var comparisons = map[pb.Filter_Operator]func(int) bool{
	pb.Filter_OPERATOR_EQUAL:            func(c int) bool { return c == 0 },
	pb.Filter_OPERATOR_NOT_EQUAL:        func(c int) bool { return c != 0 },
	pb.Filter_OPERATOR_LESS:             func(c int) bool { return c < 0 },
	pb.Filter_OPERATOR_LESS_OR_EQUAL:    func(c int) bool { return c <= 0 },
	pb.Filter_OPERATOR_GREATER:          func(c int) bool { return c > 0 },
	pb.Filter_OPERATOR_GREATER_OR_EQUAL: func(c int) bool { return c >= 0 },
}

func (q *query) addFilter(f *pb.Filter) error {
	fd, err := q.schema.field(f.GetField())
	if err != nil {
		return err
	}
	out := filter{fd: fd}
	switch op := f.GetOperator(); op {
	case pb.Filter_OPERATOR_MATCH, pb.Filter_OPERATOR_NOT_MATCH:
		re, err := regexp.Compile(f.GetValue())
		if err != nil {
			return badFilter(f.GetField(), f.GetValue(), "is no regular expression: "+err.Error())
		}
		out.absent = op == pb.Filter_OPERATOR_NOT_MATCH
		out.match = func(v protoreflect.Value) bool { return re.MatchString(valueText(v)) != out.absent }
	default:
		satisfied, ok := comparisons[op]
		if !ok {
			return badFilter(f.GetField(), f.GetValue(), "has no operator")
		}
		want, err := parseValue(fd, f.GetValue())
		if err != nil {
			return err
		}
		out.absent = op == pb.Filter_OPERATOR_NOT_EQUAL
		out.match = func(v protoreflect.Value) bool { return satisfied(compareValues(fd.Kind(), v, want)) }
	}
	if q.schema.detail != nil && q.schema.detail(f.GetField()) {
		q.detail = append(q.detail, out)
	} else {
		q.base = append(q.base, out)
	}
	return nil
}

func badFilter(field, value, why string) *Error {
	return NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT,
		fmt.Sprintf("filter on %s: %q %s", field, value, why), "argument", field, "value", value)
}

// parseValue reads what a field is compared with as the field's type, so that
// port 01883 is 1883.
func parseValue(fd protoreflect.FieldDescriptor, s string) (v protoreflect.Value, err error) {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return v, badFilter(string(fd.Name()), s, "is neither true nor false")
		}
		return protoreflect.ValueOfBool(b), nil
	case protoreflect.Int64Kind:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return v, badFilter(string(fd.Name()), s, "is no integer")
		}
		return protoreflect.ValueOfInt64(n), nil
	case protoreflect.Uint32Kind:
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return v, badFilter(string(fd.Name()), s, "is no integer")
		}
		return protoreflect.ValueOfUint32(uint32(n)), nil
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(s)), nil
	default:
		return protoreflect.ValueOfString(s), nil
	}
}

func valueText(v protoreflect.Value) string {
	if b, ok := v.Interface().([]byte); ok {
		return string(b)
	}
	return v.String()
}

func pass(filters []filter, row proto.Message) bool {
	if len(filters) == 0 {
		return true
	}
	m := row.ProtoReflect()
	for _, f := range filters {
		if !m.Has(f.fd) {
			if !f.absent {
				return false
			}
		} else if !f.match(m.Get(f.fd)) {
			return false
		}
	}
	return true
}

// equals returns the value that a text field must have, if a filter says so.
func equals(req request, field string) *string {
	for _, f := range req.GetFilters() {
		if f.GetField() == field && f.GetOperator() == pb.Filter_OPERATOR_EQUAL {
			return new(f.GetValue())
		}
	}
	return nil
}

// accept returns a func that tells of a text field's value whether all filters
// on that field pass; nil when there are none. What it refuses needs no row.
func (q *query) accept(field string) func(string) bool {
	var of []filter
	for _, f := range q.base {
		if string(f.fd.Name()) == field {
			of = append(of, f)
		}
	}
	if of == nil {
		return nil
	}
	return func(s string) bool {
		v := protoreflect.ValueOfString(s)
		return !slices.ContainsFunc(of, func(f filter) bool { return !f.match(v) })
	}
}
