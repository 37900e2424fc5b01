'use strict';
// The parity run: the same requests to the Node original and to tollgate, the same upstream behind both. Compared are the
// client's view (status, fields, body) and the upstream's (method, url, fields as received, body hash). Every difference
// must fall under a rule of expected.js, which says why it may be there; all else is printed in full, exit 1.
//
// What is taken as equal before comparing, and why (tollgate's own side of each is checked below in `unfaithful`):
//   names are lower-cased          node hands header names on in lower case
//   repeated lines are joined      node joins them with ", " (Cookie with "; "); Set-Cookie stays apart
//   Date                           a clock
//   Connection, Keep-Alive, Transfer-Encoding   belong to one connection; of the body only its bytes are compared
//   a Content-Length that tells the true length of the body received
// Express's ETag on its own replies is no normalisation but a rule.
//
// Usage: parity.js TOLLGATE, or parity.js --self (original against original: the run itself must then find nothing).

const fs = require('fs');
const os = require('os');
const net = require('net');
const path = require('path');
const { spawn } = require('child_process');
const { start, sha256 } = require('./upstream');
const { exchange } = require('./client');
const { cases, bytesOf } = require('./cases');
const { outcomes, rules, wrongReply, HOP, envelope } = require('./expected');

const DEADLINE_MS = 1000; // of an upstream's answer, both sides
const BUDGET_MS = 170_000; // of the whole run
const self = process.argv[2] === '--self';
const tollgate = process.argv[2];
if (!tollgate) { console.error('usage: parity.js TOLLGATE | --self'); process.exit(2); }

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tollgate-parity-'));
const children = new Set();
function cleanUp() {
  for (const child of children) child.kill('SIGKILL');
  fs.rmSync(folder, { recursive: true, force: true });
}
process.on('exit', cleanUp);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));
setTimeout(() => { console.error(`parity: not done within ${BUDGET_MS / 1000} s`); process.exit(1); }, BUDGET_MS).unref();

