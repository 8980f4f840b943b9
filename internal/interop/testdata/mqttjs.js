// Runs MQTT.js connections for a test. One JSON request per line comes in:
//   {"seq": 1, "op": "connect", "conn": 1, "url": "...", "options": {...}, "filter": "..."}
//   {"seq": 2, "op": "publish", "conn": 1, "topic": "...", "payload": "...", "qos": 1, "retain": false}
//   {"seq": 3, "op": "close", "conn": 1}   {"seq": 4, "op": "drop", "conn": 1}
// One line goes out per answer, {"seq", "error", "present"}, and per message,
// {"conn", "topic", "payload", "qos", "retain"}; {"conn", "gone": true} at the
// end of a connection.
'use strict';
const fs = require('fs');
const readline = require('readline');
const mqtt = require('mqtt');

const clients = new Map();
const say = (o) => process.stdout.write(JSON.stringify(o) + '\n');

const ops = {
  connect(r, answer) {
    const o = { ...r.options, reconnectPeriod: 0, resubscribe: false, connectTimeout: 60000 };
    if (o.caFile) o.ca = fs.readFileSync(o.caFile);
    const c = mqtt.connect(r.url, o);
    clients.set(r.conn, c);
    let present = false;
    c.on('message', (topic, payload, p) => say({ conn: r.conn, topic, payload: payload.toString(), qos: p.qos, retain: p.retain }));
    c.on('close', () => say({ conn: r.conn, gone: true }));
    c.on('error', (e) => answer(e));
    c.on('connect', (ack) => {
      present = ack.sessionPresent;
      c.subscribe(r.filter, { qos: 2 }, (e, granted) => {
        if (!e && !granted.every((g) => g.qos === 2)) e = new Error('granted ' + JSON.stringify(granted));
        answer(e, { present });
      });
    });
  },
  publish(r, answer) {
    clients.get(r.conn).publish(r.topic, r.payload, { qos: r.qos, retain: r.retain }, (e) => answer(e));
  },
  close(r, answer) {
    clients.get(r.conn).end(false, {}, (e) => answer(e));
  },
  drop(r, answer) {
    const c = clients.get(r.conn);
    if (!c.connected) return answer();
    c.once('close', () => answer());
    c.stream.destroy();
  },
};

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const r = JSON.parse(line);
  let open = true;
  ops[r.op](r, (e, more) => {
    if (open) say({ seq: r.seq, error: e ? String(e.message || e) : '', ...more });
    open = false;
  });
}).on('close', () => process.exit(0));
