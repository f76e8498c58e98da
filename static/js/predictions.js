// The grid of validation images with what the model says of them, refreshed after each epoch.

import { patient } from "./patient.js";

const SVG = "http://www.w3.org/2000/svg";

export class Predictions {
  #root;
  #runId;
  #show;
  #epoch;
  #asked = 0;
  #sprite;

  /** @param {HTMLElement} root @param {string} runId @param {string} show @param {number} epoch */
  constructor(root, runId, show, epoch) {
    this.#epoch = epoch;
    this.#root = root;
    this.#runId = runId;
    this.#show = show;
    this.#sprite = root.querySelector("[data-predictions] image")?.getAttribute("href") ?? "";
    for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (root.querySelectorAll("[data-show]"))) {
      link.addEventListener("click", (event) => {
        event.preventDefault();
        this.#choose(link);
      });
    }
  }

  /** Show what the model said after an epoch. @param {number} epoch */
  async refresh(epoch) {
    this.#epoch = epoch;
    if (!epoch) return; // nothing is done yet
    // Answers may overtake each other; only that to the last question counts.
    const asked = ++this.#asked;
    const answer = await patient(`/api/v1/runs/${this.#runId}/predictions?show=${this.#show}&epoch=${epoch}`);
    if (!answer.ok || asked !== this.#asked) return;
    const grid = await answer.json();
    await loaded(grid.sprite_url);
    if (asked === this.#asked) this.#render(grid);
  }

  /** Show the images of one cell of the confusion matrix. @param {string} cell "true-predicted" @param {string} label */
  showCell(cell, label) {
    const link = /** @type {HTMLAnchorElement} */ (this.#root.querySelector("[data-show-cell]"));
    link.hidden = false;
    link.dataset.show = cell;
    link.href = `?show=${cell}#predictions`;
    link.textContent = label;
    this.#choose(link);
    this.#root.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }

  /** @param {HTMLAnchorElement} link */
  #choose(link) {
    this.#show = link.dataset.show ?? "first";
    for (const other of this.#root.querySelectorAll("[data-show]")) other.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    const address = new URL(location.href);
    address.searchParams.set("show", this.#show);
    history.replaceState(null, "", address);
    void this.refresh(this.#epoch);
  }

  /** @param {any} grid */
  #render(grid) {
    const list = /** @type {HTMLElement} */ (this.#root.querySelector("[data-predictions]"));
    const same = grid.sprite_url === this.#sprite && list.children.length === grid.items.length;
    grid.items.forEach((/** @type {any} */ item, /** @type {number} */ place) => {
      // The same images said anew: only what changed is touched, and no picture is built again.
      if (same) say(/** @type {HTMLElement} */ (list.children[place]), item);
    });
    if (!same) {
      list.replaceChildren(...grid.items.map((/** @type {any} */ item, /** @type {number} */ place) => cell(grid, item, place)));
    }
    this.#sprite = grid.sprite_url;
    this.#find("[data-predictions-epoch]").textContent = `after epoch ${grid.epoch}`;
    this.#find("[data-no-predictions]").hidden = true;
    this.#find("[data-no-mistakes]").hidden = grid.items.length > 0;
    this.#root.dataset.epoch = String(grid.epoch);
  }

  /** @param {string} selector @returns {HTMLElement} */
  #find(selector) {
    return /** @type {HTMLElement} */ (this.#root.querySelector(selector));
  }
}

/** The picture is there before the grid changes, so that nothing flickers. @param {string} address */
async function loaded(address) {
  const image = new Image();
  image.src = address;
  await image.decode().catch(() => undefined);
}

/** One cell, as templates/partials/predictions.html renders it. @param {any} grid @param {any} item @param {number} place */
function cell(grid, item, place) {
  const li = document.createElement("li");
  const figure = li.appendChild(document.createElement("figure"));
  figure.append(picture(grid, place), document.createElement("figcaption"));
  say(li, item);
  return li;
}

/** Write what the model says of an image into its cell. @param {HTMLElement} li @param {any} item */
function say(li, item) {
  const said = `${item.predicted_name}, ${Math.round(item.confidence * 100)}\u00a0%`;
  const label = `Image ${item.index}: ${item.true_name}, predicted ${said}`;
  const svg = /** @type {SVGElement} */ (li.querySelector("svg"));
  if (svg.getAttribute("aria-label") === label) return;
  svg.setAttribute("aria-label", label);
  li.className = item.correct ? "right" : "wrong";
  const line = document.createElement("span");
  line.className = "said";
  line.textContent = `${item.correct ? "✓" : "✕"} ${said}`;
  const truth = document.createElement("span");
  truth.className = "soft";
  truth.textContent = `is ${item.true_name}`;
  li.querySelector("figcaption")?.replaceChildren(...(item.correct ? [line] : [line, truth]));
}

/** @param {any} grid @param {number} place */
function picture(grid, place) {
  const svg = document.createElementNS(SVG, "svg");
  const image = svg.appendChild(document.createElementNS(SVG, "image"));
  const rows = Math.ceil(grid.items.length / grid.columns);
  set(svg, { viewBox: `0 0 ${grid.cell} ${grid.cell}`, role: "img" });
  set(image, {
    href: grid.sprite_url,
    x: -grid.cell * (place % grid.columns),
    y: -grid.cell * Math.floor(place / grid.columns),
    width: grid.cell * grid.columns,
    height: grid.cell * rows,
  });
  return svg;
}

/** @param {Element} element @param {Record<string, string | number>} attributes */
function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
}
