'use strict';
// What may differ between the original and tollgate, and why. Nothing else may. `row N` is a row of docs/http.md.

const envelope = (code, message) => `{"code":${code},"status":"Error","message":"${message}","data":null}`;
const SECURITY = {
  'content-security-policy': "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';frame-ancestors 'self';img-src 'self' data:;"
    + "object-src 'none';script-src 'self';script-src-attr 'none';style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests",
  'cross-origin-opener-policy': 'same-origin', 'cross-origin-resource-policy': 'same-origin', 'origin-agent-cluster': '?1', 'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000; includeSubDomains', 'x-content-type-options': 'nosniff', 'x-dns-prefetch-control': 'off', 'x-download-options': 'noopen',
  'x-frame-options': 'SAMEORIGIN', 'x-permitted-cross-domain-policies': 'none', 'x-xss-protection': '0',
};

/// Returns what is wrong with a reply of tollgate's own, or nothing. Its body and its fields are documented bytes.
function wrongReply(view, code, message, { bodiless = false } = {}) {
  const { answer } = view;
  if (!answer || answer.status !== code) return `wanted status ${code}, got ${answer && (answer.status || JSON.stringify(answer))}`;
  const wanted = envelope(code, message);
  const text = answer.body.toString('latin1');
  if (!bodiless && text !== wanted) return `wanted the body ${wanted}, got ${text}`;
  const fields = new Map(answer.headers.map(([name, value]) => [name.toLowerCase(), value]));
  const must = { ...SECURITY, 'content-type': 'application/json; charset=utf-8', 'access-control-allow-origin': '*', 'content-length': String(wanted.length) };
  for (const [name, value] of Object.entries(must)) {
    if (fields.get(name) !== value) return `wanted ${name}: ${value}, got ${fields.get(name)}`;
  }
  if (!/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/.test(fields.get('date') || '')) return `no good Date: ${fields.get('date')}`;
  return undefined;
}
const notForwarded = (view) => (view.upstream.length === 0 ? undefined : `forwarded ${view.upstream.length} request(s)`);
const one = (view) => view.upstream.length === 1 || `wanted one request upstream, saw ${view.upstream.length}`;
const sent = (view) => {
  const [seen] = view.upstream;
  return seen && view.answer && view.answer.body && seen.sent && seen.sent.length === view.answer.body.length
    ? undefined : 'wanted the upstream\'s answer, whole';
};
const truthy = (value) => (value === true ? undefined : value);

