package cluster

import (
	"fmt"
	"net"
	"strings"
)

// DefaultPort is where other nodes are reached when a name gives no port.
const DefaultPort = "44053"

// ParseNode splits what an operator types, name@host or name@host:port, into
// the node's name and the host:port of its cluster port.
func ParseNode(s string) (name, address string, err error) {
	at := strings.LastIndexByte(s, '@')
	if at <= 0 || at == len(s)-1 {
		return "", "", &sentence{ErrNodeName, fmt.Sprintf("%q is no node name; it has the form name@host, such as VerneMQ@192.168.100.124, or name@host:port", s)}
	}
	host := s[at+1:]
	if h, port, err := net.SplitHostPort(host); err == nil && h != "" && port != "" {
		return s[:at+1] + h, host, nil
	}
	if strings.Count(host, ":") == 1 {
		return "", "", &sentence{ErrNodeName, fmt.Sprintf("%q: the port is missing or bad; write name@host or name@host:port", s)}
	}
	return s, net.JoinHostPort(strings.Trim(host, "[]"), DefaultPort), nil
}
