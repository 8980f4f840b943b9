package metrics

import "strconv"

// Value is one number under one name: a histogram makes several.
type Value struct {
	Name  string
	Value int64
}

// Flat returns the numbers of a sample as $SYS and Graphite have them: a
// histogram as name_count, name_sum and name_bucket_<bound>, the last of which
// is name_bucket_inf.
func (s Sample) Flat() []Value {
	d := s.Distribution
	if d == nil {
		return []Value{{s.Name, s.Value}}
	}
	out := []Value{{s.Name + "_count", int64(d.Count)}, {s.Name + "_sum", d.Sum}}
	for _, b := range d.Buckets {
		out = append(out, Value{s.Name + "_bucket_" + strconv.FormatInt(b.Bound, 10), int64(b.Count)})
	}
	return append(out, Value{s.Name + "_bucket_inf", int64(d.Count)})
}
