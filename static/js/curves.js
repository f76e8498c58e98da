// A run's curves: what the page was made with, and what the stream brings, keyed so that nothing doubles.

import { Chart, thinned } from "./charts.js";

/** @typedef {{epoch: number, finished_at: string, [measure: string]: any}} EpochRow */
/** @typedef {{epoch: number, first_step: number, attempt: number, losses: (number | null)[]}} Block */

export class EpochCurves {
  /** @type {Map<number, EpochRow>} */
  #rows = new Map();
  #charts;

  /** @param {EpochRow[]} rows @param {Record<string, any>} figures */
  constructor(rows, figures) {
    for (const row of rows) this.#rows.set(row.epoch, row);
    const chart = (/** @type {string} */ name) =>
      new Chart(/** @type {HTMLElement} */ (document.getElementById(`chart-${name}`)), figures[name], ["train", "val"]);
    this.#charts = { loss: chart("loss"), accuracy: chart("accuracy") };
  }

  /** Add an epoch, or put it in the place of an earlier attempt's. @param {EpochRow} row */
  add(row) {
    this.#rows.set(row.epoch, row);
    const rows = [...this.#rows.values()].sort((a, b) => a.epoch - b.epoch);
    const x = rows.map((one) => one.epoch);
    for (const [measure, chart] of Object.entries(this.#charts)) {
      chart.set(0, x, rows.map((one) => one[`train_${measure}`]));
      chart.set(1, x, rows.map((one) => one[`val_${measure}`]), () => note(measure, row));
    }
  }
}

/** Tell what has been drawn and when; benchmarks and tests read it. @param {string} measure @param {EpochRow} row */
function note(measure, row) {
  const element = /** @type {HTMLElement} */ (document.getElementById(`chart-${measure}`));
  element.dataset.lastEpoch = String(row.epoch);
  const points = (globalThis.fitroomPoints ??= []);
  points.push({ measure, epoch: row.epoch, finished_at: Date.parse(row.finished_at) / 1000, drawn_at: Date.now() / 1000 });
}

export class StepCurve {
  /** @type {Map<number, Block>} */
  #blocks = new Map();
  #chart;
  #perEpoch;

  /** @param {Block[]} blocks @param {any} figure @param {number | null} perEpoch */
  constructor(blocks, figure, perEpoch) {
    for (const block of blocks) this.#blocks.set(block.first_step, block);
    this.#perEpoch = perEpoch ?? 1;
    const element = /** @type {HTMLElement} */ (document.getElementById("chart-steps"));
    this.#chart = new Chart(element, figure, ["train"], { everyMs: 1000 });
    this.#show();
  }

  /** @param {number | null} perEpoch */
  set stepsPerEpoch(perEpoch) {
    this.#perEpoch = perEpoch ?? 1;
  }

  /** Share of the run's steps so far, in epochs. */
  get epochs() {
    let last = 0;
    for (const block of this.#blocks.values()) last = Math.max(last, block.first_step + block.losses.length);
    return last / this.#perEpoch;
  }

  /** @param {Block} block */
  add(block) {
    const end = block.first_step + block.losses.length;
    for (const [first, old] of this.#blocks) {
      // A later attempt does its epoch anew, and a whole epoch's block takes the place of its parts.
      const replaced = old.epoch === block.epoch && (old.attempt < block.attempt || (first >= block.first_step && first < end));
      if (replaced) this.#blocks.delete(first);
    }
    this.#blocks.set(block.first_step, block);
    this.#show();
  }

  #show() {
    this.#chart.soon(() => this.#draw());
  }

  #draw() {
    /** @type {number[]} */ const x = [];
    /** @type {(number | null)[]} */ const y = [];
    for (const block of [...this.#blocks.values()].sort((a, b) => a.first_step - b.first_step)) {
      block.losses.forEach((loss, place) => {
        x.push((block.first_step + place + 1) / this.#perEpoch);
        y.push(loss);
      });
    }
    this.#chart.set(0, ...thinned(x, y));
  }
}
