// A point for each run over any two of its values, coloured by a third; where both axes have a better end, the runs that no
// other beats are joined. Point at one to read it, click to open it; arrow keys go from point to point.

import { color } from "../colors.js";
import { axisOf, shade } from "./axes.js";
import { Canvas } from "./canvas.js";

/** @typedef {import("./axes.js").Column & {better?: number}} Column `better`: 1 where higher is better, -1 where lower is */
/** @typedef {{x: Column, y: Column, by: Column | null, logX: boolean, logY: boolean, names: string[], shown: (run: number) => boolean}} Content */
/** @typedef {{run: number, x: number, y: number}} Point in pixels */

const EDGE = { left: 70, right: 16, top: 12, bottom: 42 };
const NEAR_PX = 14;

export class Scatter {
  #element;
  #canvas;
  #tip;
  #onOpen;
  /** @type {Content | null} */
  #content = null;
  /** @type {Point[]} from left to right */
  #points = [];
  /** @type {Point | null} */
  #at = null;

  /** @param {HTMLElement} element @param {(run: number) => void} onOpen */
  constructor(element, onOpen) {
    this.#element = element;
    this.#onOpen = onOpen;
    element.classList.add("scatter");
    element.tabIndex = 0;
    this.#canvas = new Canvas(element, (context, width, height) => this.#draw(context, width, height));
    this.#tip = element.appendChild(document.createElement("div"));
    this.#tip.className = "readout";
    this.#tip.hidden = true;
    element.addEventListener("pointermove", (event) => this.#point(event));
    element.addEventListener("pointerleave", () => this.#go(null));
    element.addEventListener("click", () => this.#at && this.#onOpen(this.#at.run));
    element.addEventListener("keydown", (event) => this.#key(event));
    element.addEventListener("blur", () => this.#go(null));
  }

  /** @param {Content} content */
  show(content) {
    this.#content = content;
    this.#canvas.soon();
  }

  #draw(context, width, height) {
    if (!this.#content) return;
    const { x, y, by, logX, logY, names, shown } = this.#content;
    const axes = { x: axisOf(x, logX), y: axisOf(y, logY) };
    const across = (/** @type {number} */ share) => EDGE.left + 8 + share * (width - EDGE.left - EDGE.right - 16);
    const down = (/** @type {number} */ share) => height - EDGE.bottom - 8 - share * (height - EDGE.top - EDGE.bottom - 16);
    this.#drawAxes(context, axes, across, down, width, height);
    const paint = painter(by);
    this.#points = [];
    for (let run = 0; run < names.length; run++) {
      const [left, up] = [axes.x.share(x.values[run]), axes.y.share(y.values[run])];
      if (left < 0 || up < 0 || !shown(run)) continue;
      this.#points.push({ run, x: across(left), y: down(up) });
    }
    this.#points.sort((a, b) => a.x - b.x);
    this.#drawFront(context, x.better ?? 0, y.better ?? 0);
    for (const point of this.#points) spot(context, point, paint(point.run), point.run === this.#at?.run ? 7 : 4.5);
    this.#element.dataset.points = String(this.#points.length);
  }

  #drawAxes(context, axes, across, down, width, height) {
    context.font = `12px ${getComputedStyle(this.#element).fontFamily}`;
    context.strokeStyle = color("grid");
    context.fillStyle = color("text-soft");
    context.beginPath();
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const mark of axes.y.marks(height / 50)) {
      const at = Math.round(down(mark.at)) + 0.5;
      context.moveTo(EDGE.left, at);
      context.lineTo(width - EDGE.right, at);
      context.fillText(mark.text, EDGE.left - 8, at, EDGE.left - 10);
    }
    context.textAlign = "center";
    context.textBaseline = "top";
    for (const mark of axes.x.marks(width / 110)) {
      const at = Math.round(across(mark.at)) + 0.5;
      context.moveTo(at, EDGE.top);
      context.lineTo(at, height - EDGE.bottom);
      context.fillText(mark.text, at, height - EDGE.bottom + 6, 90);
    }
    context.stroke();
    context.fillText(axes.x.column.label, (EDGE.left + width - EDGE.right) / 2, height - EDGE.bottom + 24);
  }

  /** The points that no other beats in both axes, joined as stairs. @param {number} betterX @param {number} betterY */
  #drawFront(context, betterX, betterY) {
    const found = betterX && betterY ? front(this.#points, betterX, betterY) : [];
    context.strokeStyle = color("text-soft");
    context.setLineDash([4, 3]);
    context.beginPath();
    found.forEach((point, place) => {
      if (place) context.lineTo(point.x, found[place - 1].y);
      context.lineTo(point.x, point.y);
    });
    context.stroke();
    context.setLineDash([]);
    for (const point of found) spot(context, point, color("text"), 7.5);
    for (const point of found) spot(context, point, color("surface"), 6);
    this.#element.dataset.front = String(found.length);
  }

  /** @param {PointerEvent} event */
  #point(event) {
    const box = this.#element.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const away = (/** @type {Point} */ point) => Math.hypot(point.x - x, point.y - y);
    const nearest = this.#points.reduce((/** @type {Point | null} */ best, point) => (!best || away(point) < away(best) ? point : best), null);
    this.#go(nearest && away(nearest) < NEAR_PX ? nearest : null);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const now = this.#points.findIndex((point) => point.run === this.#at?.run);
    const to = { ArrowRight: now + 1, ArrowLeft: Math.max(0, now - 1), Home: 0, End: this.#points.length - 1 }[event.key];
    if (event.key === "Enter" && this.#at) this.#onOpen(this.#at.run);
    else if (event.key === "Escape") this.#go(null);
    else if (to !== undefined) this.#go(this.#points[Math.min(to, this.#points.length - 1)] ?? null);
    else return;
    event.preventDefault();
  }

  /** @param {Point | null} point */
  #go(point) {
    if (this.#at?.run === point?.run) return;
    this.#at = point;
    this.#element.style.cursor = point ? "pointer" : "";
    this.#tip.hidden = !point;
    if (point) this.#tell(point);
    this.#canvas.soon();
  }

  /** @param {Point} point */
  #tell(point) {
    const { x, y, by, names } = /** @type {Content} */ (this.#content);
    const lines = [x, y, ...(by ? [by] : [])].map((column) => `${column.label}: ${words(column, point.run)}`);
    this.#tip.replaceChildren(...[names[point.run], ...lines].map((text, place) => {
      const line = document.createElement(place ? "span" : "b");
      line.textContent = text;
      return line;
    }));
    const wide = this.#tip.offsetWidth, room = this.#element.clientWidth;
    this.#tip.style.transform = `translate(${Math.round(Math.max(0, Math.min(point.x + 12, room - wide)))}px, ${Math.round(Math.max(0, point.y - this.#tip.offsetHeight - 12))}px)`;
  }
}

/** @param {Column | null} by @returns {(run: number) => string} */
export function painter(by) {
  if (!by) return () => color("series-0");
  if (by.kind !== "text") {
    const axis = axisOf(by);
    return (run) => shade(axis.share(by.values[run]));
  }
  const words = wordsOf(by);
  return (run) => (by.values[run] === null ? color("line-strong") : color(`series-${words.indexOf(String(by.values[run])) % 10}`));
}

/** The different words of a column, in their order. @param {import("./axes.js").Column} column */
export function wordsOf(column) {
  return [...new Set(column.values.filter((value) => value !== null).map(String))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
}

/** @param {import("./axes.js").Column} column @param {number} run */
function words(column, run) {
  const value = column.values[run];
  return value === null ? "–" : column.kind === "text" ? String(value) : axisOf(column, false).words(axisOf(column, false).share(value));
}

/** @param {Point[]} points @param {number} betterX @param {number} betterY pixels grow downwards @returns {Point[]} */
function front(points, betterX, betterY) {
  const good = points.map((point) => ({ point, x: point.x * betterX, y: -point.y * betterY }));
  const left = good.filter((one) => !good.some((other) => other.x >= one.x && other.y >= one.y && (other.x > one.x || other.y > one.y)));
  return left.map(({ point }) => point).sort((a, b) => a.x - b.x || b.y - a.y);
}

/** @param {CanvasRenderingContext2D} context @param {Point} point @param {string} fill @param {number} radius */
function spot(context, point, fill, radius) {
  context.fillStyle = fill;
  context.beginPath();
  context.arc(point.x, point.y, radius, 0, 2 * Math.PI);
  context.fill();
}
