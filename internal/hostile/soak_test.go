package hostile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// TestProcess attacks a broker process, as it runs in production, at a steady
// rate, in turn with quiet. The latency of others is compared within the run,
// as the median over all turns of the quotient of the 99th percentiles.
func TestProcess(t *testing.T) {
	if !*soak {
		t.Skip("measures latency and memory of a process; with -soak (make soak) only")
	}
	n, err := clustertest.New(clustertest.Config{
		Bin: clustertest.Bin(), Dir: filepath.Join(t.TempDir(), "n1"), Name: "n1@127.0.0.1", Settings: []string{"listener.max_connections = infinity"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Kill)
	source := randomness(t)
	churn(t, n.MQTT, len(drops)*500)
	r := source(0)
	attack(t, n.MQTT, r.Uint64(), 5*time.Second)
	before := settledRSS(t, n.PID())
	files := openFiles(t, n.PID())
	p := startProbe(t, n.MQTT)
	var quotients []float64
	for range 9 {
		p.window()
		<-time.After(window)
		calm := p.window()
		said := attack(t, n.MQTT, r.Uint64(), window)
		attacked := p.window()
		quotients = append(quotients, float64(attacked)/float64(calm))
		t.Logf("p99 %v in quiet, %v beside %s", calm, attacked, said)
	}
	slices.Sort(quotients)
	if q := quotients[len(quotients)/2]; q > 3 {
		t.Errorf("p99 of others is %.1f × under attack, at most 3 ×", q)
	} else {
		t.Logf("p99 of others is %.1f × under attack", q)
	}
	churn(t, n.MQTT, 10_000)
	p.end(t)
	after := settledRSS(t, n.PID())
	t.Logf("RSS %d KiB before, %d KiB afterwards; %d and %d open files", before>>10, after>>10, files, openFiles(t, n.PID()))
	if after > before+before/10 {
		t.Errorf("RSS has grown by more than a tenth: %d KiB, %d KiB", before>>10, after>>10)
	}
	if now := openFiles(t, n.PID()); now > files+files/10+5 {
		t.Errorf("%d files are open, before: %d", now, files)
	}
	if err := n.Stop(patience); err != nil {
		t.Error(err)
	}
	if text, _ := os.ReadFile(filepath.Join(n.Dir, "log", "crash.log")); len(text) > 0 {
		t.Errorf("the broker has caught a panic:\n%s", text)
	}
}

// window is how long quiet and attack last in turn.
const window = 4 * time.Second

// rate is how many hostile connections begin per second: enough to be felt on
// two cores, not enough to be all that they do.
const rate = 400

// envAttack makes this program an attacker and nothing else: address, seed and
// duration. In the probe's own process the attackers' goroutines would hold it
// up, and what the broker does could not be told apart from that.
const envAttack = "MQADMIN_HOSTILE_ATTACK"

// attack runs an attacker for a while, at the lowest priority, and returns
// what it says of itself.
func attack(t *testing.T, addr string, seed uint64, d time.Duration) string {
	t.Helper()
	name, args := os.Args[0], []string(nil)
	if nice, err := exec.LookPath("nice"); err == nil {
		name, args = nice, []string{"-n", "19", os.Args[0]}
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %v", envAttack, addr, seed, d))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("the attacker: %v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// attackAlone is the attacker's process. It attacks at a steady rate and
// returns its exit code.
func attackAlone() int {
	var addr, last string
	var seed uint64
	if _, err := fmt.Sscan(os.Getenv(envAttack), &addr, &seed, &last); err != nil {
		fmt.Println(err)
		return 2
	}
	d, err := time.ParseDuration(last)
	if err != nil {
		fmt.Println(err)
		return 2
	}
	var packets, conns, failed atomic.Int64
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		r := rand.New(rand.NewPCG(seed, uint64(conns.Add(1))))
		wg.Go(func() {
			n, err := molest(addr, r)
			packets.Add(int64(n))
			if err != nil {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	fmt.Printf("%d connections that sent %d packets, %d not let in\n", conns.Load(), packets.Load(), failed.Load())
	if failed.Load() > 0 {
		return 1
	}
	return 0
}

// settledRSS waits until the process's resident memory no longer falls, and
// returns it in bytes.
func settledRSS(t *testing.T, pid int) int64 {
	t.Helper()
	least := residentBytes(t, pid)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for same := 0; same < 20; { // ten seconds
		<-tick.C
		if now := residentBytes(t, pid); now < least-least/100 {
			least, same = now, 0
		} else {
			same++
		}
	}
	return least
}

func residentBytes(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skipf("no /proc on this system: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

func openFiles(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
