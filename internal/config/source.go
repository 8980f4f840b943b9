package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// Bounds of what is read: a configuration is written by hand.
const (
	maxFile     = 4 << 20
	maxIncludes = 16  // nested
	maxFiles    = 256 // in all
	maxValue    = 64 << 10
)

// Options say where the parser reads from besides the file itself. The zero
// value reads the real file system and no environment.
type Options struct {
	// ReadFile reads includes, $(<file) and files that must exist;
	// os.ReadFile when nil.
	ReadFile func(name string) ([]byte, error)
	// Glob expands include patterns; filepath.Glob when nil.
	Glob func(pattern string) ([]string, error)
	// Environ holds NAME=value pairs; BROKER_LISTENER__TCP__DEFAULT=… sets
	// listener.tcp.default. Usually os.Environ().
	Environ []string
	// Flags are settings given on the command line, by key (data_dir, …);
	// they win over the environment, which wins over the file.
	Flags map[string]string
}

func (o *Options) defaults() {
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	if o.Glob == nil {
		o.Glob = filepath.Glob
	}
}

// reader expands includes into one list of statements.
type reader struct {
	opts   *Options
	report *report
	files  int
	open   []string // files being read, outermost first
}

func (r *reader) file(name string, text []byte) []statement {
	r.files++
	r.open = append(r.open, filepath.Clean(name))
	defer func() { r.open = r.open[:len(r.open)-1] }()
	var out []statement
	for _, s := range lex(name, text, r.report) {
		if s.include {
			out = append(out, r.include(name, s)...)
			continue
		}
		out = append(out, s)
	}
	return out
}

// include reads what one include line names, in place.
func (r *reader) include(from string, s statement) []statement {
	path := s.value
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(from), path)
	}
	names := []string{path}
	pattern := strings.ContainsAny(s.value, "*?[")
	if pattern {
		var err error
		if names, err = r.opts.Glob(path); err != nil {
			r.report.add(s.valueAt, "include %s: %v", s.value, err)
			return nil
		}
		sort.Strings(names)
	}
	var out []statement
	for _, name := range names {
		if slices.Contains(r.open, filepath.Clean(name)) {
			r.report.add(s.valueAt, "include %s: file includes itself", name)
			continue
		}
		if len(r.open) >= maxIncludes || r.files >= maxFiles {
			r.report.add(s.valueAt, "include %s: too many includes; at most %d nested and %d in all", name, maxIncludes, maxFiles)
			return out
		}
		text, err := r.read(name)
		if err != nil {
			r.report.add(s.valueAt, "include %s: %v", s.value, err)
			continue
		}
		out = append(out, r.file(name, text)...)
	}
	return out
}

func (r *reader) read(name string) ([]byte, error) {
	text, err := r.opts.ReadFile(name)
	if err != nil {
		return nil, describeRead(name, err)
	}
	if len(text) > maxFile {
		return nil, errors.New("file " + name + " is over 4 MiB")
	}
	return text, nil
}

// describeRead says what is wrong with a file in words for the operator.
func describeRead(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("no such file: " + name)
	case errors.Is(err, fs.ErrPermission):
		return errors.New("no permission to read " + name)
	default:
		return err
	}
}

// substitution replaces $(key) and $(<file) in values.
type substitution struct {
	reader *reader
	raw    map[string]*entry // by canonical key
	active []string          // keys being expanded
}

// expand returns the value of e with references replaced; false after an error.
func (s *substitution) expand(e *entry) (string, bool) {
	if e.expanded {
		return e.value, !e.bad
	}
	e.expanded = true
	if e.at.Kind != FromFile || !strings.Contains(e.value, "$(") {
		return e.value, true
	}
	var b strings.Builder
	rest := e.value
	for {
		i := strings.Index(rest, "$(")
		if i < 0 {
			break
		}
		b.WriteString(rest[:i])
		end := strings.IndexByte(rest[i:], ')')
		if end < 0 {
			s.reader.report.add(e.valueAt, "%s: $( is not closed; expected $(key) or $(<file)", e.key)
			e.bad = true
			return "", false
		}
		text, ok := s.reference(e, rest[i+2:i+end])
		if !ok || b.Len()+len(text) > maxValue {
			if ok {
				s.reader.report.add(e.valueAt, "%s: value is over 64 KiB after substitution", e.key)
			}
			e.bad = true
			return "", false
		}
		b.WriteString(text)
		rest = rest[i+end+1:]
	}
	b.WriteString(rest)
	e.value = b.String()
	return e.value, true
}

func (s *substitution) reference(e *entry, ref string) (string, bool) {
	if path, ok := strings.CutPrefix(ref, "<"); ok {
		path = strings.TrimSpace(path)
		if !filepath.IsAbs(path) && e.valueAt.File != "" {
			path = filepath.Join(filepath.Dir(e.valueAt.File), path)
		}
		text, err := s.reader.read(path)
		if err != nil {
			s.reader.report.add(e.valueAt, "%s: $(<%s): %v", e.key, path, err)
			return "", false
		}
		e.secret = true
		return strings.TrimRight(string(text), "\r\n"), true
	}
	key := canonicalKey(strings.TrimSpace(ref))
	if slices.Contains(s.active, key) || key == e.key {
		s.reader.report.add(e.valueAt, "%s: $(%s) refers to itself", e.key, ref)
		return "", false
	}
	target, ok := s.raw[key]
	if !ok {
		set, known := lookup(key)
		if !known {
			s.reader.report.add(e.valueAt, "%s: $(%s): unknown setting%s", e.key, ref, didYouMean(key))
			return "", false
		}
		if set.Default == "" {
			s.reader.report.add(e.valueAt, "%s: $(%s): the setting has no value", e.key, ref)
			return "", false
		}
		return set.Default, true
	}
	s.active = append(s.active, e.key)
	defer func() { s.active = s.active[:len(s.active)-1] }()
	text, ok := s.expand(target)
	e.secret = e.secret || target.secret || target.set.Secret
	return text, ok
}
