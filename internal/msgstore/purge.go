package msgstore

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// purgeChunk is how many records of a deleted queue are dropped between two
// groups, so that a long one delays nobody.
const purgeChunk = 256

// purge drops the next records of the first deleted queue. Nobody waits for
// it: after a crash the queue's purge record makes it go on.
func (in *instance) purge() {
	queue := in.purges[0]
	n, err := in.purgeQueue(queue)
	if in.fence.err() != nil {
		return
	}
	if err != nil {
		in.reset()
		in.s.log.Error("message store cannot drop the queue of a deleted session", "queue", queue, "error", err)
	}
	in.s.n.purged.Add(n)
	if err != nil || n < purgeChunk {
		in.purges = in.purges[1:]
	}
}

// purgeQueue drops up to purgeChunk records in one batch, and all that is left
// with the last of them.
func (in *instance) purgeQueue(queue uint64) (int, error) {
	pb := in.db.NewBatch()
	defer func() { _ = pb.Close() }()
	prefix := appendQueueRange(nil, keyQueue, queue)
	it, err := in.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return 0, err
	}
	n, end := 0, after(prefix)
	for ok := it.First(); ok; ok = it.Next() {
		if n == purgeChunk {
			end = append([]byte(nil), it.Key()...)
			break
		}
		n++
		r, derr := decodeRecord(it.Value())
		if derr != nil {
			in.s.log.Error("message store record dropped", "queue", queue, "sequence", keySeq(it.Key()), "error", derr)
			continue
		}
		if err = in.letGo(pb, &r, queue, keySeq(it.Key())); err != nil {
			break
		}
	}
	more := it.Valid() && err == nil
	if err = firstError(err, it.Close()); err != nil {
		return 0, err
	}
	if err := in.purgeRanges(pb, prefix, end, queue, !more); err != nil {
		return 0, err
	}
	return n, in.write(pb, false)
}

func (in *instance) purgeRanges(pb *pebble.Batch, start, end []byte, queue uint64, last bool) error {
	if err := pb.DeleteRange(start, end, nil); err != nil {
		return fmt.Errorf("dropping records: %w", err)
	}
	if !last {
		return nil
	}
	inbound := appendQueueRange(nil, keyInbound, queue)
	if err := pb.DeleteRange(inbound, after(inbound), nil); err != nil {
		return fmt.Errorf("dropping packet ids: %w", err)
	}
	return pb.Delete(appendQueueRange(nil, keyPurge, queue), nil)
}
