// The app in headless Chromium, as a person uses it. tests/examples/test_web.py starts it all.
//
//   ORIGIN=http://127.0.0.1:4173 EMAIL=someone@without.a.garden CHROMIUM=/usr/bin/chromium node --test e2e.mjs

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const { ORIGIN, EMAIL, CHROMIUM, SCREENSHOTS } = process.env;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let browser, page;
const wrong = [];

before(async () => {
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
  page = await browser.newPage({ viewport: { width: 1000, height: 800 } });
  page.setDefaultTimeout(15_000);
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("console", (line) => line.type() === "error" && wrong.push(line.text()));
  page.on("request", (request) => {
    if (!/^(data:|http:\/\/127\.0\.0\.1[:/])/.test(request.url())) wrong.push(request.url());
  });
});

after(() => browser.close());

async function isAccessible(name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run());
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`);
    assert.deepEqual(found, [], `${name}, ${colorScheme}`);
    if (SCREENSHOTS) await page.screenshot({ path: `${SCREENSHOTS}/${name}-${colorScheme}.png` });
  }
}

const heading = (name) => page.getByRole("heading", { level: 1, name }).waitFor();
const stories = () => page.getByRole("article");

test("the feed goes on as it is scrolled", async () => {
  await page.goto(ORIGIN);
  await stories().first().waitFor();
  const first = await stories().first().innerText();
  assert.ok((await stories().count()) <= 20);
  for (const wanted of [20, 30, 40]) {
    await page.mouse.wheel(0, 100_000);
    await page.waitForFunction((n) => document.querySelectorAll("article").length >= n, wanted);
  }
  assert.equal(await stories().first().innerText(), first);
  const ids = await page.$$eval("article h2", (all) => all.map(({ id }) => id));
  assert.equal(new Set(ids).size, ids.length);
  await isAccessible("feed");
});

test("a person's page has what hangs on them, and the way back", async () => {
  await page.goto(ORIGIN);
  const author = stories().first().getByRole("link");
  const name = await author.innerText();
  await author.click();
  await heading(name);
  assert.match(await page.getByRole("region", { name: "About" }).innerText(), /Here for \d+ days/);
  assert.match(await page.locator("main").innerText(), /\d+ stories/);
  assert.equal(await stories().first().getByRole("link").innerText(), name);
  await page.goBack();
  await heading("Stories");
});

test("signing in comes back to the page", async () => {
  await page.goto(ORIGIN);
  assert.equal(await page.getByRole("link", { name: "Write" }).count(), 0);
  await page.getByRole("link", { name: "Sign in" }).click();
  await page.fill("input[type=email]", EMAIL);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(`${ORIGIN}/`);
  await page.getByRole("link", { name: "Sign out" }).waitFor();
});

test("a story is refused with a word at each field, then written", async () => {
  await page.getByRole("link", { name: "Write" }).click();
  await page.getByLabel("Text").fill("The pond sang.");
  await page.getByLabel("Tags").fill("growth, no such tag");
  await page.getByRole("button", { name: "Publish" }).click();
  await page.getByText("title must not be empty.").waitFor();
  const title = page.getByLabel("Title");
  assert.equal(await title.getAttribute("aria-invalid"), "true");
  assert.equal(await page.getByLabel("Tags").getAttribute("aria-invalid"), "true");
  assert.equal(await page.getByLabel("Text").getAttribute("aria-invalid"), "false");
  await isAccessible("write");

  await title.fill("First frost");
  await page.getByLabel("Tags").fill("growth");
  await page.getByRole("button", { name: "Publish" }).click();
  await page.waitForURL(`${ORIGIN}/`);
  await stories().first().getByText("First frost").waitFor();
});

test("one garden, and no second", async () => {
  await page.getByRole("link", { name: "Garden" }).click();
  await page.getByRole("button", { name: "Plant" }).click();
  await page.getByText("name must not be empty.").waitFor();
  await page.getByLabel("Name").fill("Moss & stone");
  await page.getByRole("button", { name: "Plant" }).click();
  await page.getByRole("status").getByText("Moss & stone is planted.").waitFor();
  await page.getByRole("button", { name: "Plant" }).click();
  await page.getByRole("alert").getByText("You have a garden already.").waitFor();
});

test("my page has both, on a phone too", async () => {
  await page.setViewportSize({ width: 375, height: 700 });
  await page.getByRole("navigation").getByRole("link").nth(3).click();
  await page.getByText("Garden: Moss & stone").waitFor();
  await stories().first().getByText("First frost").waitFor();
  const overflow = await page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  );
  assert.equal(overflow, 0);
  await isAccessible("person");
});

test("signing out", async () => {
  await page.getByRole("link", { name: "Sign out" }).click();
  await page.waitForURL(`${ORIGIN}/`);
  await page.getByRole("link", { name: "Sign in" }).waitFor();
});

test("nothing was said on the console, and nobody else was asked", () => {
  assert.deepEqual(wrong, []);
});
