'use strict';
// The proxy to compare with: express with cors and http-proxy-middleware. usage: heads.js PORT TARGET
const express = require('express');
const cors = require('cors');
const { createProxyMiddleware } = require('http-proxy-middleware');

const [port, target] = process.argv.slice(2);
const app = express();
app.disable('x-powered-by');
app.use(cors({ origin: ['https://a.test', /^https:\/\/([a-z0-9_-]+\.)+p\.test$/], credentials: true }));
app.use('/r', createProxyMiddleware({
  target, changeOrigin: true, autoRewrite: true, cookiePathRewrite: { '/base': '/r', '/': '/r' },
}));
app.listen(Number(port), '127.0.0.1', () => console.log('ready'));
