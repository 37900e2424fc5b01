'use strict';
// CORS, rewritten and sticky cookies in Chromium. usage: heads_browser.js GATEWAY_PORT PAGE_PORT
// Prints one line of JSON: what the pages of three origins may read, the cookies that arrive, and where sticky clients are.
const fs = require('fs');
const { chromium } = require('playwright-core');

const [gate, pages] = process.argv.slice(2);
const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((file) => fs.existsSync(file));

(async () => {
  if (!executablePath) throw new Error('no chromium');
  const browser = await chromium.launch({
    executablePath, headless: true, timeout: 30_000,
    // Names below `localhost` are this machine; no other host is contacted.
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', '--host-resolver-rules=MAP *.localhost 127.0.0.1'],
  });
  const seen = {};
  try {
    for (const host of ['named.localhost', 'x.y.wild.localhost', 'wild.localhost', 'other.localhost']) {
      const page = await browser.newPage();
      await page.goto(`http://${host}:${pages}/`);
      seen[host] = await page.evaluate(async (url) => {
        const read = async (path, init) => {
          try { const answer = await fetch(url + path, init); return `${answer.status} ${(await answer.text()).length > 0}`; } catch { return 'refused'; }
        };
        return {
          get: await read('/own/x', {}),
          credentials: await read('/own/x', { credentials: 'include' }),
          preflight: await read('/own/x', { method: 'PUT', headers: { 'X-Token': '1' } }),
          notFound: await read('/own-not/x', {}),
          gateway: await read('/down/x', {}),
          off: await read('/off/x', {}),
        };
      }, `http://gate.localhost:${gate}`);
      await page.close();
    }
    const page = await browser.newPage();
    await page.goto(`http://gate.localhost:${gate}/r/set`);
    await page.goto(`http://gate.localhost:${gate}/r/redirect`);
    seen.redirected = page.url();
    seen.cookies = await page.textContent('body');
    await page.goto(`http://gate.localhost:${gate}/off/cookies`);
    seen.others = await page.textContent('body');
    seen.sticky = [];
    for (let client = 0; client < 4; client++) {
      const context = await browser.newContext();
      const page = await context.newPage();
      const at = [];
      for (let visit = 0; visit < 5; visit++) {
        await page.goto(`http://gate.localhost:${gate}/sticky/who`);
        at.push(await page.textContent('body'));
        at.push(await page.evaluate(async () => (await (await fetch('/sticky/who')).text()).replace(/<[^>]*>/g, '')));
      }
      const cookies = (await context.cookies()).map(({ name, path, httpOnly, sameSite, secure }) => ({ name, path, httpOnly, sameSite, secure }));
      seen.sticky.push({ at, cookies });
      await context.close();
    }
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(seen));
})().then(() => process.exit(0), (error) => { console.error(String(error.message || error).split('\n').slice(0, 6).join(' | ')); process.exit(1); });
