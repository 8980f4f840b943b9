// Package hostile holds tests that treat a broker as badly as its protocol
// allows: packets that are none, senders that drip, readers that never read,
// floods, and connections that end in the middle of something. A broker holds
// if it does not panic, leaks nothing, stays within its limits, and serves
// everybody else meanwhile.
package hostile
