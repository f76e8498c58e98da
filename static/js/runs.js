// The table of runs, live: rows change in place, new ones appear where the sorting puts them; ticks, focus and edits stay.

import { localTimes, format } from "./format.js";
import { paced } from "./pace.js";
import { patient } from "./patient.js";
import { Stream } from "./stream.js";
import { Columns } from "./table-columns.js";
import { edits } from "./table-edit.js";
import { keys } from "./table-keys.js";
import { menus } from "./table-menus.js";
import { idsOf, Ticks } from "./table-ticks.js";

const root = /** @type {HTMLElement} */ (document.getElementById("runs"));
const FETCH_MS = 1000;
const FETCH_HIDDEN_MS = 5000;

class RunsTable {
  #body = root.querySelector("tbody");
  /** @type {Map<number, string>} the status of each run that has been told of, by its number */
  #told = new Map();
  /** The page's own rows again, with its filter, sorting and columns. */
  #fetchSoon = paced(() => void this.fetch(), FETCH_MS);
  /** For a run on another page: it may move here, but nobody is looking at it. */
  #fetchLater = paced(() => void this.fetch(), FETCH_HIDDEN_MS);
  #ticks;
  /** How often the rows were asked for, and which answer stands: a slow one must not undo a newer one. */
  #asked = 0;
  #shown = 0;

