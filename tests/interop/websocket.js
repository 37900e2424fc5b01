'use strict';
// The npm `ws` client through the tunnel. usage: websocket.js ws://HOST:PORT/PREFIX. Prints `ok
// NAME` or `FAIL NAME: why` for each check.

const crypto = require('crypto');
const WebSocket = require('ws');

const base = process.argv[2];
let bad = 0;

async function check(name, body) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error('nothing within 8 s')), 8000); });
  try { await Promise.race([body(), late]); console.log(`ok ${name}`); } catch (error) { bad += 1; console.log(`FAIL ${name}: ${error.message}`); }
  clearTimeout(timer);
}

function open(path, options) {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(base + path, options);
    // Messages are collected from the start: the server may send, and close, before the first read.
    ws.inbox = [];
    ws.waiting = [];
    ws.on('message', (data, binary) => { const item = { data, binary }; if (ws.waiting.length) ws.waiting.shift()(item); else ws.inbox.push(item); });
    ws.closed = new Promise((done) => ws.on('close', (code, reason) => done({ code, reason: reason.toString() })));
    ws.on('open', () => resolve(ws));
    ws.on('unexpected-response', (req, res) => { let text = ''; res.on('data', (part) => { text += part; }); res.on('end', () => reject(Object.assign(new Error(`answered ${res.statusCode}`), { status: res.statusCode, text }))); });
    ws.on('error', reject);
  });
}
const next = (ws) => (ws.inbox.length ? Promise.resolve(ws.inbox.shift()) : new Promise((resolve) => { ws.waiting.push(resolve); }));
const must = (holds, why) => { if (!holds) throw new Error(why); };

(async () => {
  await check('websocket: text is echoed', async () => {
    const ws = await open('/ws/echo');
    for (const text of ['one', 'two', 'gr\u00fc\u00dfe', '']) { ws.send(text); const got = await next(ws); must(!got.binary && got.data.toString() === text, `sent ${text}, got ${got.data}`); }
    ws.close();
    await ws.closed;
  });
  await check('websocket: 1 MB binary, both ways', async () => {
    const ws = await open('/ws/echo', { perMessageDeflate: false });
    const data = crypto.randomBytes(1 << 20);
    ws.send(data);
    const got = await next(ws);
    must(got.binary && Buffer.compare(got.data, data) === 0, 'other bytes came back');
    ws.terminate();
  });
  await check('websocket: 200 messages in order, compressed', async () => {
    const ws = await open('/ws/echo', { perMessageDeflate: { threshold: 0 } });
    for (let i = 0; i < 200; i += 1) ws.send(`message ${i} ${'x'.repeat(i)}`);
    for (let i = 0; i < 200; i += 1) { const got = await next(ws); must(got.data.toString() === `message ${i} ${'x'.repeat(i)}`, `message ${i} is another`); }
    ws.close();
    await ws.closed;
  });
  await check('websocket: the client\'s close code comes back', async () => {
    const ws = await open('/ws/echo');
    ws.close(4002, 'client is done');
    const { code } = await ws.closed;
    must(code === 4002, `code ${code}`);
  });
  await check('websocket: the server closes', async () => {
    const ws = await open('/ws/bye');
    const { code, reason } = await ws.closed;
    must(code === 4001 && reason === 'server is done', `${code} ${reason}`);
    must(ws.inbox.length === 1 && ws.inbox[0].data.toString() === 'going', 'the last message is missing');
  });
  await check('websocket: the upstream refuses the upgrade', async () => {
    const refused = await open('/refused').then(() => null, (error) => error);
    must(refused && refused.status === 403 && refused.text === 'refused', `not a 403 with its body: ${refused && refused.message}`);
  });
  await check('websocket: ping and pong', async () => {
    const ws = await open('/ws/echo');
    const pong = new Promise((resolve) => ws.on('pong', resolve));
    ws.ping('p');
    must((await pong).toString() === 'p', 'another pong');
    ws.terminate();
  });
  process.exit(bad ? 1 : 0);
})();
