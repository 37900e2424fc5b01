'use strict';
// The Node original, as the article describes it and the packages it names build it: express, cors, helmet, morgan and
// http-proxy-middleware. Written for this comparison; its habits (a proxied request is counted twice, `req.abort`, one
// reset for all clients) are the article's and must stay, or the comparison would be with something else.
//
// Environment: PORT, HOST, UPSTREAM (base URL), RATE_LIMIT (requests a window, 0: off), RATE_WINDOW_MS, TIMEOUT_MS.

const express = require('express');
const cors = require('cors');
const helmet = require('helmet');
const morgan = require('morgan');
const { createProxyMiddleware } = require('http-proxy-middleware');

const number = (name, fallback) => (process.env[name] === undefined ? fallback : Number(process.env[name]));
const PORT = number('PORT', 5000);
const HOST = process.env.HOST || '0.0.0.0';
const UPSTREAM = process.env.UPSTREAM || 'http://127.0.0.1:9000';
const RATE_LIMIT = number('RATE_LIMIT', 20);
const RATE_WINDOW_MS = number('RATE_WINDOW_MS', 60_000);
const TIMEOUT_MS = number('TIMEOUT_MS', 15_000);

const services = [
  { route: '/auth', target: `${UPSTREAM}/auth` },
  { route: '/users', target: `${UPSTREAM}/users/` },
  { route: '/chats', target: `${UPSTREAM}/chats/` },
  { route: '/payment', target: `${UPSTREAM}/payment/` },
  // Nobody listens on the discard port of loopback: what a refused connection looks like.
  { route: '/refused', target: 'http://127.0.0.1:9/' },
];

const problem = (code, message) => ({ code, status: 'Error', message, data: null });

const app = express();
app.use(cors());
app.use(helmet());
app.use(morgan('combined'));
app.disable('x-powered-by');

let requestCounts = {};
setInterval(() => { requestCounts = {}; }, RATE_WINDOW_MS).unref();

function limitAndDeadline(req, res, next) {
  requestCounts[req.ip] = (requestCounts[req.ip] || 0) + 1;
  if (RATE_LIMIT > 0 && requestCounts[req.ip] > RATE_LIMIT) {
    return res.status(429).json(problem(429, 'Rate limit exceeded.'));
  }
  req.setTimeout(TIMEOUT_MS, () => {
    res.status(504).json(problem(504, 'Gateway timeout.'));
    req.abort(); // no such method on a server's request: this is what ends the process
  });
  next();
}

app.use(limitAndDeadline);
for (const { route, target } of services) {
  app.use(route, limitAndDeadline, createProxyMiddleware({
    target, changeOrigin: true, pathRewrite: { [`^${route}`]: '' }, logLevel: 'error',
  }));
}
app.use((req, res) => res.status(404).json(problem(404, 'Route not found.')));

app.listen(PORT, HOST, () => console.error(`Gateway is running on port ${PORT}`));