// Whole outcomes: a case tagged with the name must end on tollgate as `wrong` demands (undefined: right).
const outcomes = {
  'path safety': { row: '400 for any path whose meaning could change behind the gateway; the original forwards `..` as it is',
    // A path that would belong to no route, or to another one, may be a 404 just as well: it is not forwarded.
    wrong: (view, aCase) => notForwarded(view) || (/^\/(auth|users)(\/|$)/.test(aCase.target)
      ? wrongReply(view, 400, 'Bad request.') : wrongReply(view, 404, 'Route not found.') && wrongReply(view, 400, 'Bad request.')) },
  'route on raw bytes': { row: 'routes match on raw bytes, case-sensitive: 404 or 400, never forwarded; the original (v2) forwards /AUTH/x',
    wrong: (view) => notForwarded(view) || (wrongReply(view, 404, 'Route not found.') && wrongReply(view, 400, 'Bad request.')) },
  'absolute form': { row: 'row 13: absolute form is routed like its path',
    wrong: (view) => truthy(one(view)) || (view.upstream[0].url === '/auth/x?q=1' ? undefined : `url ${view.upstream[0].url}`) || sent(view) },
  'authority differs from Host': { row: 'row 13: 400 when the authority of an absolute form differs from Host',
    wrong: (view) => notForwarded(view) || wrongReply(view, 400, 'Bad request.') },
  'method refused': { row: 'rows 14 and 35: CONNECT and TRACE get 405 with Allow',
    wrong: (view) => notForwarded(view) || wrongReply(view, 405, 'Method not allowed.') || (view.answer.headers.some(([n]) => n.toLowerCase() === 'allow') ? undefined : 'no Allow') },
  'chunked DELETE': { row: 'rows 49 and 53: the original sends a DELETE with a chunked body on with content-length: 0 and the body behind it',
    wrong: (view, aCase) => truthy(one(view)) || (view.upstream[0].bodyLength === aCase.body.length ? undefined : `upstream got ${view.upstream[0].bodyLength} bytes`) || sent(view) },
  'refused upstream': { row: 'row 85: an upstream that refuses is a 502 in JSON; the original says 504 in plain text', wrong: (view) => wrongReply(view, 502, 'Bad gateway.') },
  'malformed answer': { row: 'row 85: a malformed response is a 502; a status below 100 ends the process of the original',
    wrong: (view) => wrongReply(view, 502, 'Bad gateway.') || (view.died ? 'the gateway died' : undefined) },
  'answer cut short': { row: 'row 61: trouble behind the head cuts the connection; a body never looks complete when it is not',
    wrong: (view) => (view.answer && (view.answer.cut || view.answer.status === 502) ? undefined : `not cut: ${JSON.stringify(view.answer && view.answer.framing)}`) },
  'silent upstream': { row: 'row 85: a silent upstream is a 504; in the original a GET gets no reply and an upload ends the process',
    wrong: (view) => truthy(one(view)) || wrongReply(view, 504, 'Gateway timeout.') || (view.died ? 'the gateway died' : undefined) },
  'trailer field': { row: 'row 52: a Trailer field is harmless; it ends the process of the original',
    wrong: (view) => truthy(one(view)) || sent(view) || (view.died ? 'the gateway died' : undefined) },
  websocket: { row: 'row 70: a WebSocket is passed through; in the original it hangs',
    wrong: (view) => (view.answer && view.answer.status === 101 && view.answer.body.toString() === 'hello from behind' ? undefined : `no tunnel: ${JSON.stringify(view.answer && view.answer.status)}`) },
  upgrade: { row: 'row 70: h2c is never forwarded, the request is a plain one',
    wrong: (view) => truthy(one(view)) || (view.upstream[0].upgrade || view.upstream[0].rawHeaders.some((h) => /^(upgrade|http2-settings)$/i.test(h)) ? 'forwarded the upgrade' : undefined) || sent(view) },
};

const HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'proxy-authorization', 'proxy-authenticate', 'proxy-authentication-info', 'te', 'trailer',
  'transfer-encoding', 'upgrade', 'http2-settings']);
// Field lines of which node keeps only the first, by its own rule (http.IncomingMessage.headers).
const NODE_KEEPS_FIRST = new Set(['age', 'authorization', 'content-length', 'content-type', 'etag', 'expires', 'from', 'host', 'if-modified-since', 'if-unmodified-since',
  'last-modified', 'location', 'max-forwards', 'proxy-authorization', 'referer', 'retry-after', 'server', 'user-agent']);

