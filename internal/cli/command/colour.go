package command

// What is coloured, and how.
const (
	red    = "\x1b[1;31m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
	plain  = "\x1b[0m"
)

// Colours are the values of --color.
func Colours() []string { return []string{"auto", "always", "never"} }

// colour decides for one stream: --color, then the environment's customs, then
// whether it is a terminal that can.
func (f *Factory) colour(tty bool) bool {
	switch f.Color {
	case "always":
		return true
	case "never":
		return false
	}
	if f.Getenv == nil || f.Getenv("NO_COLOR") != "" {
		return false
	}
	for _, force := range []string{"CLICOLOR_FORCE", "FORCE_COLOR"} {
		if v := f.Getenv(force); v != "" && v != "0" {
			return true
		}
	}
	return tty && f.Getenv("TERM") != "dumb"
}
