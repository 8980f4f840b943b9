package hostile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
	paced(t, n.MQTT, source(100), 5*time.Second)
	before := settledRSS(t, n.PID())
	files := openFiles(t, n.PID())
	p := startProbe(t, n.MQTT)
	var quotients []float64
	for turn := range 9 {
		p.window()
		<-time.After(window)
		calm := p.window()
		sent := paced(t, n.MQTT, source(turn), window)
		attacked := p.window()
		quotients = append(quotients, float64(attacked)/float64(calm))
		t.Logf("p99 %v in quiet, %v beside %d connections that send %d packets", calm, attacked, sent.conns, sent.packets)
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

// total is what an attack came to.
type total struct{ conns, packets int }

// window is how long quiet and attack last in turn.
const window = 4 * time.Second

// rate is how many hostile connections begin per second: enough to be felt on
// two cores, not enough to be all that they do.
const rate = 400

// paced attacks for a while at a steady rate.
func paced(t *testing.T, addr string, r *rand.Rand, d time.Duration) total {
	t.Helper()
	var out total
	var mu sync.Mutex
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		mine := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
		wg.Go(func() {
			sent := molest(t, addr, mine)
			mu.Lock()
			defer mu.Unlock()
			out.conns++
			out.packets += sent
		})
	}
	wg.Wait()
	return out
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
