package apikey

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// failures counts wrong keys by address: limit may come at once, and each
// minute gives as many back, evenly.
type failures struct {
	limit int
	mu    sync.Mutex // guards seen
	seen  map[string]bucket
}

// bucket holds how many failures are left, as of at.
type bucket struct {
	left float64
	at   time.Time
}

// window is the time in which limit failures are forgiven.
const window = time.Minute

// maxAddresses bounds the memory for failures.
const maxAddresses = 4096

func newFailures(limit int) *failures {
	return &failures{limit: limit, seen: map[string]bucket{}}
}

// allowed reports whether an address may try.
func (f *failures) allowed(remote string, now time.Time) bool {
	addr := address(remote)
	if f.limit == 0 || addr == "" {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.seen[addr]
	return !ok || f.refilled(b, now).left >= 1
}

// add notes a failure.
func (f *failures) add(remote string, now time.Time) {
	addr := address(remote)
	if f.limit == 0 || addr == "" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.seen[addr]
	if !ok {
		f.makeRoom()
		b = bucket{left: float64(f.limit), at: now}
	}
	b = f.refilled(b, now)
	b.left = max(b.left-1, 0)
	f.seen[addr] = b
}

func (f *failures) refilled(b bucket, now time.Time) bucket {
	gain := now.Sub(b.at).Seconds() / window.Seconds() * float64(f.limit)
	return bucket{left: min(b.left+max(gain, 0), float64(f.limit)), at: now}
}

// makeRoom forgets the older half when the memory is full.
func (f *failures) makeRoom() {
	if len(f.seen) < maxAddresses {
		return
	}
	all := slices.Collect(maps.Keys(f.seen))
	slices.SortFunc(all, func(a, b string) int { return f.seen[a].at.Compare(f.seen[b].at) })
	for _, a := range all[:len(all)/2] {
		delete(f.seen, a)
	}
}

// address is the host of remote; of IPv6 the network, which one host owns.
func address(remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		remote = host
	}
	ip, err := netip.ParseAddr(remote)
	if err != nil {
		return remote
	}
	ip = ip.Unmap().WithZone("")
	if p, err := ip.Prefix(64); err == nil && ip.Is6() {
		return p.String()
	}
	return ip.String()
}
