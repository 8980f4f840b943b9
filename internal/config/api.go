// Package config knows every setting of the broker: one table feeds the
// parser of the `key = value` file, validation, `chkconfig`, `config
// effective`, `config describe`, completion and docs/configuration.md, so
// that none of them can disagree.
package config

import (
	"io"
	"time"
)

// Infinity is what Int and Bytes return for the word "infinity".
const Infinity = 1<<63 - 1

// Never is what Duration returns for the words "never", "client" and
// "infinity": no limit.
const Never time.Duration = 1<<63 - 1

// Options say where the parser reads from besides the file itself. The zero
// value reads the real file system and no environment.
type Options struct {
	// ReadFile reads includes and $(<file); os.ReadFile when nil.
	ReadFile func(name string) ([]byte, error)
	// Glob expands include patterns; filepath.Glob when nil.
	Glob func(pattern string) ([]string, error)
	// Environ holds NAME=value pairs; BROKER_LISTENER__TCP__DEFAULT=… sets
	// listener.tcp.default. Usually os.Environ().
	Environ []string
	// Flags are settings given on the command line, by key; they win over
	// the environment, which wins over the file.
	Flags map[string]string
}

// Config is one checked set of settings. It is immutable.
type Config struct{}

// Default returns the configuration without a file: directories under
// ./data, MQTT on 127.0.0.1:1883, cluster port on 127.0.0.1:44053, HTTP on
// 127.0.0.1:8888.
func Default(o Options) (*Config, error) { return &Config{}, nil }

// Load reads the file at path and what it includes. All errors of a file come
// together, as Errors.
func Load(path string, o Options) (*Config, error) { return &Config{}, nil }

// Parse is Load on text; name stands in error messages and is what includes
// are relative to.
func Parse(name string, text []byte, o Options) (*Config, error) { return &Config{}, nil }

// Flag returns an on/off setting. Like all getters it panics on a key that is
// not in the table or has another type: that is a programming error.
func (c *Config) Flag(key string) bool { return false }

// Int returns an integer; Infinity for "infinity".
func (c *Config) Int(key string) int { return 0 }

// Bytes returns a size in bytes; Infinity for "infinity".
func (c *Config) Bytes(key string) int64 { return 0 }

// Duration returns a time span; Never for "never", "client" and "infinity".
func (c *Config) Duration(key string) time.Duration { return 0 }

// String returns a string, path, address or any setting as its text.
func (c *Config) String(key string) string { return "" }

// Enum returns one word out of the setting's list.
func (c *Config) Enum(key string) string { return "" }

// List returns the elements of a list.
func (c *Config) List(key string) []string { return nil }

// Origin says where the value of key comes from.
func (c *Config) Origin(key string) Origin { return Origin{} }

// IsSet reports whether the file, environment or command line gave key.
func (c *Config) IsSet(key string) bool { return false }

// Listeners returns every configured listener with its options resolved,
// sorted by type and name.
func (c *Config) Listeners() []Listener { return nil }

// Warnings returns what the operator should read at start.
func (c *Config) Warnings() []Warning { return nil }

// Effective writes sorted `key = value` lines, secrets redacted.
func (c *Config) Effective(w io.Writer) error { return nil }

// Describe returns the documentation of a setting as text.
func Describe(key string) (string, error) { return "", nil }

// Keys returns every key pattern, sorted.
func Keys() []string { return nil }

// Markdown returns docs/configuration.md.
func Markdown() string { return "" }

// Origin says where a value comes from; String gives "default",
// "file:line", "environment BROKER_X" or "command line".
type Origin struct {
	Kind   OriginKind
	File   string
	Line   int
	Column int
	Name   string // environment variable
}

// OriginKind is the kind of place a value comes from.
type OriginKind uint8

// The kinds of origins, weakest first.
const (
	FromDefault OriginKind = iota
	FromFile
	FromEnvironment
	FromFlag
)

// Warning is about a setting that was given but does nothing (yet).
type Warning struct {
	Key    string
	Origin Origin
	Text   string
}

// Listener is one listener with its options resolved: those of the name, else
// of the type, else of all listeners, else the default.
type Listener struct {
	Type    string // tcp ssl ws wss http https vmq vmqs
	Name    string
	Network string // "tcp" or "unix"
	Address string // host:port or path
	Origin  Origin

	MaxConnections          int // Infinity: no limit
	NrOfAcceptors           int
	MaxConnectionLifetime   time.Duration // 0: for ever
	Mountpoint              string
	AllowedProtocolVersions []byte
	AllowAnonymousOverride  bool
	ProxyProtocol           bool
	ProxyProtocolUseCN      bool // user name := CN of the PROXY v2 header
	BufferSizes             BufferSizes
	TLS                     *TLS // nil on plain listeners
	HTTPModules             []string
	MaxRequestLineLength    int
	MaxHeaderValueLength    int
}

// BufferSizes of a socket in bytes; 0 leaves the system's default.
type BufferSizes struct{ Send, Receive, User int }

// TLS holds the files and rules of a TLS listener.
type TLS struct {
	CAFile, CertFile, KeyFile, CRLFile string
	KeyPassword                        string
	MinVersion, MaxVersion             uint16 // tls.VersionTLS12 …
	Ciphers                            []string
	Curves                             []string
	Depth                              int
	RequireCertificate                 bool
	UseIdentityAsUsername              bool
	HandshakeTimeout                   time.Duration
}
