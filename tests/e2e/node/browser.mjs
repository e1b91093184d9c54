// Opens a page by Playwright in the Chromium that is first on PATH. Prints the status. Playwright reads no variable.
import { accessSync } from 'node:fs';
import { chromium } from 'playwright-core';

const executablePath = process.env.PATH.split(':').map((folder) => `${folder}/chromium`).find((file) => {
  try { accessSync(file); return true; } catch { return false; }
});
const server = process.env.https_proxy;
const proxy = server ? { server, bypass: '<-loopback>' } : undefined;
const browser = await chromium.launch({ executablePath, proxy, args: ['--no-sandbox'] });
try {
  const page = await browser.newPage();
  console.log((await page.goto(process.argv[2])).status());
} finally {
  await browser.close();
}
