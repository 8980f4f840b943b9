package config

import (
	"fmt"
	"log/slog"

	"github.com/mqadmin/mqadmin/internal/logging"
)

// Logging returns the log.* settings in the shape that logging.New takes.
// Standard output is left to the caller.
func (c *Config) Logging() (logging.Options, error) {
	level, err := logging.ParseLevel(c.Enum("log.console.level"))
	if err != nil {
		return logging.Options{}, fmt.Errorf("log.console.level: %w", err)
	}
	lowest, err := logging.ParseLevel(c.Enum("log.level"))
	if err != nil {
		return logging.Options{}, fmt.Errorf("log.level: %w", err)
	}
	o := logging.Options{
		Console:         c.Enum("log.console"),
		Level:           max(level, lowest),
		ConsoleFormat:   c.Enum("log.console.console.format"),
		ConsoleFile:     c.logFile("console"),
		Error:           c.Flag("log.error"),
		ErrorFile:       c.logFile("error"),
		Crash:           c.Flag("log.crash"),
		CrashFile:       c.logFile("crash"),
		CrashMaxMessage: c.Bytes("log.crash.maximum_message_size"),
	}
	o.ConsoleFile.Format = c.Enum("log.console.file.format")
	o.ErrorFile.Format = c.Enum("log.error.file.format")
	o.CrashFile.Schedule = c.String("log.crash.rotation")
	if c.Flag("log.syslog") {
		if err := c.syslog(&o.Syslog, lowest); err != nil {
			return logging.Options{}, err
		}
	}
	if !c.IsSet("log.crash.rotation.size") {
		o.CrashFile.Size = limit(c.Bytes("log.crash.size"))
	}
	return o, nil
}

// AuditFile returns the file of the audit log; false when there is to be none.
func (c *Config) AuditFile() (logging.File, bool) { return c.logFile("audit"), c.Flag("log.audit") }

// syslog is log.syslog.*; Dial is left to the caller.
func (c *Config) syslog(s *logging.Syslog, lowest slog.Level) error {
	level, err := logging.ParseLevel(c.Enum("log.syslog.level"))
	if err != nil {
		return fmt.Errorf("log.syslog.level: %w", err)
	}
	facility, err := logging.ParseFacility(c.Enum("log.syslog.facility"))
	if err != nil {
		return fmt.Errorf("log.syslog.facility: %w", err)
	}
	protocol := c.Enum("log.syslog.remote.protocol")
	*s = logging.Syslog{
		RFC5424: c.Enum("log.syslog.format") == "rfc5424", Level: max(level, lowest), Facility: facility, App: c.String("log.syslog.app_name"),
		Stream: c.String("log.syslog.remote.host") != "" && protocol != "udp", MaxPending: c.Int("log.syslog.max_pending"),
	}
	return nil
}

func (c *Config) logFile(name string) logging.File {
	return logging.File{
		Path:     c.String("log." + name + ".file"),
		Size:     limit(c.Bytes("log." + name + ".rotation.size")),
		Keep:     c.Int("log." + name + ".rotation.keep"),
		Compress: c.Flag("log." + name + ".rotation.compress_on_rotate"),
	}
}

// limit turns Infinity into logging's 0: never.
func limit(size int64) int64 {
	if size == Infinity {
		return 0
	}
	return size
}
