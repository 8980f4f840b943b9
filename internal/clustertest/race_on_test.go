//go:build race

package clustertest_test

// raceEnabled builds the programs under test with the race detector too.
const raceEnabled = true

// slowdown multiplies limits of time: the race detector costs that much.
const slowdown = 4
