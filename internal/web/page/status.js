// Draws /status.json and asks for it again every ten seconds. Rates are those
// between two answers. Text is only ever set as text: names come from a file
// of settings, but a status page should not have to trust it.
'use strict';

const interval = 10000;

// issues lists what an operator should look at.
function issues(nodes) {
  const out = [];
  const down = new Set();
  const versions = new Set();
  for (const [name, n] of Object.entries(nodes)) {
    versions.add(n.version);
    for (const [member, up] of Object.entries(n.mystatus[0] || {})) {
      if (!up) down.add(member);
    }
    for (const l of n.listeners) {
      if (l.status !== 'running' && l.type.startsWith('mqtt')) {
        out.push(['info', name, `${l.type.toUpperCase()} listener (${l.ip}:${l.port}) is ${l.status}`]);
      }
    }
  }
  for (const name of down) out.push(['danger', name, `${name} is not reachable.`]);
  if (versions.size > 1) {
    out.push(['warning', 'all', `Different versions (${[...versions].sort().join(', ')}) run in the same cluster`]);
  }
  return out;
}

// queued is what waits in queues, by what went in and out of them.
function queued(n) {
  return Math.max(0, n.queue_in - (n.queue_out + n.queue_drop + n.queue_unhandled));
}

// rate is the growth of a counter per second, "" before there are two answers
// of the same run of the node.
function rate(key, now, before, seconds) {
  if (!before || now[key] < before[key] || !(seconds > 0)) return '';
  return ((now[key] - before[key]) / seconds).toFixed(1) + '/s';
}

function share(n) {
  const sum = n.matches_local + n.matches_remote;
  if (sum === 0) return '';
  const local = Math.round(100 * n.matches_local / sum);
  return `${local} % / ${100 - local} %`;
}

function protocols(n) {
  const running = n.listeners.filter((l) => l.type.startsWith('mqtt') && l.status === 'running').map((l) => l.type);
  return running.length === 0 ? 'No MQTT listener' : [...new Set(running)].sort().join(', ');
}

// nodeRow has the cells of one node.
function nodeRow(name, n, before, seconds) {
  const members = Object.values(n.mystatus[0] || {});
  return [name, n.version, protocols(n), `${members.filter(Boolean).length} of ${members.length}`, share(n), n.num_online, n.num_offline,
    rate('msg_in', n, before, seconds), rate('msg_out', n, before, seconds), rate('queue_drop', n, before, seconds),
    queued(n), n.num_subscriptions, n.num_retained];
}

// overviewRow sums up; rates only when every node has one.
function overviewRow(nodes, before, seconds) {
  const all = Object.entries(nodes);
  const sum = (f) => all.reduce((total, [, n]) => total + f(n), 0);
  const rates = (key) => {
    if (!all.every(([name, n]) => rate(key, n, before[name], seconds) !== '')) return '';
    return ((sum((n) => n[key]) - all.reduce((total, [name]) => total + before[name][key], 0)) / seconds).toFixed(1) + '/s';
  };
  const size = Math.max(0, ...all.map(([, n]) => Object.keys(n.mystatus[0] || {}).length));
  return [size, sum((n) => n.num_online), sum((n) => n.num_offline), rates('msg_in'), rates('msg_out'), rates('queue_drop'), sum(queued)];
}

function fill(id, rows) {
  document.getElementById(id).replaceChildren(...rows.map((row) => {
    const tr = document.createElement('tr');
    tr.append(...row.cells.map((value) => {
      const td = document.createElement('td');
      td.textContent = String(value);
      td.className = row.className || (typeof value === 'number' || /\/s$/.test(value) ? 'n' : '');
      return td;
    }));
    return tr;
  }));
}

function draw(nodes, before, seconds) {
  const found = issues(nodes);
  fill('issues', found.length === 0
    ? [{ className: 'good', cells: ['', 'All good! No cluster issues found!'] }]
    : found.map(([className, ...cells]) => ({ className, cells })));
  fill('overview', [{ cells: overviewRow(nodes, before, seconds) }]);
  fill('nodes', Object.entries(nodes).map(([name, n]) => ({ cells: nodeRow(name, n, before[name], seconds) })));
}

async function run() {
  let before = {};
  let asked = 0;
  for (;;) {
    const now = Date.now();
    const line = document.getElementById('asked');
    try {
      const answer = await fetch('/status.json', { cache: 'no-store' });
      if (!answer.ok) throw new Error(`the broker answered ${answer.status}`);
      const [nodes] = await answer.json();
      draw(nodes, before, (now - asked) / 1000);
      before = nodes;
      asked = now;
      line.textContent = 'as of ' + new Date(now).toLocaleTimeString();
      line.className = '';
    } catch (e) {
      line.textContent = 'no answer: ' + e.message;
      line.className = 'danger';
    }
    await new Promise((resume) => { setTimeout(resume, interval); });
  }
}

if (typeof document === 'undefined') module.exports = { issues, queued, rate, share, protocols, nodeRow, overviewRow };
else run();
