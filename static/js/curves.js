// A run's curves: what the page was made with, and what the stream brings, keyed so that nothing doubles.

import { Chart } from "./charts.js";
import { paced } from "./pace.js";
import { LineChart } from "./plot/lines.js";
import { patient } from "./patient.js";
import { smoothed } from "./smooth.js";

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

/** Steps of which room is made at first; it doubles. */
const ROOM = 4096;

/** The training loss of every step, as exactly as the chart is wide; zooming in comes down to the steps themselves. */
export class StepCurve {
  #losses = new Float32Array(ROOM).fill(NaN);
  #count = 0;
  #attempt = 0;
  /** @type {Block[] | null} those that came before what was recorded already; null once that is here */
  #early = [];
  #chart;
  #perEpoch;
  #smooth;
  #drawSoon = paced(() => this.#draw(), 1000);

  /** @param {string} url of the losses recorded so far, float32 @param {number | null} perEpoch steps @param {HTMLInputElement} smooth */
  constructor(url, perEpoch, smooth) {
    this.#perEpoch = perEpoch ?? 1;
    this.#smooth = smooth;
    const element = /** @type {HTMLElement} */ (document.getElementById("chart-steps"));
    this.#chart = new LineChart(element, { onDrawn: () => (element.dataset.points = String(this.#count)) });
    smooth.addEventListener("input", () => this.#draw());
    /** When what was recorded already is on the screen. */
    this.ready = this.#load(url);
  }

  /** @param {number | null} perEpoch */
  set stepsPerEpoch(perEpoch) {
    this.#perEpoch = perEpoch ?? 1;
  }

  /** Share of the run's steps so far, in epochs. */
  get epochs() {
    return this.#count / this.#perEpoch;
  }

  /** @param {Block} block */
  add(block) {
    // A later attempt begins anew from an epoch's start: what lies beyond was the lost one's.
    if (this.#attempt && block.attempt > this.#attempt) this.#count = Math.min(this.#count, block.first_step);
    this.#attempt = Math.max(this.#attempt, block.attempt);
    this.#early?.push(block);
    this.#put(block.first_step, block.losses);
    this.#drawSoon();
  }

  /** @param {string} url */
  async #load(url) {
    const answer = await patient(url);
    const early = this.#early ?? [];
    this.#early = null;
    if (answer.ok) this.#put(0, new Float32Array(await answer.arrayBuffer()));
    for (const block of early) this.#put(block.first_step, block.losses);
    this.#draw();
    // Two frames later it is on the screen; a page in the background has no frames, and nobody who waits.
    if (document.visibilityState !== "hidden") await new Promise((shown) => requestAnimationFrame(() => requestAnimationFrame(shown)));
  }

  /** @param {number} first @param {ArrayLike<number | null>} losses */
  #put(first, losses) {
    const end = first + losses.length;
    if (end > this.#losses.length) {
      const larger = new Float32Array(Math.max(end, 2 * this.#losses.length)).fill(NaN);
      larger.set(this.#losses.subarray(0, this.#count));
      this.#losses = larger;
    }
    if (first > this.#count) this.#losses.fill(NaN, this.#count, first);
    for (let i = 0; i < losses.length; i++) this.#losses[first + i] = losses[i] ?? NaN;
    this.#count = Math.max(this.#count, end);
  }

  #draw() {
    const y = this.#losses.subarray(0, this.#count), weight = Number(this.#smooth.value);
    const x = Float64Array.from(y, (_, step) => (step + 1) / this.#perEpoch);
    const curve = { key: "steps", label: "Training loss", x, y, token: "train" };
    const curves = weight ? [{ ...curve, faint: true }, { ...curve, y: smoothed(y, weight) }] : [curve];
    this.#chart.show({ curves, xLabel: "Epoch", yKind: "loss" });
  }
}
