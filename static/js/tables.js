// The table of epochs and the log of a run's page.

import { clock, format } from "./format.js";

/** @typedef {import("./curves.js").EpochRow} EpochRow */

export class EpochTable {
  #body;

  /** @param {HTMLElement} body its rows are newest first */
  constructor(body) {
    this.#body = body;
  }

  /** @param {EpochRow} row */
  add(row) {
    const line = document.createElement("tr");
    line.dataset.epoch = String(row.epoch);
    for (const text of [
      String(row.epoch), format.loss(row.train_loss), format.loss(row.val_loss), format.percent(row.train_accuracy),
      format.percent(row.val_accuracy), format.general(row.lr), format.duration(row.seconds), format.number(row.images_per_s),
    ]) {
      const cell = line.appendChild(document.createElement("td"));
      cell.className = "n";
      cell.textContent = text;
    }
    const old = this.#body.querySelector(`[data-epoch="${row.epoch}"]`);
    if (old) old.replaceWith(line);
    else this.#body.prepend(line);
    const none = /** @type {HTMLElement | null} */ (document.querySelector("[data-no-epochs]"));
    if (none) none.hidden = true;
  }

  /** @param {number | null} epoch */
  markBest(epoch) {
    for (const line of this.#body.children) {
      line.classList.toggle("best", /** @type {HTMLElement} */ (line).dataset.epoch === String(epoch));
    }
  }
}

export class Log {
  #list;

  /** @param {HTMLElement} list */
  constructor(list) {
    this.#list = list;
    list.scrollTop = list.scrollHeight;
  }

  /** Append a line; the list follows its end unless the reader has scrolled up. @param {{at: string, level: string, message: string}} line */
  add({ at, level, message }) {
    const list = this.#list;
    const following = list.scrollHeight - list.scrollTop - list.clientHeight < 24;
    const item = list.appendChild(document.createElement("li"));
    item.className = level;
    const time = item.appendChild(document.createElement("time"));
    time.dateTime = at;
    time.textContent = clock.format(new Date(at));
    item.appendChild(document.createElement("span")).textContent = message;
    if (following) list.scrollTop = list.scrollHeight;
  }
}
