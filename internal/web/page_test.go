package web

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The page loads nothing from elsewhere, and runs no script that stands in it.
func TestStatusPage(t *testing.T) {
	h := newHandler(t, Config{Readiness: &fake{}, Status: &fake{}})
	for path, kind := range map[string]string{"/status": "text/html", "/status/status.js": "text/javascript", "/status/status.css": "text/css"} {
		w := get(h, http.MethodGet, path)
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) || w.Body.Len() == 0 {
			t.Errorf("%s: %d %s", path, w.Code, w.Header())
		}
		if strings.Contains(w.Body.String(), "://") {
			t.Errorf("%s names another host", path)
		}
	}
	page := get(h, http.MethodGet, "/status")
	if csp := page.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'self'") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q", csp)
	}
	for script := range strings.SplitSeq(page.Body.String(), "<script") {
		if _, rest, ok := strings.Cut(script, "src="); ok && !strings.Contains(rest, "></script>") {
			t.Errorf("script in the page: %s", script)
		}
	}
}

// What the page computes, run by node where there is one.
func TestStatusPageFigures(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("needs node, to run the page's script")
	}
	script, err := filepath.Abs("page/status.js")
	if err != nil {
		t.Fatal(err)
	}
	check := filepath.Join(t.TempDir(), "check.js")
	err = os.WriteFile(check, []byte(`
const assert = require('node:assert');
const page = require(`+"`"+script+"`"+`);
const node = (more) => ({ num_online: 1, num_offline: 2, msg_in: 100, msg_out: 50, queue_in: 10, queue_out: 4, queue_drop: 1,
  queue_unhandled: 1, num_subscriptions: 7, num_retained: 8, matches_local: 3, matches_remote: 1, version: '1.0',
  mystatus: [{ a: true, b: true }], listeners: [{ type: 'mqtt', status: 'running', ip: '::', port: 1883 }], ...more });
assert.deepEqual(page.issues({ a: node(), b: node() }), []);
assert.deepEqual(page.issues({ a: node({ version: '2.0', mystatus: [{ a: true, b: false }], listeners: [{ type: 'mqtts', status: 'suspended', ip: '::', port: 8883 }] }), c: node() }), [
  ['info', 'a', 'MQTTS listener (:::8883) is suspended'], ['danger', 'b', 'b is not reachable.'],
  ['warning', 'all', 'Different versions (1.0, 2.0) run in the same cluster']]);
assert.equal(page.queued(node()), 4);
assert.equal(page.queued(node({ queue_out: 99 })), 0);
assert.equal(page.rate('msg_in', node({ msg_in: 200 }), node(), 10), '10.0/s');
assert.equal(page.rate('msg_in', node(), undefined, 10), '');
assert.equal(page.rate('msg_in', node({ msg_in: 1 }), node(), 10), '', 'a node that has started again');
assert.equal(page.share(node()), '75 % / 25 %');
assert.equal(page.share(node({ matches_local: 0, matches_remote: 0 })), '');
assert.equal(page.protocols(node({ listeners: [] })), 'No MQTT listener');
assert.deepEqual(page.nodeRow('a', node({ queue_drop: 21 }), node(), 10),
  ['a', '1.0', 'mqtt', '2 of 2', '75 % / 25 %', 1, 2, '0.0/s', '0.0/s', '2.0/s', 0, 7, 8]);
assert.deepEqual(page.overviewRow({ a: node({ msg_in: 200 }), b: node() }, { a: node(), b: node() }, 10), [2, 2, 4, '10.0/s', '0.0/s', '0.0/s', 8]);
assert.deepEqual(page.overviewRow({ a: node() }, {}, 10), [2, 1, 2, '', '', '', 4]);
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), node, check).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
