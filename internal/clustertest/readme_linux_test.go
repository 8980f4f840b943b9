package clustertest_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// repository is the top of the tree.
const repository = "../.."

// block is a fenced block of the README that a comment before it tells how to
// use: "run: WHERE" or "file: HOST, PATH". In "text" blocks, what follows a
// line "$ COMMAND" is what that prints.
type block struct {
	line     int
	language string
	verb     string // run, file, "" without comment
	where    []string
	stdin    string
	body     []string
}

// readme returns the README's blocks. A block of shell without a comment is an
// error: nobody would know whether it still works.
func readme(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	comment := regexp.MustCompile(`^<!-- (run|file): ([^;]*?)(?:; stdin: (.*?))? -->$`)
	var out []block
	var next block
	inside := false
	for i, line := range strings.Split(string(text), "\n") {
		m := comment.FindStringSubmatch(line)
		switch {
		case m != nil:
			next = block{verb: m[1], where: strings.Split(m[2], ", "), stdin: m[3]}
		case strings.HasPrefix(line, "```") && !inside:
			inside, next.line, next.language = true, i+1, strings.TrimPrefix(line, "```")
		case strings.HasPrefix(line, "```"):
			if next.verb == "" && (next.language == "sh" || next.language == "console") {
				t.Errorf("README.md:%d: no comment <!-- run: … --> tells where these commands run", next.line)
			}
			out = append(out, next)
			inside, next = false, block{}
		case inside:
			next.body = append(next.body, line)
		case strings.TrimSpace(line) != "":
			next = block{} // a comment belongs to the block right after it
		}
	}
	return out
}

// TestReadme runs what the README shows, from top to bottom, on the two hosts
// that it names.
func TestReadme(t *testing.T) {
	skipShort(t)
	if why := missing(); why != "" {
		t.Skip("the README's two hosts cannot be made here: " + why)
	}
	if !insideLab() {
		runLab(t)
		return
	}
	l := newLab(t)
	r := &reader{first: l.newHost(t, "broker", "123"), second: l.newHost(t, "broker", "124"), clone: t.TempDir()}
	if err := os.Symlink(bin(), filepath.Join(r.clone, "bin")); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if r.stop != nil {
			r.stop()
		}
	}()
	for _, b := range readme(t) {
		if !t.Run(fmt.Sprintf("line %d", b.line), func(t *testing.T) { r.follow(t, b) }) {
			t.FailNow() // what follows builds on it
		}
	}
	if r.commands < 20 {
		t.Errorf("only %d commands were run: README.md has lost its comments", r.commands)
	}
	awaitMembers(t, r.first.Node) // the last step took the second host away
}

// reader is somebody who types what the README says.
type reader struct {
	first, second *host
	clone         string // where the repository lies, as far as it is needed
	commands      int
	background    *lockedBuffer // what the command in the background prints
	stop          func()        // ends it
}

func (r *reader) follow(t *testing.T, b block) {
	switch {
	case b.verb == "file":
		r.hosts(t, b)[0].writeEtc(t, b.where[1], b.body)
	case b.verb == "run":
		for _, h := range r.hosts(t, b) {
			for _, line := range b.body {
				r.run(t, h, b, line)
			}
		}
	case b.language == "text":
		r.compare(t, b)
	default:
		t.Skip("nothing to run")
	}
}

// hosts are where a block belongs.
func (r *reader) hosts(t *testing.T, b block) []*host {
	t.Helper()
	for _, where := range b.where {
		switch where {
		case "each host":
			return []*host{r.first, r.second}
		case "second host":
			return []*host{r.second}
		case "first host", "any host", "single":
			return []*host{r.first}
		}
	}
	if len(b.where) == 1 && b.where[0] == "clone" {
		return []*host{r.first}
	}
	t.Fatalf("README.md:%d: unknown place %q", b.line, b.where)
	return nil
}

func (h *host) writeEtc(t *testing.T, path string, body []string) {
	t.Helper()
	inside, ok := strings.CutPrefix(path, "/etc/")
	if !ok {
		t.Fatalf("%s is not below /etc", path)
	}
	writeFile(t, h.file("etc", inside), strings.Join(body, "\n")+"\n", 0o640)
}

// run types one line.
func (r *reader) run(t *testing.T, h *host, b block, line string) {
	t.Helper()
	if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
		return
	}
	r.commands++
	switch program := strings.Fields(line)[0]; {
	case program == "make":
		// The targets have tests of their own; what they are called is checked.
		must(t, "make -C "+repository+" -n "+strings.TrimPrefix(line, "make "))
		return
	case strings.HasPrefix(program, "mosquitto"):
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	for _, word := range b.where {
		switch word {
		case "clone":
			line = "cd " + r.clone + " && " + line
		case "in the background":
			r.inBackground(t, h, line)
			return
		case "with a session worker-1":
			if r.background != nil && strings.Contains(line, "mqadmin session") {
				r.awaitWorker(t)
			}
		}
	}
	if b.stdin != "" {
		line = "{ " + line + "; } <<'EOF'\n" + b.stdin + "\nEOF"
	}
	h.ok(t, line)
	if strings.HasPrefix(line, "mosquitto_pub") && r.background != nil {
		r.awaitDelivery(t, line)
	}
}

// inBackground starts a line that does not end by itself.
func (r *reader) inBackground(t *testing.T, h *host, line string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	args := h.enter("exec " + line)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.stop, r.background = func() { cancel(); _ = cmd.Wait() }, &out
	r.awaitWorker(t)
}

// awaitWorker waits until the README's consumer is connected and subscribed.
func (r *reader) awaitWorker(t *testing.T) {
	t.Helper()
	await(t, func() error {
		res := r.first.Admin(t.Context(), "session", "show", "--client_id", "--topic", "--is_online", "--is_online=true", "--client_id=worker-1")
		if !strings.Contains(res.Stdout, "jobs") {
			return fmt.Errorf("worker-1 is not there: %s%s", res.Stdout, res.Stderr)
		}
		return nil
	})
}

// awaitDelivery waits until the consumer has printed what the publisher sent.
func (r *reader) awaitDelivery(t *testing.T, line string) {
	t.Helper()
	m := regexp.MustCompile(`-m '(.*?)'`).FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("no message in %q", line)
	}
	await(t, func() error {
		if !strings.Contains(r.background.String(), m[1]) {
			return fmt.Errorf("the consumer printed %q, not %q", r.background.String(), m[1])
		}
		return nil
	})
}

// compare runs the commands of a block of text and compares what they print
// with what stands below them.
func (r *reader) compare(t *testing.T, b block) {
	var want []string
	command := ""
	check := func() {
		if command == "" {
			return
		}
		r.commands++
		await(t, func() error {
			args := r.first.enter(command + " 2>&1")
			res := clustertest.Run(t.Context(), args[0], args[1:]...)
			if diff := diffOf(want, strings.Split(strings.TrimSpace(res.Stdout), "\n")); diff != "" {
				return fmt.Errorf("%s (-README +now):\n%s", command, diff)
			}
			return nil
		})
	}
	for _, line := range b.body {
		if c, ok := strings.CutPrefix(line, "$ "); ok {
			check()
			command, want = c, nil
			continue
		}
		want = append(want, line)
	}
	check()
	if command == "" {
		t.Skip("an excerpt, not a command")
	}
}
