//go:build race

package simulation_test

// defaultSeeds of random workloads: the detector makes each ten times as
// expensive.
const defaultSeeds = 2