/// A free port below the range that outgoing connections take, so that it stays free; none is given twice.
let nextPort = 27000;
async function freePort() {
  for (; nextPort < 28000; nextPort += 1) {
    const port = nextPort;
    const isFree = await new Promise((resolve) => {
      const server = net.createServer();
      server.on('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (isFree) { nextPort += 1; return port; }
  }
  throw new Error('no port is free between 27000 and 27999');
}

function accepts(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('connect', () => { socket.destroy(); resolve(true); });
    socket.on('error', () => resolve(false));
  });
}

/// A gateway process that is started again when a case has ended it.
class Gateway {
  constructor(name, command, args, env) {
    Object.assign(this, { name, command, args, env, log: '', errors: '', child: null, deaths: 0 });
  }

  get alive() { return this.child && this.child.exitCode === null && this.child.signalCode === null; }

  async up() {
    if (this.alive) return;
    this.child = spawn(this.command, this.args, { env: { PATH: process.env.PATH, ...this.env }, stdio: ['ignore', 'pipe', 'pipe'] });
    const { child } = this;
    children.add(child);
    child.on('error', (error) => { this.errors += `${error}\n`; });
    child.on('exit', () => children.delete(child));
    child.stdout.on('data', (part) => { this.log += part; });
    child.stderr.on('data', (part) => { this.errors = (this.errors + part).slice(-4000); });
    for (let tries = 0; tries < 200; tries += 1) {
      if (await accepts(this.port)) return;
      if (!this.alive) break;
      await sleep(25);
    }
    throw new Error(`${this.name} does not listen on ${this.port}:\n${this.errors}`);
  }

  stop() { if (this.child) this.child.kill('SIGKILL'); }
}

async function original(name, upstreamPort, env = {}) {
  const port = await freePort();
  const gateway = new Gateway(name, process.execPath, [path.join(__dirname, 'original.js')],
    { PORT: String(port), UPSTREAM: `http://127.0.0.1:${upstreamPort}`, TIMEOUT_MS: String(DEADLINE_MS), ...env });
  gateway.port = port;
  await gateway.up();
  return gateway;
}

async function ours(name, upstreamPort, more = {}) {
  const port = await freePort();
  const base = `http://127.0.0.1:${upstreamPort}`;
  const config = {
    listen: `127.0.0.1:${port}`,
    // The original has no ids of requests; tests/engine/ids.rs has what tollgate sends with them.
    requestId: false,
    services: [
      { route: '/auth', target: `${base}/auth` },
      { route: '/users', target: `${base}/users/` },
      { route: '/chats', target: `${base}/chats/` },
      { route: '/payment', target: `${base}/payment/` },
      { route: '/refused', target: 'http://127.0.0.1:9/' },
    ],
    timeouts: { response: DEADLINE_MS },
    ...more,
  };
  if (more.listenAll) { config.listen = `0.0.0.0:${port}`; delete config.listenAll; }
  const file = path.join(folder, `${name}.json`);
  fs.writeFileSync(file, JSON.stringify(config, null, 2));
  const gateway = new Gateway(name, tollgate, ['run', '--config', file], {});
  gateway.port = port;
  await gateway.up();
  return gateway;
}

/// Sends one case through one gateway: { answer, upstream: [requests seen], died }.
async function through(gateway, upstream, aCase) {
  await gateway.up();
  upstream.taken();
  const answer = await exchange({ port: gateway.port, method: aCase.method, ...bytesOf(aCase), patience: 3 * DEADLINE_MS });
  // A process that is about to die of this request, or an upstream that is about to see it, needs a moment.
  if (aCase.differs || answer.cut || answer.timeout) await sleep(60);
  const died = !gateway.alive;
  if (died) gateway.deaths += 1;
  return { answer, upstream: upstream.taken(), died };
}

// ---- comparing ------------------------------------------------------------------------------------------------------

const PER_CONNECTION = new Set(['date', 'connection', 'keep-alive', 'transfer-encoding']);

function joined(pairs, truth) {
  const fields = new Map();
  for (const [given, value] of pairs) {
    const name = given.toLowerCase();
    if (PER_CONNECTION.has(name)) continue;
    if (name === 'content-length' && truth.includes(value)) continue;
    const before = fields.get(name);
    const between = name === 'cookie' ? '; ' : name === 'set-cookie' ? '\n' : ', ';
    fields.set(name, before === undefined ? value : before + between + value);
  }
  return fields;
}

const pairsOf = (raw) => raw.reduce((pairs, item, i) => { if (i % 2 === 0) pairs.push([item, raw[i + 1]]); return pairs; }, []);

/// One side's view in comparable form.
function comparable(aCase, view) {
  const { answer, upstream } = view;
  const client = { status: answer.status || (answer.timeout ? 'no answer' : answer.cut ? 'cut' : 'malformed') };
  const seen = upstream[0];
  if (answer.headers) {
    const truth = [];
    if (aCase.method !== 'HEAD' && !answer.cut) truth.push(String(answer.body.length));
    // The length a HEAD answer tells is the upstream's (its JSON has another length behind each gateway).
    if (seen && seen.sent && seen.sent.contentLength !== undefined && ![204, 304].includes(answer.status)) truth.push(seen.sent.contentLength);
    client.fields = joined(answer.headers, truth);
    client.reason = answer.reason;
    client.cut = Boolean(answer.cut);
    client.body = seen && seen.sent && seen.sent.sha256 === sha256(answer.body) ? 'as the upstream sent it' : answer.body.toString('latin1');
  }
  return {
    client,
    upstream: upstream.map((request) => ({
      method: request.method, url: request.url, version: request.httpVersion, whole: request.whole,
      body: `${request.bodyLength} bytes, sha256 ${request.bodySha256}`, trailers: request.rawTrailers || [],
      fields: joined(pairsOf(request.rawHeaders), [String(request.bodyLength)].filter(() => request.bodyLength > 0)),
    })),
  };
}

function fieldDifferences(side, first, second) {
  const names = new Set([...first.keys(), ...second.keys()]);
  return [...names].filter((name) => first.get(name) !== second.get(name))
    .map((name) => ({ side, what: 'field', name, original: first.get(name), tollgate: second.get(name) }));
}

function differences(aCase, first, second) {
  const [a, b] = [comparable(aCase, first), comparable(aCase, second)];
  const found = [];
  const unless = (side, what, original, other) => {
    if (JSON.stringify(original) !== JSON.stringify(other)) found.push({ side, what, original, tollgate: other });
  };
  for (const what of ['status', 'reason', 'cut', 'body']) unless('client', what, a.client[what], b.client[what]);
  unless('client', 'interim', first.answer.interim, second.answer.interim);
  if (a.client.fields && b.client.fields) found.push(...fieldDifferences('client', a.client.fields, b.client.fields));
  unless('upstream', 'requests', a.upstream.length, b.upstream.length);
  for (let i = 0; i < Math.min(a.upstream.length, b.upstream.length); i += 1) {
    for (const what of ['method', 'url', 'version', 'whole', 'body', 'trailers']) unless('upstream', what, a.upstream[i][what], b.upstream[i][what]);
    found.push(...fieldDifferences('upstream', a.upstream[i].fields, b.upstream[i].fields));
  }
  if (first.died !== second.died) found.push({ side: 'process', what: 'died', original: first.died, tollgate: second.died });
  return found;
}

/// Checks that tollgate keeps the order, the case and the number of all other field lines in both directions. It is
/// checked on tollgate alone, because node keeps none of the three.
function unfaithful(aCase, view) {
  const [seen] = view.upstream;
  if (!seen || !seen.sent || !view.answer.headers || view.upstream.length !== 1) return undefined;
  const nominated = aCase.headers.filter(([name]) => /^connection$/i.test(name)).flatMap(([, value]) => value.toLowerCase().split(/\s*,\s*/));
  const ours = (name) => HOP.has(name) || /^(host|via|date|expect|x-forwarded-.*|forwarded|x-real-ip|proxy|content-length|x-powered-by)$/.test(name) || name.includes('_') || nominated.includes(name);
  const kept = (pairs) => pairs.filter(([name]) => !ours(name.toLowerCase())).map(([name, value]) => `${name}: ${value.replace(/^[ \t]+|[ \t]+$/g, '')}`);
  const wanted = kept(aCase.headers);
  const got = kept(pairsOf(seen.rawHeaders));
  if (JSON.stringify(wanted) !== JSON.stringify(got)) return `the upstream should see the lines\n      ${wanted.join('\n      ')}\n    and saw\n      ${got.join('\n      ')}`;
  const back = kept(pairsOf(seen.sent.headers));
  const arrived = kept(view.answer.headers);
  // The gateway's own fields may stand anywhere between.
  let at = 0;
  for (const line of arrived) if (line === back[at]) at += 1;
  if (at < back.length) return `the client should see the lines, in this order\n      ${back.join('\n      ')}\n    and saw\n      ${arrived.join('\n      ')}`;
  return undefined;
}

// ---- the parts of the run -------------------------------------------------------------------------------------------

const table = new Map(); // class -> { count, row }
const failures = [];
let requests = 0;
let same = 0;
let excused = 0;

function tally(name, row) {
  const entry = table.get(name) || { count: 0, row };
  entry.count += 1;
  table.set(name, entry);
}

function failed(title, lines) { failures.push(`${title}\n${lines.map((line) => `    ${line}`).join('\n')}`); }
const show = (value) => (value === undefined ? '(none)' : JSON.stringify(value).slice(0, 600));

function judge(aCase, first, second) {
  requests += 1;
  const found = differences(aCase, first, second);
  const outcome = aCase.differs && outcomes[aCase.differs];
  const title = `${aCase.name}  [${aCase.method} ${aCase.target.slice(0, 80)}]`;
  if (aCase.differs && !outcome) { failed(title, [`no class named ${aCase.differs}`]); return; }
  if (outcome && !self) {
    const wrong = outcome.wrong(second, aCase);
    if (wrong) {
      failed(title, [`class '${aCase.differs}' (${outcome.row}):`, wrong, `original: ${show(comparable(aCase, first).client)}`, `upstream of tollgate: ${show(second.upstream)}`]);
    } else if (found.length === 0) same += 1; else { excused += 1; tally(aCase.differs, outcome.row); }
    return;
  }
  const lines = [];
  const classes = new Map();
  for (const difference of found) {
    const context = { aCase, original: first, tollgate: second, client: '127.0.0.1' };
    const rule = self ? undefined : rules.find((candidate) => {
      try { return candidate.holds(difference, context); } catch { return false; } // a view without an answer excuses nothing
    });
    if (rule) classes.set(rule.name, rule.row);
    else lines.push(`${difference.side} ${difference.what}${difference.name ? ` ${difference.name}` : ''}: original ${show(difference.original)}, tollgate ${show(difference.tollgate)}`);
  }
  if (!self) {
    const wrong = unfaithful(aCase, second);
    if (wrong) lines.push(`not kept as it was: ${wrong}`);
  }
  if (lines.length) failed(title, lines);
  else if (classes.size === 0) same += 1;
  else { excused += 1; for (const [name, row] of classes) tally(name, row); }
}

async function bigPart(upstream) {
  const first = await original('original', upstream.port, { RATE_LIMIT: '0' });
  const second = self ? await original('original-again', upstream.port, { RATE_LIMIT: '0' }) : await ours('tollgate', upstream.port, { rateLimit: false, logLevel: 'warn' });
  for (const aCase of cases()) {
    const one = await through(first, upstream, aCase);
    const two = await through(second, upstream, aCase);
    judge(aCase, one, two);
  }
  if (!self && second.deaths) failed('tollgate', [`ended ${second.deaths} time(s)`, second.errors]);
  console.log(`the original process ended ${first.deaths} time(s) during the run, ${self ? 'the other original' : 'tollgate'} ${second.deaths}`);
  first.stop();
  second.stop();
}

/// The first line of a gateway's log that tells of a request, without its date.
const logLines = (gateway) => gateway.log.split('\n').filter((line) => line.includes('"')).map((line) => line.replace(/\[[^\]]*\]/, '[date]').replace('::ffff:', ''));

