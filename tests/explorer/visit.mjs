// Visits the explorer with headless Chromium and prints, as JSON, what there was to see.
//
//   node visit.mjs CHROMIUM development|production ADDRESS [FOLDER FOR PICTURES]

import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';

const [, , program, mode, address, pictures] = process.argv;
const axe = readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const WIDE = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };

const browser = await chromium.launch({
  executablePath: program,
  args: ['--no-sandbox', '--disable-dev-shm-usage'],
});
const context = await browser.newContext({ viewport: WIDE, colorScheme: 'light' });
context.setDefaultTimeout(20_000);
await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: address });
const seen = { console: [], elsewhere: [], asked: [], findings: {}, widths: {} };
context.on('request', (request) => {
  const url = new URL(request.url());
  if (url.protocol.startsWith('http') && url.origin !== address) seen.elsewhere.push(request.url());
  if (url.pathname === '/graphql' && request.method() === 'POST') {
    seen.asked.push(request.postDataJSON().operationName ?? null);
  }
});
// What comes over the wire: the files of the page, as they are encoded.
const loaded = new Map();
context.on('response', (response) => {
  const { pathname } = new URL(response.url());
  if (pathname.startsWith('/explorer/')) loaded.set(pathname, response.headers());
});
const page = await context.newPage();
page.on('console', (message) => {
  if (['error', 'warning'].includes(message.type())) seen.console.push(message.text());
});
page.on('pageerror', (error) => seen.console.push(error.message));

const button = (label) => page.getByRole('button', { name: label, exact: true });
const pause = (milliseconds) => page.waitForTimeout(milliseconds);

async function ready() {
  await page.waitForSelector('.graphiql-query-editor .view-line');
  await page.waitForSelector('.bar .who, .bar .button.strong');
}

