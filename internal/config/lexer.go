package config

import (
	"strings"
	"unicode/utf8"
)

// The grammar is that of VerneMQ's vernemq.conf (cuttlefish's conf_parse):
//
//	file    = { [ setting | include ] [ comment ] newline }
//	setting = key "=" value
//	include = "include" blank path
//	key     = word { "." word }           word = { A-Z a-z 0-9 _ - | "\." }
//	value   = "'''" any text "'''" | "'" text of one line "'" | text up to "#"
//
// There are no other escapes. Double quotes are part of the value.

// maxWord bounds a key so that an error message stays readable.
const maxKey = 256

// statement is one setting or include as it stands in a file.
type statement struct {
	key      string // canonical: words joined by ".", dots inside words as `\.`
	value    string
	include  bool // value is a path or pattern
	at       Origin
	valueAt  Origin
	glued    bool // a comment starts in the middle of a word: perhaps a cut value
	verbatim bool // the value was quoted
}

// lexer walks over one file.
type lexer struct {
	name      string
	text      string
	pos       int
	line      int
	lineStart int // byte offset of the current line
	report    *report
}

// lex splits the text of one file; errors go to r, one per line at most, and
// lexing goes on with the next line.
func lex(name string, text []byte, r *report) []statement {
	l := &lexer{name: name, text: strings.TrimPrefix(string(text), "\ufeff"), line: 1, report: r}
	if i := badByte(l.text); i >= 0 {
		l.skipTo(i)
		r.add(l.here(), "not a text file: byte 0x%02x; expected UTF-8 text", l.text[i])
		return nil
	}
	var out []statement
	for l.pos < len(l.text) && !r.full() {
		if s, ok := l.statement(); ok {
			out = append(out, s)
		}
		l.skipLine()
	}
	return out
}

// badByte returns the offset of the first byte that no text file holds.
func badByte(s string) int {
	for i := 0; i < len(s); {
		c, n := utf8.DecodeRuneInString(s[i:])
		if c == utf8.RuneError && n == 1 || c < ' ' && c != '\n' && c != '\r' && c != '\t' {
			return i
		}
		i += n
	}
	return -1
}

func (l *lexer) here() Origin {
	return Origin{
		Kind: FromFile, File: l.name, Line: l.line,
		Column: utf8.RuneCountInString(l.text[l.lineStart:l.pos]) + 1,
	}
}

// statement reads the current line up to its end or the end of a multi-line
// value; ok is false for blank lines and errors.
func (l *lexer) statement() (statement, bool) {
	l.blanks()
	if l.endOfLine() {
		return statement{}, false
	}
	s := statement{at: l.here()}
	var ok bool
	if s.key, ok = l.key(); !ok {
		return s, false
	}
	spaced := l.blanks()
	if s.key == "include" && spaced && l.peek() != '=' && !l.endOfLine() {
		s.include, s.valueAt = true, l.here()
		s.value, _ = l.bare()
		return s, true
	}
	if l.peek() != '=' {
		if l.endOfLine() {
			l.report.add(l.here(), "expected %q and a value after %q", "=", s.key)
		} else {
			l.report.add(l.here(), "expected %q after %q, found %q", "=", s.key, l.found())
		}
		return s, false
	}
	l.pos++
	l.blanks()
	s.valueAt = l.here()
	return s, l.value(&s)
}

// key reads a key and returns its canonical form.
func (l *lexer) key() (string, bool) {
	start, at := l.pos, l.here()
	wordEmpty := true
	for l.pos < len(l.text) {
		switch c := l.text[l.pos]; {
		case isWord(c):
			wordEmpty = false
			l.pos++
		case c == '\\' && strings.HasPrefix(l.text[l.pos:], `\.`):
			wordEmpty = false
			l.pos += 2
		case c == '.':
			if wordEmpty {
				l.report.add(l.here(), "expected a word of A-Z a-z 0-9 _ - before %q", ".")
				return "", false
			}
			wordEmpty = true
			l.pos++
		default:
			return l.keyEnd(start, at, wordEmpty)
		}
	}
	return l.keyEnd(start, at, wordEmpty)
}