async function ratePart(upstream) {
  const first = await original('original-limited', upstream.port);
  const second = self ? await original('original-limited-again', upstream.port) : await ours('tollgate-limited', upstream.port, { listenAll: true, logLevel: 'warn' });
  // Each sequence comes from an address of its own, so that it starts with a full allowance.
  const sequences = [
    { name: '25 without a route', from: '127.0.0.11', target: () => '/product', passed: 20, before: 20, status: 404 },
    { name: '25 through a route', from: '127.0.0.12', target: () => '/users/x', passed: 20, before: 10, status: 200 },
    { name: '25 over all routes', from: '127.0.0.13', target: (i) => ['/auth', '/users/x', '/chats/', '/payment'][i % 4], passed: 20, before: 10, status: 200 },
    { name: '25 preflights, not counted', from: '127.0.0.14', method: 'OPTIONS', target: () => '/users/x', passed: 25, before: 25, status: 204 },
  ];
  for (const { name, from, target, method = 'GET', passed, before, status } of sequences) {
    const results = [];
    for (const gateway of [first, second]) {
      const views = [];
      for (let i = 0; i < 25; i += 1) {
        upstream.taken();
        const aCase = { method, target: target(i), headers: [] };
        const answer = await exchange({ port: gateway.port, method, localAddress: from, ...bytesOf(aCase) });
        views.push({ answer, upstream: upstream.taken() });
      }
      results.push(views);
    }
    requests += 25;
    const [there, here] = results.map((views) => views.map((view) => view.answer.status));
    const pattern = (n) => Array.from({ length: 25 }, (_, i) => (i < n ? status : 429));
    const wrong = [];
    if (JSON.stringify(there) !== JSON.stringify(pattern(before))) wrong.push(`the original answered ${there.join(' ')}`);
    if (!self && JSON.stringify(here) !== JSON.stringify(pattern(passed))) wrong.push(`tollgate answered ${here.join(' ')}`);
    if (!self) {
      for (const view of results[1].filter(({ answer }) => answer.status === 429)) {
        const reply = wrongReply(view, 429, 'Rate limit exceeded.') || (view.upstream.length ? 'forwarded although limited' : undefined);
        const after = (view.answer.headers.find(([field]) => /^retry-after$/i.test(field)) || [])[1];
        if (reply) wrong.push(reply);
        if (!/^\d+$/.test(after || '') || Number(after) < 1 || Number(after) > 60) wrong.push(`Retry-After: ${after}`);
      }
      const limited = results[0].find(({ answer }) => answer.status === 429);
      if (limited && limited.answer.body.toString() !== envelope(429, 'Rate limit exceeded.')) wrong.push('the original has another 429 body');
    }
    if (wrong.length) failed(`rate limit: ${name}`, [...new Set(wrong)]);
    else if (self || before === passed) same += 25;
    else { excused += 25; tally('20 pass, not 10', 'the original counts a proxied request twice: 10 of the promised 20 pass'); }
  }
  first.stop();
  second.stop();
}

