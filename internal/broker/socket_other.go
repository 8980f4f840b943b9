//go:build !linux

package broker

import "net"

func listenSocket(network, address string) (net.Listener, error) { return net.Listen(network, address) }