/** What axe finds serious; on the way, whether the page is wider than its window. */
async function examine(name) {
  await pause(400);
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run());
  seen.findings[name] = violations
    .filter(({ impact }) => ['serious', 'critical'].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes[0].html}`);
  seen.widths[name] = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
}

async function picture(name) {
  if (pictures) await page.screenshot({ path: `${pictures}/explorer-${name}.png` });
}

/** Runs the active tab; the data, and what the bar below says. */
async function run() {
  const answered = page.waitForResponse(
    (response) => new URL(response.url()).pathname === '/graphql' && response.request().method() === 'POST',
  );
  await page.click('.graphiql-execute-button');
  const body = await (await answered).json();
  await page.waitForSelector('.run dl');
  return { body, bar: await page.innerText('.run dl') };
}

async function become(name) {
  await page.click('button.who');
  const changed = page.waitForResponse((response) => new URL(response.url()).pathname === '/graphql');
  await page.locator('#people li button', { hasText: name }).click();
  await changed;
  await page.waitForFunction((who) => document.querySelector('button.who').innerText.includes(who), name);
  await pause(300);
}

const clipboard = () => page.evaluate(() => navigator.clipboard.readText());

/** In the page: the zoom of the map, where User is, and which lines cross a box. */
function looksOfMap() {
  const zoom = new DOMMatrix(getComputedStyle(document.querySelector('.react-flow__viewport')).transform).a;
  const boxes = [...document.querySelectorAll('.react-flow__node')].map((node) => {
    const { e: x, f: y } = new DOMMatrix(getComputedStyle(node).transform);
    return { name: node.dataset.id, x, y, right: x + node.offsetWidth, bottom: y + node.offsetHeight };
  });
  const crossings = [];
  const lines = [...document.querySelectorAll('.react-flow__edge')];
  for (const line of lines) {
    const path = line.querySelector('path.react-flow__edge-path');
    for (let at = 4; at < path.getTotalLength() - 4; at += 4) {
      const { x, y } = path.getPointAtLength(at);
      const over = boxes.find((box) => x > box.x + 2 && x < box.right - 2 && y > box.y + 2 && y < box.bottom - 2);
      if (over) crossings.push(`${line.dataset.id} over ${over.name}`);
    }
  }
  const user = document.querySelector('.react-flow__node[data-id=User]').getBoundingClientRect();
  const canvas = document.querySelector('.canvas').getBoundingClientRect();
  return {
    zoom,
    lines: lines.length,
    crossings: [...new Set(crossings)],
    user: user.left >= canvas.left && user.right <= canvas.right && user.top >= canvas.top,
    letters: Math.min(...[...document.querySelectorAll('.box span')].map((text) => parseFloat(getComputedStyle(text).fontSize))),
    kinds: [...document.querySelectorAll('.types section h2')].map((title) => title.innerText),
  };
}

const who = () => page.innerText('.bar .who');
const tab = (name) => page.locator('.graphiql-tab-button', { hasText: name }).first().click();
const tabs = () => page.locator('.graphiql-tab-button').allInnerTexts();

async function development() {
  await page.goto(`${address}/`);
  await ready();
  await pause(1500); // the schema comes
  seen.who = [await who()];
  seen.tabs = await tabs();
  seen.loaded = [...loaded].map(([file, headers]) => [file, Number(headers['content-length'])]);
  seen.opened = { asked: [...seen.asked], answer: await page.innerText('.result-window') };

  // As different people.
  await page.click('button.who');
  await page.waitForSelector('#people li');
  seen.people = await page.locator('#people li').allInnerTexts();
  await examine('people');
  await page.fill('#people input', 'hopp');
  await page.waitForFunction(() => document.querySelectorAll('#people li').length === 2);
  await page.fill('#people input', '');
  await page.waitForFunction(() => document.querySelectorAll('#people li').length > 2);
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowDown');
  const focused = () => page.evaluate(() => document.activeElement.innerText ?? '');
  seen.walked = await focused();
  await page.keyboard.type('hop');
  seen.typed = await page.inputValue('#people input');
  await page.fill('#people input', '');
  await page.keyboard.press('Escape');
  await become('Ada Lovelace');
  seen.asked = [];
  seen.ada = (await run()).body;
  await become('Grace Hopper');
  seen.askedBySwitching = seen.asked.slice(1);
  seen.stale = await page.innerText('.stale');
  const grace = await run();
  seen.grace = grace.body;
  seen.bar = grace.bar;
  await picture('light');

  await button('Show SQL').click();
  await page.waitForFunction(() => /^(SELECT|WITH)\s/.test(document.querySelector('.sql pre')?.innerText ?? ''));
  seen.sql = await page.locator('.sql pre').allInnerTexts();
  seen.shown = await page.innerText('.graphiql-response .result-window');
  seen.outline = await page.locator('.sql .outline li').allInnerTexts();
  seen.coloured = await page.locator('.sql .sql-keyword').count();
  await button('Copy SQL').click();
  await button('Copied').waitFor();
  seen.copied = await clipboard();
  await examine('sql');
  await button('Explain').click();
  await page.waitForSelector('.sql .reads');
  seen.reads = await page.locator('.sql .reads').first().locator('li').allInnerTexts();
  await page.locator('.sql summary').first().click();
  seen.plan = await page.innerText('.sql .plan >> nth=0');
  await examine('explained');
  await button('Hide SQL').click();

  // Sharing what the tab holds.
  for (const item of ['Copy as cURL', 'Copy as fetch', 'Copy link']) {
    await button('Share').click();
    if (item === 'Copy link') await examine('share');
    await page.getByRole('menuitem', { name: item }).click();
    await page.waitForFunction(() => /copied/.test(document.querySelector('.share [role=status]').innerText));
    seen[item] = await clipboard();
    await page.waitForFunction(() => !document.querySelector('.share [role=status]').innerText);
  }

  // Run comes right after the tab has changed; Ctrl-Enter works wherever the focus is.
  const [quick] = await Promise.all([
    page.waitForRequest((request) => request.postDataJSON()?.query?.includes('query Feed')),
    page.evaluate(() => {
      const tabs = [...document.querySelectorAll('.graphiql-tab-button')];
      tabs.find((each) => each.innerText === 'Feed').click();
      document.querySelector('.graphiql-execute-button').click();
    }),
  ]);
  seen.quick = (await (await quick.response()).json()).data;
  await pause(500);
  await page.locator('.brand').focus();
  const [pressed] = await Promise.all([
    page.waitForRequest((request) => request.postDataJSON()?.query?.includes('query Feed')),
    page.keyboard.press('Control+Enter'),
  ]);
  seen.pressed = (await (await pressed.response()).json()).data;
  await page.locator('.graphiql-query-editor .view-line', { hasText: 'nodes' }).click();
  await page.keyboard.press('End');
  await page.keyboard.press('Control+Space');
  await page.waitForSelector('.suggest-widget.visible .monaco-list-row.focused');
  await examine('completion');
  await picture('completion');
  await page.keyboard.press('Escape');

  // Every tab as it stands.
  seen.runs = {};
  for (const name of seen.tabs.filter((each) => each !== 'Live')) {
    await tab(name);
    await pause(300);
    seen.runs[name] = (await run()).body;
    if (name === 'Paging') {
      const turned = page.waitForResponse((response) => new URL(response.url()).pathname === '/graphql');
      await button('Next page').click();
      seen.second = await (await turned).json();
    }
    if (name === 'WriteStory') {
      await button('Show SQL').click();
      await page.waitForSelector('.sql .outline li');
      seen.explainsWrites = await button('Explain').count();
      await button('Hide SQL').click();
    }
  }
  seen.folded = [];
  for (const name of ['People', 'Feed', 'SecondGarden', 'Live']) {
    await tab(name);
    await pause(500);
    seen.folded.push(await page.locator('[aria-label="Show editor tools"]').count());
  }

  // A link opens its query in a tab of its own, and does not run it.
  seen.asked = [];
  await page.goto('about:blank');
  await page.goto(seen['Copy link']);
  await ready();
  await pause(1500);
  seen.shared = {
    tabs: await tabs(),
    asked: seen.asked.filter((name) => name !== 'IntrospectionQuery' && name !== null),
    query: await page.innerText('.graphiql-query-editor .view-lines'),
    address: page.url(),
  };
  await tab('Feed');
  await page.locator('.graphiql-tab', { hasText: 'Feed' }).getByLabel('Close Tab').click();
  await pause(500);
  seen.closed = await tabs();
  await button('Share').click();
  await page.getByRole('menuitem', { name: 'Restore examples' }).click();
  await pause(500);
  seen.restored = await tabs();

  // A subscription: the first event, and what somebody writes elsewhere meanwhile.
  await tab('Live');
  await pause(300);
  const shows = (text) =>
    page.waitForFunction((part) => document.querySelector('.result-window').innerText.includes(part), text);
  await page.click('.graphiql-execute-button');
  await shows('RELOAD');
  await page.evaluate((query) => {
    const headers = { 'Content-Type': 'application/json', 'X-Requested-With': 'test' };
    return fetch('/graphql', { method: 'POST', headers, body: JSON.stringify({ query }) });
  }, 'mutation { createStory(input: { title: "Told-at-once", content: "x", visibility: PUBLIC }) { userErrors { code } } }');
  await shows('Told-at-once');
  seen.followed = (await page.innerText('.result-window')).replace(/\u00a0/g, ' ');
  seen.following = await page.innerText('.run-hint');
  await page.click('.graphiql-execute-button'); // stops
  await page.waitForSelector('.graphiql-execute-button[aria-label^="Execute"]');
  seen.ended = await page.innerText('.run-hint');

  // One's own tab, and who one is, outlive a reload. One types at once in a new tab.
  await button('New tab').click();
  await page.waitForFunction(() => document.activeElement.closest('.graphiql-query-editor'));
  await page.keyboard.type('{ tags(first: ');
  await page.keyboard.press('Control+Space');
  await page.waitForSelector('.suggest-widget.visible .message, .suggest-widget.visible .monaco-list-row');
  seen.numbers = await page.innerText('.suggest-widget.visible');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText('query Mine { tags(first: 1) { totalCount } }');
  await pause(1500); // GraphiQL keeps it half a second later
  await page.reload();
  await ready();
  await pause(500);
  seen.tabsAfterReload = await tabs();
  seen.who.push(await who());
  seen.mine = (await run()).body;

  // Every panel, in the dark.
  await page.emulateMedia({ colorScheme: 'dark' });
  await tab('People');
  await button('Show Documentation Explorer').click();
  await page.getByRole('link', { name: 'Story', exact: true }).first().click();
  await page.getByText('A text that a person wrote.').waitFor();
  await examine('docs');
  await button('Show GraphiQL Explorer').click();
  await page.waitForSelector('.graphiql-explorer-root [data-field-name]');
  await examine('builder');
  await run();
  await picture('dark');
  await page.locator('.graphiql-explorer-root [data-field-name="email"]').first().click();
  await pause(300);
  seen.built = (await run()).body; // the click took `email` out of the query
  await button('Show History').click();
  await examine('history');
  await button('Hide History').click();
  await button('Open short keys dialog').click();
  await page.getByText('Execute query').waitFor();
  await examine('keys');
  await page.keyboard.press('Escape');

  await page.click('[aria-label^="Theme: system"]');
  seen.light = await page.evaluate(() => document.body.classList.contains('graphiql-light'));
  await page.setViewportSize(PHONE);
  await tab('Feed');
  await pause(500);
  seen.segments = await page.locator('.segments [aria-pressed]').allInnerTexts();
  await examine('phone query');
  await page.locator('.segments button', { hasText: 'Variables' }).click();
  await page.getByText('garden -winter').first().waitFor();
  await examine('phone variables');
  await page.locator('.segments button', { hasText: 'Query' }).click();
  seen.phone = (await run()).body;
  await pause(500);
  await examine('phone');
  await picture('phone');
  await button('New tab').click();
  await pause(500);
  seen.chosenTab = await page.evaluate(() => {
    const [strip, chosen] = ['.graphiql-tabs', '.graphiql-tab-active'].map((each) =>
      document.querySelector(each).getBoundingClientRect(),
    );
    return {
      inSight: chosen.left >= strip.left - 1 && chosen.right <= strip.right + 1, // they end within a pixel
      segment: document.body.dataset.segment,
    };
  });
  await page.locator('.segments button', { hasText: 'Answer' }).click();
  await tab('Live');
  await page.locator('.run-here').click();
  await page.locator('.run-here', { hasText: 'Stop' }).click();
  await page.locator('.run-here', { hasText: 'Run' }).waitFor();
  await page.click('button.who');
  await examine('phone people');
  await page.keyboard.press('Escape');
  await button('Show Documentation Explorer').click();
  await examine('phone docs');

  await page.goto(`${address}/schema`);
  await page.waitForSelector('.box');
  await examine('phone map');
  await page.setViewportSize(WIDE);
  await page.reload();
  await page.waitForSelector('.box');
  await examine('map');
  await pause(500);
  seen.map = await page.evaluate(looksOfMap);
  seen.boxes = await page.locator('.box strong').allInnerTexts();
  await picture('schema');
  await page.locator('.roots button', { hasText: 'Mutation' }).click();
  await page.waitForSelector('.react-flow__node[data-id=Mutation]');
  await page.fill('.types input', 'garden');
  await page.locator('.names button', { hasText: /^Garden$/ }).click();
  await page.waitForSelector('.box.chosen');
  await pause(500);
  seen.chosen = await page.innerText('.types');
  seen.near = await page.locator('.box:not(.faded) strong').allInnerTexts();
  await examine('map of mutations');

  await page.goto(`${address}/`);
  await ready();
  await become('Signed out');
  seen.who.push(await who());
}

async function production() {
  await page.goto(`${address}/`);
  await ready();
  await pause(500);
  seen.bar = await page.innerText('.bar-end');
  seen.link = await page.getAttribute('.bar .button.strong', 'href');
  await tab('Feed');
  await pause(300);
  const { body, bar } = await run();
  seen.run = body;
  seen.runBar = bar;
  seen.sqlButtons = await page.getByText('Show SQL').count();
  await page.goto(`${address}/schema`);
  await page.waitForFunction(() => /cannot be read/.test(document.body.innerText));
  await examine('map');
}

try {
  await { development, production }[mode]();
  console.log(JSON.stringify(seen));
} catch (error) {
  console.error(JSON.stringify(seen.console));
  throw error;
} finally {
  await browser.close();
}