/// The combined access log: the same line, but for the date, for requests whose answers are sized.
async function logPart(upstream) {
  const first = await original('original-logged', upstream.port, { RATE_LIMIT: '0' });
  const second = self ? await original('original-logged-again', upstream.port, { RATE_LIMIT: '0' }) : await ours('tollgate-logged', upstream.port, { rateLimit: false });
  const wanted = [
    ['GET', '/product', []], ['GET', '/users/_/sized?a=1&b=%20', [['User-Agent', 'curl/7.88.1']]], ['GET', '/auth/_/status/404', [['Referer', 'https://page.example/x'], ['User-Agent', 'Mozilla/5.0 (X11; Linux)']]],
    ['POST', '/users/_/sized', [['Authorization', 'Basic dXNlcjpwYXNz']]], ['DELETE', '/users/_/status/500', []], ['GET', '/users/_/big', []],
  ];
  for (const [method, target, headers] of wanted) {
    for (const gateway of [first, second]) await exchange({ port: gateway.port, method, ...bytesOf({ method, target, headers }) });
  }
  for (let tries = 0; tries < 40 && logLines(second).length < wanted.length; tries += 1) await sleep(50);
  await sleep(100);
  const [there, here] = [logLines(first), logLines(second)];
  requests += wanted.length;
  if (there.length !== wanted.length) failed('access log', [`the original wrote ${there.length} lines for ${wanted.length} requests`]);
  for (let i = 0; i < wanted.length; i += 1) {
    if (there[i] === here[i]) same += 1;
    else failed(`access log of ${wanted[i].slice(0, 2).join(' ')}`, [`original ${there[i]}`, `tollgate ${here[i]}`]);
  }
  if (!self && !/ \[\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000\] "/.test(second.log)) failed('access log', ['no combined date', second.log.slice(0, 200)]);
  first.stop();
  second.stop();
}

async function main() {
  const upstream = await start();
  const began = Date.now();
  await bigPart(upstream);
  await ratePart(upstream);
  await logPart(upstream);
  upstream.close();
  for (const failure of failures) console.log(`UNEXPECTED ${failure}`);
  const names = [...table.entries()].sort((a, b) => b[1].count - a[1].count);
  console.log(`\n${requests} requests to each of the two, ${((Date.now() - began) / 1000).toFixed(1)} s`);
  console.log(`${String(same).padStart(6)}  the same`);
  console.log(`${String(excused).padStart(6)}  different as the contract says (a request may fall under several classes):`);
  for (const [name, { count, row }] of names) console.log(`${String(count).padStart(12)}  ${name} (${row})`);
  console.log(`${String(failures.length).padStart(6)}  unexpected`);
  process.exit(failures.length ? 1 : 0);
}

main().catch((error) => { console.error(`parity: ${error.stack || error}`); process.exit(1); });
