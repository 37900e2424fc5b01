'use strict';
// A Node upstream for the checks: a hash of each upload, slow and missing answers, Server-Sent
// Events that are sent on demand, a WebSocket server, and the page for the browser (on a second
// port, so on another origin). Prints `ready HTTP_PORT PAGE_PORT`.

const http = require('http');
const crypto = require('crypto');
const { WebSocketServer } = require('ws');

const streams = new Set();
let abandoned = 0;

const server = http.createServer((req, res) => {
  const url = new URL(req.url, 'http://u');
  res.on('close', () => { if (!res.writableFinished) abandoned += 1; });
  const json = (value) => { res.setHeader('Content-Type', 'application/json'); res.end(JSON.stringify(value)); };
  if (url.pathname === '/hung') return; // never answers
  if (url.pathname === '/abandoned') return json({ abandoned });
  if (url.pathname === '/slow') { setTimeout(() => res.end('slow and whole'), Number(url.searchParams.get('ms') || 500)); return; }
  if (url.pathname === '/sse') {
    res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
    res.flushHeaders();
    streams.add(res);
    res.on('close', () => streams.delete(res));
    return;
  }
  if (url.pathname === '/sse-send') {
    for (const stream of streams) stream.write(`data: ${url.searchParams.get('event')}\n\n`);
    return json({ streams: streams.size });
  }
  if (url.pathname === '/sse-end') { for (const stream of streams) stream.end(); return json({}); }
  const hash = crypto.createHash('sha256');
  let length = 0;
  req.on('data', (part) => { hash.update(part); length += part.length; });
  req.on('end', () => json({ method: req.method, url: req.url, length, sha256: hash.digest('hex'), headers: req.headers, httpVersion: req.httpVersion }));
});

// /ws/echo echoes, /ws/bye closes the connection with 4001; any other upgrade is refused with 403.
const sockets = new WebSocketServer({ noServer: true, maxPayload: 8 << 20 });
server.on('upgrade', (req, socket, head) => {
  socket.on('error', () => {});
  if (!req.url.startsWith('/ws/')) { socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\nConnection: close\r\n\r\nrefused'); return; }
  sockets.handleUpgrade(req, socket, head, (ws) => {
    ws.on('error', () => {});
    if (req.url.startsWith('/ws/bye')) { ws.send('going'); ws.close(4001, 'server is done'); return; }
    ws.on('message', (data, binary) => ws.send(data, { binary }));
  });
});

const page = http.createServer((req, res) => {
  res.setHeader('Content-Type', 'text/html');
  res.end('<!doctype html><title>another origin</title><p>page</p>');
});

server.keepAliveTimeout = 60_000;
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => page.listen(0, '127.0.0.1', () => {
  console.log(`ready ${server.address().port} ${page.address().port}`);
}));
// The checks hold stdin open; its end ends this process.
process.stdin.on('end', () => process.exit(0)).resume();
