package session

import (
	"net"
	"sync"
	"syscall"
)

// input reads a connection. While nothing arrives it holds no buffer: an idle
// connection costs its goroutine and this struct.
type input struct {
	nc  net.Conn
	raw syscall.RawConn // nil unless the socket can be read without a buffer in wait
	try func(fd uintptr) bool
	n   int   // result of try
	err error // result of try
	// awaits: try reads into small. came: it has, and nobody has taken it.
	awaits, came bool

	buf    []byte // from the pool, or larger for a large packet; nil while idle
	r, w   int    // unread bytes are buf[r:w]
	pooled *[]byte
	small  [48]byte // where the first bytes arrive while there is no buffer
}

// readBuffer is the size of the pooled buffers: large enough that a busy
// connection reads hundreds of small packets at once.
const readBuffer = 16 << 10

var readBuffers = sync.Pool{New: func() any { b := make([]byte, readBuffer); return &b }}

func (in *input) init(nc net.Conn) {
	in.nc = nc
	in.prepare()
}

// bytes returns what has been read and not consumed.
func (in *input) bytes() []byte { return in.buf[in.r:in.w] }

// consume drops n bytes from the front.
func (in *input) consume(n int) { in.r += n }

// rest ends a round of decoding: without a part of a packet left the buffer
// goes back.
func (in *input) rest() {
	if in.r < in.w {
		return
	}
	in.r, in.w = 0, 0
	in.release()
}

func (in *input) release() {
	if in.pooled != nil {
		readBuffers.Put(in.pooled)
	}
	in.buf, in.pooled = nil, nil
}

// room makes sure that there is space behind w. A buffer grows only with the
// bytes that have really arrived, never by what a header promises.
func (in *input) room() {
	switch {
	case in.buf == nil:
		in.pooled = readBuffers.Get().(*[]byte)
		in.buf, in.r, in.w = *in.pooled, 0, 0
	case in.w < len(in.buf):
	case in.r > 0:
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	default:
		b := make([]byte, 2*len(in.buf))
		copy(b, in.buf[:in.w])
		w := in.w
		in.release()
		in.buf, in.w = b, w
	}
}

// canAwait reports whether await may be used: the socket is a plain one and no
// part of a packet is left.
func (in *input) canAwait() bool { return in.raw != nil && in.buf == nil }

// await waits for bytes without a buffer, with little on the stack. What came,
// or why nothing will, read returns.
func (in *input) await() {
	in.awaits = true
	if err := in.raw.Read(in.try); err != nil {
		in.n, in.err = 0, err
	}
	in.awaits, in.came = false, true
}

// read waits for bytes and returns how many came.
func (in *input) read() (int, error) {
	switch {
	case in.came:
		in.came = false
		return in.taken(in.n), in.err
	case in.raw != nil:
		if err := in.raw.Read(in.try); err != nil {
			return 0, err
		}
		return in.n, in.err
	case in.buf == nil:
		n, err := in.nc.Read(in.small[:])
		return in.taken(n), err
	}
	in.room()
	n, err := in.nc.Read(in.buf[in.w:])
	in.w += n
	return n, err
}

// taken puts the n bytes that came into small into a buffer.
func (in *input) taken(n int) int {
	if n > 0 {
		in.room()
		in.w = copy(in.buf, in.small[:n])
	}
	return n
}
