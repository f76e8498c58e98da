// The page of an imported run: its epochs, and the measures that came with it under names of their own.

import { openDialogs } from "./dialogs.js";
import { localTimes } from "./format.js";
import { LineChart } from "./plot/lines.js";

const WIDTH_PX = 1000;
/** Of a chart at most; the server leaves out what so many pixels cannot show. */

const root = /** @type {HTMLElement} */ (document.getElementById("imported"));
const { epochs } = JSON.parse(document.getElementById("imported-data")?.textContent ?? "{}");

/** @param {"loss" | "accuracy"} measure @param {import("./plot/ticks.js").Kind} yKind */
function showEpochs(measure, yKind) {
  const element = document.getElementById(`chart-${measure}`);
  if (!element) return;
  const x = Float64Array.from(epochs, (/** @type {any} */ row) => row.epoch);
  const curves = [["train", "Training"], ["val", "Validation"]].map(([phase, label]) => ({
    key: phase, label, x, token: phase,
    y: Float64Array.from(epochs, (/** @type {any} */ row) => row[`${phase}_${measure}`] ?? NaN),
  }));
  new LineChart(element).show({ curves, xKind: "count", xLabel: "Epoch", yKind });
}

async function showSeries() {
  const places = /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll("[data-series]"));
  if (!places.length) return;
  const answer = await fetch(`/api/v1/runs/${root.dataset.runId}/series?width=${WIDTH_PX}`);
  if (!answer.ok) return;
  const found = new Map((await answer.json()).map((/** @type {{name: string}} */ one) => [one.name, one]));
  for (const element of places) {
    const { name, steps, values } = found.get(element.dataset.series ?? "") ?? {};
    if (!steps) continue;
    const y = Float64Array.from(values, (/** @type {number | null} */ value) => value ?? NaN);
    const curves = [{ key: name, label: name, x: Float64Array.from(steps), y, token: "train" }];
    new LineChart(element).show({ curves, xKind: "count", xLabel: "Step", yKind: "number" });
  }
}

localTimes(root);
openDialogs();
showEpochs("loss", "loss");
showEpochs("accuracy", "percent");
void showSeries();
