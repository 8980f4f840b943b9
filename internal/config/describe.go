package config

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// redacted stands for a secret that has a value.
const redacted = "<redacted>"

// Show returns the value of key as a person may see it: as in the file, but
// without secrets.
func (c *Config) Show(key string) string {
	s, _, e := c.value(key)
	text := c.String(key)
	if text != "" && (s.Secret || e != nil && e.secret) {
		return redacted
	}
	return text
}

// Effective writes sorted `key = value` lines: every setting that has a
// value, secrets redacted. Settings without effect appear only if they were
// given.
func (c *Config) Effective(w io.Writer) error {
	b := bufio.NewWriter(w)
	for _, key := range c.Keys() {
		fmt.Fprintf(b, "%s = %s\n", key, quote(c.Show(key)))
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("writing settings: %w", err)
	}
	return nil
}

// Keys returns what Effective writes: every setting that has a value, sorted.
func (c *Config) Keys() []string {
	keys := map[string]bool{}
	for key := range c.entries {
		keys[key] = true
	}
	for _, s := range settings().all {
		if names(s.words) == 0 && s.Default != "" && s.Status == Works && !c.idle(s) {
			keys[s.Key] = true
		}
	}
	return sortedKeys(keys)
}

// idle reports an option of a type of listener of which there is none.
func (c *Config) idle(s *Setting) bool {
	if s.words[0] != "listener" || len(s.words) < 3 {
		return false
	}
	return !slices.ContainsFunc(c.listeners, func(l Listener) bool { return l.Type == s.words[1] })
}

// quote writes a value so that the parser reads the same text again.
func quote(text string) string {
	switch {
	case strings.ContainsAny(text, "\n'"):
		return "'''" + text + "'''"
	case text == "", strings.Contains(text, "#"), text != strings.TrimSpace(text):
		return "'" + text + "'"
	default:
		return text
	}
}

// Describe returns the documentation of a setting as text.
func Describe(key string) (string, error) {
	key = canonicalKey(key)
	s, ok := lookup(key)
	if !ok {
		return "", unknown(key)
	}
	var b strings.Builder
	b.WriteString(s.Key + "\n")
	b.WriteString(wrap(s.Doc, "  "))
	field := func(name, text string) {
		if text != "" {
			b.WriteString(wrap(fmt.Sprintf("%-9s %s", name+":", text), "  "))
		}
	}
	field("Accepts", s.Accepts())
	field("Default", s.Default)
	field("Else", s.Inherits)
	field("Alias", strings.Join(s.Aliases, ", "))
	field("Changes", s.changes())
	field("Since", s.Since)
	field("Status", s.status())
	return b.String(), nil
}

// Describe returns the documentation of a setting and what it is set to.
func (c *Config) Describe(key string) (string, error) {
	text, err := Describe(key)
	if err != nil {
		return "", err
	}
	if s, _ := lookup(canonicalKey(key)); names(s.words) > 0 && strings.Contains(key, "$") {
		return text, nil
	}
	return text + fmt.Sprintf("  %-9s %s (%s)\n", "Value:", quote(c.Show(key)), c.Origin(key)), nil
}

func (s *Setting) changes() string {
	switch {
	case s.Connect:
		return "at run time, for connections made from then on, or at a restart"
	case s.Runtime:
		return "at run time, or at a restart"
	}
	return "at a restart"
}

func (s *Setting) status() string {
	text := s.Status.String()
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	if s.Needs != "" {
		text += " (read only while " + s.Needs + " is on)"
	}
	return text
}

// wrap breaks text into lines of 78 characters, each after indent.
func wrap(text, indent string) string {
	const width = 78
	var b strings.Builder
	line := indent
	for i, word := range strings.Split(text, " ") {
		if i > 0 && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = indent
		} else if i > 0 {
			line += " "
		}
		line += word
	}
	b.WriteString(line + "\n")
	return b.String()
}

