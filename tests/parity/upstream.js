'use strict';
// The upstream behind both gateways. It answers JSON that says what it received, writes down every request, and has
// special answers under any path that contains `/_/NAME[/ARG]` (so every route reaches all of them).
//
// start() -> { port, taken(), close() }; taken() gives the requests seen since it was last called.

const http = require('http');
const zlib = require('zlib');
const crypto = require('crypto');

const sha256 = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex');
const MEGABYTE = Buffer.from(Array.from({ length: 1 << 20 }, (_, i) => (i * 31 + (i >> 8)) & 0xff));
const GZIPPED = zlib.gzipSync(Buffer.from('gateways do not look inside content. '.repeat(40)));

// Each special answer: (request, argument, received body) -> { status, headers (flat list), body, how }.
// how: 'sized' (default), 'chunked', 'close' (ends with the connection), 'none' (no framing field at all),
// 'silent' (no answer), 'raw' (body holds the whole message as bytes).
const special = {
  status: (req, arg) => {
    const status = Number(arg);
    const bodiless = status === 204 || status === 304;
    const headers = ['X-Status', arg];
    if (status === 301) headers.push('Location', 'http://elsewhere.example/next?a=1');
    if (status === 304) headers.push('ETag', '"v1"', 'Cache-Control', 'max-age=5');
    return { status, headers, body: bodiless ? '' : `{"status":${status}}`, how: bodiless ? 'none' : 'sized' };
  },
  cors: () => ({ headers: ['Access-Control-Allow-Origin', 'https://own.example', 'Vary', 'Origin',
    'Access-Control-Expose-Headers', 'X-Own', 'Access-Control-Allow-Credentials', 'true'], body: 'own cors' }),
  secured: () => ({ headers: ['X-Frame-Options', 'DENY', 'content-security-policy', "default-src 'none'",
    'Strict-Transport-Security', 'max-age=1', 'REFERRER-POLICY', 'origin', 'X-XSS-Protection', '1; mode=block'], body: 'own security' }),
  powered: () => ({ headers: ['X-Powered-By', 'Express', 'Server', 'own/1.0'], body: 'powered' }),
  cookies: () => ({ headers: ['Set-Cookie', 'a=1; Path=/', 'X-Between', 'yes', 'Set-Cookie', 'b=2; Expires=Thu, 01 Jan 2026 00:00:00 GMT',
    'Set-Cookie', 'c=3; HttpOnly'], body: 'cookies' }),
  repeated: () => ({ headers: ['X-List', 'one', 'x-list', 'two', 'X-LIST', 'three, four', 'Link', '</a>; rel=preload', 'Link', '</b>; rel=next'], body: 'repeated' }),
  chunked: () => ({ headers: ['Content-Type', 'text/plain'], body: 'in several chunks, '.repeat(50), how: 'chunked' }),
  emptychunked: () => ({ headers: [], body: '', how: 'chunked' }),
  sized: () => ({ headers: ['Content-Type', 'text/plain'], body: 'known length' }),
  empty: () => ({ headers: [], body: '' }),
  close: () => ({ headers: ['Content-Type', 'text/plain'], body: 'until the connection ends', how: 'close' }),
  slow: () => ({ headers: [], body: 'late', delay: 250 }),
  big: () => ({ headers: ['Content-Type', 'application/octet-stream'], body: MEGABYTE }),
  bigchunked: () => ({ headers: ['Content-Type', 'application/octet-stream'], body: MEGABYTE, how: 'chunked' }),
  gzip: () => ({ headers: ['Content-Encoding', 'gzip', 'Content-Type', 'text/plain', 'Vary', 'Accept-Encoding'], body: GZIPPED }),
  echo: (req, arg, received) => ({ headers: ['Content-Type', req.headers['content-type'] || 'application/octet-stream'], body: received }),
  etag: (req) => (req.headers['if-none-match'] === '"v1"'
    ? { status: 304, headers: ['ETag', '"v1"'], body: '', how: 'none' }
    : { headers: ['ETag', '"v1"', 'Last-Modified', 'Thu, 01 Jan 2026 00:00:00 GMT'], body: 'version one' }),
  range: () => ({ status: 206, headers: ['Content-Range', 'bytes 0-3/12', 'Accept-Ranges', 'bytes'], body: 'know' }),
  longfield: () => ({ headers: ['X-Long', 'v'.repeat(6000)], body: 'long field' }),
  latin: () => ({ headers: ['X-Latin', 'caf\u00e9'], body: 'bytes above 127' }),
  oddvalues: () => ({ headers: ['X-Empty', '', 'X-Colons', 'a:b::c', 'X-Quoted', '"a, b"; c="d"'], body: 'odd values' }),
  auth: () => ({ status: 401, headers: ['WWW-Authenticate', 'Basic realm="own"'], body: 'who are you' }),
  silent: () => ({ how: 'silent' }),
  old: () => ({ how: 'raw', body: 'HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nX-Old: yes\r\n\r\nfrom long ago' }),
  reason: () => ({ how: 'raw', body: 'HTTP/1.1 200 Perfectly Fine\r\nContent-Length: 2\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\nok' }),
  below: () => ({ how: 'raw', body: 'HTTP/1.1 099 Below\r\nContent-Length: 2\r\n\r\nok' }),
  garbage: () => ({ how: 'raw', body: 'this is no HTTP\r\n\r\n' }),
  cutshort: () => ({ how: 'raw', body: 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this' }),
  cutchunk: () => ({ how: 'raw', body: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n' }),
};

function report(req, received) {
  return {
    status: 200,
    headers: ['Content-Type', 'application/json'],
    body: JSON.stringify({
      method: req.method, url: req.url, httpVersion: req.httpVersion, rawHeaders: req.rawHeaders,
      bodyLength: received.length, bodySha256: sha256(received),
    }),
  };
}

function deliver(req, res, answer, record) {
  const { status = 200, how = 'sized' } = answer;
  const body = Buffer.from(answer.body === undefined ? '' : answer.body);
  if (how === 'silent') return;
  if (how === 'raw') {
    const at = body.indexOf('\r\n\r\n') + 4;
    record.sent = { sha256: sha256(body.subarray(at)), length: body.length - at, contentLength: undefined, headers: [] };
    req.socket.end(body);
    return;
  }
  const headers = [...answer.headers];
  let contentLength;
  if (how === 'sized') { contentLength = String(body.length); headers.push('Content-Length', contentLength); }
  if (how === 'close') { headers.push('Connection', 'close'); res.useChunkedEncodingByDefault = false; }
  record.sent = { sha256: sha256(body), length: body.length, contentLength, headers };
  res.writeHead(status, headers);
  if (how === 'chunked' && body.length > 2) {
    // Three writes, so that the framing on the wire is not one chunk.
    const third = Math.ceil(body.length / 3);
    res.write(body.subarray(0, third));
    setImmediate(() => { res.write(body.subarray(third, 2 * third)); res.end(body.subarray(2 * third)); });
  } else if (how === 'none') res.end(); else res.end(body);
}

function start(port = 0) {
  let seen = [];
  let connections = 0;
  const server = http.createServer({ keepAliveTimeout: 20_000, maxHeaderSize: 64 << 10, requireHostHeader: false }, (req, res) => {
    // Written down when the head arrives: a request that never becomes whole was still forwarded.
    const record = { method: req.method, url: req.url, httpVersion: req.httpVersion, rawHeaders: req.rawHeaders, whole: false };
    seen.push(record);
    const parts = [];
    req.on('error', () => {});
    res.on('close', () => { if (!res.writableFinished) record.abandoned = true; });
    req.on('data', (part) => parts.push(part));
    req.on('end', () => {
      const received = Buffer.concat(parts);
      Object.assign(record, { whole: true, bodyLength: received.length, bodySha256: sha256(received), rawTrailers: req.rawTrailers });
      const found = /\/_\/([a-z]+)(?:\/([^/?]*))?/.exec(req.url.split('?')[0]);
      const answer = found && special[found[1]] ? special[found[1]](req, found[2], received) : report(req, received);
      if (answer.delay) setTimeout(() => deliver(req, res, answer, record), answer.delay);
      else deliver(req, res, answer, record);
    });
  });
  server.on('connection', () => { connections += 1; });
  // What node's own parser refuses must be visible, too: it was forwarded.
  server.on('clientError', (error, socket) => {
    if (error.code !== 'ECONNRESET') seen.push({ method: '(unreadable)', url: String(error.code), rawHeaders: [] });
    socket.destroy();
  });
  server.on('upgrade', (req, socket) => {
    seen.push({ method: req.method, url: req.url, httpVersion: req.httpVersion, rawHeaders: req.rawHeaders, upgrade: true });
    socket.on('error', () => {});
    socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello from behind');
  });
  return new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(port, '127.0.0.1', () => resolve({
      port: server.address().port,
      taken() { const now = seen; seen = []; return now; },
      connections: () => connections,
      close() { server.close(); server.closeAllConnections(); },
    }));
  });
}

module.exports = { start, sha256 };
if (require.main === module) {
  start(Number(process.env.PORT || 0)).then((up) => console.log(`upstream on ${up.port}`));
}
