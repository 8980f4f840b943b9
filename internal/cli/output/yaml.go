package output

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// plainScalar: YAML reads s as a string without quotes, because it begins with
// a letter or slash, has none of the signs that mean something, and is not a
// word of YAML 1.1 or 1.2.
func plainScalar(s string) bool {
	for i, r := range s {
		letter := r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '/'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789_.@()-", r)) {
			return false
		}
	}
	switch strings.ToLower(s) {
	case "", "true", "false", "yes", "no", "on", "off", "null", "y", "n":
		return false
	}
	return true
}

// yamlRow writes one row as an item of a list.
func (t *Table) yamlRow(cells []any) error {
	for i, c := range cells {
		v, err := yamlValue(c)
		if err != nil {
			return err
		}
		mark := "  "
		if i == 0 {
			mark = "- "
		}
		fmt.Fprintf(t.w, "%s%s: %s\n", mark, yamlString(t.columns[i]), v)
	}
	return nil
}

// yamlValue writes a cell on one line. JSON is YAML, but for the escapes of
// characters beyond 16 bits.
func yamlValue(v any) (string, error) {
	switch x := v.(type) {
	case string:
		return yamlString(x), nil
	case []byte:
		if utf8.Valid(x) {
			return yamlString(string(x)), nil
		}
	case map[string]string:
		return yamlMap(x), nil
	case time.Time:
		return mustQuote(x.UTC().Format(time.RFC3339)), nil
	}
	b, err := jsonValue(v)
	return string(b), err
}

// yamlMap writes a small mapping on one line, by name.
func yamlMap(m map[string]string) string {
	parts := make([]string, 0, len(m))
	for k, v := range m {
		parts = append(parts, yamlString(k)+": "+yamlString(v))
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ", ") + "}"
}

func yamlString(s string) string {
	if plainScalar(s) {
		return s
	}
	return mustQuote(s)
}

// mustQuote writes a double-quoted scalar. Bytes that are no characters become
// U+FFFD, as in JSON.
func mustQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case !unsafeRune(r):
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Pair is a name and its value in an Object.
type Pair struct{ Name, Value string }

// Object writes pairs as an object under one key, for machines: one line of
// JSON, or a block of YAML.
func Object(w io.Writer, format Format, key string, pairs ...Pair) error {
	var b strings.Builder
	if format == YAML {
		fmt.Fprintf(&b, "%s:\n", yamlString(key))
		for _, p := range pairs {
			fmt.Fprintf(&b, "  %s: %s\n", yamlString(p.Name), yamlString(p.Value))
		}
	} else {
		fmt.Fprintf(&b, "{%s:{", mustString(key))
		for i, p := range pairs {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "%s:%s", mustString(p.Name), mustString(p.Value))
		}
		b.WriteString("}}\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
