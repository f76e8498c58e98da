// A chart of many curves over one axis, on a canvas: a hundred curves of thousands of points in a few milliseconds, which
// SVG cannot. Drag to zoom, double click to see all, point to read every curve; the same by keyboard.

import { color } from "../colors.js";
import { Canvas } from "./canvas.js";
import { drawAxes, drawBand, drawCurve, EDGE } from "./draw.js";
import { Readout } from "./readout.js";
import { bound } from "./thin.js";
import { exact, Scale } from "./ticks.js";

/** @typedef {import("./thin.js").Numbers} Numbers */
/** @typedef {import("./ticks.js").Kind} Kind */
/** @typedef {{key: string, label: string, x: Numbers, y: Numbers, token: string, dash?: number, faint?: boolean}} Curve a faint one is not read */
/** @typedef {{key: string, x: Numbers, low: Numbers, high: Numbers, token: string}} Band */
/** @typedef {"plain" | "strong" | "back"} Strength beside the others */
/** @typedef {{curves: Curve[], bands?: Band[], xKind?: Kind, xLabel: string, yKind: Kind, log?: boolean, clip?: boolean, extent?: [number, number] | null}} Content */

const NEAR_PX = 30;
/** Curves, from which on the one that is pointed at comes forward: ten colours do not tell a hundred apart. */
const MANY = 10;

export class LineChart {
  #element;
  #base;
  #over;
  #readout;
  /** @type {Content} */
  #content = { curves: [], xLabel: "", yKind: "number" };
  /** @type {[number, number] | null} */
  #range = null;
  /** @type {string | null} */
  #strong = null;
  /** @type {{x: Scale, y: Scale} | null} */
  #scales = null;
  /** @type {{x: number, y: number} | null} */
  #pointer = null;
  /** @type {string | null} the curve that the pointer made strong */
  #pointed = null;
  /** @type {number | null} where a drag began */
  #grip = null;
  #onZoom;
  #onDrawn;

  /** @param {HTMLElement} element @param {{onZoom?: (range: [number, number] | null) => void, onDrawn?: () => void}} [options] */
  constructor(element, { onZoom = (range) => (this.range = range), onDrawn = () => {} } = {}) {
    this.#element = element;
    this.#onZoom = onZoom;
    this.#onDrawn = onDrawn;
    this.#base = new Canvas(element, (context, width, height) => this.#draw(context, width, height));
    this.#over = new Canvas(element, (context) => this.#drawOver(context));
    this.#readout = new Readout(element);
    element.classList.add("lines");
    element.tabIndex = 0;
    this.#listen();
  }

