package output

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Escape makes a string safe to print. Client ids, topics and payloads come
// from strangers, who must not be able to move the cursor, recolour the
// terminal or turn the reading direction: control and format characters and
// invalid bytes become \n, \x1b, \u202e and the like.
func Escape(s string) string {
	if strings.IndexFunc(s, unsafeRune) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !unsafeRune(r):
			b.WriteString(s[i : i+n])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += n
	}
	return b.String()
}

// escapeJSON writes the unsafe characters of a JSON text, which can only stand
// in strings, as JSON's own \u escapes: a reader gets the same value.
func escapeJSON(b []byte) []byte {
	if bytes.IndexFunc(b, unsafeRune) < 0 {
		return b
	}
	var out []byte
	for _, r := range string(b) {
		switch {
		case !unsafeRune(r):
			out = utf8.AppendRune(out, r)
		case r < 0x10000:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			hi, lo := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		}
	}
	return out
}

// unsafeRune: C0, C1 and DEL; format characters, which turn the direction or
// are invisible; line and paragraph separators.
func unsafeRune(r rune) bool {
	return r < 0x20 || r >= 0x7f && r < 0xa0 || r > 0x7f && unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}
