package peer

// down takes back what was not acknowledged: directs fail, publishes wait for
// the next connection or move into the spool.
func (l *link) down() {
	var failed []failure
	l.mu.Lock()
	l.state, l.cursor = linkDown, 0
	failed = l.failDirects(failed, ErrLinkDown)
	var kept fifo[entry]
	for l.ring.len() > 0 {
		e := l.ring.pop()
		switch {
		case e.direct != nil:
			l.bytes -= e.size
			failed = append(failed, failure{e.done, ErrLinkDown})
		case e.empty(): // a direct that was written
		case e.done == nil: // refused by the peer: that was its answer
			l.bytes -= e.size
		case e.msg.QoS > 0 && l.p.cfg.Spool != nil && l.ctx.Err() == nil:
			l.spoolLater(e)
		default:
			kept.push(e)
		}
	}
	l.ring = kept
	l.mu.Unlock()
	report(failed)
	l.flushSpool()
}

// failure is a done that is due once locks are released.
type failure struct {
	done func(Code, error)
	err  error
}

func report(failed []failure) {
	for _, f := range failed {
		f.done(0, f.err)
	}
}

// failDirects is called with mu held; unsent is for those never written.
func (l *link) failDirects(failed []failure, unsent error) []failure {
	for _, e := range l.ahead {
		l.bytes -= e.size
		failed = append(failed, failure{e.done, unsent})
	}
	l.ahead = nil
	for _, e := range l.directs {
		l.bytes -= e.size
		failed = append(failed, failure{e.done, ErrUnknownOutcome})
	}
	clear(l.directs)
	return failed
}

// shut fails all that is left. What is on its way into the spool is done by
// the spool.
func (l *link) shut() {
	l.cancel()
	l.mu.Lock()
	l.closed, l.state = true, linkDown
	failed := l.failDirects(nil, ErrClosed)
	for l.ring.len() > 0 {
		if e := l.ring.pop(); e.done != nil {
			failed = append(failed, failure{e.done, ErrClosed})
		}
	}
	for _, e := range l.toSpool {
		failed = append(failed, failure{e.done, ErrClosed})
	}
	l.toSpool = nil
	l.bytes = 0
	l.mu.Unlock()
	report(failed)
}
