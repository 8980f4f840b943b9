package admin

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/apikey"
)

// ErrorDomain is the domain of every google.rpc.ErrorInfo sent from here.
const ErrorDomain = "mqadmin"

// Reason tells machines why a call failed; the comments in error_reason.proto
// name the metadata of each.
type Reason = pb.ErrorReason

// Error is a failure that a caller can act on.
type Error struct {
	Reason Reason
	// Message is one sentence without full stop that names the thing; when
	// empty, Err's text is used.
	Message string
	// Metadata fills in the hint that mqadmin prints.
	Metadata map[string]string
	// Err is the cause; it is not shown unless Message is empty.
	Err error
}

// NewError returns an Error with metadata given as name, value, name, value.
func NewError(reason Reason, msg string, metadata ...string) *Error {
	e := &Error{Reason: reason, Message: msg}
	for i := 0; i+1 < len(metadata); i += 2 {
		if e.Metadata == nil {
			e.Metadata = map[string]string{}
		}
		e.Metadata[metadata[i]] = metadata[i+1]
	}
	return e
}

// Error returns the message.
func (e *Error) Error() string {
	if e.Message == "" && e.Err != nil {
		return e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrorMapping gives a sentinel error of a lower package its reason.
type ErrorMapping struct {
	Err    error
	Reason Reason
}

// keyErrors gives those of package apikey their reasons.
func keyErrors() []ErrorMapping {
	return []ErrorMapping{
		{apikey.ErrUnknown, pb.ErrorReason_ERROR_REASON_API_KEY_UNKNOWN},
		{apikey.ErrExists, pb.ErrorReason_ERROR_REASON_API_KEY_EXISTS},
		{apikey.ErrInvalid, pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT},
		{apikey.ErrFull, pb.ErrorReason_ERROR_REASON_LIMIT_REACHED},
	}
}

// reasonCodes is the one table from domain error to status code. A reason that
// is missing here is a programming error, found by a test.
var reasonCodes = map[Reason]codes.Code{
	pb.ErrorReason_ERROR_REASON_INTERNAL:          codes.Internal,
	pb.ErrorReason_ERROR_REASON_MISSING_ARGUMENT:  codes.InvalidArgument,
	pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT:  codes.InvalidArgument,
	pb.ErrorReason_ERROR_REASON_UNKNOWN_FIELD:     codes.InvalidArgument,
	pb.ErrorReason_ERROR_REASON_LIMIT_REACHED:     codes.ResourceExhausted,
	pb.ErrorReason_ERROR_REASON_TIMEOUT:           codes.DeadlineExceeded,
	pb.ErrorReason_ERROR_REASON_NOT_AUTHENTICATED: codes.Unauthenticated,
	pb.ErrorReason_ERROR_REASON_ROLE_TOO_LOW:      codes.PermissionDenied,
	pb.ErrorReason_ERROR_REASON_LOGIN_LIMITED:     codes.Unauthenticated,
	pb.ErrorReason_ERROR_REASON_API_KEY_UNKNOWN:   codes.NotFound,
	pb.ErrorReason_ERROR_REASON_API_KEY_EXISTS:    codes.AlreadyExists,
	pb.ErrorReason_ERROR_REASON_AUDIT_OFF:         codes.FailedPrecondition,
	pb.ErrorReason_ERROR_REASON_NO_QUORUM:         codes.Unavailable,
	pb.ErrorReason_ERROR_REASON_NO_LEADER:         codes.Unavailable,
	pb.ErrorReason_ERROR_REASON_NOT_READY:         codes.Unavailable,
	pb.ErrorReason_ERROR_REASON_SHUTTING_DOWN:     codes.Unavailable,
	pb.ErrorReason_ERROR_REASON_NODE_UNKNOWN:      codes.NotFound,
	pb.ErrorReason_ERROR_REASON_NODE_UNREACHABLE:  codes.FailedPrecondition,
	pb.ErrorReason_ERROR_REASON_SELF_JOIN:         codes.FailedPrecondition,
	pb.ErrorReason_ERROR_REASON_ALREADY_MEMBER:    codes.AlreadyExists,
	pb.ErrorReason_ERROR_REASON_HAS_MEMBERS:       codes.FailedPrecondition,
	pb.ErrorReason_ERROR_REASON_COOKIE_MISMATCH:   codes.FailedPrecondition,
	pb.ErrorReason_ERROR_REASON_VERSION_MISMATCH:  codes.FailedPrecondition,
	pb.ErrorReason_ERROR_REASON_NAME_TAKEN:        codes.AlreadyExists,
	pb.ErrorReason_ERROR_REASON_RISK_NOT_ACCEPTED: codes.FailedPrecondition,
	pb.ErrorReason_ERROR_REASON_LAST_NODE:         codes.FailedPrecondition,
	pb.ErrorReason_ERROR_REASON_OPERATION_RUNNING: codes.Aborted,
	pb.ErrorReason_ERROR_REASON_SESSIONS_ONLINE:   codes.FailedPrecondition,
	pb.ErrorReason_ERROR_REASON_DIVERGED:          codes.FailedPrecondition,
	pb.ErrorReason_ERROR_REASON_BAD_NODE_NAME:     codes.InvalidArgument,
	pb.ErrorReason_ERROR_REASON_NODE_DOWN:         codes.Unavailable,
	pb.ErrorReason_ERROR_REASON_SESSION_UNKNOWN:   codes.NotFound,

	pb.ErrorReason_ERROR_REASON_SETTING_UNKNOWN:       codes.InvalidArgument,
	pb.ErrorReason_ERROR_REASON_SETTING_NEEDS_RESTART: codes.FailedPrecondition,
	pb.ErrorReason_ERROR_REASON_LISTENER_UNKNOWN:      codes.NotFound,
	pb.ErrorReason_ERROR_REASON_LISTENER_EXISTS:       codes.AlreadyExists,
	pb.ErrorReason_ERROR_REASON_LISTENER_FAILED:       codes.FailedPrecondition,
	pb.ErrorReason_ERROR_REASON_PLUGIN_UNKNOWN:        codes.NotFound,
	pb.ErrorReason_ERROR_REASON_TRACE_RUNNING:         codes.Aborted,
	pb.ErrorReason_ERROR_REASON_LOGGER_UNKNOWN:        codes.NotFound,

	pb.ErrorReason_ERROR_REASON_SUBSCRIPTION_UNKNOWN: codes.NotFound,
}

// reasonName is the reason as it stands in an ErrorInfo.
func reasonName(r Reason) string { return strings.TrimPrefix(r.String(), "ERROR_REASON_") }

// toStatus turns an error of a service into the one that goes on the wire.
func (s *Server) toStatus(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = s.classify(err)
	}
	if e == nil { // a status from elsewhere, of a peer for instance
		return err
	}
	code, ok := reasonCodes[e.Reason]
	if !ok {
		code = codes.Unknown
	}
	st := status.New(code, e.Error())
	info := &errdetails.ErrorInfo{Reason: reasonName(e.Reason), Domain: ErrorDomain, Metadata: e.Metadata}
	if detailed, err := st.WithDetails(info); err == nil {
		st = detailed
	}
	return st.Err()
}

// classify finds the reason of an error that is no *Error; nil when err is a
// status already.
func (s *Server) classify(err error) *Error {
	for _, m := range append(keyErrors(), s.cfg.Errors...) {
		if errors.Is(err, m.Err) {
			return &Error{Reason: m.Reason, Err: err}
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Reason: pb.ErrorReason_ERROR_REASON_TIMEOUT, Err: err}
	case errors.Is(err, context.Canceled):
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return nil
	}
	return &Error{Reason: pb.ErrorReason_ERROR_REASON_INTERNAL, Err: err}
}
