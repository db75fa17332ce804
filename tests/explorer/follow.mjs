// Follows a subscription in the explorer, and prints what is shown of it, one JSON per line.
//
//   node follow.mjs CHROMIUM ADDRESS
//
// Each line of the input is a text to wait for. It is told of once the page shows it. At the end of
// the input the subscription is stopped, and what went wrong in the page is told.

import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const [, , program, address] = process.argv;
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const browser = await chromium.launch({
  executablePath: program,
  args: ['--no-sandbox', '--disable-dev-shm-usage'],
});
// High: the page has only those lines of the answer that are in sight.
const page = await browser.newPage({ viewport: { width: 1280, height: 2400 } });
page.setDefaultTimeout(90_000);
const opened = [];
page.on('websocket', (socket) => opened.push(socket.url()));
const wrong = [];
page.on('pageerror', (error) => wrong.push(error.message));

try {
  await page.goto(`${address}/`);
  await page.waitForSelector('.graphiql-query-editor .view-line');
  await page.waitForSelector('.bar .who');
  await page.locator('.graphiql-tab-button', { hasText: 'Live' }).first().click();
  await page.waitForTimeout(500);
  await page.click('.graphiql-execute-button');
  for await (const text of createInterface({ input: process.stdin })) {
    const shows = (part) =>
      ['.result-window', '.run-hint'].some((place) => document.querySelector(place)?.innerText.includes(part));
    await page.waitForFunction(shows, text);
    const answer = await page.innerText('.result-window');
    say({
      shown: text,
      hint: await page.innerText('.run-hint'),
      kinds: answer.match(/RELOAD|APPEARED/g) ?? [],
      sockets: opened.length,
    });
  }
  await page.click('.graphiql-execute-button');
  await page.waitForSelector('.graphiql-execute-button[aria-label^="Execute"]');
  await page.waitForTimeout(2_000); // it would have come back by then
  say({ hint: await page.innerText('.run-hint'), wrong });
} finally {
  await browser.close();
}