// Single differences: d = { side: 'client' | 'upstream', what, name, original, tollgate }, c = { aCase, original, tollgate } (both views).
// The first that holds names the class. Each is as narrow as its reason.
const ownReply = (view) => view.upstream.length === 0;
const rules = [
  { name: 'no ETag on own replies', row: 'a reply of the gateway has a fixed set of fields (express adds an ETag to each)',
    holds: (d, c) => d.side === 'client' && d.what === 'field' && d.name === 'etag' && d.tollgate === undefined && ownReply(c.tollgate) },
  { name: 'no Content-Length on 204', row: 'row 54: a 204 has no Content-Length (RFC 9110 8.6)',
    holds: (d, c) => d.side === 'client' && d.what === 'field' && d.name === 'content-length' && d.tollgate === undefined && c.tollgate.answer.status === 204 },
  { name: 'Retry-After', row: 'a 429 carries Retry-After',
    holds: (d, c) => d.side === 'client' && d.name === 'retry-after' && d.original === undefined && c.tollgate.answer.status === 429 },
  { name: 'no X-Powered-By', row: 'X-Powered-By from an upstream is removed',
    holds: (d) => d.side === 'client' && d.name === 'x-powered-by' && d.tollgate === undefined },
  { name: 'no Vary of express on own replies', row: 'a reply of the gateway has a fixed set of fields',
    holds: (d, c) => d.side === 'client' && d.name === 'vary' && d.original === 'Origin' && d.tollgate === undefined && ownReply(c.tollgate) },
  { name: 'framing of an answer without one', row: 'rows 54 and 55: framing is written from the parsed message',
    holds: (d, c) => d.side === 'client' && d.name === 'content-length' && [205, 304].includes(c.tollgate.answer.status) },
  { name: 'a 205 has no body', row: 'row 56: a 205 is forwarded without content',
    holds: (d, c) => d.side === 'client' && d.what === 'body' && c.tollgate.answer.status === 205 && c.tollgate.answer.body.length === 0 },
  { name: 'no 100 when the body is here already', row: 'row 67: no 100 when bytes of the body are here already (RFC 9110 10.1.1 allows it)',
    holds: (d, c) => d.side === 'client' && d.what === 'interim' && c.aCase.headers.some(([name]) => name.toLowerCase() === 'expect') },
  { name: 'X-Forwarded-* and Via', row: 'row 32: the upstream gets Via, and X-Forwarded-For, -Proto and -Host',
    holds: (d, c) => d.side === 'upstream' && d.what === 'field' && (
      (d.name === 'x-forwarded-for' && d.tollgate === c.client) || (d.name === 'x-forwarded-proto' && d.tollgate === 'http')
      || (d.name === 'x-forwarded-host' && d.tollgate === 'gateway.test') || (d.name === 'via' && d.tollgate === (d.original ? `${d.original}, 1.1 tollgate` : '1.1 tollgate'))) },
  { name: 'who the client says it is', row: 'Forwarded and X-Real-IP from a peer outside trustedProxies are dropped, and Proxy from any peer',
    holds: (d) => d.side === 'upstream' && d.what === 'field' && d.tollgate === undefined && ['forwarded', 'x-real-ip', 'proxy'].includes(d.name) },
  { name: 'hop-by-hop fields stay here', row: 'rows 28 and 30: hop-by-hop fields are removed; the original forwards each',
    holds: (d, c) => d.what === 'field' && d.tollgate === undefined && (HOP.has(d.name)
      || c.aCase.headers.some(([name, value]) => name.toLowerCase() === 'connection' && value.toLowerCase().split(/\s*,\s*/).includes(d.name))) },
  { name: 'inner // is kept', row: 'row 36: // within the path is kept (http-proxy folds it)',
    holds: (d, c) => d.side === 'upstream' && d.what === 'url' && d.original === d.tollgate.replace(/\/{2,}/g, '/').replace('http:/', 'http://')
      && d.tollgate === c.aCase.target },
  { name: 'Expect answered here', row: 'row 67: Expect is never forwarded', holds: (d) => d.side === 'upstream' && d.name === 'expect' && d.tollgate === undefined },
  { name: 'names with _ are dropped', row: 'row 21: field names with _ are dropped', holds: (d) => d.side === 'upstream' && /_/.test(d.name || '') && d.tollgate === undefined },
  { name: 'length of an empty body', row: 'row 53: framing is the gateway\'s own (http-proxy invents content-length: 0 for DELETE, node chunked for POST)',
    holds: (d, c) => d.side === 'upstream' && d.name === 'content-length' && c.tollgate.upstream[0].bodyLength === 0
      && [undefined, '0'].includes(d.original) && [undefined, '0'].includes(d.tollgate) },
  { name: 'request body framing', row: 'row 53: framing is the gateway\'s own (both framings carry the same bytes, compared by hash)',
    holds: (d, c) => d.side === 'upstream' && d.name === 'content-length' && c.aCase.chunked && c.original.upstream[0].bodySha256 === c.tollgate.upstream[0].bodySha256 },
  { name: 'repeated lines are kept', row: 'row 22: order, case and number of all other lines are kept (node keeps the first line only)',
    holds: (d) => d.what === 'field' && NODE_KEEPS_FIRST.has(d.name) && d.tollgate && d.tollgate.startsWith(`${d.original}, `) },
  { name: 'trailers stop here', row: 'row 52: trailers are parsed and discarded', holds: (d) => d.side === 'upstream' && d.what === 'trailers' && d.tollgate.length === 0 },
];

module.exports = { outcomes, rules, wrongReply, notForwarded, HOP, envelope, SECURITY };
