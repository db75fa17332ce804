// The app in headless Chromium, used by two people at once, one with a phone; tests/clients/test_web.py
// starts it all. Neither person may have a garden or be the other's friend, and both need matches.
//
//   ORIGIN=http://127.0.0.1:4173 EMAILS=one@example.com,other@example.com CHROMIUM=/usr/bin/chromium \
//     node --test e2e.mjs                                  (SCREENSHOTS=folder keeps pictures)

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const { ORIGIN, EMAILS, CHROMIUM, SCREENSHOTS } = process.env;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const WIDE = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };
const wrong = [];
let browser;

/** A browser of its own for one person; signed in if they have an address. */
async function person(viewport, email) {
  const context = await browser.newContext({ viewport, colorScheme: "light" });
  context.setDefaultTimeout(20_000);
  context.on("weberror", (error) => wrong.push(String(error.error())));
  context.on("console", (line) => line.type() === "error" && wrong.push(line.text()));
  context.on("request", (request) => {
    if (!/^(data:|https?:\/\/127\.0\.0\.1[:/])/.test(request.url())) wrong.push(request.url());
  });
  const page = await context.newPage();
  if (!email) return { context, page };
  await page.goto(`${ORIGIN}/auth/login?next=/profile`);
  await page.fill("input[type=email]", email);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(`${ORIGIN}/profile`);
  const name = await page.getByLabel("Name", { exact: true }).inputValue();
  const home = await page.getByRole("link", { name: "Cancel" }).getAttribute("href");
  return { context, page, name, home };
}

/** By the bar, and on a phone by its menu. */
async function choose(page, name) {
  const menu = page.getByRole("button", { name: /^Menu/ });
  if (await menu.isVisible()) await menu.click();
  await page.getByRole("navigation").getByRole("link", { name, exact: false }).first().click();
}

const heading = (page, name) => page.getByRole("heading", { level: 1, name, exact: true }).waitFor();
const button = (page, name) => page.getByRole("button", { name, exact: true });
const card = (page, title) =>
  page.getByRole("article").filter({ has: page.getByRole("heading", { name: title }) });

async function write(page, { title, text, tags = [], seen = "Everyone" }) {
  await page.goto(`${ORIGIN}/write`);
  await page.getByLabel("Title").fill(title);
  await page.getByLabel("Text").fill(text);
  for (const tag of tags) {
    await page.getByLabel("Tags").fill(tag);
    await page.getByLabel("Tags").press("Enter");
  }
  await page.getByLabel("Who may read it").selectOption(seen);
  await button(page, "Publish").click();
}

