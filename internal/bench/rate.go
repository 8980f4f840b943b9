package bench

import "time"

// pace publishes Spec.Rate messages a second, the publishers taking turns,
// each message in a write of its own. It waits for nothing but the clock, up
// to the window: a broker that cannot follow makes it late.
func (f *flow) pace() error {
	gap := time.Second / time.Duration(f.Rate)
	due := time.Now()
	for i := 0; !f.stopped.Load(); i++ {
		p := f.pubs[i%len(f.pubs)]
		for p.credit() < 1 {
			<-p.kick
			if f.stopped.Load() {
				return nil
			}
		}
		due = due.Add(gap)
		sleepUntil(due)
		if err := p.send(1); err != nil {
			return err
		}
	}
	return nil
}
