package auth

import (
	"strings"
	"unicode/utf8"
)

// parseRules reads an ACL file: comments, blank lines, "topic [read|write]
// FILTER", "user NAME" and "pattern [read|write] FILTER", keywords in lower
// case, one blank between the parts; a filter may contain blanks. Topic lines
// before the first user line are for everybody, those behind one for that
// user; pattern lines are for everybody wherever they stand.
func parseRules(path string, data []byte) (*rules, error) {
	r := &rules{}
	for a := range numAccess {
		r.all[a] = &node{}
		r.byUser[a] = map[string]*node{}
	}
	user, inUser := "", false
	err := eachLine(data, func(n int, b []byte) error {
		if blankOrComment(b) {
			return nil
		}
		line := string(b)
		fail := func(msg string) error { return &ParseError{File: path, Line: n, Msg: msg} }
		if !utf8.ValidString(line) {
			return fail("not UTF-8")
		}
		keyword, rest, _ := strings.Cut(line, " ")
		switch keyword {
		case "user":
			if strings.TrimSpace(rest) == "" {
				return fail("want user NAME")
			}
			user, inUser = rest, true
			return nil
		case "topic", "pattern":
			filter, which, msg := parseRule(rest)
			if msg != "" {
				return fail(keyword + ": " + msg)
			}
			for _, a := range which {
				r.tree(a, user, inUser && keyword == "topic").add(filter, keyword == "pattern")
			}
			return nil
		}
		return fail("want topic, user or pattern")
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// tree returns where a line is filed.
func (r *rules) tree(a access, user string, perUser bool) *node {
	if !perUser {
		return r.all[a]
	}
	n := r.byUser[a][user]
	if n == nil {
		n = &node{}
		r.byUser[a][user] = n
	}
	return n
}

// parseRule reads "[read|write] FILTER"; msg says what is wrong.
func parseRule(s string) (filter string, which []access, msg string) {
	which = []access{accessRead, accessWrite}
	filter = s
	if word, rest, ok := strings.Cut(s, " "); ok {
		switch word {
		case "read":
			filter, which = rest, which[:1]
		case "write":
			filter, which = rest, which[1:]
		case "readwrite":
			// VerneMQ would take the word for a part of the filter, and
			// mosquitto's users would wonder.
			return "", nil, "readwrite is not a word of this format: leave it out to allow both"
		case "deny":
			return "", nil, "there is no deny: what no line allows is refused"
		case "":
			return "", nil, "want one blank before the filter"
		}
	}
	return filter, which, checkFilter(filter)
}

// checkFilter says what is wrong with the filter of a line. Other than in a
// subscription, wildcards may stand for the group of a shared one.
func checkFilter(filter string) string {
	if filter == "" {
		return "want a filter"
	}
	if filter[0] == ' ' {
		return "want one blank before the filter"
	}
	if len(filter) > 65535 || strings.ContainsRune(filter, 0) {
		return "want a filter of 65535 bytes at most, without NUL"
	}
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level == "#" && more:
			return "# must be the last level"
		case len(level) > 1 && strings.ContainsAny(level, "+#"):
			return "+ and # must be a whole level"
		}
	}
	return ""
}
