package version

import "testing"

func TestString(t *testing.T) {
	if String() == "" {
		t.Error("a build without a stamp has no version at all")
	}
	defer func(old string) { Version = old }(Version)
	Version = "v1.2.3"
	if got := String(); got != "v1.2.3" {
		t.Errorf("stamped v1.2.3, got %q", got)
	}
}
