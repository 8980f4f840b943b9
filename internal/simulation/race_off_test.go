//go:build !race

package simulation_test

// defaultSeeds of random workloads, about a second of CPU each; make soak runs
// a thousand.
const defaultSeeds = 15
