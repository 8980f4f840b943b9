package queue

import (
	"cmp"
	"slices"

	"github.com/mqadmin/mqadmin/internal/message"
)

// window is what was given a packet identifier and is not yet complete
// (MQTT 5.0 §4.4, §4.6). Guarded by Queue.mu.
type window struct {
	byID map[uint16]*entry
	// sent has the unacknowledged PUBLISHes in their original order
	// [MQTT-4.6.0-1], released the PUBRELs in the order of the PUBRECs
	// [MQTT-4.6.0-4]. Entries that are gone stay until they come to the front.
	sent, released fifo[*entry]
	// toSend has the packets that go out before anything new.
	toSend fifo[packetOut]
	last   uint16 // packet identifier given last
	orders uint64 // number of the last PUBREC
	upper  bool   // identifiers come from 32768…65535
	wired  int    // PUBLISHes that were written on this connection
}

// half is the number of packet identifiers in the half of the id space that a
// queue draws from; with the upper half it is one more.
const half = 32767

func (w *window) len() int { return len(w.byID) }

// assign gives e a packet identifier and puts it at the end of the window.
// There must be room.
func (w *window) assign(e *entry) {
	first, last := uint16(1), uint16(half)
	if w.upper {
		first, last = half+1, 65535
	}
	id := w.last
	for {
		if id < first || id >= last {
			id = first
		} else {
			id++
		}
		if _, used := w.byID[id]; !used {
			break
		}
	}
	w.last, e.pid = id, id
	w.add(e)
}

// add puts e, which has its identifier, into the window.
func (w *window) add(e *entry) {
	if w.byID == nil {
		w.byID = make(map[uint16]*entry, keepCapacity)
	}
	w.byID[e.pid] = e
	if e.released {
		w.released.push(e)
	} else {
		w.sent.push(e)
	}
}

// release notes the PUBREC of e.
func (w *window) release(e *entry) {
	e.released = true
	w.orders++
	e.order = w.orders
	w.released.push(e)
	w.trim(&w.sent, func(e *entry) bool { return !e.gone && !e.released })
}

// loaded puts PUBRELs that were read from the disk, in the order of their
// PUBLISHes, into that of the PUBRECs.
func (w *window) loaded() {
	all := w.released.all()
	slices.SortStableFunc(all, func(a, b *entry) int { return cmp.Compare(a.order, b.order) })
	if n := len(all); n > 0 {
		w.orders = max(w.orders, all[n-1].order)
	}
}

// sendRelease makes the PUBREL of e go out, unless it waits already.
func (w *window) sendRelease(e *entry) {
	if !e.releasing {
		e.releasing = true
		w.toSend.push(packetOut{e: e, release: true})
	}
}

// remove takes e out: its flow is complete.
func (w *window) remove(e *entry) {
	e.gone = true
	delete(w.byID, e.pid)
	if e.wired {
		w.wired--
	}
	if len(w.byID) == 0 {
		w.byID, w.wired = nil, 0
		w.sent.clear()
		w.released.clear()
		w.toSend.clear()
		return
	}
	w.trim(&w.sent, func(e *entry) bool { return !e.gone && !e.released })
	w.trim(&w.released, func(e *entry) bool { return !e.gone })
}

// trim drops dead entries from the front, and from the middle when they are
// the most.
func (w *window) trim(f *fifo[*entry], alive func(*entry) bool) {
	for f.len() > 0 && !alive(f.front()) {
		f.popFront()
	}
	if f.len() > 2*len(w.byID)+32 {
		f.keep(alive)
	}
}

// replay makes everything in the window go out again on a new connection:
// PUBLISHes in their order, then PUBRELs in theirs [MQTT-4.4.0-1].
func (w *window) replay() {
	w.toSend.clear()
	w.wired = 0
	for _, e := range w.byID {
		e.wired = false
	}
	for _, e := range w.sent.all() {
		if !e.gone && !e.released {
			w.toSend.push(packetOut{e: e})
		}
	}
	for _, e := range w.released.all() {
		if !e.gone {
			e.releasing = false // what waited was cleared
			w.sendRelease(e)
		}
	}
}

// has reports whether a message of that id is in the window.
func (w *window) has(id message.ID) bool {
	for _, e := range w.byID {
		if e.msg != nil && e.msg.ID == id {
			return true
		}
	}
	return false
}

// recentIDs is the number of completed QoS 2 messages that a queue remembers,
// for frames whose first delivery is in doubt.
const recentIDs = 32

// recent is a ring of message ids.
type recent struct {
	ids [recentIDs]message.ID
	n   int
}

func (r *recent) add(id message.ID) {
	r.ids[r.n%recentIDs] = id
	r.n++
}

func (r *recent) has(id message.ID) bool {
	if r == nil {
		return false
	}
	for i := range min(r.n, recentIDs) {
		if r.ids[i] == id {
			return true
		}
	}
	return false
}
