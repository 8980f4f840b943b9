// Package output writes results in the formats that scripts and people rely
// on. The look is defined by golden files, not by the library that draws it.
package output

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

// Format is one of the formats of --format.
type Format string

// The formats.
const (
	Human Format = "human" // VerneMQ's box; an empty table prints nothing
	JSON  Format = "json"  // VerneMQ's envelope
	CSV   Format = "csv"   // RFC 4180, header first
	YAML  Format = "yaml"  // a list of mappings
	JSONL Format = "jsonl" // one object per row and line
)

// Formats lists those that every command has, for usage texts and completion.
func Formats() []string {
	return []string{string(Human), string(JSON), string(CSV), string(YAML), string(JSONL)}
}

// ParseFormat checks the value of --format. more are formats that one command
// has besides.
func ParseFormat(s string, more ...string) (Format, error) {
	valid := append(Formats(), more...)
	if slices.Contains(valid, s) {
		return Format(s), nil
	}
	return "", fmt.Errorf("unknown format %q: valid values are {%s}", s, strings.Join(valid, "|"))
}

// Structured reports whether values keep their types: cells may then be maps.
func (f Format) Structured() bool { return f == JSON || f == YAML || f == JSONL }

// Table writes rows as they come, except in the human format, which needs all
// of them to know the widths.
type Table struct {
	w       *bufio.Writer
	format  Format
	columns []string
	csv     *csv.Writer
	human   [][]string
	rows    int
	header  string // begins the cells of a header, for colour
	footer  string // ends them
	// whole and prefix make it a part of another table, see Part.
	whole  *Table
	prefix []any
}

// NewTable starts a table. Nothing is promised to be on w before Close.
func NewTable(w io.Writer, format Format, columns ...string) *Table {
	t := &Table{w: bufio.NewWriter(w), format: format, columns: columns}
	switch format {
	case CSV:
		t.csv = csv.NewWriter(t.w)
		t.csv.UseCRLF = true
		_ = t.csv.Write(columns) // an error sticks and comes back from Close
	case JSON:
		fmt.Fprint(t.w, `{"type":"table","table":[`)
	default: // human needs all rows first, the others need no beginning
	}
	return t
}

// Colour makes the header of a box bold.
func (t *Table) Colour() *Table {
	t.header, t.footer = "\x1b[1m", "\x1b[0m"
	return t
}

// Row writes one row; cells are nil (no value), string, []byte, bool, time.Time,
// a number or, in structured formats, a map of strings, in the order of the
// columns.
func (t *Table) Row(cells ...any) error {
	t.rows++
	if t.whole != nil {
		return t.whole.Row(append(slices.Clone(t.prefix), cells...)...)
	}
	switch t.format {
	case JSON:
		if t.rows > 1 {
			fmt.Fprint(t.w, ",")
		}
		return t.jsonRow(cells)
	case JSONL:
		if err := t.jsonRow(cells); err != nil {
			return err
		}
		return t.w.WriteByte('\n')
	case YAML:
		return t.yamlRow(cells)
	case CSV:
		return t.csv.Write(texts(cells))
	default:
		t.human = append(t.human, texts(cells))
		return nil
	}
}

// Part returns a table whose rows become rows of t, behind the cells of prefix.
// Its Close leaves t open.
func (t *Table) Part(prefix ...any) *Table {
	return &Table{whole: t, prefix: prefix, format: t.format, w: t.w}
}

// Columns returns the names of the columns.
func (t *Table) Columns() []string { return t.columns }

// Rows returns the number of rows so far.
func (t *Table) Rows() int { return t.rows }

// Flush brings the rows so far to the writer, for lists that go on for long. In
// the human format they wait for Close.
func (t *Table) Flush() error {
	if t.csv != nil {
		t.csv.Flush()
	}
	return t.w.Flush()
}

// Close ends the table and reports the first error of writing.
func (t *Table) Close() error {
	if t.whole != nil {
		return nil
	}
	switch t.format {
	case JSON:
		fmt.Fprintln(t.w, "]}")
	case YAML:
		if t.rows == 0 {
			fmt.Fprintln(t.w, "[]")
		}
	case CSV:
		t.csv.Flush()
	case JSONL:
	default:
		if err := t.box(); err != nil {
			return err
		}
	}
	return t.w.Flush()
}

// box draws VerneMQ's table: +---+ borders, cells left aligned with a blank on
// either side.
func (t *Table) box() error {
	if len(t.human) == 0 {
		return nil
	}
	table := tablewriter.NewTable(
		t.w,
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{Symbols: tw.NewSymbols(tw.StyleASCII)})),
		tablewriter.WithHeaderAutoFormat(tw.Off),
		tablewriter.WithHeaderAutoWrap(tw.WrapNone),
		tablewriter.WithRowAutoWrap(tw.WrapNone),
		tablewriter.WithHeaderAlignment(tw.AlignLeft),
		tablewriter.WithRowAlignment(tw.AlignLeft),
		tablewriter.WithTrimSpace(tw.Off),
	)
	header := make([]any, len(t.columns))
	for i, c := range t.columns {
		header[i] = t.header + c + t.footer
	}
	table.Header(header...)
	if err := table.Bulk(t.human); err != nil {
		return fmt.Errorf("drawing table: %w", err)
	}
	if err := table.Render(); err != nil {
		return fmt.Errorf("drawing table: %w", err)
	}
	return nil
}

func (t *Table) jsonRow(cells []any) error {
	fmt.Fprint(t.w, "{")
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(t.w, ",")
		}
		v, err := jsonValue(c)
		if err != nil {
			return err
		}
		fmt.Fprintf(t.w, "%s:%s", mustString(t.columns[i]), v)
	}
	return t.w.WriteByte('}')
}

func jsonValue(v any) ([]byte, error) {
	switch x := v.(type) {
	case []byte:
		if utf8.Valid(x) {
			return mustString(string(x)), nil
		}
		return marshal(map[string][]byte{"base64": x})
	case time.Time:
		return mustString(x.UTC().Format(time.RFC3339)), nil
	default:
		return marshal(v)
	}
}

func mustString(s string) []byte {
	b, _ := marshal(s) // a string always has a JSON form
	return b
}

// marshal is json.Marshal without the escapes meant for HTML, and with those
// that a terminal needs.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding %T: %w", v, err)
	}
	return escapeJSON(bytes.TrimSpace(b.Bytes())), nil
}

func texts(cells []any) []string {
	out := make([]string, len(cells))
	for i, c := range cells {
		out[i] = text(c)
	}
	return out
}

func text(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return Escape(x)
	case []byte:
		return Escape(string(x))
	case bool:
		return strconv.FormatBool(x)
	case time.Time:
		return x.UTC().Format(time.RFC3339)
	default:
		return fmt.Sprint(x)
	}
}

// Text writes a sentence as the result of a command. CSV has no form for that,
// as in vmq-admin.
func Text(w io.Writer, format Format, s string) error {
	var err error
	switch format {
	case JSON:
		_, err = fmt.Fprintf(w, "{\"type\":\"text\",\"text\":%s}\n", mustString(s))
	case JSONL:
		_, err = fmt.Fprintf(w, "{\"text\":%s}\n", mustString(s))
	case YAML:
		_, err = fmt.Fprintf(w, "text: %s\n", yamlString(s))
	case CSV:
	default:
		_, err = fmt.Fprintln(w, Escape(s))
	}
	return err
}
