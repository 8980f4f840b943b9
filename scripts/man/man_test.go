package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/mqadmin/mqadmin/internal/cli"
)

func TestEveryCommandHasAPage(t *testing.T) {
	dir := t.TempDir()
	if err := run(dir); err != nil {
		t.Fatal(err)
	}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Runnable() && c.Name() != "help" {
			name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || !strings.Contains(string(b), ".SH SYNOPSIS") || !strings.Contains(string(b), ".SH EXAMPLE") {
				t.Errorf("%s: %v\n%.300s", name, err, b)
			}
		}
		for _, child := range c.Commands() {
			walk(child)
		}
	}
	walk(cli.Tree())
}
