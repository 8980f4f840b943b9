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

	buf    []byte // from the pool, or larger for a large packet; nil while idle
	r, w   int    // unread bytes are buf[r:w]
	pooled *[]byte
	small  [48]byte // where bytes arrive on connections without raw
}

// readBuffer is the size of the pooled buffers: large enough that a busy
// connection reads hundreds of small packets at once.
const readBuffer = 16 << 10

var readBuffers = sync.Pool{New: func() any { b := make([]byte, readBuffer); return &b }}

func newInput(nc net.Conn) *input {
	in := &input{nc: nc}
	in.prepare()
	return in
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

// read waits for bytes and returns how many came.
func (in *input) read() (int, error) {
	if in.raw != nil {
		if err := in.raw.Read(in.try); err != nil {
			return 0, err
		}
		return in.n, in.err
	}
	if in.buf == nil {
		n, err := in.nc.Read(in.small[:])
		if n > 0 {
			in.room()
			in.w = copy(in.buf, in.small[:n])
		}
		return n, err
	}
	in.room()
	n, err := in.nc.Read(in.buf[in.w:])
	in.w += n
	return n, err
}
