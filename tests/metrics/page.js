'use strict';
// The status page in Chromium: both colour schemes, with and without JavaScript. usage: page.js URL FOLDER NAME
// Screenshots go to FOLDER. Exit code 0 when the page is as it must be and axe-core finds nothing serious.

const fs = require('fs');
const path = require('path');
const { chromium } = require('playwright-core');

const [url, folder, name] = process.argv.slice(2);
const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((file) => fs.existsSync(file));
const axe = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const must = (holds, why) => { if (!holds) throw new Error(why); };

async function look(browser, colorScheme, javaScriptEnabled) {
  const context = await browser.newContext({ colorScheme, javaScriptEnabled, viewport: { width: 1200, height: 900 } });
  const page = await context.newPage();
  const said = [];
  page.on('console', (message) => { if (message.type() === 'error') said.push(message.text()); });
  page.on('pageerror', (error) => said.push(String(error)));
  page.on('dialog', (dialog) => { said.push('a dialog'); dialog.dismiss(); });
  await page.goto(url);
  if (javaScriptEnabled) {
    // Not by waitForFunction, whose script the page's policy keeps out.
    await page.getByText('This page is up to date.').waitFor({ timeout: 15_000 });
  }
  const kind = javaScriptEnabled ? colorScheme : `${colorScheme}-no-script`;
  await page.screenshot({ path: path.join(folder, `${name}-${kind}.png`), fullPage: true });
  const text = await page.textContent('main');
  must(text.includes('down') && text.includes("/it's&(odd)"), `the page lacks a target or a name: ${text.slice(0, 300)}`);
  must(await page.isVisible('#banner') === (name === 'failed'), 'the banner');
  if (name === 'failed') must((await page.textContent('#errors')).includes('.json:'), 'the errors');
  const others = said.filter((line) => !line.includes('favicon'));
  must(others.length === 0, others.join(' | '));
  await context.close();
}

async function audit(browser, colorScheme) {
  // The page's policy keeps foreign scripts out: here it is set aside for axe alone.
  const context = await browser.newContext({ colorScheme, bypassCSP: true });
  const page = await context.newPage();
  await page.goto(url);
  await page.addScriptTag({ content: axe });
  const result = await page.evaluate(() => window.axe.run());
  const found = result.violations.map((one) => `${one.impact} ${one.id}: ${one.nodes.map((node) => node.target).join(' ')}`);
  must(!result.violations.some((one) => ['serious', 'critical'].includes(one.impact)), found.join(' | '));
  await context.close();
  return found;
}

(async () => {
  must(executablePath, 'no chromium');
  const browser = await chromium.launch({
    executablePath, headless: true, timeout: 30_000,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'],
  });
  try {
    for (const scheme of ['light', 'dark']) {
      await look(browser, scheme, true);
      const found = await audit(browser, scheme);
      console.log(`page ${name}, ${scheme}: axe-core finds ${found.length ? found.join(' | ') : 'nothing'}`);
    }
    await look(browser, 'light', false);
  } finally {
    await browser.close();
  }
})().then(() => process.exit(0), (error) => { console.error(String(error.message || error).split('\n').slice(0, 6).join(' | ')); process.exit(1); });
