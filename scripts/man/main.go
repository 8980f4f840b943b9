// Command man writes the man pages of mqadmin into a directory. SOURCE_DATE_EPOCH
// fixes their date.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra/doc"

	"github.com/mqadmin/mqadmin/internal/cli"
	"github.com/mqadmin/mqadmin/internal/version"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: man <directory>")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return doc.GenManTree(cli.Tree(), &doc.GenManHeader{
		Title: "MQADMIN", Section: "1", Source: "mqadmin " + version.String(), Manual: "mqadmin manual",
	}, dir)
}
