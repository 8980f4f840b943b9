//go:build !nocount

package metrics

// Inc adds one.
func (c *Counter) Inc() { c.v.Add(1) }

// Add adds n.
func (c *Counter) Add(n int) { c.v.Add(uint64(n)) }
