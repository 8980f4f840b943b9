//go:build !unix

package broker

func usage() (processUsage, bool) { return processUsage{}, false }
