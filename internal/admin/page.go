package admin

import (
	"container/heap"
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"slices"

	"google.golang.org/protobuf/proto"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// position is where a page ends: at the repeats-th row that compares equal to
// row. before counts the rows of all pages up to there.
type position struct {
	row             proto.Message
	repeats, before uint64
}

// formatToken is the first byte of a page token. Behind it: the hash of the
// question and of what follows (8 bytes), repeats and before as varints, the row.
const formatToken = 1

// token names the position for a later request of the same question.
func (q *query) token(p *position, req request) (string, error) {
	place := binary.AppendUvarint(binary.AppendUvarint(nil, p.repeats), p.before)
	place, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(place, p.row)
	b := binary.BigEndian.AppendUint64([]byte{formatToken}, question(req, place))
	return base64.RawURLEncoding.EncodeToString(append(b, place...)), err
}

func (q *query) parseToken(req request) (*position, error) {
	if req.GetPageToken() == "" {
		return nil, nil //nolint:nilnil // the first page begins nowhere
	}
	bad := NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, "the page token is none of this question: it belongs to the same fields, filters and order", "argument", "page-token")
	b, err := base64.RawURLEncoding.DecodeString(req.GetPageToken())
	if err != nil || len(b) < 9 || b[0] != formatToken || binary.BigEndian.Uint64(b[1:]) != question(req, b[9:]) {
		return nil, bad
	}
	p := &position{row: q.schema.row.New().Interface()}
	b = b[9:]
	for _, n := range []*uint64{&p.repeats, &p.before} {
		v, size := binary.Uvarint(b)
		if size <= 0 {
			return nil, bad
		}
		*n, b = v, b[size:]
	}
	if err := proto.Unmarshal(b, p.row); err != nil {
		return nil, bad
	}
	return p, nil
}

// question tells apart what was asked: a page token is worth nothing for
// another one, and none without its place.
func question(req request, place []byte) uint64 {
	h := fnv.New64a()
	add := func(s string) {
		_, _ = h.Write(binary.AppendUvarint(nil, uint64(len(s))))
		_, _ = h.Write([]byte(s))
	}
	for _, f := range req.GetFields() {
		add(f)
	}
	for _, f := range req.GetFilters() {
		add("filter" + f.GetField())
		add(f.GetOperator().String() + f.GetValue())
	}
	for _, o := range req.GetOrderBy() {
		add("order" + o.GetField())
		if o.GetDescending() {
			add("descending")
		}
	}
	_, _ = h.Write(place)
	return h.Sum64()
}

// selection takes the rows of one source that pass the filters and emits, in
// order, those of the page: behind q.after, q.limit at most. It counts all that
// are behind.
type selection struct {
	q              *query
	emit           func(proto.Message) error
	skipped        uint64 // rows that compare equal to q.after
	total, emitted uint64
	kept           rowHeap // of a sorted query
}

func newSelection(q *query, emit func(proto.Message) error) *selection {
	return &selection{q: q, emit: emit, kept: rowHeap{compare: q.compare}}
}

func (s *selection) add(row proto.Message) error {
	if a := s.q.after; a != nil {
		switch c := s.q.compare(row, a.row); {
		case c < 0:
			return nil
		case c == 0 && s.skipped < a.repeats:
			s.skipped++
			return nil
		}
	}
	s.total++
	if s.q.sorted {
		s.keep(row)
		return nil
	}
	if s.emitted >= s.q.limit {
		return nil
	}
	s.emitted++
	return s.emit(row)
}

// keep keeps row if it is among the first q.limit ones.
func (s *selection) keep(row proto.Message) {
	item := rowItem{row, s.total}
	if uint64(s.kept.Len()) < s.q.limit {
		heap.Push(&s.kept, item)
		return
	}
	if s.kept.order(item, s.kept.items[0]) < 0 {
		s.kept.items[0] = item
		heap.Fix(&s.kept, 0)
	}
}

// close emits what had to be sorted.
func (s *selection) close() error {
	slices.SortFunc(s.kept.items, s.kept.order)
	for _, item := range s.kept.items {
		s.emitted++
		if err := s.emit(item.row); err != nil {
			return err
		}
	}
	return nil
}

