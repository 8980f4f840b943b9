package cluster

import (
	"errors"
	"testing"
)

func TestParseNode(t *testing.T) {
	for _, c := range []struct{ in, name, address string }{
		{"VerneMQ@192.168.100.124", "VerneMQ@192.168.100.124", "192.168.100.124:44053"},
		{"n1@host:4405", "n1@host", "host:4405"},
		{"n1@[::1]:4405", "n1@::1", "[::1]:4405"},
		{"n1@::1", "n1@::1", "[::1]:44053"},
		{"a@b@c", "a@b@c", "c:44053"},
	} {
		name, address, err := ParseNode(c.in)
		if err != nil || name != c.name || address != c.address {
			t.Errorf("%q: %q %q %v, want %q %q", c.in, name, address, err, c.name, c.address)
		}
	}
	for _, in := range []string{"", "host", "@host", "name@", "name@host:", "name@:1"} {
		if _, _, err := ParseNode(in); !errors.Is(err, ErrNodeName) {
			t.Errorf("%q: %v", in, err)
		}
	}
}
