package config

import (
	"cmp"
	"slices"
	"strings"
)

// suggestions is how many known keys an error about an unknown one names.
const suggestions = 3

// didYouMean returns "; did you mean a, b or c?" with the known keys nearest to key.
func didYouMean(key string) string {
	near := nearest(key, suggestions)
	if len(near) == 0 {
		return ""
	}
	return "; did you mean " + orList(near) + "?"
}

// mostOff is by how many letters the fixed words of a pattern may differ.
const mostOff = 3

// nearest returns the at most n known keys with the smallest edit distance to key,
// nearest first, none that shares less than half with it. Free names of a pattern take the words that key has there.
func nearest(key string, n int) []string {
	type candidate struct {
		key      string
		distance int
	}
	words := splitKey(key)
	seen := map[string]bool{}
	var all []candidate
	for _, s := range settings().all {
		k := s.Key
		if names(s.words) > 0 {
			if len(s.words) != len(words) {
				continue
			}
			filled := slices.Clone(s.words)
			off := 0
			for i, w := range filled {
				if strings.HasPrefix(w, "$") {
					filled[i] = words[i]
				} else {
					off += distance(w, words[i])
				}
			}
			if off > mostOff {
				continue // the free names alone make it look near
			}
			k = strings.Join(filled, ".")
		}
		if d := distance(key, k); !seen[k] && d <= len(key)/2 {
			seen[k] = true
			all = append(all, candidate{k, d})
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.key, b.key))
	})
	out := make([]string, 0, n)
	for _, c := range all[:min(n, len(all))] {
		out = append(out, c.key)
	}
	return out
}

// distance is Levenshtein's: inserts, deletes and replacements of bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := min(row[j]+1, row[j+1]+1)
			if a[i] == b[j] {
				next = min(next, diagonal)
			} else {
				next = min(next, diagonal+1)
			}
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
