// What is ticked, and what is done to it: compared, or one of the actions on many runs.

const SAID_MS = 8000;

export class Ticks {
  #root;
  #done;
  #bar = /** @type {HTMLFormElement} */ (document.getElementById("compare"));
  #said = /** @type {HTMLElement} */ (document.querySelector("[data-said]"));
  /** @type {HTMLInputElement | null} the tick that was clicked last, from which Shift takes a stretch */
  #last = null;
  #hide = 0;
  /** @type {Set<string>} the ticked runs: rows come, go and fold, and their boxes show what this says */
  #chosen = new Set();

  /** @param {HTMLElement} root @param {() => Promise<void>} done the rows have to be fetched again */
  constructor(root, done) {
    this.#root = root;
    this.#done = done;
    root.addEventListener("click", (event) => this.#stretch(event));
    root.addEventListener("change", (event) => this.#changed(/** @type {HTMLInputElement} */ (event.target)));
    this.#bar.addEventListener("submit", (event) => this.#submit(event));
    this.#bar.addEventListener("change", () => this.show());
    addEventListener("pageshow", () => this.#read());
    this.#read();
  }

  /** A browser that comes back to a page fills its boxes as they were. */
  #read() {
    for (const tick of this.#ticks()) if (tick.checked) this.#set(tick, true);
    this.show();
  }

  /** @param {HTMLInputElement} tick @param {boolean} on */
  #set(tick, on) {
    for (const id of idsOf(tick)) {
      if (on) this.#chosen.add(id);
      else this.#chosen.delete(id);
    }
  }

  /** Boxes as they are chosen; of what the page does not show any more, nothing is. */
  #draw() {
    const before = this.#chosen;
    this.#chosen = new Set();
    for (const tick of this.#ticks()) {
      const ids = idsOf(tick);
      const found = ids.filter((id) => before.has(id));
      for (const id of found) this.#chosen.add(id);
      tick.checked = found.length === ids.length;
      tick.indeterminate = found.length > 0 && !tick.checked;
    }
  }

  show() {
    this.#draw();
    const matching = this.#matching();
    const ticked = matching || this.#chosen.size;
    const all = /** @type {HTMLInputElement | null} */ (this.#root.querySelector("[data-tick-all]"));
    const button = /** @type {HTMLButtonElement} */ (this.#bar.querySelector("[data-compare]"));
    const text = /** @type {HTMLElement} */ (this.#bar.querySelector("[data-compare-text]"));
    this.#bar.hidden = this.#chosen.size === 0;
    button.disabled = ticked < 2;
    button.textContent = ticked < 2 ? "Compare" : `Compare ${ticked}`;
    text.textContent = ticked === 1 ? "1 run ticked" : `${ticked} runs ticked`;
    if (all) {
      const every = this.#ticks();
      all.checked = every.length > 0 && every.every((tick) => tick.checked);
      all.indeterminate = !all.checked && this.#chosen.size > 0;
    }
    const tag = /** @type {HTMLInputElement | null} */ (this.#bar.querySelector(".tag-name"));
    if (tag) tag.hidden = !["tag", "untag"].includes(this.#action().value);
  }

  /** @returns {HTMLInputElement[]} */
  #ticks() {
    return [...this.#root.querySelectorAll("input[name=runs]")].map((tick) => /** @type {HTMLInputElement} */ (tick));
  }

  /** How many match the table's filter, where all of them are meant, on other pages too; else 0. */
  #matching() {
    const all = /** @type {HTMLInputElement | null} */ (this.#bar.querySelector("[data-all]"));
    return all?.checked ? Number(all.dataset.all) : 0;
  }

  #action() {
    return /** @type {HTMLSelectElement} */ (this.#bar.querySelector("select"));
  }

  /** With Shift held, what lies between two ticks goes along. @param {MouseEvent} event */
  #stretch(event) {
    const tick = /** @type {HTMLInputElement} */ (event.target);
    if (tick.name !== "runs") return;
    const all = this.#ticks();
    if (event.shiftKey && this.#last && all.includes(this.#last)) {
      const [from, to] = [all.indexOf(this.#last), all.indexOf(tick)].sort((a, b) => a - b);
      for (const between of all.slice(from, to + 1)) this.#set(between, tick.checked);
    }
    this.#last = tick;
    this.#changed(tick);
  }

  /** @param {HTMLInputElement} input */
  #changed(input) {
    if (input.name === "runs") this.#set(input, input.checked);
    else if ("tickAll" in input.dataset) for (const tick of this.#ticks()) this.#set(tick, input.checked);
    else return;
    this.show();
  }

  /** @param {SubmitEvent} event */
  #submit(event) {
    event.preventDefault();
    const ids = [...this.#chosen];
    const address = /** @type {HTMLInputElement | null} */ (this.#bar.querySelector("[name=address]"))?.value ?? "";
    if (event.submitter && "events" in event.submitter.dataset) this.#takeEvents(event.submitter, ids, address);
    else if (event.submitter && "do" in event.submitter.dataset) {
      void this.#apply(this.#matching() ? { address } : { runs: ids.map(Number) }, this.#matching() || ids.length);
    } else if (this.#matching()) location.assign(`/runs/compare${address}`);
    else location.assign(`/compare?${ids.map((id) => `runs=${id}`).join("&")}`);
  }

  /** @param {HTMLElement} button @param {string[]} ids @param {string} address of all that match */
  #takeEvents(button, ids, address) {
    const most = Number(button.dataset.most);
    if ((this.#matching() || ids.length) > most) return this.say(`At most ${most} runs go into one file: tick fewer.`);
    location.assign(`/api/v1/tensorboard.zip${this.#matching() ? address : `?runs=${ids.join(",")}`}`);
  }

  /** @param {{runs?: number[], address?: string}} which @param {number} count */
  async #apply(which, count) {
    const select = this.#action();
    if ("certain" in select.selectedOptions[0].dataset && !(await certain(count))) return;
    const tag = /** @type {HTMLInputElement} */ (this.#bar.querySelector(".tag-name"));
    const body = JSON.stringify({ action: select.value, ...which, tag: tag.value });
    const answer = await fetch("/api/v1/runs/bulk", { method: "POST", body, headers: { "Content-Type": "application/json" } });
    const told = await answer.json();
    if (!answer.ok) return this.say(Object.values(told.errors ?? {}).join(" ") || told.detail);
    for (const id of told.done) this.#chosen.delete(String(id));
    this.say(told.message);
    this.show();
    await this.#done();
  }

  /** @param {string} text */
  say(text) {
    this.#said.textContent = text;
    this.#said.hidden = false;
    clearTimeout(this.#hide);
    this.#hide = setTimeout(() => (this.#said.hidden = true), SAID_MS);
  }
}

/** The runs that a box stands for: one, or the seeds of a row, as `1-3,7`. @param {HTMLInputElement} tick @returns {string[]} */
export function idsOf(tick) {
  return tick.value.split(",").flatMap((part) => {
    const [first, last] = part.split("-").map(Number);
    return Array.from({ length: (last ?? first) - first + 1 }, (_, place) => String(first + place));
  });
}

/** Ask before what cannot be undone. @param {number} count @returns {Promise<boolean>} */
function certain(count) {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("bulk-certain"));
  /** @type {HTMLElement} */ (dialog.querySelector("h2")).textContent = count === 1 ? "Delete this run?" : `Delete these ${count} runs?`;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
