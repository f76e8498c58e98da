// The charts of a comparison: which curves each shows, over which axis, smoothed or grouped.

import { LineChart } from "../plot/lines.js";
import { smoothed } from "../smooth.js";
import { band } from "./bands.js";
import { fetched } from "./packed.js";

/** @typedef {{id: number, name: string, color: number, dash: number, steps_per_epoch: number | null}} Run */
/** @typedef {{name: string, label: string, groups: string[], of: number[]}} Grouping */
/** @typedef {import("../plot/lines.js").Curve} Curve */

const SERIES = "series:";
const FOUR = ["val_accuracy", "val_loss", "train_accuracy", "train_loss"];
const KINDS = /** @type {const} */ ({ val_accuracy: "percent", train_accuracy: "percent", lr: "number" });
const AXES = {
  epoch: { label: "Epoch", kind: /** @type {const} */ ("count"), columns: [] },
  step: { label: "Step", kind: /** @type {const} */ ("count"), columns: [] },
  time: { label: "Training time", kind: /** @type {const} */ ("duration"), columns: ["seconds"] },
  wall: { label: "Wall clock", kind: /** @type {const} */ ("instant"), columns: ["finished_at"] },
};

export class CurveCharts {
  #runs;
  #groupings;
  #data;
  #view;
  #legend;
  #address;
  /** @type {Map<string, LineChart>} */
  #charts = new Map();
  /** @type {[number, number] | null} one zoom for all charts over the same axis */
  #range = null;
  /** @type {Set<number> | null} */
  #chosen = null;
  /** @type {import("./packed.js").Unpacked | null} */
  #steps = null;
  /** @type {AbortController | null} */
  #asking = null;

