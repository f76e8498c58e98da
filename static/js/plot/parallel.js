// Parallel coordinates: a line for each run through its settings to what it reached. Each axis has two handles; what lies
// outside of them steps back, and the page is told which lines are left.

import { color } from "../colors.js";
import { axisOf } from "./axes.js";
import { Canvas } from "./canvas.js";

/** @typedef {import("./axes.js").Column} Column */
/** @typedef {import("./axes.js").Axis & {low: number, high: number}} Shown an axis and where its handles are */

const EDGE = { side: 64, top: 44, bottom: 26 };
const STEP = 0.02;

export class Parallel {
  #element;
  #canvas;
  #onBrush;
  /** @type {Shown[]} */
  #axes = [];
  #lines = 0;
  /** @type {(line: number) => string} */
  #paint = () => "";

  /** @param {HTMLElement} element @param {(places: Set<number> | null) => void} onBrush told the lines that are left, null for all */
  constructor(element, onBrush) {
    this.#element = element;
    this.#onBrush = onBrush;
    element.classList.add("parallel");
    this.#canvas = new Canvas(element, (context, width, height) => this.#draw(context, width, height));
  }

  /** @param {Column[]} columns the last is what the others lead to @param {(line: number) => string} paint a line's colour */
  show(columns, paint) {
    this.#lines = columns[0]?.values.length ?? 0;
    this.#paint = paint;
    const before = new Map(this.#axes.map((shown) => [shown.column.key, shown]));
    this.#axes = columns.map((column) => ({ ...axisOf(column), low: before.get(column.key)?.low ?? 0, high: before.get(column.key)?.high ?? 1 }));
    for (const old of this.#element.querySelectorAll(".handle")) old.remove();
    for (const shown of this.#axes) this.#addHandles(shown);
    this.#placeHandles();
    this.#canvas.soon();
  }

  clear() {
    for (const shown of this.#axes) Object.assign(shown, { low: 0, high: 1 });
    this.#brushed();
  }

  #draw(context, width, height) {
    const places = this.#axes.map((_, place) => this.#across(place, width));
    const left = this.#left();
    for (const strong of [false, true]) {
      for (let line = 0; line < this.#lines; line++) {
        if ((left === null || left.has(line)) === strong) this.#drawLine(context, line, places, height, strong);
      }
    }
    context.globalAlpha = 1;
    this.#axes.forEach((shown, place) => this.#drawAxis(context, shown, places[place], width, height));
    this.#placeHandles();
  }

  #drawLine(context, line, places, height, strong) {
    context.globalAlpha = strong ? Math.max(0.25, Math.min(0.9, 20 / this.#lines)) : 0.06;
    context.strokeStyle = this.#paint(line);
    context.lineWidth = strong ? 1.5 : 1;
    context.beginPath();
    this.#axes.forEach((shown, place) => context.lineTo(places[place], this.#down(shown.share(shown.column.values[line]), height)));
    context.stroke();
  }

  #drawAxis(context, shown, x, width, height) {
    context.font = `12px ${getComputedStyle(this.#element).fontFamily}`;
    context.strokeStyle = color("line-strong");
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(Math.round(x) + 0.5, EDGE.top);
    context.lineTo(Math.round(x) + 0.5, height - EDGE.bottom);
    context.stroke();
    context.lineWidth = 4;
    context.strokeStyle = color("accent");
    if (shown.low > 0 || shown.high < 1) {
      context.beginPath();
      context.moveTo(x, this.#down(shown.low, height));
      context.lineTo(x, this.#down(shown.high, height));
      context.stroke();
    }
    const room = Math.max(40, (width - 2 * EDGE.side) / Math.max(1, this.#axes.length - 1) - 12);
    context.textAlign = "center";
    context.fillStyle = color("text");
    context.textBaseline = "alphabetic";
    const label = fitted(context, shown.column.label, room), half = context.measureText(label).width / 2;
    context.fillText(label, Math.max(half, Math.min(x, width - half)), 16);
    context.fillStyle = color("text-soft");
    context.textAlign = "left";
    context.textBaseline = "middle";
    for (const mark of shown.marks(height / 60)) outlined(context, fitted(context, mark.text, room - 14), x + 9, this.#down(mark.at, height));
  }

  /** @param {Shown} shown */
  #addHandles(shown) {
    for (const end of /** @type {const} */ (["low", "high"])) {
      const handle = this.#element.appendChild(document.createElement("div"));
      handle.className = `handle ${end}`;
      handle.tabIndex = 0;
      handle.setAttribute("role", "slider");
      handle.setAttribute("aria-orientation", "vertical");
      handle.setAttribute("aria-label", `${shown.column.label}, ${end === "low" ? "from" : "up to"}`);
      handle.addEventListener("pointerdown", (event) => {
        handle.setPointerCapture(event.pointerId);
        event.preventDefault();
        handle.focus();
      });
      handle.addEventListener("pointermove", (event) => handle.hasPointerCapture(event.pointerId) && this.#move(shown, end, this.#share(event)));
      handle.addEventListener("keydown", (event) => {
        const to = { ArrowUp: shown[end] + STEP, ArrowRight: shown[end] + STEP, ArrowDown: shown[end] - STEP, ArrowLeft: shown[end] - STEP, Home: 0, End: 1 }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        this.#move(shown, end, to);
      });
    }
  }

  /** @param {PointerEvent} event */
  #share(event) {
    const box = this.#element.getBoundingClientRect();
    return 1 - (event.clientY - box.top - EDGE.top) / (box.height - EDGE.top - EDGE.bottom);
  }

  /** @param {Shown} shown @param {"low" | "high"} end @param {number} to */
  #move(shown, end, to) {
    shown[end] = end === "low" ? Math.max(0, Math.min(to, shown.high)) : Math.min(1, Math.max(to, shown.low));
    this.#brushed();
  }

  #brushed() {
    this.#placeHandles();
    this.#canvas.soon();
    this.#onBrush(this.#left());
  }

  #placeHandles() {
    const handles = /** @type {NodeListOf<HTMLElement>} */ (this.#element.querySelectorAll(".handle"));
    handles.forEach((handle, n) => this.#place(handle, this.#axes[n >> 1], n & 1 ? "high" : "low", n >> 1));
  }

  /** @param {HTMLElement} handle @param {Shown} shown @param {"low" | "high"} end @param {number} place */
  #place(handle, shown, end, place) {
    const { clientWidth: width, clientHeight: height } = this.#element;
    handle.style.left = `${this.#across(place, width)}px`;
    handle.style.top = `${this.#down(shown[end], height)}px`;
    handle.setAttribute("aria-valuenow", String(Math.round(shown[end] * 100)));
    handle.setAttribute("aria-valuetext", shown.words(shown[end]));
  }

  /** The lines between all handles; null when no handle was moved. @returns {Set<number> | null} */
  #left() {
    const moved = this.#axes.filter((shown) => shown.low > 0 || shown.high < 1);
    if (!moved.length) return null;
    const within = (/** @type {number} */ line) => moved.every((shown) => {
      const at = shown.share(shown.column.values[line]);
      return at >= shown.low - 1e-9 && at <= shown.high + 1e-9;
    });
    return new Set(Array.from({ length: this.#lines }, (_, line) => line).filter(within));
  }

  /** @param {number} place @param {number} width */
  #across(place, width) {
    return this.#axes.length < 2 ? width / 2 : EDGE.side + ((width - 2 * EDGE.side) * place) / (this.#axes.length - 1);
  }

  /** @param {number} share from the lower end @param {number} height */
  #down(share, height) {
    return share < 0 ? height - 8 : EDGE.top + (1 - share) * (height - EDGE.top - EDGE.bottom);
  }
}

/** @param {CanvasRenderingContext2D} context @param {string} text @param {number} room */
function fitted(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let end = text.length;
  while (end > 1 && context.measureText(`${text.slice(0, end)}…`).width > room) end -= 1;
  return `${text.slice(0, end)}…`;
}

/** Readable over lines. @param {CanvasRenderingContext2D} context @param {string} text @param {number} x @param {number} y */
function outlined(context, text, x, y) {
  context.lineWidth = 5;
  context.lineJoin = "round";
  context.strokeStyle = color("surface");
  context.strokeText(text, x, y);
  context.fillText(text, x, y);
}