  /** @param {Content} content */
  show(content) {
    this.#content = content;
    Object.assign(this.#element, { curves: content.curves }); // for whoever asks the element, as Plotly's `data`
    this.#base.soon();
    if (this.#pointer) this.#over.soon();
  }

  /** The part of the x axis that is seen; null for all. @param {[number, number] | null} range */
  set range(range) {
    this.#range = range;
    this.#base.soon();
  }

  get range() {
    return this.#range;
  }

  /** Columns of pixels between which points can be told apart. */
  get columns() {
    return Math.max(1, Math.round((this.#element.clientWidth - EDGE.left - EDGE.right) * (devicePixelRatio || 1)));
  }

  /** Draw one curve over all others, which step back; null for all alike. @param {string | null} key */
  set strong(key) {
    if (this.#strong === key) return;
    this.#strong = key;
    this.#base.soon();
  }

  #draw(context, width, height) {
    const begun = performance.now();
    const x = this.#xScale(width);
    const y = this.#yScale(x, height);
    this.#scales = { x, y };
    context.font = `12px ${getComputedStyle(this.#element).fontFamily}`;
    drawAxes(context, x, y, this.#content, { width, height });
    context.save();
    context.beginPath();
    // A little wider than the axis: the dots of its first and last points are whole.
    context.rect(EDGE.left - 3, EDGE.top - 1, width - EDGE.left - EDGE.right + 6, height - EDGE.top - EDGE.bottom + 2);
    context.clip();
    const strength = (/** @type {string} */ key) => (this.#strong === null ? "plain" : this.#strong === key ? "strong" : "back");
    for (const band of this.#content.bands ?? []) drawBand(context, band, x, y, this.columns, strength(band.key));
    for (const strong of [false, true]) {
      for (const curve of this.#content.curves) {
        if ((curve.key === this.#strong) === strong) drawCurve(context, curve, x, y, this.columns, strength(curve.key));
      }
    }
    context.restore();
    this.#element.dataset.curves = String(this.#content.curves.filter((curve) => !curve.faint).length);
    // Benchmarks read these: what a drawing takes, and when curves were first on the canvas.
    const now = performance.now();
    if (this.#content.curves.length) this.#element.dataset.firstDrawn ??= now.toFixed(1);
    this.#element.dataset.drawMs = (now - begun).toFixed(2);
    this.#onDrawn();
  }

  #xScale(width) {
    const whole = this.#content.extent ?? extent(this.#content.curves.map((curve) => curve.x));
    let [from, to] = this.#range ?? whole ?? [0, 1];
    if (from === to) [from, to] = [from - 0.5, to + 0.5];
    return new Scale(from, to, EDGE.left, width - EDGE.right);
  }

  /** As high as what is seen of the curves, or but for a hundredth at either end. */
  #yScale(x, height) {
    const { curves, bands = [], log = false, clip = false } = this.#content;
    const seen = [...curves.map((curve) => [curve.x, curve.y]), ...bands.flatMap((band) => [[band.x, band.low], [band.x, band.high]])];
    let low = Infinity, high = -Infinity;
    /** @type {number[]} */ const all = [];
    for (const [xs, ys] of seen) {
      for (let i = bound(xs, x.from); i < xs.length && xs[i] <= x.to; i++) {
        const value = ys[i];
        if (value !== value || (log && value <= 0)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
        if (clip) all.push(value);
      }
    }
    if (clip && all.length) [low, high] = hundredths(all);
    if (low > high) [low, high] = log ? [0.1, 1] : [0, 1];
    const room = log ? (high / low) ** 0.04 : (high - low) * 0.05 || Math.abs(high) * 0.05 || 1;
    const [from, to] = log ? [low / Math.max(room, 1.01), high * Math.max(room, 1.01)] : [low - room, high + room];
    this.#element.dataset.highest = String(to);
    return new Scale(from, to, height - EDGE.bottom, EDGE.top, log);
  }

  #drawOver(context) {
    if (!this.#pointer || !this.#scales) {
      if (this.#pointed) this.strong = this.#pointed = null;
      return this.#readout.hide();
    }
    const { x, y } = this.#scales;
    const { x: across } = this.#pointer;
    if (this.#grip !== null) return this.#drawGrip(context, across);
    const value = x.back(across);
    const lines = this.#lines(value);
    context.strokeStyle = color("text-soft");
    context.setLineDash([]);
    context.beginPath();
    context.moveTo(Math.round(across) + 0.5, EDGE.top);
    context.lineTo(Math.round(across) + 0.5, y.start);
    context.stroke();
    for (const line of lines) {
      context.fillStyle = line.color;
      context.beginPath();
      context.arc(x.at(line.at), y.at(line.value), line.near ? 4.5 : 2.5, 0, 2 * Math.PI);
      context.fill();
    }
    const near = lines.find((line) => line.near);
    if (this.#content.curves.length > MANY) this.strong = this.#pointed = near?.key ?? null;
    const title = near ? near.at : value;
    if (!lines.length) return this.#readout.hide();
    this.#readout.show(`${this.#content.xLabel} ${exact(this.#content.xKind ?? "number", title)}`, lines, across, this.#base.width);
  }

  #drawGrip(context, across) {
    const begun = /** @type {number} */ (this.#grip);
    context.fillStyle = color("accent");
    context.globalAlpha = 0.15;
    context.fillRect(Math.min(begun, across), EDGE.top, Math.abs(across - begun), /** @type {any} */ (this.#scales).y.start - EDGE.top);
    context.globalAlpha = 1;
    this.#readout.hide();
  }

  /** Every curve's point nearest to `value`, if it has one near; the one nearest to the pointer is marked. @param {number} value */
  #lines(value) {
    const { x, y } = /** @type {{x: Scale, y: Scale}} */ (this.#scales);
    const lines = [];
    for (const curve of this.#content.curves) {
      if (curve.faint || !curve.x.length) continue;
      const i = nearest(curve.x, value);
      const spacing = Math.abs(x.at(curve.x[Math.min(i + 1, curve.x.length - 1)]) - x.at(curve.x[Math.max(i - 1, 0)])) / 2;
      const away = Math.abs(x.at(curve.x[i]) - x.at(value));
      const top = y.at(curve.y[i]);
      if (away > Math.max(NEAR_PX, spacing) || top !== top) continue;
      lines.push({ key: curve.key, label: curve.label, text: exact(this.#content.yKind, curve.y[i]), value: curve.y[i], at: curve.x[i],
        color: color(curve.token), near: false, away: this.#pointer?.y == null ? 0 : Math.abs(top - this.#pointer.y) });
    }
    if (lines.length) lines.reduce((best, line) => (line.away < best.away ? line : best)).near = true;
    return lines;
  }

  #listen() {
    const element = this.#element;
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.#grip = this.#inside(event).x;
      element.setPointerCapture(event.pointerId);
    });
    element.addEventListener("pointermove", (event) => this.#point(this.#inside(event)));
    element.addEventListener("pointerup", (event) => this.#release(this.#inside(event).x));
    element.addEventListener("pointercancel", () => this.#leave());
    element.addEventListener("pointerleave", () => this.#grip === null && this.#leave());
    element.addEventListener("blur", () => this.#leave());
    element.addEventListener("dblclick", () => this.#onZoom(null));
    element.addEventListener("keydown", (event) => this.#key(event));
  }

  /** @param {PointerEvent} event */
  #inside(event) {
    const box = this.#element.getBoundingClientRect();
    const x = Math.max(EDGE.left, Math.min(event.clientX - box.left, box.width - EDGE.right));
    return { x, y: event.clientY - box.top };
  }

  /** @param {{x: number, y: number}} place */
  #point(place) {
    this.#pointer = place;
    this.#over.soon();
  }

  /** @param {number} x */
  #release(x) {
    const begun = this.#grip;
    this.#grip = null;
    if (begun === null || !this.#scales || Math.abs(x - begun) < 5) return this.#over.soon();
    const [from, to] = [begun, x].sort((a, b) => a - b).map((pixel) => /** @type {any} */ (this.#scales).x.back(pixel));
    this.#leave();
    this.#onZoom([from, to]);
  }

  #leave() {
    this.#pointer = this.#grip = null;
    this.#over.soon();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (!this.#scales || event.ctrlKey || event.metaKey || event.altKey) return;
    const { x } = this.#scales;
    const at = this.#pointer?.x ?? (x.start + x.end) / 2;
    const move = { ArrowLeft: -8, ArrowRight: 8, Home: -Infinity, End: Infinity }[event.key];
    if (move !== undefined) this.#point({ x: Math.max(x.start, Math.min(x.end, at + move)), y: this.#pointer?.y ?? 0 });
    else if (event.key === "+" || event.key === "=") this.#onZoom(this.#around(x.back(at), 0.5));
    else if (event.key === "-") this.#onZoom(this.#around(x.back(at), 2));
    else if (event.key === "0") this.#onZoom(null);
    else if (event.key === "Escape") this.#leave();
    else return;
    event.preventDefault();
  }

  /** @param {number} middle @param {number} times as wide as now @returns {[number, number] | null} */
  #around(middle, times) {
    const { from, to } = /** @type {{x: Scale}} */ (this.#scales).x;
    const whole = this.#content.extent ?? extent(this.#content.curves.map((curve) => curve.x)) ?? [from, to];
    const range = [Math.max(whole[0], middle - (middle - from) * times), Math.min(whole[1], middle + (to - middle) * times)];
    return range[0] <= whole[0] && range[1] >= whole[1] ? null : /** @type {[number, number]} */ (range);
  }
}

/** From the least first to the greatest last. @param {Numbers[]} columns ascending @returns {[number, number] | null} */
function extent(columns) {
  let low = Infinity, high = -Infinity;
  for (const x of columns) {
    if (!x.length) continue;
    low = Math.min(low, x[0]);
    high = Math.max(high, x[x.length - 1]);
  }
  return low > high ? null : [low, high];
}

/** @param {Numbers} x @param {number} value */
function nearest(x, value) {
  const after = Math.min(bound(x, value), x.length - 1);
  return after > 0 && value - x[after - 1] <= x[after] - value ? after - 1 : after;
}

/** The values below and above which a hundredth of all lies. @param {number[]} values @returns {[number, number]} */
function hundredths(values) {
  const sorted = Float64Array.from(values).sort(), last = sorted.length - 1;
  return [sorted[Math.floor(last * 0.01)], sorted[Math.ceil(last * 0.99)]];
}
