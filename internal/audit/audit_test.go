package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/logging"
)

func entry(i int) Entry {
	return Entry{
		Time: time.Unix(int64(i), 0).UTC(), Node: "n", Caller: fmt.Sprintf("uid %d", i%3), Method: "S/M" + fmt.Sprint(i%2),
		Arguments: `{"a":"\u001b"}`, Code: map[bool]string{true: "OK", false: "NotFound"}[i%5 > 0], Took: time.Duration(i),
	}
}

func TestTheNewestAreReadOverRotatedFiles(t *testing.T) {
	for _, compress := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "audit.log")
		l, err := Open(logging.File{Path: path, Size: 1500, Keep: 100, Compress: compress})
		if err != nil {
			t.Fatal(err)
		}
		const n = 60
		for i := range n {
			if err := l.Add(entry(i)); err != nil {
				t.Fatal(err)
			}
		}
		if compress { // wait until the last rotated file is packed
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if files := l.file.Files(); len(files) < 4 {
			t.Errorf("%d files", len(files))
		}
		for _, q := range []Query{
			{Limit: 1},
			{Limit: 25},
			{Limit: 1000},
			{Limit: 10, Caller: "uid 1"},
			{Limit: 10, Method: "M1", Failed: true},
			{Limit: 1000, Since: time.Unix(40, 0)},
		} {
			var want []Entry
			for i := n - 1; i >= 0 && len(want) < q.Limit; i-- {
				if e := entry(i); q.match(e) {
					want = append([]Entry{e}, want...)
				}
			}
			got, err := l.Read(q)
			if d := cmp.Diff(want, got); d != "" || err != nil {
				t.Errorf("compressed %v, %+v: %v %s", compress, q, err, d)
			}
		}
		_ = l.Close()
	}
}

func TestATornLineIsLeftOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(`{"time":"2026-01-01T00:00:00Z","ca`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(logging.File{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Add(entry(1)); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Read(Query{Limit: 10}); err != nil || len(got) != 1 || got[0] != entry(1) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Read(Query{Limit: 10}); err != nil || len(got) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}