/** No violation in either theme, and nothing wider than the window, here and at the other width. */
async function isSound(page, name) {
  const own = page.viewportSize();
  const other = own.width === WIDE.width ? PHONE : WIDE;
  // The colours are all that a theme changes, and a width does not change them.
  const colours = { runOnly: ["color-contrast"] };
  const places = { rules: { "color-contrast": { enabled: false } } };
  const looks = [
    [other, "light", places],
    [own, "dark", colours],
    [own, "light", {}],
  ];
  await page.evaluate(axe);
  if (SCREENSHOTS) looks.push([other, "dark", colours]);
  for (const [size, colorScheme, options] of looks) {
    await page.setViewportSize(size);
    await page.emulateMedia({ colorScheme });
    if (SCREENSHOTS)
      await page.screenshot({ path: `${SCREENSHOTS}/${name}-${size.width}-${colorScheme}.png` });
    const run = (given) => window.axe.run({ ...given, resultTypes: ["violations"] });
    const { violations } = await page.evaluate(run, options);
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`);
    assert.deepEqual(found, [], `${name}, ${size.width}, ${colorScheme}`);
    const over = () => document.documentElement.scrollWidth - document.documentElement.clientWidth;
    assert.equal(await page.evaluate(over), 0, `${name} is wider than ${size.width}`);
  }
  await page.setViewportSize(own);
  await page.emulateMedia({ colorScheme: "light" });
}

let a, b; // one at a desk, the other with a phone

before(async () => {
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
  const [one, other] = EMAILS.split(",");
  [a, b] = await Promise.all([person(WIDE, one), person(PHONE, other)]);
});

after(() => browser.close());

const title = `First frost ${"w".repeat(60)}`;

test("a story of one is news to the other, with harmless Markdown", async () => {
  await choose(b.page, "Stories");
  await b.page.getByRole("article").first().waitFor();
  await a.page.goto(`${ORIGIN}/write`);
  await a.page.getByLabel("Text").fill("x");
  await a.page.getByLabel("Tags").fill("growth, no such tag,");
  await button(a.page, "Publish").click();
  await a.page.getByText("Please fill this in.").waitFor();
  await a.page.getByText("“no such tag”: There is no such tag.").waitFor();
  assert.equal(await a.page.getByLabel("Title").getAttribute("aria-invalid"), "true");
  assert.equal(await a.page.getByLabel("Text").getAttribute("aria-invalid"), "false");
  await isSound(a.page, "write-refused");

  const text =
    "The **pond** sang. <img src=x onerror=alert(1)><script>alert(1)</script>\n\n# Ice\n\n" +
    "[safe](https://example.com/) [not](javascript:alert(1))";
  await write(a.page, { title, text, tags: ["growth"] });
  await heading(a.page, title);
  const story = a.page.getByRole("article");
  assert.equal(await story.locator("strong").innerText(), "pond");
  assert.equal(await story.locator("h2").innerText(), "Ice");
  assert.equal(await story.locator("img, script, [onerror]").count(), 0);
  assert.deepEqual(await story.locator(".markdown a[href]").allInnerTexts(), ["safe"]);
  await isSound(a.page, "story");

  await button(b.page, "1 new story").waitFor();
  assert.equal(await card(b.page, title).count(), 0, "it is not put under one's eyes");
  await isSound(b.page, "news");
  await button(b.page, "1 new story").click();
  await card(b.page, title).waitFor();
  assert.equal(await button(b.page, "1 new story").count(), 0);
});

test("an edit shows in one's other window, and at the other's; a conflict is for people", async () => {
  const other = await a.context.newPage();
  await other.goto(a.page.url());
  await heading(other, title);
  await other.getByRole("link", { name: "Edit" }).click();
  await other.getByLabel("Text").fill("Written in the other window.");

  await a.page.getByRole("link", { name: "Edit" }).click();
  await a.page.getByLabel("Title").fill(`${title} again`);
  await a.page.getByLabel("Text").fill("Saved first.");
  await button(a.page, "Save").click();
  await heading(a.page, `${title} again`);
  await card(b.page, `${title} again`).waitFor(); // CHANGED, in place

  await other.getByText("It was changed elsewhere since you opened it here.").waitFor();
  await button(other, "Save").click(); // the server says CONFLICT
  await other.getByRole("heading", { name: "It was changed in the meantime" }).waitFor();
  await isSound(other, "conflict");
  const choice = (part, whose) => other.getByRole("group", { name: part }).getByLabel(whose);
  await choice("Title", "What is there now").check();
  await choice("Text", "What you wrote here").check();
  await button(other, "Save this choice").click();
  await heading(other, `${title} again`);
  await other.getByText("Written in the other window.").waitFor();
  await a.page.getByText("Written in the other window.").waitFor(); // by itself
  await other.close();
});

test("filters stand in the address; the way back; what is not for one is gone", async () => {
  await b.page.goto(ORIGIN);
  const chips = b.page.getByRole("list", { name: "Filter by tag" });
  await card(b.page, title).getByRole("link", { name: "growth" }).click();
  await b.page.waitForURL(`${ORIGIN}/?tag=growth`);
  await b.page.getByLabel("Search stories").fill("frost");
  await b.page.getByLabel("Search stories").press("Enter");
  await b.page.waitForURL(`${ORIGIN}/?tag=growth&search=frost`);
  await b.page.reload();
  await card(b.page, title).waitFor();
  await isSound(b.page, "filtered");
  await chips.getByRole("link", { name: "growth" }).click();
  await b.page.waitForURL(`${ORIGIN}/?search=frost`);
  await b.page.goto(`${ORIGIN}/?search=nosuchword`);
  await b.page.getByText("No stories like this.").waitFor();
  await b.page.goBack();
  await card(b.page, title).waitFor();

  await a.page.getByRole("link", { name: "Edit" }).click();
  await a.page.getByLabel("Who may read it").selectOption("Only me");
  await button(a.page, "Save").click();
  await card(b.page, title).waitFor({ state: "detached" });
  await a.page.getByRole("link", { name: "Edit" }).click();
  await isSound(a.page, "edit");
  await button(a.page, "Delete").click();
  await button(a.page, "Yes").click();
  await heading(a.page, "Stories");
  await a.page.getByRole("article").first().waitFor();
  assert.equal(await card(a.page, title).count(), 0);
});

test("the feed goes on as it is scrolled, and is as long on the way back", async () => {
  const articles = a.page.getByRole("article");
  for (const wanted of [20, 30]) {
    await a.page.waitForFunction((n) => {
      window.scrollTo(0, document.body.scrollHeight);
      return document.querySelectorAll("article").length >= n;
    }, wanted);
  }
  const ids = await a.page.$$eval("article h2", (all) => all.map(({ id }) => id));
  assert.equal(new Set(ids).size, ids.length);
  await articles.nth(25).getByRole("heading").getByRole("link").click();
  await a.page.getByRole("heading", { level: 1 }).waitFor();
  await a.page.goBack();
  await heading(a.page, "Stories");
  await articles.nth(25).waitFor();
});

test("after a cut the feed goes on after its last event, and nothing is missed", async () => {
  const page = await b.context.newPage();
  const sockets = [];
  const afters = [];
  let isAway = false;
  await page.routeWebSocket(/\/graphql$/, (socket) => {
    if (isAway) return void socket.close({ code: 1013 });
    sockets.push(socket);
    const server = socket.connectToServer();
    socket.onMessage((message) => {
      const { payload } = JSON.parse(message);
      if (payload?.query?.includes("FollowFeed")) afters.push(payload.variables.after);
      server.send(message);
    });
  });
  await page.goto(ORIGIN);
  await page.getByRole("article").first().waitFor();
  await write(a.page, { title: "Before the cut", text: "One." });
  await button(page, "1 new story").waitFor();
  isAway = true;
  for (const socket of sockets) await socket.close({ code: 1012 });
  await page.getByText("No connection.").waitFor();
  await write(a.page, { title: "During the cut", text: "Two." });
  await heading(a.page, "During the cut");
  assert.equal(await button(page, "1 new story").count(), 1);
  isAway = false;
  await button(page, "2 new stories").waitFor();
  await page.getByText("No connection.").waitFor({ state: "detached" });
  assert.equal(new Set(afters).size, 2, "it says where to go on");
  await page.close();
});

test("a request for friendship arrives, and each answer does", async () => {
  await a.page.goto(ORIGIN + b.home);
  await heading(a.page, b.name);
  await button(a.page, "Ask to be friends").click();
  await b.page.getByText(`${a.name} would like to be your friend.`).waitFor();
  await isSound(b.page, "notice");
  await b.page.getByRole("link", { name: "Answer" }).click();
  await button(b.page, `Accept ${a.name}`).waitFor();
  await isSound(b.page, "requests");
  await choose(a.page, "Requests");
  await a.page.getByRole("heading", { name: "You have asked" }).waitFor();
  const withdraw = button(a.page, `Withdraw ${b.name}`);
  await withdraw.waitFor();
  await isSound(a.page, "sent");
  await withdraw.click();
  await withdraw.waitFor({ state: "detached" });
  await button(b.page, `Accept ${a.name}`).waitFor({ state: "detached" });
  await a.page.goto(ORIGIN + b.home);

  await button(a.page, "Ask to be friends").click();
  await button(b.page, `Decline ${a.name}`).click();
  await button(a.page, "Ask to be friends").click();
  await button(b.page, `Accept ${a.name}`).click();
  await a.page.getByText("You are friends").waitFor();
  await isSound(a.page, "person");
  await b.page.goto(ORIGIN + b.home);
  await b.page.getByRole("region", { name: "Friends" }).getByText(a.name).waitFor();
  await isSound(b.page, "me");

  const secret = `Between friends ${Date.now()}`;
  await write(b.page, { title: secret, text: "Only for you.", seen: "Friends" });
  await heading(b.page, secret);
  await card(a.page, secret).waitFor(); // the page follows its person's stories
  await button(a.page, "End friendship").click();
  await button(a.page, "Yes").click();
  await button(a.page, "Ask to be friends").waitFor();
  await card(a.page, secret).waitFor({ state: "detached" });
});

test("the garden shows, changes, and is given up", async () => {
  await choose(a.page, "Garden");
  await button(a.page, "Plant").click();
  await a.page.getByText("Please fill this in.").waitFor();
  await isSound(a.page, "plant");
  await a.page.getByLabel("Name").fill("Moss & stone");
  await button(a.page, "Plant").click();
  await heading(a.page, "Moss & stone");
  await b.page.goto(ORIGIN + a.home);
  await b.page.getByText("Moss & stone").waitFor();
  const other = await a.context.newPage();
  await other.goto(`${ORIGIN}/garden`);
  await heading(other, "Moss & stone");

  await button(a.page, "Change").click();
  await a.page.getByLabel("Theme", { exact: true }).fill("zen");
  await button(a.page, "Save").click();
  await a.page.getByText("Theme: zen.").waitFor();
  await isSound(a.page, "garden");
  await other.getByText("Theme: zen.").waitFor();
  await other.close();
  await b.page.getByText("(zen)").waitFor();
  await button(a.page, "Change").click();
  await button(a.page, "Give up").click();
  await button(a.page, "Yes").click();
  await heading(a.page, "Plant a garden");
});

test("matches have reasons; whom one does not want leaves, and may come back", async () => {
  await choose(b.page, "Matches");
  const matches = b.page.locator("article.match");
  await matches.first().waitFor();
  assert.match(await matches.first().innerText(), /\d+ %[^]*You both/);
  await isSound(b.page, "matches");
  const name = await matches.first().getAttribute("aria-label");
  await button(b.page, `Not interested in ${name}`).click();
  await button(b.page, `Let ${name} come back`).waitFor();
  assert.equal(await button(b.page, `Not interested in ${name}`).count(), 0);
  await button(b.page, `Let ${name} come back`).click();
  await button(b.page, `Let ${name} come back`).waitFor({ state: "detached" });
  const wanted = b.page.getByRole("switch", { name: /^Show me to people/ });
  await wanted.click();
  await b.page.getByText("You have left matching").waitFor();
  assert.equal(await matches.count(), 0);
  await isSound(b.page, "left");
  await wanted.click();
  await b.page.getByText("You have left matching").waitFor({ state: "detached" });
});

test("habits are one's own", async () => {
  await choose(a.page, "Habits");
  await a.page.getByLabel("What").fill("Watch the frost");
  await button(a.page, "Add").click();
  await button(a.page, "Remove Watch the frost").waitFor();
  await a.page.getByLabel("What").fill("Watch the frost");
  await button(a.page, "Add").click();
  await a.page.getByText("You have a habit of this name already.").waitFor();
  await isSound(a.page, "habits");
  await button(a.page, "Remove Watch the frost").click();
  await button(a.page, "Remove Watch the frost").waitFor({ state: "detached" });
});

test("a profile is changed in two windows", async () => {
  await b.page.goto(`${ORIGIN}/profile`);
  const other = await b.context.newPage();
  await other.goto(`${ORIGIN}/profile`);
  await other.getByLabel("About you").fill("Here is one version.");
  const bio = `I watch the frost, since ${Date.now()}.`;
  await b.page.getByLabel("About you").fill(bio);
  await isSound(b.page, "profile");
  await button(b.page, "Save").click();
  await heading(b.page, b.name);
  await b.page.getByText(bio).waitFor();
  await button(other, "Save").click();
  await other.getByText("What is there now").click();
  await button(other, "Save this choice").click();
  await heading(other, b.name);
  await other.close();
});

test("people are found by name", async () => {
  await choose(b.page, "People");
  await b.page.getByLabel("Find people").fill(a.name.split(" ")[0]);
  await button(b.page, "Find").click();
  await b.page.getByRole("main").getByRole("link", { name: a.name }).waitFor();
  await isSound(b.page, "people");
});

test("what is not there looks the same as what is not for one", async () => {
  for (const path of ["/nothing", "/stories/U3Rvcnk6MA", "/people/nobody", "/garden/1"]) {
    await a.page.goto(ORIGIN + path);
    await heading(a.page, "Nothing here");
  }
  await isSound(a.page, "nothing");
  await choose(a.page, "Stories");
  await heading(a.page, "Stories");
  await a.page.evaluate(
    () => history.pushState(null, "", "/people/%") ?? dispatchEvent(new Event("popstate")),
  );
  await heading(a.page, "Nothing here");
});

test("signed out one reads, and is asked to sign in for the rest", async () => {
  const { context, page } = await person(PHONE);
  await page.goto(ORIGIN);
  await page.getByRole("article").first().waitFor();
  assert.equal(await page.getByRole("link", { name: "Write" }).count(), 0);
  await isSound(page, "signed-out-feed");
  await page.goto(ORIGIN + b.home);
  await page.getByText("Sign in to become friends.").waitFor();
  await isSound(page, "signed-out-person");
  await page.goto(`${ORIGIN}/matches`);
  await page.getByText("This page is for people who are signed in.").waitFor();
  await isSound(page, "signed-out-matches");
  await page.getByRole("main").getByRole("link", { name: "Sign in" }).click();
  await page.fill("input[type=email]", EMAILS.split(",")[0]);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(`${ORIGIN}/matches`);
  await heading(page, "People who suit you");
  await choose(page, "Sign out");
  await page.waitForURL(`${ORIGIN}/`);
  await page.getByRole("article").first().waitFor();
  assert.equal(await page.getByRole("link", { name: "Write" }).count(), 0);
  await context.close();
});

test("the theme is the system's until one chooses; all of it by keyboard", async () => {
  const { page } = b;
  const colour = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.goto(`${ORIGIN}/people?search=${encodeURIComponent(a.name)}`);
  await page.getByRole("link", { name: a.name }).first().waitFor();
  const light = await colour();
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await colour();
  assert.notEqual(dark, light);
  await page.emulateMedia({ colorScheme: "light" });

  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab"); // skip link, brand, then the menu
  await page.keyboard.press("Enter");
  await page.getByRole("navigation").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("navigation").waitFor({ state: "hidden" });
  await page.keyboard.press("Enter");
  await isSound(page, "menu");
  await page.getByRole("button", { name: "Light or dark" }).focus();
  await page.keyboard.press("Enter");
  assert.equal(await colour(), dark);
  await page.reload();
  assert.equal(await colour(), dark);
  await page.evaluate(() => localStorage.clear());
});

test("nothing was said on the console, and nobody else was asked", () => {
  assert.deepEqual(wrong, []);
});
