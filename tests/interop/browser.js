'use strict';
// A browser's preflight and fetch from another origin. usage: browser.js PAGE_URL GATEWAY_URL; exit
// code 0 if both succeed.

const fs = require('fs');
const { chromium } = require('playwright-core');

const [pageUrl, gatewayUrl] = process.argv.slice(2);
const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((file) => fs.existsSync(file));

(async () => {
  if (!executablePath) throw new Error('no chromium');
  const browser = await chromium.launch({
    executablePath, headless: true, timeout: 30_000,
    // Root needs --no-sandbox; the other options keep the browser from contacting hosts on the
    // network.
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'],
  });
  try {
    const page = await browser.newPage();
    await page.goto(pageUrl);
    const seen = await page.evaluate(async (url) => {
      const answer = await fetch(`${url}/node/from-a-page?x=1`, { method: 'PUT', headers: { 'Content-Type': 'application/json', 'X-Token': 'secret' }, body: '{"from":"a page"}' });
      const body = await answer.json();
      const absent = await fetch(`${url}/no-such-route`);
      return { origin: location.origin, status: answer.status, body, absent: { status: absent.status, body: await absent.json() } };
    }, gatewayUrl);
    const must = (holds, why) => { if (!holds) throw new Error(`${why}: ${JSON.stringify(seen)}`); };
    must(seen.status === 200, 'status');
    must(seen.body.method === 'PUT' && seen.body.length === 17 && seen.body.headers['x-token'] === 'secret', 'the upstream did not see the request');
    must(seen.body.headers.origin === seen.origin, 'no Origin');
    must(seen.absent.status === 404 && seen.absent.body.message === 'Route not found.', 'a page cannot read the 404');
  } finally {
    await browser.close();
  }
})().then(() => process.exit(0), (error) => { console.error(String(error.message || error).split('\n').slice(0, 6).join(' | ')); process.exit(1); });
