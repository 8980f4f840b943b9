package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"gopkg.in/yaml.v3"
)

// ContextEnv names the environment variable with the name of a context.
const ContextEnv = "MQADMIN_CONTEXT"

// Profile is a named way to reach a broker. It holds no secrets, only the files
// that have them.
type Profile struct {
	Socket     string `yaml:"socket,omitempty"`
	Address    string `yaml:"address,omitempty"`
	CACert     string `yaml:"cacert,omitempty"`
	Cert       string `yaml:"cert,omitempty"`
	Key        string `yaml:"key,omitempty"`
	TokenFile  string `yaml:"token-file,omitempty"`
	ServerName string `yaml:"server-name,omitempty"`
}

// Profiles are what the configuration file holds.
type Profiles struct {
	Current  string             `yaml:"current,omitempty"`
	Contexts map[string]Profile `yaml:"contexts,omitempty"`
}

// ProfileFile is the path of the configuration file.
func (f *Factory) ProfileFile() (string, error) {
	dir := f.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home := f.Getenv("HOME")
		if home == "" {
			home = f.Getenv("USERPROFILE")
		}
		if home == "" {
			return "", errors.New("neither XDG_CONFIG_HOME nor HOME is set, so there is no place for contexts")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "mqadmin", "config.yaml"), nil
}

// LoadProfiles reads the configuration file; one that is missing is empty. A
// file that others can write is refused: it decides whom we talk to.
func (f *Factory) LoadProfiles() (*Profiles, error) {
	p := &Profiles{Contexts: map[string]Profile{}}
	path, err := f.ProfileFile()
	if err != nil {
		return p, nil //nolint:nilerr // a service without a home has no contexts
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading contexts: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 && runtime.GOOS != "windows" {
		return nil, &Failure{
			Code: ExitUsage, Reason: "USAGE", Message: fmt.Sprintf("%s can be written by others", path), Hint: "chmod 600 " + path,
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading contexts: %w", err)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(p); err != nil && len(bytes.TrimSpace(b)) > 0 {
		return nil, Usage("%s: %v", path, err)
	}
	if p.Contexts == nil {
		p.Contexts = map[string]Profile{}
	}
	return p, nil
}

// SaveProfiles writes the configuration file, as a whole or not at all.
func (f *Factory) SaveProfiles(p *Profiles) error {
	path, err := f.ProfileFile()
	if err != nil {
		return err
	}
	b, err := yaml.Marshal(p)
	if err != nil {
		return fmt.Errorf("writing contexts: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("writing contexts: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".config-*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing contexts: %w", err)
	}
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return fmt.Errorf("writing contexts: %w", err)
	}
	return nil
}

// ContextNames completes --context.
func (f *Factory) ContextNames(context.Context) []string {
	all, err := f.LoadProfiles()
	if err != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(all.Contexts))
}

// resolve fills in what flags and environment leave open from a context: the
// one that is named, else the current one, unless a broker is named already.
func (f *Factory) resolve() error {
	name := f.ContextName
	elsewhere := f.Address != "" || f.Socket != ""
	if name == "" {
		name = f.Getenv(ContextEnv)
		elsewhere = elsewhere || f.Getenv(AddressEnv) != "" || f.Getenv(SocketEnv) != ""
	}
	if name == "" && elsewhere {
		return nil
	}
	all, err := f.LoadProfiles()
	if err != nil {
		return err
	}
	if name == "" {
		if name = all.Current; name == "" {
			return nil
		}
	}
	p, ok := all.Contexts[name]
	if !ok {
		return &Failure{
			Code: ExitUsage, Reason: "USAGE", Message: fmt.Sprintf("there is no context %q", name),
			Hint: "they are listed by: " + f.Name + " context list",
		}
	}
	if !elsewhere {
		f.Socket, f.Address = p.Socket, p.Address
	}
	if f.Cert == "" && f.Key == "" {
		f.Cert, f.Key = p.Cert, p.Key
	}
	for _, v := range []struct{ to, from *string }{
		{&f.CACert, &p.CACert}, {&f.ServerName, &p.ServerName},
	} {
		if *v.to == "" {
			*v.to = *v.from
		}
	}
	if f.TokenFile == "" && f.Getenv(TokenEnv) == "" && f.Getenv(TokenFileEnv) == "" {
		f.TokenFile = p.TokenFile
	}
	return nil
}
