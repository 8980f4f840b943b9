package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// RunListener returns the listener that lines of a file would make: one of a
// type at an address, with options of its own over those of the settings. It
// is checked as the file is; an error names the option.
func (c *Config) RunListener(listenerType, address string, options map[string]string) (Listener, error) {
	if !slices.Contains(allTypes, listenerType) {
		return Listener{}, &runtimeError{fmt.Sprintf("there is no listener of type %q", listenerType), ErrValue}
	}
	name := strings.Map(func(r rune) rune {
		if r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, address)
	key := "listener." + listenerType + "." + name
	d := c.clone()
	d.listeners = nil
	for k := range d.entries { // another one at the address, perhaps stopped and deleted by now
		if k == key || strings.HasPrefix(k, key+".") {
			delete(d.entries, k)
		}
	}
	at := Origin{Kind: FromRuntime}
	b := builder{opts: &Options{}, report: &report{}, c: d}
	b.opts.defaults()
	for option, value := range options {
		if _, ok := lookup(key + "." + option); !ok {
			b.report.add(at, "%s is no option of listeners of type %s", option, listenerType)
			continue
		}
		b.set(key+"."+option, value, at, at)
	}
	b.set(key, address, at, at)
	var own []*entry
	for _, k := range sorted(maps.Keys(d.entries)) {
		if k == key || strings.HasPrefix(k, key+".") {
			own = append(own, d.entries[k])
		}
	}
	for _, e := range own {
		b.parse(e)
	}
	l, _ := d.listener(key, d.entries[key])
	if !b.unresolved(key) && !d.entries[key].bad {
		d.resolve(key, &l)
		b.checkListener(key, &l)
	}
	for _, e := range own {
		b.judge(e)
	}
	if err := b.report.err(); err != nil {
		var lines []string
		for _, e := range b.report.errs {
			lines = append(lines, strings.ReplaceAll(e.Msg, key+".", ""))
		}
		return Listener{}, &runtimeError{strings.ReplaceAll(strings.Join(lines, "; "), key, address), ErrValue}
	}
	return l, nil
}
