// The confusion matrix, the scores by class and the calibration; a cell shows its images in the grid above.

import { patient } from "./patient.js";

export class Confusion {
  #root;
  #runId;
  #place;
  #epoch = 0;

  /** @param {HTMLElement} root @param {string} runId @param {(cell: string, label: string) => void} onCell */
  constructor(root, runId, onCell) {
    this.#root = root;
    this.#runId = runId;
    this.#place = this.#find("[data-confusion]");
    this.#place.addEventListener("click", (event) => {
      const link = /** @type {HTMLElement} */ (event.target).closest("[data-cell]");
      if (!(link instanceof HTMLAnchorElement)) return;
      event.preventDefault();
      onCell(link.dataset.cell ?? "", link.dataset.label ?? "");
    });
    const units = this.#find("[data-confusion-unit]");
    units.hidden = false;
    units.addEventListener("click", (event) => this.#choose(/** @type {HTMLElement} */ (event.target).dataset.unit));
    this.#root.addEventListener("click", (event) => {
      const link = /** @type {HTMLElement} */ (event.target).closest("[data-order]");
      if (!(link instanceof HTMLAnchorElement)) return;
      event.preventDefault();
      this.#arrange(link);
    });
  }

  /** Show it as it was after an epoch. @param {number} epoch */
  async refresh(epoch) {
    this.#epoch = epoch;
    const chosen = /** @type {HTMLElement | null} */ (this.#root.querySelector("[data-order][aria-current]"));
    const answer = await patient(`/runs/${this.#runId}/confusion?epoch=${epoch}&order=${chosen?.dataset.order ?? "listed"}`);
    if (!answer.ok || epoch !== this.#epoch) return;
    const html = await answer.text();
    const focused = /** @type {HTMLElement | null} */ (document.activeElement?.closest("[data-cell]"))?.dataset.cell;
    const scrolled = [...this.#place.querySelectorAll(".scroll")].map((part) => part.scrollLeft);
    const open = this.#place.querySelector("details")?.open ?? false;
    this.#place.innerHTML = html; // our own template, escaped by the server
    this.#place.querySelectorAll(".scroll").forEach((part, index) => (part.scrollLeft = scrolled[index] ?? 0));
    const details = this.#place.querySelector("details");
    if (details) details.open = open;
    if (focused) /** @type {HTMLElement | null} */ (this.#place.querySelector(`[data-cell="${focused}"]`))?.focus({ preventScroll: true });
    // Of a long run some epochs' predictions are let go; then it is the last kept before.
    const shown = /** @type {HTMLElement | null} */ (this.#place.querySelector("[data-after]"))?.dataset.after ?? epoch;
    this.#find("[data-confusion-epoch]").textContent = `after epoch ${shown}`;
    this.#find("[data-no-confusion]").hidden = true;
    this.#root.dataset.epoch = String(epoch);
  }

  /** @param {HTMLAnchorElement} link */
  #arrange(link) {
    for (const other of this.#root.querySelectorAll("[data-order]")) other.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    const address = new URL(location.href);
    address.searchParams.set("order", link.dataset.order ?? "listed");
    history.replaceState(null, "", address);
    const shown = /** @type {HTMLElement | null} */ (this.#place.querySelector("[data-after]"))?.dataset.after;
    if (shown) void this.refresh(this.#epoch || Number(shown));
  }

  /** @param {string | undefined} unit counts or shares */
  #choose(unit) {
    if (!unit) return;
    this.#place.className = `shows-${unit}`;
    for (const button of this.#root.querySelectorAll("[data-unit]")) {
      button.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (button).dataset.unit === unit));
    }
  }

  /** @param {string} selector @returns {HTMLElement} */
  #find(selector) {
    return /** @type {HTMLElement} */ (this.#root.querySelector(selector));
  }
}
