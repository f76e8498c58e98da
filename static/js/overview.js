// The status page, live: its parts are asked for again while somebody looks.

import { localTimes } from "./format.js";

const EVERY_MS = 2000;
const root = /** @type {HTMLElement} */ (document.getElementById("overview"));

async function refresh() {
  if (document.visibilityState === "hidden") return;
  const answer = await fetch(root.dataset.url ?? "");
  if (!answer.ok) return;
  const template = document.createElement("template");
  template.innerHTML = await answer.text();
  localTimes(template.content);
  for (const fresh of /** @type {NodeListOf<HTMLElement>} */ (template.content.querySelectorAll("[data-part]"))) show(fresh);
}

/** A part that has the keyboard's focus stays as it is until the focus leaves. @param {HTMLElement} fresh */
function show(fresh) {
  const old = root.querySelector(`[data-part="${fresh.dataset.part}"]`);
  if (old && !old.contains(document.activeElement) && old.innerHTML !== fresh.innerHTML) old.replaceWith(fresh);
}

/** Again and again, but never two at once. */
async function follow() {
  try {
    await refresh();
  } catch (error) {
    // The server is away: what is shown stays, and the next time may find it again.
    if (!(error instanceof TypeError)) throw error;
  } finally {
    setTimeout(() => void follow(), EVERY_MS);
  }
}

localTimes(root);
setTimeout(() => void follow(), EVERY_MS);
