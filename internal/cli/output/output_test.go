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
		Human: "", JSON: `{"type":"table","table":[]}` + "\n", CSV: "a,b\r\n",
	} {
		var b bytes.Buffer
		if err := NewTable(&b, format, "a", "b").Close(); err != nil || b.String() != want {
			t.Errorf("%s: %q, %v", format, &b, err)
		}
	}
}

func TestText(t *testing.T) {
	for format, want := range map[Format]string{
		Human: "Done\n", JSON: `{"type":"text","text":"Done"}` + "\n", CSV: "",
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
