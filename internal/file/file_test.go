package file_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mqadmin/mqadmin/internal/file"
)

// TestReplaceSurvivesPowerLoss cuts the power right after each call.
func TestReplaceSurvivesPowerLoss(t *testing.T) {
	disk := vfs.NewCrashableMem()
	crash := func() { disk = disk.CrashClone(vfs.CrashCloneCfg{}) }
	if err := file.MkdirAll(disk, "/var/lib/broker/meta", 0o750); err != nil {
		t.Fatal(err)
	}
	crash()
	if !file.Exists(disk, "/var/lib/broker/meta") {
		t.Fatal("the directory is gone with the power")
	}
	const path = "/var/lib/broker/meta/node.id"
	if _, err := file.Read(disk, path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading what is not there: %v", err)
	}
	for _, want := range []string{"one", "a longer one", ""} {
		if err := file.Replace(disk, path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		crash()
		if got, err := file.Read(disk, path); err != nil || string(got) != want {
			t.Errorf("after the crash %q, %v; want %q", got, err, want)
		}
	}
	if file.Exists(disk, path+".new") {
		t.Error("the temporary file is left")
	}
}

// TestOperatingSystem does the same calls on the real one.
func TestOperatingSystem(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := file.MkdirAll(vfs.Default, dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := file.MkdirAll(vfs.Default, dir, 0o750); err != nil {
		t.Errorf("a directory that is there: %v", err)
	}
	path := filepath.Join(dir, "f")
	for _, want := range []string{"one", "two"} {
		if err := file.Replace(vfs.Default, path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := file.Read(vfs.Default, path); err != nil || string(got) != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	if _, err := file.Read(vfs.Default, path+"x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading what is not there: %v", err)
	}
	if err := file.Replace(vfs.Default, filepath.Join(dir, "none", "f"), nil); err == nil {
		t.Error("replaced a file in a directory that is not there")
	}
}
