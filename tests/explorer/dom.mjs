import { chromium } from 'playwright-core';
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox','--disable-dev-shm-usage'] });
const page = await browser.newPage();
await page.goto('http://127.0.0.1:18080/');
await page.waitForSelector('.graphiql-query-editor .view-line');
await page.click('[aria-label="Show GraphiQL Explorer"]'); await page.waitForTimeout(1500);
console.log(await page.evaluate(() => [...document.querySelectorAll('.graphiql-explorer-root input, .graphiql-explorer-root select')].map(e => { let p=e; for(let i=0;i<3;i++) p=p.parentElement; return p.outerHTML.replace(/style="[^"]*"/g,'').slice(0,700)}).join('\n-----\n')));
await browser.close();
