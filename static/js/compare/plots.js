// Parallel coordinates and scatter plot: any value of the runs against any other.

import { exact } from "../plot/ticks.js";
import { axisOf, shade } from "../plot/axes.js";
import { Parallel } from "../plot/parallel.js";
import { painter, Scatter, wordsOf } from "../plot/scatter.js";
import { color } from "../colors.js";

/** @typedef {import("../plot/scatter.js").Column & {setting: boolean}} Column */

const AXES = 8;
/** Shown at first, of more settings than that those that are most often searched over. */
const SEARCHED = ["lr", "optimizer", "batch_size", "arch", "dropout", "weight_decay", "schedule", "epochs", "label_smoothing", "momentum", "mix", "warmup_epochs"];

export class Plots {
  #page;
  #view;
  #onChoose;
  #parallel;
  #scatter;
  /** @type {Map<string, Column>} */
  #columns;
  /** @type {Set<number> | null} places of the runs between the handles */
  #left = null;

  /**
   * @param {{runs: {id: number, name: string}[], columns: Column[]}} page @param {import("./view.js").View} view
   * @param {(ids: Set<number> | null) => void} onChoose told the runs that the handles leave
   */
  constructor(page, view, onChoose) {
    this.#page = page;
    this.#view = view;
    this.#onChoose = onChoose;
    this.#columns = new Map(page.columns.map((column) => [column.key, column]));
    const parallel = document.getElementById("parallel");
    this.#parallel = parallel && new Parallel(parallel, (places) => this.#brushed(places));
    this.#scatter = new Scatter(/** @type {HTMLElement} */ (document.getElementById("scatter")), (run) => location.assign(`/runs/${page.runs[run].id}`));
    document.getElementById("choose-all")?.addEventListener("click", () => this.#parallel?.clear());
    document.addEventListener("fitroom:theme", () => this.draw());
    if (this.#parallel) this.#offerAxes(/** @type {HTMLElement} */ (document.getElementById("axes")));
    this.draw();
  }

  draw() {
    this.#drawParallel();
    this.#drawScatter();
  }

  #drawParallel() {
    if (!this.#parallel) return;
    const metric = this.#columns.get(this.#view.get("metric"));
    const chosen = this.#axes();
    const settings = this.#page.columns.filter((column) => chosen.includes(column.key) && column !== metric);
    const columns = metric ? [...settings, metric] : settings;
    const axis = metric ? axisOf(metric) : null;
    this.#parallel.show(columns, (run) => (axis && metric ? shade(axis.share(metric.values[run])) : color("series-0")));
  }

  /** Keys of the axes that are ticked; at first the usual ones. @returns {string[]} */
  #axes() {
    const said = this.#view.get("axes");
    if (said) return said.split(",");
    const settings = this.#page.columns.filter((column) => column.setting).map((column) => column.key);
    const usual = SEARCHED.filter((key) => settings.includes(key));
    return [...usual, ...settings.filter((key) => !usual.includes(key) && key !== "seed")].slice(0, AXES);
  }

  /** One box for each value of the runs. @param {HTMLElement} list */
  #offerAxes(list) {
    const chosen = this.#axes();
    list.replaceChildren(...this.#page.columns.map((column) => {
      const label = document.createElement("label"), box = document.createElement("input");
      Object.assign(box, { type: "checkbox", value: column.key, checked: chosen.includes(column.key) });
      label.append(box, column.label);
      return label;
    }));
    list.addEventListener("change", () => {
      const ticked = [...list.querySelectorAll("input")].filter((box) => box.checked).map((box) => box.value);
      this.#view.set("axes", ticked.join(","));
      this.#drawParallel();
    });
  }

  #drawScatter() {
    const x = this.#columns.get(this.#view.get("sx")), y = this.#columns.get(this.#view.get("sy"));
    if (!x || !y) return;
    const by = this.#columns.get(this.#view.get("sc")) ?? null;
    this.#scatter.show({ x, y, by, logX: this.#view.get("slx") === "1", logY: this.#view.get("sly") === "1",
      names: this.#page.runs.map((run) => run.name), shown: (run) => this.#left?.has(run) ?? true });
    this.#explainColors(by);
  }

  /** @param {Column | null} by */
  #explainColors(by) {
    const list = /** @type {HTMLElement} */ (document.getElementById("scatter-colors"));
    const paint = painter(by);
    const known = by ? by.values.flatMap((value, run) => (value === null ? [] : [run])) : [];
    if (!by || !known.length) return list.replaceChildren();
    const number = (/** @type {number} */ run) => /** @type {number} */ (by.values[run]);
    const ends = [known.reduce((a, b) => (number(b) < number(a) ? b : a)), known.reduce((a, b) => (number(b) > number(a) ? b : a))];
    const runs = by.kind === "text" ? wordsOf(by).map((word) => by.values.findIndex((value) => String(value) === word)) : ends;
    list.replaceChildren(...runs.map((run) => {
      const item = document.createElement("li"), mark = document.createElement("i");
      mark.style.background = paint(run);
      item.append(mark, by.kind === "text" ? String(by.values[run]) : exact(by.kind, number(run)));
      return item;
    }));
  }

  /** @param {Set<number> | null} places */
  #brushed(places) {
    this.#left = places;
    this.#drawScatter();
    this.#onChoose(places && new Set([...places].map((place) => this.#page.runs[place].id)));
  }
}
