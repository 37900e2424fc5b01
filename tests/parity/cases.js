'use strict';
// The requests of the comparison. A case is { name, method, target, headers, body, chunked, differs }.
//
// `differs` names a class in expected.js when the whole outcome is meant to be another one (a path the original forwards
// and tollgate refuses, say); the class then says exactly what tollgate must have done. Without it, every single
// difference must be excused by a rule there.

const crypto = require('crypto');

const ORIGIN = ['Origin', 'https://page.example'];
const JSON_TYPE = ['Content-Type', 'application/json'];
const OWN_FIELDS = [['Accept', '*/*'], ['User-Agent', 'parity/1'], ['X-Mixed-Case', 'Kept As Is']];

function cases() {
  const list = [];
  const add = (name, method, target, more = {}) => list.push({ name, method, target, headers: [], ...more });
  const get = (name, target, more) => add(name, 'GET', target, more);

  // Every method, through every route, without and with an origin.
  const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'];
  for (const route of ['/auth', '/users', '/chats', '/payment']) {
    for (const method of methods) {
      add(`${method} through ${route}`, method, `${route}/one?q=1`, { headers: OWN_FIELDS });
      add(`${method} through ${route} from an origin`, method, `${route}/one`, { headers: [...OWN_FIELDS, ORIGIN] });
    }
  }

  // Rewriting: the route alone, with slash, with query, deep, and things that look like something else.
  const tails = ['', '/', '?x=1', '/?x=1', '/a', '/a/', '/a/b/c', '/a?x=1&y=2', '/a%20b', '/a%C3%A9', '/a+b', '/a;b=1', '/a,b',
    '/a:b@c', '/~a', "/a'b(c)*d!", '/$&=', '/a.b', '/.hidden', '/a..b', '/...', '/a%2Bb', '/a%3Fb', '/a?', '/a??', '/a?x=/../y', '/a?x=%00%zz',
    '/a?x=http://h/', '/fetch/http://h//y', '/a//b', '/users', '/auth/users', '/a?x[]=1&x[]=2', '/a?{"json":"q"}', '/a?x=%2e%2e%2f', '/a?|^`', '/a%20/b',
    `/${'long/'.repeat(200)}end`];
  for (const route of ['/auth', '/users']) {
    for (const tail of tails) get(`rewrite ${route}${tail.slice(0, 30)}`, route + tail);
  }
  get('route twice', '/users/users/1');
  get('route inside', '/chats/payment/users');

  // No such route.
  for (const target of ['/', '/product', '/product?x=1', '/authx', '/auth.html', '/user', '/favicon.ico', '/users-list', '/authentication/x']) {
    for (const method of ['GET', 'HEAD', 'POST', 'DELETE']) add(`no route: ${method} ${target}`, method, target);
  }
  add('no route, from an origin', 'GET', '/product', { headers: [ORIGIN] });
  add('no route, with a body', 'POST', '/product', { headers: [JSON_TYPE], body: '{"a":1}' });
  add('no route, conditional', 'GET', '/product', { headers: [['If-None-Match', '*']] });

  // Paths whose meaning could change on the other side.
  for (const target of ['/auth/../x', '/auth/./x', '/auth/..', '/auth/%2e%2e/x', '/auth/.%2E/x', '/auth/..;x/y', '/auth/a%2fb', '/auth/a%2Fb', '/auth/a%5cb',
    '/auth/a\\b', '/auth/%00', '/auth/a%0d%0ab', '/auth/%7f', '/auth/a%', '/auth/a%2', '/auth/a%zz', '/auth/%252e%252e/x', '/auth/a%252fb', '/auth//x', '/users/../auth/x',
    '/product/../auth/x', '/./auth/x']) {
    get(`unsafe path ${target}`, target, { differs: 'path safety' });
  }
  for (const target of ['/AUTH/x', '/Users', '//auth', '//auth/x', '/%61uth/x', '/auth%2Fx', '/auth%2fx']) {
    get(`not this route: ${target}`, target, { differs: 'route on raw bytes' });
  }
  add('absolute form', 'GET', 'http://gateway.test/auth/x?q=1', { differs: 'absolute form' });
  add('absolute form of another host', 'GET', 'http://other.test/auth/x', { differs: 'authority differs from Host' });

  // Preflights and other OPTIONS.
  for (const target of ['/auth', '/users/1', '/product', '/', '/users/_/cors']) {
    add(`preflight ${target}`, 'OPTIONS', target, { headers: [ORIGIN, ['Access-Control-Request-Method', 'PUT'], ['Access-Control-Request-Headers', 'content-type, x-token']] });
    add(`preflight without headers ${target}`, 'OPTIONS', target, { headers: [ORIGIN, ['Access-Control-Request-Method', 'DELETE']] });
    add(`plain OPTIONS ${target}`, 'OPTIONS', target);
  }
  add('preflight, many headers', 'OPTIONS', '/auth', { headers: [ORIGIN, ['Access-Control-Request-Method', 'POST'],
    ['Access-Control-Request-Headers', Array.from({ length: 40 }, (_, i) => `x-h${i}`).join(',')]] });
  add('preflight with private network', 'OPTIONS', '/auth', { headers: [ORIGIN, ['Access-Control-Request-Method', 'GET'], ['Access-Control-Request-Private-Network', 'true']] });

  // Bodies: sized, chunked, none, of several lengths.
  const bytes = (length, seed) => crypto.createHash('shake256', { outputLength: Math.max(length, 1) }).update(seed).digest().subarray(0, length);
  for (const method of ['POST', 'PUT', 'PATCH', 'REPORT']) {
    for (const length of [0, 1, 1000, 16_384, 65_537, 300_000]) {
      add(`${method} ${length} bytes sized`, method, '/users/_/echo', { headers: [JSON_TYPE], body: bytes(length, method) });
      add(`${method} ${length} bytes chunked`, method, '/chats/x', { headers: [['Content-Type', 'application/octet-stream']], body: bytes(length, method), chunked: true });
    }
  }
  add('GET with a sized body', 'GET', '/users/x', { body: 'body of a get' });
  add('GET with a chunked body', 'GET', '/users/x', { body: 'body of a get', chunked: true });
  add('DELETE with a sized body', 'DELETE', '/users/x', { body: '{"all":true}', headers: [JSON_TYPE] });
  add('DELETE with a chunked body', 'DELETE', '/users/x', { body: '{"all":true}', chunked: true, differs: 'chunked DELETE' });
  add('POST, length zero', 'POST', '/users/x', { body: '' });
  add('form', 'POST', '/auth/login', { headers: [['Content-Type', 'application/x-www-form-urlencoded']], body: 'user=a&password=b%26c' });
  add('Expect: 100-continue', 'POST', '/auth/_/echo', { headers: [['Expect', '100-continue']], body: 'patient' });

  // Special answers of the upstream, with GET and HEAD, without and with an origin.
  for (const name of ['cors', 'secured', 'powered', 'cookies', 'repeated', 'chunked', 'emptychunked', 'sized', 'empty', 'close', 'slow', 'big', 'bigchunked', 'gzip', 'etag',
    'range', 'longfield', 'latin', 'oddvalues', 'auth']) {
    for (const method of ['GET', 'HEAD']) {
      add(`answer ${name} to ${method}`, method, `/users/_/${name}`);
      add(`answer ${name} to ${method} from an origin`, method, `/auth/_/${name}`, { headers: [ORIGIN] });
    }
  }
  get('answer from HTTP/1.0', '/users/_/old');
  get('answer with its own reason', '/users/_/reason');
  for (const status of [200, 201, 202, 204, 205, 206, 301, 302, 304, 307, 400, 401, 403, 404, 405, 409, 410, 418, 422, 429, 500, 501, 502, 503, 504, 599]) {
    get(`status ${status}`, `/users/_/status/${status}`);
    add(`status ${status} to HEAD`, 'HEAD', `/payment/_/status/${status}`);
  }
  for (const status of [201, 204, 400, 500]) add(`status ${status} to POST`, 'POST', `/payment/_/status/${status}`, { headers: [JSON_TYPE], body: '{}' });

  // Conditional, range, cookies, authorization: end to end, untouched.
  get('not modified', '/users/_/etag', { headers: [['If-None-Match', '"v1"']] });
  get('modified', '/users/_/etag', { headers: [['If-None-Match', '"v0"'], ['If-Modified-Since', 'Thu, 01 Jan 2026 00:00:00 GMT']] });
  const fields = {
    'range': [['Range', 'bytes=0-3'], ['If-Range', '"v1"']],
    'one cookie': [['Cookie', 'a=1; b=2']],
    'two cookie lines': [['Cookie', 'a=1'], ['Cookie', 'b=2']],
    'authorization': [['Authorization', 'Basic dXNlcjpwYXNz']],
    'bearer': [['Authorization', 'Bearer a.b.c']],
    'accept': [['Accept', 'text/html, application/json;q=0.9'], ['Accept-Encoding', 'gzip, br'], ['Accept-Language', 'de, en;q=0.5']],
    'repeated fields': [['X-Many', '1'], ['X-Many', '2'], ['x-many', '3'], ['X-Other', 'o'], ['X-Many', '4']],
    'empty value': [['X-Empty', '']],
    'spaces around': [['X-Padded', '   padded   ']],
    'tab inside': [['X-Tab', 'a\tb']],
    'latin-1 value': [['X-Latin', 'caf\u00e9']],
    'odd name': [["X!#$%&'*+-.^`|~1", 'legal']],
    'big field': [['X-Big', 'b'.repeat(7000)]],
    'many fields': Array.from({ length: 80 }, (_, i) => [`X-Field-${i}`, `value ${i}`]),
    'cache control': [['Cache-Control', 'no-cache'], ['Pragma', 'no-cache']],
    'referer': [['Referer', 'https://page.example/a?b=c']],
    'requested with': [['X-Requested-With', 'XMLHttpRequest'], ['DNT', '1']],
    'request id': [['X-Request-Id', '7f3c'], ['traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01']],
    'forwarded': [['Forwarded', 'for=192.0.2.1']],
    'own x-forwarded': [['X-Forwarded-For', '192.0.2.1'], ['X-Forwarded-Proto', 'https'], ['X-Forwarded-Host', 'other.test']],
    'real ip': [['X-Real-IP', '192.0.2.1']],
    'connection close': [['Connection', 'close']],
    'connection keep-alive': [['Connection', 'keep-alive'], ['Keep-Alive', 'timeout=5']],
    'nominated field': [['Connection', 'X-Hop'], ['X-Hop', 'gone']],
    'proxy fields': [['Proxy-Connection', 'keep-alive'], ['Proxy-Authorization', 'Basic eDp5']],
    'te trailers': [['TE', 'trailers'], ['Connection', 'TE']],
    'a via': [['Via', '1.1 front']],
    'max-forwards': [['Max-Forwards', '5']],
    'underscore': [['X_Under_Score', 'u']],
    'origin null': [['Origin', 'null']],
    'two origins': [['Origin', 'https://a.example, https://b.example']],
    'content type without body': [JSON_TYPE],
    'upgrade to h2c': [['Connection', 'Upgrade, HTTP2-Settings'], ['Upgrade', 'h2c'], ['HTTP2-Settings', 'AAMAAABkAAQAAP__']],
  };
  for (const [name, headers] of Object.entries(fields)) {
    const tag = name === 'upgrade to h2c' ? { differs: 'upgrade' } : {};
    get(`field: ${name}`, '/users/f', { headers, ...tag });
    if (!tag.differs) add(`field: ${name}, with a body`, 'POST', '/auth/f', { headers, body: 'x=1' });
  }

  // Methods that are unusual and legal.
  for (const method of ['PROPFIND', 'PROPPATCH', 'MKCOL', 'COPY', 'MOVE', 'LOCK', 'UNLOCK', 'SEARCH', 'PURGE', 'REPORT', 'MKACTIVITY', 'CHECKOUT', 'MERGE', 'M-SEARCH',
    'NOTIFY', 'SUBSCRIBE', 'UNSUBSCRIBE', 'LINK', 'UNLINK', 'BIND', 'ACL', 'MKCALENDAR', 'SOURCE']) {
    add(`method ${method}`, method, '/chats/m');
  }
  add('method TRACE', 'TRACE', '/chats/m', { differs: 'method refused' });

  // The body and the head arrive in pieces.
  add('head in pieces', 'GET', '/users/p?x=1', { headers: OWN_FIELDS, pieces: 7 });
  add('body in pieces', 'POST', '/users/_/echo', { headers: [JSON_TYPE], body: '{"in":"pieces, many of them"}', pieces: 9 });
  add('chunked body in pieces', 'POST', '/users/_/echo', { body: 'in pieces '.repeat(20), chunked: true, pieces: 11 });
  add('trailer behind a chunked body', 'POST', '/users/_/echo', { body: 'with a trailer', chunked: true, trailer: 'X-Trailer: t\r\n' });
  add('chunk extension', 'POST', '/users/_/echo', { body: 'with an extension', chunked: true, extension: ';ext="v"' });

  // Faults behind.
  get('refused upstream', '/refused/x', { differs: 'refused upstream' });
  get('upstream answers garbage', '/users/_/garbage', { differs: 'malformed answer' });
  get('status below 100', '/users/_/below', { differs: 'malformed answer' });
  get('sized answer cut short', '/users/_/cutshort', { differs: 'answer cut short' });
  get('chunked answer cut short', '/users/_/cutchunk', { differs: 'answer cut short' });
  get('silent upstream', '/users/_/silent', { differs: 'silent upstream' });
  add('silent upstream, POST', 'POST', '/users/_/silent', { body: 'x', differs: 'silent upstream' });
  get('a Trailer field', '/users/t', { headers: [['Trailer', 'X-T']], differs: 'trailer field' });
  get('websocket', '/chats/ws', { headers: [['Connection', 'Upgrade'], ['Upgrade', 'websocket'], ['Sec-WebSocket-Version', '13'],
    ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ==']], differs: 'websocket' });
  return list;
}

/// The bytes of a case, as one buffer or as pieces sent a moment apart.
function bytesOf(one) {
  const lines = [`${one.method} ${one.target} HTTP/1.1`, 'Host: gateway.test'];
  for (const [name, value] of one.headers) lines.push(`${name}: ${value}`);
  let body = Buffer.alloc(0);
  if (one.chunked) {
    lines.push('Transfer-Encoding: chunked');
    const parts = [];
    const whole = Buffer.from(one.body);
    for (let at = 0; at < whole.length; at += 7001) {
      const part = whole.subarray(at, at + 7001);
      parts.push(Buffer.from(`${part.length.toString(16)}${one.extension || ''}\r\n`), part, Buffer.from('\r\n'));
    }
    parts.push(Buffer.from(`0\r\n${one.trailer || ''}\r\n`));
    body = Buffer.concat(parts);
  } else if (one.body !== undefined) {
    body = Buffer.from(one.body);
    lines.push(`Content-Length: ${body.length}`);
  }
  const bytes = Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), body]);
  if (!one.pieces) return { bytes };
  const size = Math.ceil(bytes.length / one.pieces);
  const parts = [];
  for (let at = 0; at < bytes.length; at += size) parts.push(bytes.subarray(at, at + size));
  return { parts };
}

module.exports = { cases, bytesOf };
