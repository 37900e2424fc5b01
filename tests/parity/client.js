'use strict';
// A raw-socket client: sends exactly the bytes of a case and reads one final answer, so that neither side of the
// comparison is flattered by an HTTP library. One connection a request.

const net = require('net');

function parseHead(text) {
  const [first, ...lines] = text.split('\r\n');
  const found = /^HTTP\/(\d\.\d) (\d{3})(?: (.*))?$/.exec(first);
  if (!found) return null;
  const headers = lines.map((line) => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
  return { version: found[1], status: Number(found[2]), reason: found[3] || '', headers };
}

const valueOf = (head, name) => {
  const found = head.headers.find(([key]) => key.toLowerCase() === name);
  return found && found[1];
};

/// The body of a chunked message, or null while it is incomplete, or undefined when it is malformed.
function unchunk(bytes) {
  const parts = [];
  for (let at = 0; ;) {
    const end = bytes.indexOf('\r\n', at);
    if (end < 0) return null;
    const size = /^[0-9a-fA-F]+/.exec(bytes.toString('latin1', at, end));
    if (!size) return undefined;
    const length = parseInt(size[0], 16);
    if (length === 0) {
      // The last chunk; trailers, if any, end with an empty line.
      return bytes.indexOf('\r\n\r\n', end) === -1 ? null : Buffer.concat(parts);
    }
    if (bytes.length < end + 2 + length + 2) return null;
    parts.push(bytes.subarray(end + 2, end + 2 + length));
    if (bytes.toString('latin1', end + 2 + length, end + 4 + length) !== '\r\n') return undefined;
    at = end + 4 + length;
  }
}

/// One look at what has arrived. `ended`: the connection was closed by the other side.
function readAnswer(bytes, method, ended) {
  const interim = [];
  let at = 0;
  for (;;) {
    const end = bytes.indexOf('\r\n\r\n', at);
    if (end < 0) return ended ? { cut: true, received: bytes.length, interim } : null;
    const head = parseHead(bytes.toString('latin1', at, end));
    if (!head) return { malformed: bytes.toString('latin1', at, at + 200), interim };
    at = end + 4;
    if (head.status >= 100 && head.status < 200 && head.status !== 101) { interim.push(head.status); continue; }
    const rest = bytes.subarray(at);
    const answer = { ...head, interim };
    if (method === 'HEAD' || head.status === 204 || head.status === 304) return { ...answer, body: Buffer.alloc(0), framing: 'none' };
    if (head.status === 101) return ended ? { ...answer, body: rest, framing: 'tunnel' } : null;
    const coding = valueOf(head, 'transfer-encoding');
    if (coding && /chunked/i.test(coding)) {
      const body = unchunk(rest);
      if (body === undefined) return { ...answer, body: rest, framing: 'malformed chunks' };
      if (body !== null) return { ...answer, body, framing: 'chunked' };
      return ended ? { ...answer, body: rest, framing: 'chunked', cut: true } : null;
    }
    const length = valueOf(head, 'content-length');
    if (length !== undefined) {
      const wanted = Number(length);
      if (rest.length >= wanted) return { ...answer, body: rest.subarray(0, wanted), framing: 'sized' };
      return ended ? { ...answer, body: rest, framing: 'sized', cut: true } : null;
    }
    return ended ? { ...answer, body: rest, framing: 'close' } : null;
  }
}

/// Sends `bytes` (or each of several parts, a moment apart) and resolves with the answer, always.
function exchange({ port, bytes, parts, method, localAddress, patience = 4000 }) {
  return new Promise((resolve) => {
    const socket = net.connect({ port, host: '127.0.0.1', localAddress });
    let received = Buffer.alloc(0);
    let done = false;
    const finish = (view) => {
      if (done) return;
      done = true;
      clearTimeout(timer);
      socket.destroy();
      resolve(view);
    };
    const look = (ended) => {
      const view = readAnswer(received, method, ended);
      if (view) finish(view);
    };
    const timer = setTimeout(() => finish({ timeout: true, received: received.length }), patience);
    socket.on('connect', () => {
      const pieces = parts || [bytes];
      let next = 0;
      const step = () => {
        if (done || next >= pieces.length) return;
        socket.write(pieces[next++]);
        setTimeout(step, 20);
      };
      step();
    });
    socket.on('data', (part) => { received = Buffer.concat([received, part]); look(false); });
    socket.on('end', () => look(true));
    socket.on('error', () => look(true));
    socket.on('close', () => look(true));
  });
}

module.exports = { exchange };