// Markdown returns docs/configuration.md, generated from the table.
func Markdown() string {
	var b strings.Builder
	b.WriteString(markdownHead)
	for _, title := range areaTitles() {
		fmt.Fprintf(&b, "\n## %s\n", title)
		for _, s := range settings().all {
			if s.area == title && s.Status != NoEffect {
				s.markdown(&b)
			}
		}
		var without []*Setting
		for _, s := range settings().all {
			if s.area == title && s.Status == NoEffect {
				without = append(without, s)
			}
		}
		if len(without) == 0 {
			continue
		}
		b.WriteString("\nAccepted so that a file of VerneMQ works, without effect:\n\n| setting | why |\n|---|---|\n")
		for _, s := range without {
			fmt.Fprintf(&b, "| `%s` | %s |\n", s.Key, cell(s.Reason))
		}
	}
	return b.String()
}

func (s *Setting) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "\n### `%s`\n\n%s\n\n", s.Key, strings.ReplaceAll(s.Doc, "<", `\<`))
	facts := []string{"Accepts " + s.Accepts()}
	switch {
	case s.Inherits != "":
		facts = append(facts, "else as `"+s.Inherits+"`")
	case s.Default != "":
		facts = append(facts, "default `"+s.Default+"`")
	}
	if len(s.Aliases) > 0 {
		facts = append(facts, "also called `"+strings.Join(s.Aliases, "`, `")+"`")
	}
	switch {
	case s.Connect:
		facts = append(facts, "settable at run time, for new connections")
	case s.Runtime:
		facts = append(facts, "settable at run time")
	}
	facts = append(facts, "since "+s.Since)
	b.WriteString(strings.Join(facts, "; ") + ".\n")
	if s.Status != Works || s.Needs != "" {
		fmt.Fprintf(b, "Status: %s.\n", s.status())
	}
}

func areaTitles() []string {
	var out []string
	for _, a := range areas() {
		out = append(out, a.title)
	}
	return out
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func sortedKeys(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

const markdownHead = "<!-- Generated from the table in internal/config: go test ./internal/config -update -->\n" + `# Configuration

The broker reads a file of ` + "`key = value`" + ` lines, VerneMQ's vernemq.conf among them. ` + "`broker chkconfig`" + ` checks
it, ` + "`broker config effective`" + ` prints what holds, ` + "`broker config describe KEY`" + ` prints one entry of this page.

- One setting per line. A key is words of letters, digits, ` + "`_` and `-`" + `, joined by dots; a dot inside a word is ` + "`\\.`" + `.
- ` + "`#`" + ` begins a comment, also after a value. A value in ` + "`'quotes'`" + ` keeps # and blanks, ` + "`'''three quotes'''`" + ` keep
  several lines, ` + "`''`" + ` is the empty value. There are no other escapes.
- ` + "`include conf.d/*.conf`" + ` reads other files in place, relative to the including file. A pattern may match nothing; a
  file without pattern must exist.
- ` + "`$(other.key)`" + ` is replaced by another setting's value, ` + "`$(<file)`" + ` by the content of a file, in quotes too. Text that
  must hold ` + "`$(`" + ` itself comes from a file.
- The last line for a key wins. The environment wins over the file (` + "`BROKER_LISTENER__TCP__DEFAULT=0.0.0.0:1883`" + ` is
  listener.tcp.default; two underscores are a dot), the command line over both.
- on and off are the only flags. Sizes are bytes or ` + "`64KB`, `10MB`, `1GB`" + ` (binary). Times are numbers of the unit named below,
  or durations such as ` + "`90s` and `1h30m`" + `.
- Double quotes around a whole value are dropped, as VerneMQ's files have them; in secrets they are part of the value.
- ` + "`$name`" + ` in a key of this page is any word. Options of listeners are looked up as listener.TYPE.NAME.OPTION, then
  listener.TYPE.OPTION, then listener.OPTION.
- ` + "`<data>`, `<run>`, `<log>`" + ` are data_dir, run_dir, log_dir; ` + "`<etc>`" + ` is the directory of the file, ` + "`<share>`" + ` that of
  the installed scripts.
- A file that names no cluster port has listener.vmq.clustering = 127.0.0.1:44053. Without a file there are also
  MQTT on 127.0.0.1:1883 and HTTP on 127.0.0.1:8888, and as long as no MQTT listener leaves loopback, anonymous clients
  may do everything.
- An unknown setting, a bad value or a missing include stops the start with file, line and column (exit code 2).
`
