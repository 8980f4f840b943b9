package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The environment variables that tell a child who waits for it. They do not
// begin with BROKER_, which names settings.
const (
	envReadyFD = "MQADMIN_READY_FD"
	envOutput  = "MQADMIN_START_OUTPUT"
)

// StartOptions describe the child that Start detaches.
type StartOptions struct {
	Path    string   // executable; this one when empty
	Args    []string // arguments without the program's name
	Env     []string // nil: os.Environ()
	Dir     string   // working directory; "": this one
	Output  string   // file for stdout and stderr once it serves; "": /dev/null
	Timeout time.Duration
	// Kill ends a child that did not become ready in time; otherwise it is
	// left to go on starting.
	Kill bool
}

// outcome is what the child writes into the pipe, as JSON, once.
type outcome struct {
	Ready   bool   `json:"ready"`
	Message string `json:"message"`
}

// maxOutcome bounds what is read from the pipe and what a dying child wrote.
const maxOutcome = 64 << 10

// Start runs a detached child and waits until it calls Notifier.Ready or
// Failed, ends, or o.Timeout (30 s when 0) has passed. message is what Ready
// said; the reason of a failure is in the error, ErrNotReady. Until it
// serves, the child's standard error is collected for that reason.
func Start(ctx context.Context, o StartOptions) (pid int, message string, err error) {
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	cmd, pipes, err := o.command()
	if err != nil {
		return 0, "", err
	}
	defer pipes.close()
	if err := cmd.Start(); err != nil {
		return 0, "", fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	pipes.closeChild()
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()

	result := make(chan outcome, 1) // the goroutine ends when the pipe does
	go func() {
		var r outcome
		b, _ := io.ReadAll(io.LimitReader(pipes.ready, maxOutcome))
		if json.Unmarshal(b, &r) != nil {
			r = outcome{Message: "ended without a word"}
			if text := pipes.lastWords(); text != "" {
				r.Message = text
			}
		}
		result <- r
	}()
	select {
	case r := <-result:
		if r.Ready {
			pid = cmd.Process.Pid
			return pid, r.Message, cmd.Process.Release()
		}
		_ = cmd.Wait()
		return 0, "", fmt.Errorf("%w: %s", ErrNotReady, r.Message)
	case <-ctx.Done():
		pid = cmd.Process.Pid
		if !o.Kill {
			pipes.close()
			return pid, "", fmt.Errorf("%w within %s; process %d goes on starting", ErrNotReady, o.Timeout, pid)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return 0, "", fmt.Errorf("%w within %s and was ended", ErrNotReady, o.Timeout)
	}
}

// pipes connect Start with its child.
type pipes struct {
	ready, readyW *os.File
	words         *os.File // temporary file: the child's stderr until it serves
	null          *os.File
}

func (p *pipes) close() {
	p.closeChild()
	p.ready.Close()
	p.words.Close()
}

func (p *pipes) closeChild() {
	p.readyW.Close()
	p.null.Close()
}

// lastWords returns what a child that ended wrote to its standard error.
func (p *pipes) lastWords() string {
	b, err := io.ReadAll(io.NewSectionReader(p.words, 0, maxOutcome))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (o StartOptions) command() (*exec.Cmd, *pipes, error) {
	path := o.Path
	if path == "" {
		var err error
		if path, err = os.Executable(); err != nil {
			return nil, nil, fmt.Errorf("finding this program: %w", err)
		}
	}
	// Not bound to a context: the child outlives this process.
	cmd := exec.Command(path, o.Args...) //nolint:noctx // see above
	if err := detach(cmd); err != nil {
		return nil, nil, fmt.Errorf("starting in the background: %w", err)
	}
	p, err := openPipes()
	if err != nil {
		return nil, nil, err
	}
	env := o.Env
	if env == nil {
		env = os.Environ()
	}
	cmd.Dir = o.Dir
	cmd.Env = append(slices.Clone(env), envReadyFD+"=3", envOutput+"="+o.Output)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.null, p.words, p.words
	cmd.ExtraFiles = []*os.File{p.readyW}
	return cmd, p, nil
}

func openPipes() (*pipes, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("starting in the background: %w", err)
	}
	words, err := os.CreateTemp("", "mqadmin-start-*")
	if err != nil {
		null.Close()
		return nil, fmt.Errorf("starting in the background: %w", err)
	}
	// Nobody needs its name: parent and child hold it open.
	os.Remove(words.Name())
	ready, readyW, err := os.Pipe()
	if err != nil {
		null.Close()
		words.Close()
		return nil, fmt.Errorf("starting in the background: %w", err)
	}
	return &pipes{ready: ready, readyW: readyW, words: words, null: null}, nil
}

// handshake is the child's end of what Start waits for.
type handshake struct {
	pipe   *os.File
	output string
}

// takeHandshake reads and removes the environment variables, so that the
// child's own children do not inherit them.
func takeHandshake() *handshake {
	fd, err := strconv.Atoi(os.Getenv(envReadyFD))
	output := os.Getenv(envOutput)
	if os.Unsetenv(envReadyFD) != nil || os.Unsetenv(envOutput) != nil || err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), "ready")
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return nil // a stale variable: fd 3 is something else's
	}
	closeOnExec(f)
	return &handshake{pipe: f, output: output}
}

// ready moves standard output away from the starter, then tells it.
func (h *handshake) ready(message string) error {
	if h == nil {
		return nil
	}
	path := h.output
	if path == "" {
		path = os.DevNull
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err == nil {
		err = dup2(f)
		f.Close()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("leaving the terminal: %w", err), h.send(outcome{Message: err.Error()}))
	}
	return h.send(outcome{Ready: true, Message: message})
}

func (h *handshake) send(r outcome) error {
	if h == nil {
		return nil
	}
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("reporting readiness: %w", err)
	}
	_, err = h.pipe.Write(b)
	if err := errors.Join(err, h.pipe.Close()); err != nil {
		return fmt.Errorf("reporting readiness: %w", err)
	}
	return nil
}
