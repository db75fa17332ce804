// Drives headless Chromium: reads a JSON list of steps from its standard input, does them one by
// one and prints a JSON list of what came of each.
//
//   node browser.mjs /usr/bin/chromium < steps.json

import { chromium } from 'playwright-core';

let text = '';
for await (const chunk of process.stdin) text += chunk;

const browser = await chromium.launch({
  executablePath: process.argv[2],
  args: ['--no-sandbox', '--disable-dev-shm-usage'],
});
const context = await browser.newContext();
context.setDefaultTimeout(20_000);
// There is nobody but us: what a page wants from elsewhere would only be waited for.
await context.route((url) => !/^(127\.0\.0\.1|evil\.test)$/.test(url.hostname), (route) => route.abort());
const page = await context.newPage();

const does = {
  open: async ({ url }) => { await page.goto(url); return page.url(); },
  // A page of another site, with this HTML, reached as its own origin.
  stage: async ({ url, html }) => {
    await page.route(url, (route) => route.fulfill({ contentType: 'text/html', body: html }));
    await page.goto(url);
  },
  fill: async ({ name, value }) => page.fill(`input[name=${name}]`, value),
  press: async ({ selector }) => {
    await Promise.all([page.waitForNavigation(), page.click(selector)]);
    return page.url();
  },
  wait: async ({ url }) => { await page.waitForURL(url); return page.url(); },
  url: async () => page.url(),
  text: async () => page.innerText('body'),
  cookies: async () => context.cookies(),
  cookie: async (cookie) => context.addCookies([cookie]),
  scripts: async () => page.evaluate(() => document.cookie),
  fetch: async ({ url, options }) => page.evaluate(async ([where, how]) => {
    const response = await fetch(where, how);
    return { status: response.status, body: await response.text() };
  }, [url, options]),
};

const results = [];
try {
  for (const { do: what, ...given } of JSON.parse(text)) {
    try {
      results.push((await does[what](given)) ?? null);
    } catch (error) {
      throw new Error(`${what} ${JSON.stringify(given)} at ${page.url()}: ${error.message}`);
    }
  }
  console.log(JSON.stringify(results));
} finally {
  await browser.close();
}