  constructor() {
    this.#ticks = new Ticks(root, () => this.fetch());
    localTimes(root);
    root.addEventListener("click", (event) => this.#unfold(event));
    setInterval(() => this.#tick(), 1000);
    new Stream(root.dataset.streamUrl ?? "", {
      run: ({ run }) => this.#heard(run),
      deleted: ({ id }) => this.#remove(id),
    });
  }

  async fetch() {
    const number = ++this.#asked;
    const answer = await patient(root.dataset.rowsUrl ?? "");
    const rows = rowsOf(await answer.text());
    if (!answer.ok || number < this.#shown) return;
    this.#shown = number;
    showCounts(JSON.parse(answer.headers.get("Fitroom-Counts") ?? "{}"));
    if (!this.#body) {
      if (rows.length) location.reload(); // the first one: there is no table to put it into yet
      return;
    }
    this.#merge(rows);
    for (const row of this.#body.querySelectorAll('tr.group:has([aria-expanded="true"])')) await this.#members(/** @type {HTMLTableRowElement} */ (row));
  }

  /** @param {any} run */
  #heard(run) {
    const moved = this.#told.get(run.id) !== run.status;
    this.#told.set(run.id, run.status);
    if (moved || this.#shows(run.id)) this.#fetchSoon();
    else this.#fetchLater();
  }

  /** @param {number} id */
  #remove(id) {
    this.#row(id)?.remove();
    this.#ticks.show();
    this.#fetchSoon();
  }

  /** @param {HTMLTableRowElement[]} fresh in their order */
  #merge(fresh) {
    const body = /** @type {HTMLTableSectionElement} */ (this.#body);
    const old = new Map([...body.rows].map((row) => [keyOf(row), row]));
    const focused = /** @type {HTMLElement | null} */ (document.activeElement);
    /** @type {HTMLTableRowElement[]} */
    const wanted = [];
    for (const row of fresh) {
      const known = old.get(keyOf(row));
      if (known) morph(known, row);
      else row.classList.add("arrived");
      wanted.push(known ?? row, ...(known ? membersOf(known) : []));
    }
    place(body, wanted);
    // What is moved in a document loses the focus; so does a run whose seeds fold now, and then their row takes it.
    if (focused && focused !== document.activeElement) refocus(body, focused);
    localTimes(body);
    this.#ticks.show();
  }

  /** A group opens in place; without this script its link leads to its runs. @param {MouseEvent} event */
  #unfold(event) {
    const link = /** @type {HTMLElement} */ (event.target).closest(".unfold");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const row = /** @type {HTMLTableRowElement} */ (link.closest("tr"));
    const opens = link.getAttribute("aria-expanded") !== "true";
    link.setAttribute("aria-expanded", String(opens));
    if (opens) void this.#members(row);
    else for (const member of membersOf(row)) member.remove();
    this.#ticks.show();
  }

  /** Fetch a group's runs and show them below it. @param {HTMLTableRowElement} row */
  async #members(row) {
    const address = new URL(/** @type {HTMLAnchorElement} */ (row.querySelector(".unfold")).href);
    address.pathname = "/runs/rows";
    const answer = await patient(address);
    if (!answer.ok || row.querySelector('[aria-expanded="true"]') === null) return;
    const old = new Map(membersOf(row).map((member) => [member.dataset.runId, member]));
    const fresh = rowsOf(await answer.text());
    for (const member of fresh) {
      member.classList.add("member");
      member.dataset.of = row.dataset.group;
      const known = old.get(member.dataset.runId);
      if (known) morph(known, member);
    }
    for (const [id, member] of old) if (!id || !fresh.some((one) => one.dataset.runId === id)) member.remove();
    row.after(...fresh.map((member) => old.get(member.dataset.runId) ?? member), ...others(row, fresh.length));
    localTimes(root);
    this.#ticks.show();
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

  /** Whether a row stands for this run, alone or with other seeds. @param {number} id */
  #shows(id) {
    return this.#row(id) !== null || [...(this.#body?.rows ?? [])].some((row) => stands(row, String(id)));
  }
}

/** @param {HTMLTableRowElement} row */
function keyOf(row) {
  return row.dataset.of ? `${row.dataset.of}/${row.dataset.runId}` : (row.dataset.runId ?? row.dataset.group ?? "");
}

/** The rows that an open group shows. @param {HTMLTableRowElement} row @returns {HTMLTableRowElement[]} */
function membersOf(row) {
  const found = [];
  for (let next = row.nextElementSibling; next?.classList.contains("member"); next = next.nextElementSibling) found.push(next);
  return /** @type {HTMLTableRowElement[]} */ (found);
}

/** Where a group has more runs than a page has rows: the way to all of them. @param {HTMLTableRowElement} row @param {number} shown @returns {HTMLTableRowElement[]} */
function others(row, shown) {
  const count = Number(row.dataset.runs);
  if (count <= shown) return [];
  const line = document.createElement("tr");
  line.className = "member";
  line.dataset.of = row.dataset.group;
  const cell = line.appendChild(document.createElement("td"));
  cell.colSpan = row.cells.length;
  const link = cell.appendChild(document.createElement("a"));
  link.href = /** @type {HTMLAnchorElement} */ (row.querySelector(".unfold")).href;
  link.textContent = `All ${format.number(count)} runs`;
  return [line];
}

/** @param {HTMLTableRowElement} row @param {string} id */
function stands(row, id) {
  const tick = /** @type {HTMLInputElement | null} */ (row.querySelector("input[name=runs]"));
  return tick !== null && idsOf(tick).includes(id);
}

/** @param {HTMLTableSectionElement} body @param {HTMLElement} focused */
function refocus(body, focused) {
  if (body.contains(focused)) return focused.focus({ preventScroll: true });
  const id = /** @type {HTMLElement | null} */ (focused.closest("tr"))?.dataset.runId;
  const row = id && [...body.rows].find((one) => stands(one, id));
  if (!row) return;
  row.tabIndex = -1;
  row.focus({ preventScroll: true });
}

/** Only what is out of place is moved. @param {HTMLTableSectionElement} body @param {HTMLTableRowElement[]} wanted */
function place(body, wanted) {
  const kept = new Set(wanted);
  for (const row of [...body.rows]) if (!kept.has(row)) row.remove();
  wanted.forEach((row, index) => {
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
  });
}

/** @param {Record<string, number>} counts runs by status */
function showCounts(counts) {
  for (const [status, count] of Object.entries(counts)) {
    const element = root.querySelector(`[data-count="${status}"]`);
    if (element) element.textContent = format.number(count);
  }
}

/** @param {string} html @returns {HTMLTableRowElement[]} */
function rowsOf(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return [...template.content.querySelectorAll("tr")];
}

/** Make a row what it should be, cell by cell; ticks, edits and cells that did not change stay untouched. @param {HTMLTableRowElement} old @param {HTMLTableRowElement} fresh */
function morph(old, fresh) {
  for (const name of ["status", "starred", "archived"]) {
    if (name in fresh.dataset) old.dataset[name] = fresh.dataset[name];
    else delete old.dataset[name];
  }
  localTimes(fresh);
  old.dataset.runs = fresh.dataset.runs ?? "";
  const [now, next] = [old, fresh].map((row) => row.querySelector(".unfold"));
  next?.setAttribute("aria-expanded", now?.getAttribute("aria-expanded") ?? "false");
  [...fresh.cells].forEach((cell, place) => {
    const now = old.cells[place];
    const [tick, fills] = [now, cell].map((one) => /** @type {HTMLInputElement | null} */ (one.querySelector("input[name=runs]")));
    if (tick && fills) tick.value = fills.value;
    if (tick || now.querySelector(".in-place")) return;
    if (now.innerHTML !== cell.innerHTML || now.dataset.since !== cell.dataset.since) renew(now, cell);
  });
}

/** The focus goes over to what stands in its place. @param {HTMLTableCellElement} now @param {HTMLTableCellElement} cell */
function renew(now, cell) {
  const index = [...now.querySelectorAll("a, button")].indexOf(/** @type {Element} */ (document.activeElement));
  const copy = /** @type {HTMLTableCellElement} */ (cell.cloneNode(true));
  now.replaceWith(copy);
  if (index >= 0) /** @type {HTMLElement | undefined} */ ([...copy.querySelectorAll("a, button")][index])?.focus({ preventScroll: true });
}

menus();
const table = new RunsTable();
new Columns(root);
edits(root, () => table.fetch());
keys(root);