func (l *lexer) keyEnd(start int, at Origin, wordEmpty bool) (string, bool) {
	switch {
	case wordEmpty && l.pos == start:
		l.report.add(at, "expected a setting (key = value), found %q", l.found())
	case wordEmpty:
		l.report.add(l.here(), "expected a word of A-Z a-z 0-9 _ - after %q", ".")
	case l.pos-start > maxKey:
		l.report.add(at, "key of %d bytes; expected at most %d", l.pos-start, maxKey)
	default:
		return l.text[start:l.pos], true
	}
	return "", false
}

// value reads what stands after "=".
func (l *lexer) value(s *statement) bool {
	if l.endOfLine() {
		l.report.add(l.here(), "expected a value after %q; an empty one is written ''", s.key+" =")
		return false
	}
	rest := l.text[l.pos:]
	switch {
	case strings.HasPrefix(rest, "'''"):
		return l.multiLine(s)
	case rest[0] == '\'':
		end := strings.IndexAny(rest[1:], "'\n")
		if end < 0 || rest[1+end] == '\n' {
			l.report.add(s.valueAt, "quote is not closed on this line; text of several lines is written '''…'''")
			return false
		}
		s.value, s.verbatim = rest[1:1+end], true
		l.pos += end + 2
		return l.afterQuote()
	default:
		s.value, s.glued = l.bare()
		return true
	}
}

func (l *lexer) multiLine(s *statement) bool {
	body := l.text[l.pos+3:]
	end := strings.Index(body, "'''")
	if end < 0 {
		l.report.add(s.valueAt, "''' is not closed before the end of the file")
		l.pos = len(l.text)
		return false
	}
	s.value, s.verbatim = strings.ReplaceAll(body[:end], "\r\n", "\n"), true
	l.skipTo(l.pos + 3 + end + 3)
	return l.afterQuote()
}

// afterQuote demands that only a comment follows a quoted value.
func (l *lexer) afterQuote() bool {
	l.blanks()
	if l.endOfLine() {
		return true
	}
	l.report.add(l.here(), "expected the end of the line after the quoted value, found %q", l.found())
	return false
}

// bare reads up to "#" or the end of the line; glued tells that the "#"
// follows without a blank.
func (l *lexer) bare() (text string, glued bool) {
	rest := l.text[l.pos:]
	end := strings.IndexAny(rest, "#\n")
	if end < 0 {
		end = len(rest)
	}
	text = strings.TrimRight(rest[:end], " \t\r")
	glued = end < len(rest) && rest[end] == '#' && len(text) == end
	l.pos += end
	return text, glued
}

// found returns the rest of the line for an error message, shortened.
func (l *lexer) found() string {
	rest := l.text[l.pos:]
	if i := strings.IndexAny(rest, "\r\n"); i >= 0 {
		rest = rest[:i]
	}
	return shorten(rest)
}

func shorten(s string) string {
	const most = 40
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}

func (l *lexer) blanks() bool {
	start := l.pos
	for l.pos < len(l.text) && strings.IndexByte(" \t\r", l.text[l.pos]) >= 0 {
		l.pos++
	}
	return l.pos > start
}

func (l *lexer) peek() byte {
	if l.pos < len(l.text) {
		return l.text[l.pos]
	}
	return 0
}

func (l *lexer) endOfLine() bool {
	c := l.peek()
	return l.pos >= len(l.text) || c == '\n' || c == '#'
}

func (l *lexer) skipLine() {
	if i := strings.IndexByte(l.text[l.pos:], '\n'); i >= 0 {
		l.skipTo(l.pos + i + 1)
		return
	}
	l.pos = len(l.text)
}

// skipTo moves to byte offset to and keeps count of lines.
func (l *lexer) skipTo(to int) {
	skipped := l.text[l.pos:to]
	if n := strings.Count(skipped, "\n"); n > 0 {
		l.line += n
		l.lineStart = l.pos + strings.LastIndexByte(skipped, '\n') + 1
	}
	l.pos = to
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// splitKey returns the words of a canonical key, `\.` still inside them.
func splitKey(key string) []string {
	var words []string
	start := 0
	for i := 0; i < len(key); i++ {
		switch key[i] {
		case '\\':
			i++
		case '.':
			words = append(words, key[start:i])
			start = i + 1
		}
	}
	return append(words, key[start:])
}

// unescape turns a word of a key into what it names.
func unescape(word string) string { return strings.ReplaceAll(word, `\.`, ".") }
