// The compare page: each chart shows all runs; a run that still trains grows here too.

import { Chart } from "./charts.js";
import { fill } from "./format.js";
import { paced } from "./pace.js";
import { over, showBadge } from "./status.js";
import { Stream } from "./stream.js";

const root = document.getElementById("comparison");
const REFRESH_MS = 1000;

class Comparison {
  #charts = new Map();
  #ids = new Set();
  #refreshSoon = paced(() => void this.#refresh(), REFRESH_MS);
  #root;

  /** @param {HTMLElement} element @param {{figures: Record<string, any>, runs: any[]}} page */
  constructor(element, page) {
    this.#root = element;
    this.#ids = new Set(page.runs.map((run) => run.id));
    for (const [name, figure] of Object.entries(page.figures)) {
      const chart = /** @type {HTMLElement} */ (document.getElementById(`chart-${name}`));
      this.#charts.set(name, new Chart(chart, figure, tokens(page.runs)));
    }
    if (page.runs.some((run) => !over(run))) {
      new Stream(element.dataset.streamUrl ?? "", { run: ({ run }) => this.#ids.has(run.id) && this.#refreshSoon() });
    }
  }

  async #refresh() {
    const answer = await fetch(this.#root.dataset.figuresUrl ?? "");
    if (!answer.ok) return;
    const { figures, runs } = await answer.json();
    for (const [name, chart] of this.#charts) chart.replace(figures[name].data, tokens(runs));
    for (const run of runs) {
      const row = this.#root.querySelector(`tr[data-run-id="${run.id}"]`);
      if (!row) continue;
      fill(row, run);
      showBadge(row, ".badge", run);
    }
  }
}

/** @param {{color: number}[]} runs */
function tokens(runs) {
  return runs.map((run) => `series-${run.color}`);
}

if (root) new Comparison(root, JSON.parse(document.getElementById("comparison-data")?.textContent ?? "{}"));
