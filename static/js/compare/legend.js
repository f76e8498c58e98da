// The one legend of all charts: a click isolates a curve, another brings all back, with Ctrl or Shift each is switched.

import { DASHES } from "../plot/draw.js";

/** @typedef {{key: string, label: string, token: string, dash: number}} Entry */

export class Legend {
  #list;
  #all;
  #onChange;
  #onPoint;
  /** @type {Entry[]} */
  #entries = [];
  /** @type {Set<string>} what is left out */
  #off = new Set();

  /**
   * @param {HTMLElement} list @param {HTMLButtonElement} all brings all back
   * @param {{onChange: () => void, onPoint: (key: string | null) => void}} handlers
   */
  constructor(list, all, { onChange, onPoint }) {
    this.#list = list;
    this.#all = all;
    this.#onChange = onChange;
    this.#onPoint = onPoint;
    all.addEventListener("click", () => this.#set([]));
    list.addEventListener("click", (event) => this.#click(event));
    for (const [name, pointed] of /** @type {[string, boolean][]} */ ([["pointerover", true], ["focusin", true], ["pointerleave", false], ["focusout", false]])) {
      list.addEventListener(name, (event) => this.#onPoint(pointed ? keyOf(event) : null));
    }
  }

  /** @param {string} key */
  shows(key) {
    return !this.#off.has(key);
  }

  /** @param {Entry[]} entries */
  show(entries) {
    const same = entries.length === this.#entries.length && entries.every((entry, place) => entry.key === this.#entries[place].key);
    this.#entries = entries;
    if (same) return;
    const known = new Set(entries.map((entry) => entry.key));
    this.#off = new Set([...this.#off].filter((key) => known.has(key)));
    this.#list.replaceChildren(...entries.map(item));
    this.#mark();
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const key = keyOf(event);
    if (key === null) return;
    const others = this.#entries.map((entry) => entry.key).filter((one) => one !== key);
    const alone = this.shows(key) && others.every((one) => !this.shows(one));
    if (event.ctrlKey || event.metaKey || event.shiftKey) this.#set(this.shows(key) ? [...this.#off, key] : [...this.#off].filter((one) => one !== key));
    else this.#set(alone ? [] : others);
  }

  /** @param {string[]} off */
  #set(off) {
    this.#off = new Set(off.length === this.#entries.length ? [] : off);
    this.#mark();
    this.#onChange();
  }

  #mark() {
    this.#all.hidden = this.#off.size === 0;
    for (const button of this.#list.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(this.shows(button.dataset.key ?? "")));
    }
  }
}

/** @param {Event} event @returns {string | null} */
function keyOf(event) {
  return /** @type {HTMLElement} */ (event.target).closest("button")?.dataset.key ?? null;
}

/** @param {Entry} entry */
function item(entry) {
  const element = document.createElement("li");
  const button = element.appendChild(document.createElement("button"));
  button.type = "button";
  button.dataset.key = entry.key;
  button.append(swatch(entry), entry.label);
  button.title = entry.label;
  return element;
}

/** The curve's own colour and pattern. @param {{token: string, dash: number}} entry */
export function swatch({ token, dash }) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", `line ${token}`);
  svg.setAttribute("viewBox", "0 0 24 8");
  svg.setAttribute("aria-hidden", "true");
  const line = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  line.setAttribute("d", "M0 4H24");
  line.setAttribute("stroke-dasharray", DASHES[dash].join(" "));
  return svg;
}