// rowItem is a row and when it came, which decides between equal ones.
type rowItem struct {
	row proto.Message
	at  uint64
}

// rowHeap has its last row on top.
type rowHeap struct {
	items   []rowItem
	compare func(a, b proto.Message) int
}

func (h *rowHeap) order(a, b rowItem) int {
	if c := h.compare(a.row, b.row); c != 0 {
		return c
	}
	if a.at < b.at {
		return -1
	}
	return 1
}

func (h *rowHeap) Len() int           { return len(h.items) }
func (h *rowHeap) Less(i, j int) bool { return h.order(h.items[i], h.items[j]) > 0 }
func (h *rowHeap) Swap(i, j int)      { h.items[i], h.items[j] = h.items[j], h.items[i] }
func (h *rowHeap) Push(x any)         { h.items = append(h.items, x.(rowItem)) } //nolint:forcetypeassert // only keep pushes
func (h *rowHeap) Pop() any {
	last := h.items[len(h.items)-1]
	h.items = h.items[:len(h.items)-1]
	return last
}

// outlet sends the rows of a page, which come in order, and knows where it
// ends.
type outlet struct {
	q     *query
	emit  func(proto.Message) error
	shown uint64
	held  proto.Message // the last row, not emitted yet: the next is compared with it
	same  uint64        // rows up to it that compare equal to it
	last  proto.Message // of it what compare looks at, once closed
}

func newOutlet(q *query, emit func(proto.Message) error) *outlet {
	return &outlet{q: q, emit: emit}
}

// full reports whether the page has its rows.
func (o *outlet) full() bool { return o.shown >= o.q.limit }

func (o *outlet) add(row proto.Message) error {
	if o.full() {
		return nil
	}
	o.shown++
	before := o.held
	switch {
	case before == nil && o.q.after != nil && o.q.compare(o.q.after.row, row) == 0:
		o.same = o.q.after.repeats + 1
	case before != nil && o.q.compare(before, row) == 0:
		o.same++
	default:
		o.same = 1
	}
	o.held = row
	return o.release(before)
}

// release emits a row without the fields that nobody asked for.
func (o *outlet) release(row proto.Message) error {
	if row == nil {
		return nil
	}
	m := row.ProtoReflect()
	for _, fd := range o.q.strip {
		m.Clear(fd)
	}
	return o.emit(row)
}

// close emits the last row.
func (o *outlet) close() error {
	if o.held == nil {
		return nil
	}
	from := o.held.ProtoReflect()
	to := from.New()
	for _, k := range o.q.order {
		if from.Has(k.fd) {
			to.Set(k.fd, from.Get(k.fd))
		}
	}
	o.last = to.Interface()
	return o.release(o.held)
}

// before is the number of rows of former pages.
func (o *outlet) before() uint64 {
	if o.q.after == nil {
		return 0
	}
	return o.q.after.before
}

// next returns the token for the rows behind the page, "" if rest, the number
// of rows from its beginning, has no more.
func (o *outlet) next(rest uint64, req request) (string, error) {
	if o.shown >= rest || o.last == nil {
		return "", nil
	}
	return o.q.token(&position{row: o.last, repeats: o.same, before: o.before() + o.shown}, req)
}

// page is what a page came to.
type page struct {
	shown, total, before uint64
	next                 string
}

// page emits the rows of one page out of those that fill gives to a selection.
func (q *query) page(req request, emit func(proto.Message) error, fill func(*selection) error) (page, error) {
	out := newOutlet(q, emit)
	sel := newSelection(q, out.add)
	for _, step := range []func() error{func() error { return fill(sel) }, sel.close, out.close} {
		if err := step(); err != nil {
			return page{}, err
		}
	}
	next, err := out.next(sel.total, req)
	return page{shown: out.shown, total: out.before() + sel.total, before: out.before(), next: next}, err
}

// afterRow is the row behind which the page begins, nil for the first page.
func (q *query) afterRow() proto.Message {
	if q.after == nil {
		return nil
	}
	return q.after.row
}
