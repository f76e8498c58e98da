// The compare page: curves, table, parallel coordinates and scatter plot of the same runs, which follow each other.

import { CurveCharts } from "./compare/curves.js";
import { EpochData } from "./compare/epochs.js";
import { Legend } from "./compare/legend.js";
import { Plots } from "./compare/plots.js";
import { replaceFrom } from "./compare/parts.js";
import { View } from "./compare/view.js";
import { fill, localTimes } from "./format.js";
import { paced } from "./pace.js";
import { over, showBadge } from "./status.js";
import { Stream } from "./stream.js";

const root = document.getElementById("comparison");
const REFRESH_MS = 1000;

/** @param {string} id @returns {any} */
const byId = (id) => document.getElementById(id);

class Comparison {
  #root;
  #runs;
  #view;
  #data;
  #curves;
  #plots;
  /** @type {Set<number>} runs that have done an epoch since the last look */
  #news = new Set();
  #refreshSoon = paced(() => void this.#refresh(), REFRESH_MS);

  /** @param {HTMLElement} element @param {any} page */
  constructor(element, page) {
    this.#root = element;
    this.#runs = new Map(page.runs.map((/** @type {any} */ run) => [run.id, run]));
    this.#view = new View([byId("view"), byId("judge"), byId("scatter-view")], (name) => void this.#changed(name));
    this.#data = new EpochData(page.address);
    const legend = new Legend(byId("legend"), byId("legend-all"), {
      onChange: () => this.#curves.draw(),
      onPoint: (key) => (this.#curves.strong = key),
    });
    this.#curves = new CurveCharts(element, page, this.#data, this.#view, legend);
    this.#plots = new Plots(page, this.#view, (ids) => this.#choose(ids));
    void this.#curves.changed("show");
    localTimes(element);
    const report = /** @type {HTMLAnchorElement} */ (document.querySelector("[data-report]"));
    report.addEventListener("click", () => (report.href = this.#view.url("/compare/report")));
    if (page.runs.some(this.#trains)) {
      new Stream(element.dataset.streamUrl ?? "", { run: ({ run }) => this.#update(run) });
    }
    this.#workOutImportance();
    byId("groups").addEventListener("change", (/** @type {Event} */ event) => {
      const { name, value } = /** @type {HTMLSelectElement} */ (event.target);
      this.#view.set(name, value);
      void this.#showGroups();
    });
  }

  #trains = (/** @type {any} */ run) => !over(run);

  /** @param {any} run as the stream tells it */
  #update(run) {
    const known = this.#runs.get(run.id);
    if (!known) return;
    known.steps_per_epoch = run.steps_per_epoch;
    const row = /** @type {HTMLElement | null} */ (this.#root.querySelector(`tr[data-run-id="${run.id}"]`));
    if (row) {
      fill(row, run);
      showBadge(row, ".badge", run);
    }
    this.#news.add(run.id);
    this.#refreshSoon();
  }

  async #refresh() {
    const ids = [...this.#news];
    this.#news.clear();
    await this.#data.more(ids);
    await this.#curves.load();
  }

  /** @param {string} name of the field that changed */
  async #changed(name) {
    this.#plots.draw();
    this.#showSmoothing();
    if (name === "group" || name === "metric") await this.#showGroups();
    if (name === "metric") this.#workOutImportance();
    await this.#curves.changed(name);
  }

  #showGroups() {
    return replaceFrom(this.#view.url("/compare/groups"), byId("groups"));
  }

  #showSmoothing() {
    byId("smooth-shown").textContent = this.#view.smooth ? this.#view.smooth.toFixed(2) : "off";
  }

  /** Only these runs, everywhere; null for all. @param {Set<number> | null} ids */
  #choose(ids) {
    this.#curves.chosen = ids;
    for (const row of /** @type {NodeListOf<HTMLElement>} */ (this.#root.querySelectorAll("tr[data-run-id]"))) {
      row.hidden = ids !== null && !ids.has(Number(row.dataset.runId));
    }
    byId("chosen").textContent = ids ? `${ids.size} of ${this.#runs.size}` : "";
    byId("choose-all").hidden = ids === null;
  }

  /** It takes the server a moment, so it waits until somebody looks. */
  #workOutImportance() {
    const place = byId("importance");
    const seen = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      seen.disconnect();
      void replaceFrom(this.#view.url("/compare/importance"), place, "[data-importance]");
    }, { rootMargin: "200px" });
    seen.observe(place);
  }
}

if (root) new Comparison(root, JSON.parse(byId("comparison-data").textContent));
