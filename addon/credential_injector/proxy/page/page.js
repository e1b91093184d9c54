// Moves the countdowns, and shows how things stand every two seconds while somebody looks.
"use strict";

const POLL = 2000; // milliseconds
const news = document.getElementById("news");
const form = document.getElementById("refresh");
const main = document.getElementById("main");
let ahead = 0; // milliseconds by which the server's clock is ahead of this one
let shown = parts(main);
let polling;

function say(text) {
  if (news.textContent !== text) news.textContent = text;
}

function now() {
  return Date.now() + ahead;
}

// The header has whole seconds: a small difference is no difference.
function compareClocks(answer) {
  const difference = Date.parse(answer.headers.get("Date")) + 500 - Date.now();
  if (Math.abs(difference - ahead) > 1500) ahead = difference;
}

function countdown(seconds) {
  if (seconds >= 2 * 86400) return `${Math.floor(seconds / 86400)} days`;
  const two = number => String(number).padStart(2, "0");
  const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
  return (hours ? `${hours}:${two(minutes)}` : minutes) + `:${two(seconds % 60)}`;
}

function tick() {
  for (const one of main.querySelectorAll("[data-expires]")) {
    one.textContent = countdown(Math.max(0, Math.floor(one.dataset.expires - now() / 1000)));
  }
}

// What is left counts from the moment in which it came.
function start(root) {
  for (const one of root.querySelectorAll("[data-left]")) one.dataset.expires = now() / 1000 + Number(one.dataset.left);
}

// The parts of the page as the server sent them, by their ids; what is left differs each time.
function parts(root) {
  const html = part => part.outerHTML.replace(/data-left="\d+">[^<]*/g, "");
  return new Map([...root.querySelectorAll("[data-part]")].map(part => [part.id, html(part)]));
}

function tellChanges(fresh) {
  const told = [];
  for (const card of fresh.querySelectorAll("[data-state]")) {
    const before = document.getElementById(card.id);
    if (before === null) continue;
    const { name, state, token } = card.dataset;
    if (before.dataset.state !== state) told.push(`${name}: ${state}`);
    else if (before.dataset.token !== token) told.push(`${name}: new token`);
  }
  if (told.length) say(told.slice(0, 5).join("; "));
}

// Replaces what has changed and nothing else, so that a screen reader stays where it is.
function show(fresh) {
  const selects = !getSelection().isCollapsed && main.contains(getSelection().anchorNode);
  // Whoever copies a text or presses a button keeps what is under the hand.
  if (selects || main.querySelector(":active")) return;
  tellChanges(fresh);
  const came = parts(fresh);
  const focused = main.contains(document.activeElement) ? document.activeElement.id : "";
  start(fresh);
  if ([...came.keys()].join() !== [...shown.keys()].join()) {
    main.replaceChildren(...fresh.childNodes);
  } else {
    for (const [id, html] of came) {
      const before = document.getElementById(id), after = fresh.querySelector(`#${CSS.escape(id)}`);
      const left = before.querySelector("[data-left]");
      if (html !== shown.get(id)) before.replaceWith(after);
      else if (left) left.dataset.expires = after.querySelector("[data-left]").dataset.expires;
    }
  }
  shown = came;
  tick();
  if (focused && document.activeElement.id !== focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

async function load() {
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (answer.status === 403) throw new Error("mitmweb wants its password again: load the page anew");
    if (!answer.ok) throw new Error("the add-on does not answer");
    compareClocks(answer);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.title = fresh.title;
    form.innerHTML = fresh.getElementById("refresh").innerHTML; // mitmweb may have started anew
    if (document.body.classList.contains("old")) say("");
    document.body.classList.remove("old");
    show(fresh.getElementById("main"));
  } catch (error) {
    document.body.classList.add("old");
    say(`This is how things stood: ${error instanceof TypeError ? "mitmweb does not answer" : error.message}`);
  }
}

async function poll() {
  clearTimeout(polling);
  if (document.hidden) return;
  await load();
  clearTimeout(polling);
  polling = setTimeout(poll, POLL);
}

form.addEventListener("submit", async event => {
  event.preventDefault();
  const body = new URLSearchParams(new FormData(form, event.submitter));
  say(`${body.get("environment")}: asks for a new token`);
  const answer = await fetch(form.action, { method: "POST", body }).catch(() => null);
  if (!answer?.ok) say(`${body.get("environment")}: not asked; load the page anew`);
  poll();
});

document.addEventListener("visibilitychange", poll);
setInterval(tick, 1000);
start(main);
tick();
poll();
