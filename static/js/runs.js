// The table of runs, live: rows change in place, new ones appear where the sorting puts them, ticks and focus stay.

import { format, localTimes } from "./format.js";
import { paced } from "./pace.js";
import { Stream } from "./stream.js";

const root = /** @type {HTMLElement} */ (document.getElementById("runs"));
const bar = /** @type {HTMLFormElement} */ (document.getElementById("compare"));
const FETCH_MS = 1000;

class RunsTable {
  #body = root.querySelector("tbody");
  /** The page's own rows again, with its filter and sorting. */
  #fetchSoon = paced(() => void this.#fetch(), FETCH_MS);

  constructor() {
    localTimes(root);
    root.addEventListener("change", () => showTicks());
    addEventListener("pageshow", () => showTicks());
    setInterval(() => this.#tick(), 1000);
    new Stream(root.dataset.streamUrl ?? "", {
      run: ({ run, html }) => this.#update(run, html),
      deleted: ({ id }) => this.#remove(id),
    });
  }

  /** @param {any} run @param {string} html */
  #update(run, html) {
    const old = this.#row(run.id);
    const fresh = rowsOf(html)[0];
    const moved = !old || old.dataset.status !== fresh.dataset.status;
    if (old) morph(old, fresh);
    if (moved) this.#fetchSoon();
  }

  /** @param {number} id */
  #remove(id) {
    this.#row(id)?.remove();
    showTicks();
    this.#fetchSoon();
  }

  async #fetch() {
    const answer = await fetch(root.dataset.rowsUrl ?? "");
    if (!answer.ok) return;
    showCounts(JSON.parse(answer.headers.get("Fitroom-Counts") ?? "{}"));
    const rows = rowsOf(await answer.text());
    if (this.#body) this.#merge(rows);
    else if (rows.length) location.reload(); // the first one: there is no table to put it into yet
  }

  /** @param {HTMLTableRowElement[]} fresh in their order */
  #merge(fresh) {
    const body = /** @type {HTMLTableSectionElement} */ (this.#body);
    const kept = new Set(fresh.map((row) => row.dataset.runId));
    for (const row of [...body.rows]) if (!kept.has(row.dataset.runId)) row.remove();
    fresh.forEach((row, place) => {
      const old = this.#row(Number(row.dataset.runId));
      if (old) morph(old, row);
      else row.classList.add("arrived");
      const wanted = old ?? row;
      // Only what is out of place is moved: a moved row would lose the focus.
      if (body.rows[place] !== wanted) body.insertBefore(wanted, body.rows[place] ?? null);
    });
    localTimes(body);
    showTicks();
  }

  #tick() {
    for (const cell of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll("[data-since]"))) {
      cell.textContent = format.duration((Date.now() - Date.parse(cell.dataset.since ?? "")) / 1000);
    }
  }

  /** @param {number} id @returns {HTMLTableRowElement | null} */
  #row(id) {
    return root.querySelector(`tr[data-run-id="${id}"]`);
  }
}

/** @param {Record<string, number>} counts runs by status */
function showCounts(counts) {
  for (const [status, count] of Object.entries(counts)) {
    const element = root.querySelector(`[data-count="${status}"]`);
    if (element) element.textContent = String(count);
  }
}

/** @param {string} html @returns {HTMLTableRowElement[]} */
function rowsOf(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return [...template.content.querySelectorAll("tr")];
}

/** Make a row what it should be, cell by cell; the one with the tick and cells that did not change stay untouched. @param {HTMLTableRowElement} old @param {HTMLTableRowElement} fresh */
function morph(old, fresh) {
  old.dataset.status = fresh.dataset.status;
  localTimes(fresh);
  [...fresh.cells].forEach((cell, place) => {
    const now = old.cells[place];
    const holdsTick = cell.querySelector("input") !== null;
    if (!holdsTick && (now.innerHTML !== cell.innerHTML || now.dataset.since !== cell.dataset.since)) now.replaceWith(cell.cloneNode(true));
  });
}

function showTicks() {
  const ticked = root.querySelectorAll("input[name=runs]:checked").length;
  const button = /** @type {HTMLButtonElement} */ (bar.querySelector("button"));
  const text = /** @type {HTMLElement} */ (bar.querySelector("[data-compare-text]"));
  bar.hidden = ticked === 0;
  button.disabled = ticked < 2;
  button.textContent = ticked < 2 ? "Compare" : `Compare ${ticked}`;
  text.textContent = ticked === 1 ? "1 run ticked; tick another" : `${ticked} runs ticked`;
}

showTicks();
new RunsTable();