  /**
   * @param {HTMLElement} root @param {{runs: Run[], groupings: Record<string, Grouping>, address: string}} page
   * @param {import("./epochs.js").EpochData} data @param {import("./view.js").View} view @param {import("./legend.js").Legend} legend
   */
  constructor(root, page, data, view, legend) {
    this.#runs = page.runs;
    this.#groupings = page.groupings;
    this.#address = page.address;
    this.#data = data;
    this.#view = view;
    this.#legend = legend;
    for (const element of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll("[data-chart]"))) {
      const chart = new LineChart(/** @type {HTMLElement} */ (element.querySelector(".chart")), {
        onZoom: (range) => this.zoom(range),
        onDrawn: () => (element.dataset.drawn = "true"),
      });
      this.#charts.set(element.dataset.chart ?? "", chart);
    }
  }

  /** Only these runs' curves; null for all. @param {Set<number> | null} ids */
  set chosen(ids) {
    this.#chosen = ids;
    this.draw();
  }

  /** @param {string | null} key */
  set strong(key) {
    for (const chart of this.#charts.values()) chart.strong = key;
  }

  /** @param {[number, number] | null} range */
  zoom(range) {
    this.#range = range;
    for (const chart of this.#charts.values()) chart.range = range;
    if (this.#bySteps) void this.#askSteps();
  }

  /** Another axis has other values: what was zoomed means nothing there. */
  async changed(name) {
    if (name === "x") this.zoom(null);
    if (name === "show" && (this.#steps || this.#bySteps)) this.#forget();
    for (const [chart] of this.#charts) this.#section(chart).hidden = !this.#visible.includes(chart);
    await this.load();
  }

  /** Steps are counted otherwise in every chart that has them: neither a zoom nor its points fit another. */
  #forget() {
    this.#steps = this.#range = null;
    for (const chart of this.#charts.values()) chart.range = null;
  }

  get #visible() {
    const show = this.#view.get("show");
    if (show.startsWith(SERIES)) return ["series"];
    return show === "four" ? FOUR : [show];
  }

  /** Whether one curve of many points is shown, of which the server sends what can be seen. */
  get #bySteps() {
    return ["steps", "series"].includes(this.#visible[0]);
  }

  /** Fetch what the view needs, the first chart's first, and draw. */
  async load() {
    const [first, ...others] = this.#visible, axis = this.#axis.columns;
    if (this.#bySteps) return this.#askSteps();
    await this.#data.need([first, ...axis]);
    this.draw();
    if (!others.length) return;
    await this.#data.need(others);
    this.draw();
  }

  draw() {
    this.#legend.show(this.#grouping ? this.#grouping.groups.map((label, place) => look(`group-${place}`, label, place)) : this.#runs.map(entry));
    for (const name of this.#visible) this.#drawOne(name);
  }

  /** @param {string} name */
  #drawOne(name) {
    const chart = /** @type {LineChart} */ (this.#charts.get(name));
    const { curves, bands } = this.#grouping ? this.#grouped(name, this.#grouping) : this.#single(name);
    const yKind = KINDS[/** @type {keyof typeof KINDS} */ (name)] ?? "loss";
    const steps = name === "steps" || name === "series";
    if (name === "series") this.#caption();
    chart.show({ curves, bands, yKind, log: this.#view.get("log") === "1", clip: this.#view.get("clip") === "1", xKind: steps ? "count" : this.#axis.kind,
      xLabel: steps ? "Step" : this.#axis.label, extent: steps && this.#steps ? this.#extent(name, this.#steps.facts) : null });
  }

  /** Losses count their steps from 1, other tools as they like. @param {string} name @param {Record<string, number>} facts @returns {[number, number]} */
  #extent(name, facts) {
    return name === "steps" ? [1, facts.last_step + 1] : [facts.first_step, Math.max(facts.last_step, facts.first_step + 1)];
  }

  #caption() {
    const caption = /** @type {HTMLElement} */ (this.#section("series").querySelector("figcaption bdi"));
    caption.textContent = this.#view.get("show").slice(SERIES.length);
  }

  /** @param {string} name */
  #single(name) {
    const weight = this.#view.smooth;
    /** @type {Curve[]} */ const faint = [];
    /** @type {Curve[]} */ const curves = [];
    for (const run of this.#runs) {
      const look = entry(run);
      const line = this.#line(run, name);
      if (!line || !this.#shows(run, look.key)) continue;
      if (weight) faint.push({ ...look, ...line, faint: true });
      curves.push({ ...look, ...line, y: weight ? (line.smoothed ?? smoothed(line.y, weight)) : line.y });
    }
    return { curves: [...faint, ...curves], bands: [] };
  }

  /** @param {string} name @param {Grouping} grouping */
  #grouped(name, grouping) {
    const weight = this.#view.smooth, aligned = this.#view.get("x") === "epoch" && name !== "steps" && name !== "series";
    /** @type {Curve[]} */ const curves = [];
    const bands = [];
    grouping.groups.forEach((label, place) => {
      const shown = look(`group-${place}`, label, place);
      const members = this.#runs.filter((run, i) => grouping.of[i] === place && this.#shows(run, shown.key));
      const lines = members.flatMap((run) => this.#line(run, name) ?? []);
      if (!lines.length) return;
      const { x, mean, low, high } = band(weight ? lines.map((line) => ({ x: line.x, y: line.smoothed ?? smoothed(line.y, weight) })) : lines, aligned);
      curves.push({ ...shown, label: `${label} (${lines.length})`, x, y: mean });
      bands.push({ ...shown, x, low, high });
    });
    return { curves, bands };
  }

  /** @param {Run} run @param {string} name @returns {{x: any, y: any, smoothed?: any} | null} */
  #line(run, name) {
    if (name === "series") {
      const columns = this.#steps?.runs.get(run.id);
      return columns ? { x: columns.step, y: columns.value, smoothed: columns.smoothed } : null;
    }
    if (name === "steps") {
      const columns = this.#steps?.runs.get(run.id);
      return columns ? { x: columns.step.map((step) => step + 1), y: columns.loss, smoothed: columns.smoothed } : null;
    }
    const columns = this.#data.of(run.id);
    const x = this.#x(run, columns);
    return x && columns[name] ? { x, y: columns[name] } : null;
  }

  /** @param {Run} run @param {import("./packed.js").Columns} columns */
  #x(run, columns) {
    switch (this.#view.get("x")) {
      case "step": return run.steps_per_epoch ? columns.epoch?.map((epoch) => epoch * /** @type {number} */ (run.steps_per_epoch)) : null;
      case "time": return columns.seconds;
      case "wall": return columns.finished_at;
      default: return columns.epoch;
    }
  }

  /** The steps that the chart can show at its width, of the part that is zoomed to. */
  async #askSteps() {
    this.#asking?.abort();
    this.#asking = new AbortController();
    const [name] = this.#visible;
    const before = this.#range ? Math.floor(this.#range[0]) - 1 : 0;
    const part = this.#range ? `&first=${name === "steps" ? Math.max(0, before) : before}&last=${Math.ceil(this.#range[1])}` : "";
    const width = /** @type {LineChart} */ (this.#charts.get(name)).columns;
    const query = `${this.#address}${part}&width=${Math.min(width, 8192)}&smooth=${this.#view.smooth}`;
    const measure = `&measure=${encodeURIComponent(this.#view.get("show").slice(SERIES.length))}`;
    try {
      this.#steps = await fetched(`/api/v1/compare/${name}?${query}${name === "series" ? measure : ""}`, this.#asking.signal);
    } catch (error) {
      if (/** @type {Error} */ (error).name !== "AbortError") throw error;
      return;
    }
    this.draw();
  }

  get #axis() {
    return AXES[/** @type {keyof typeof AXES} */ (this.#view.get("x"))];
  }

  get #grouping() {
    return this.#groupings[this.#view.get("group")] ?? null;
  }

  /** @param {Run} run @param {string} key */
  #shows(run, key) {
    return this.#legend.shows(key) && (!this.#chosen || this.#chosen.has(run.id));
  }

  /** @param {string} name @returns {HTMLElement} */
  #section(name) {
    return /** @type {HTMLElement} */ (document.querySelector(`[data-chart="${name}"]`));
  }
}

/** @param {Run} run */
export function entry(run) {
  return { key: `run-${run.id}`, label: run.name, token: `series-${run.color}`, dash: run.dash };
}

/** How the curve at a place among others looks. @param {string} key @param {string} label @param {number} place */
function look(key, label, place) {
  return { key, label, token: `series-${place % 10}`, dash: Math.floor(place / 10) % 5 };
}
