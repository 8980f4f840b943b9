package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s: %s", name, d)
	}
}

func TestTableInEveryFormat(t *testing.T) {
	for _, format := range Formats() {
		var b bytes.Buffer
		table := NewTable(&b, Format(format), "name", "on", "n", "at", "raw")
		rows := [][]any{
			{"plain", true, 7, time.Unix(0, 0), []byte("text")},
			{"esc\x1b[2J \u202eabc", false, int64(-1), nil, []byte{0xff, 0x00}},
			{"wide 日本 é <&>", nil, uint64(1 << 63), nil, []byte(`a"b,c`)},
			{"  blanks  ", true, 0, nil, []byte("two\nlines")},
		}
		for _, r := range rows {
			if err := table.Row(r...); err != nil {
				t.Fatal(err)
			}
		}
		if table.Rows() != len(rows) {
			t.Errorf("%d rows", table.Rows())
		}
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}
		golden(t, "table."+format, b.String())
	}
}

func TestEmptyTable(t *testing.T) {
	for format, want := range map[Format]string{
		Human: "", JSON: `{"type":"table","table":[]}` + "\n", CSV: "a,b\r\n", YAML: "[]\n", JSONL: "",
	} {
		var b bytes.Buffer
		if err := NewTable(&b, format, "a", "b").Close(); err != nil || b.String() != want {
			t.Errorf("%s: %q, %v", format, &b, err)
		}
	}
}

func TestText(t *testing.T) {
	for format, want := range map[Format]string{
		Human: "Done\n", JSON: `{"type":"text","text":"Done"}` + "\n", CSV: "", YAML: "text: Done\n", JSONL: `{"text":"Done"}` + "\n",
	} {
		var b bytes.Buffer
		if err := Text(&b, format, "Done"); err != nil || b.String() != want {
			t.Errorf("%s: %q, %v", format, &b, err)
		}
	}
}

var errFull = errors.New("disk full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWriteErrorsComeBack(t *testing.T) {
	for _, format := range Formats() {
		table := NewTable(full{}, Format(format), "a")
		if err := errors.Join(table.Row("x"), table.Close()); !errors.Is(err, errFull) {
			t.Errorf("%s: %v", format, err)
		}
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain é 日本 \\": "plain é 日本 \\",
		"a\tb\nc\r":     `a\tb\nc\r`,
		"\x1b[31mred":   `\x1b[31mred`,
		"\x7f\u0085":    `\x7f\x85`,
		"\u202e\u2028":  `\u202e\u2028`,
		"bad\xffbyte":   `bad\xffbyte`,
		"\U000e0001":    `\U000e0001`,
		"real \ufffd":   "real \ufffd",
	} {
		if got := Escape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// FuzzEscape: nothing that can steer a terminal comes out.
func FuzzEscape(f *testing.F) {
	f.Add("a\x1b]0;x\x07\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		if got := Escape(s); strings.IndexFunc(got, unsafeRune) >= 0 || strings.ToValidUTF8(got, "") != got {
			t.Errorf("%q became %q", s, got)
		}
	})
}

func TestParseFormat(t *testing.T) {
	if f, err := ParseFormat("json"); f != JSON || err != nil {
		t.Error(f, err)
	}
	if _, err := ParseFormat("xml"); err == nil {
		t.Error("xml was accepted")
	}
	if f, err := ParseFormat("xml", "xml"); f != "xml" || err != nil {
		t.Error(f, err)
	}
}

func TestJSONIsSafeToPrintAndKeepsTheValue(t *testing.T) {
	for _, want := range []string{"\u202e\u0085\x7f\x1b", "\U000e0001 日本", `\u202e`} {
		b, err := marshal(want)
		if err != nil || strings.IndexFunc(string(b), unsafeRune) >= 0 {
			t.Errorf("%q: %q, %v", want, b, err)
		}
		var got string
		if err := json.Unmarshal(b, &got); err != nil || got != want {
			t.Errorf("%q came back as %q, %v", want, got, err)
		}
	}
}

// hostile are strings that somebody who wants to be misread would send.
var hostile = []string{
	"", "true", "No", "null", "~", "1", "0x1f", "1e3", ".inf", "2026-01-01", "- a", "? a", "a: b", "a #b", "#a", "&a", "*a", "!a", "|", ">", "%a",
	"@a", "`a", "{a}", "[a]", "a,b", "'a'", `"a"`, `\`, "a\nb", "\t", " a ", "\x1b[2J", "\u202e\u2028\u0085", "\U000e0001", "日本", "=1+1", "---", "<<",
}

func TestYAMLKeepsEveryValue(t *testing.T) {
	for _, want := range hostile {
		var b bytes.Buffer
		table := NewTable(&b, YAML, "k", "n", "at", "raw", "map", "none")
		at := time.Unix(0, 0)
		if err := errors.Join(table.Row(want, 7, at, []byte{0xff}, map[string]string{want: want, "z": "1"}, nil), table.Close()); err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(strings.ReplaceAll(b.String(), "\n", ""), unsafeRune); i >= 0 {
			t.Errorf("%q is not safe to print", b.String())
		}
		var got []map[string]any
		if err := yaml.Unmarshal(b.Bytes(), &got); err != nil {
			t.Errorf("%q: %v", b.String(), err)
			continue
		}
		wantRow := map[string]any{
			"k": want, "n": 7, "at": "1970-01-01T00:00:00Z", "raw": map[string]any{"base64": "/w=="},
			"map": map[string]any{want: want, "z": "1"}, "none": nil,
		}
		if d := cmp.Diff([]map[string]any{wantRow}, got); d != "" {
			t.Errorf("%q: %s", want, d)
		}
		b.Reset()
		if err := Object(&b, YAML, "error", Pair{"code", want}); err != nil {
			t.Fatal(err)
		}
		var object map[string]map[string]string
		if err := yaml.Unmarshal(b.Bytes(), &object); err != nil || object["error"]["code"] != want {
			t.Errorf("%q: %v", b.String(), err)
		}
	}
}

func TestPartsAreOneTable(t *testing.T) {
	var b bytes.Buffer
	whole := NewTable(&b, CSV, "Node", "v")
	for _, n := range []string{"a", "b"} {
		p := whole.Part(n)
		if err := errors.Join(p.Row(1), p.Close()); err != nil || p.Rows() != 1 {
			t.Fatal(err)
		}
	}
	if err := whole.Flush(); err != nil || b.String() != "Node,v\r\na,1\r\nb,1\r\n" {
		t.Errorf("%q, %v", &b, err)
	}
}
