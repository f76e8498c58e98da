// Where a run's time went: the shares of all epochs so far, and how near the training is to what the device can do.

import { format } from "./format.js";

/** @typedef {Record<"data" | "compute" | "validation" | "recording", number>} Seconds */
const PARTS = /** @type {(keyof Seconds)[]} */ (["data", "compute", "validation", "recording"]);

export class TimeShares {
  #root;
  /** @type {Map<number, Seconds>} by epoch: one that is done again replaces itself */
  #epochs = new Map();

  /** @param {HTMLElement} root @param {any[]} rows */
  constructor(root, rows) {
    this.#root = root;
    for (const row of rows) this.#keep(row);
    this.#show();
  }

  /** @param {any} row an epoch */
  add(row) {
    this.#keep(row);
    this.#show();
  }

  /** @param {any} run what it runs on and how fast, for the share of the device's own rate */
  achieved({ images_per_s: rate, flops_per_image: flops, matmul_flops_per_s: most, precision }) {
    const line = this.#find("[data-achieved]");
    line.hidden = !(rate && flops && most);
    if (line.hidden) return;
    const share = format.percent((rate * flops) / most).replace(/\.\d+/, "");
    const text = `Training does ${giga(rate * flops)} GFLOP/s: ${share} of the ${giga(most)} GFLOP/s that a large ${precision} matrix product reaches here.`;
    if (line.textContent !== text) line.textContent = text;
  }

  /** @param {any} row */
  #keep(row) {
    if (row.compute_s == null) return; // recorded by a version that did not measure it
    this.#epochs.set(row.epoch, { data: row.data_s, compute: row.compute_s, validation: row.validation_s, recording: row.recording_s });
  }

  #show() {
    const sums = PARTS.map((part) => [...this.#epochs.values()].reduce((sum, epoch) => sum + epoch[part], 0));
    const whole = sums.reduce((a, b) => a + b, 0);
    if (!whole) return;
    let left = 0;
    PARTS.forEach((part, place) => {
      const share = sums[place] / whole;
      const bar = this.#find(`[data-bar="${part}"]`);
      bar.setAttribute("x", String(left * 100));
      bar.setAttribute("width", String(share * 100));
      left += share;
      this.#find(`[data-share="${part}"]`).textContent = share < 0.001 ? "< 0.1 %" : `${(share * 100).toFixed(1)} %`;
      this.#find(`[data-seconds="${part}"]`).textContent = format.duration(sums[place]);
    });
  }

  /** @param {string} selector @returns {HTMLElement} */
  #find(selector) {
    return /** @type {HTMLElement} */ (this.#root.querySelector(selector));
  }
}

/** @param {number} flops */
const giga = (flops) => new Intl.NumberFormat("en", { maximumSignificantDigits: 3 }).format(flops / 1e9);
