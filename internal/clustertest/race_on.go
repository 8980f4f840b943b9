//go:build race

package clustertest

// RaceEnabled tells that the programs under test have the race detector too.
const RaceEnabled = true

// Slowdown multiplies limits of time: the race detector costs that much.
const Slowdown = 4
