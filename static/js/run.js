// A run's page: the stream's events go to the parts that show them.

import { loadPlotly } from "./charts.js";
import { Confusion } from "./confusion.js";
import { EpochCurves, StepCurve } from "./curves.js";
import { openDialogs } from "./dialogs.js";
import { EpochChoice, latest } from "./epochs.js";
import { fill, format, localTimes } from "./format.js";
import { Predictions } from "./predictions.js";
import { over, showBadge } from "./status.js";
import { Stream } from "./stream.js";
import { EpochTable, Log } from "./tables.js";
import { TimeShares } from "./time.js";

/** @param {string} id @returns {HTMLElement} */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const root = byId("run");
const page = JSON.parse(byId("run-data").textContent ?? "{}");

class RunPage {
  #run = page.run;
  #seenAt = performance.now();
  #steps = new StepCurve(`/api/v1/runs/${page.run.id}/steps`, page.run.steps_per_epoch, /** @type {HTMLInputElement} */ (byId("smooth")));
  #epochs = new EpochCurves(page.epochs, page.figures);
  #table = new EpochTable(byId("epochs"));
  #log = new Log(byId("log"));
  #predictions = new Predictions(byId("predictions"), root.dataset.runId ?? "", page.show, page.epoch ?? page.run.epochs_done);
  #confusion = new Confusion(byId("by-class"), root.dataset.runId ?? "", (cell, label) => this.#predictions.showCell(cell, label));
  #choice = new EpochChoice(byId("epoch-choice"), page.run.epochs_done, latest(async (epoch) => {
    await Promise.all([this.#predictions.refresh(epoch), this.#confusion.refresh(epoch)]);
  }));
  #time = new TimeShares(byId("time"), page.epochs);
  /** @type {Stream | null} */
  #stream = null;

  constructor() {
    void this.#steps.ready.finally(() => loadPlotly(root.dataset.plotly ?? ""));
    localTimes(root);
    openDialogs();
    setInterval(() => this.#tick(), 1000);
    this.#show();
    if (over(this.#run)) return;
    this.#stream = new Stream(root.dataset.streamUrl ?? "", {
      status: ({ run }) => this.#update(run),
      steps: (block) => this.#addSteps(block),
      epoch: (row) => this.#addEpoch(row),
      log: (line) => this.#log.add(line),
      deleted: () => location.assign("/runs"),
      connection: (good) => (/** @type {HTMLElement} */ (document.querySelector("[data-connection]")).hidden = good),
    });
  }

  /** @param {any} run */
  #update(run) {
    this.#run = run;
    this.#seenAt = performance.now();
    this.#steps.stepsPerEpoch = run.steps_per_epoch;
    this.#show();
    if (over(run)) this.#stream?.end();
  }

  /** @param {import("./curves.js").Block} block */
  #addSteps(block) {
    this.#steps.add(block);
    this.#showProgress();
  }

  /** @param {import("./curves.js").EpochRow} row */
  #addEpoch(row) {
    this.#epochs.add(row);
    this.#table.add(row);
    const better = row.val_accuracy != null && !(row.val_accuracy <= this.#run.best_val_accuracy && row.epoch !== this.#run.best_epoch);
    const best = better ? { best_val_accuracy: row.val_accuracy, best_epoch: row.epoch } : {};
    const done = Math.max(this.#run.epochs_done, row.epoch);
    this.#update({ ...this.#run, ...row, ...best, epochs_done: done, eta_s: (this.#run.epochs - done) * row.seconds, duration_s: this.#duration() });
    this.#time.add(row);
    this.#choice.arrived(done);
  }

  #show() {
    const run = this.#run;
    fill(root, run);
    showBadge(root, ".run-title .badge", run);
    const notice = byId("notice");
    if (over(run)) notice.textContent = run.message ?? "";
    else if (notice.dataset.status !== run.status) notice.textContent = notice.dataset[run.status] ?? "";
    notice.dataset.status = run.status;
    for (const part of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll("[data-when]"))) {
      part.hidden = (part.dataset.when === "over") !== over(run);
    }
    const cancel = /** @type {HTMLButtonElement} */ (root.querySelector("[data-cancel]"));
    cancel.disabled = run.cancel_requested;
    cancel.textContent = run.cancel_requested ? "Cancelling …" : "Cancel run";
    // The weights are saved a moment after the epoch is told; whoever clicks is later still.
    if (run.best_epoch) {
      for (const link of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll("[data-weights]"))) link.hidden = false;
    }
    document.title = `${run.status === "running" ? `${run.epochs_done}/${run.epochs} · ` : ""}${run.name} · Fitroom`;
    this.#table.markBest(run.best_epoch);
    this.#time.achieved(run);
    this.#showProgress();
    this.#tick();
  }

  #showProgress() {
    const bar = /** @type {HTMLProgressElement} */ (byId("progress"));
    bar.value = this.#run.status === "running" ? Math.max(this.#run.epochs_done, this.#steps.epochs) : this.#run.epochs_done;
  }

  #tick() {
    const left = this.#run.eta_s == null ? null : Math.max(0, this.#run.eta_s - this.#sinceSeen());
    this.#text("[data-eta]", left == null ? format.duration(left) : format.duration(Math.max(1, Math.round(left))).replace(".0", ""));
    this.#text("[data-duration]", format.duration(this.#duration()));
  }

  #duration() {
    const { status, duration_s: known } = this.#run;
    return known == null || status !== "running" ? known : known + this.#sinceSeen();
  }

  #sinceSeen() {
    return (performance.now() - this.#seenAt) / 1000;
  }

  /** @param {string} selector @param {string} text */
  #text(selector, text) {
    const element = root.querySelector(selector);
    if (element && element.textContent !== text) element.textContent = text;
  }
}

new RunPage();
