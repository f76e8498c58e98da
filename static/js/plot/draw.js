// What a chart of curves consists of, drawn on a canvas: axes, bands, curves. Pure functions of scales and points.

import { color } from "../colors.js";
import { kept } from "./thin.js";
import { ticks } from "./ticks.js";

/** @typedef {import("./ticks.js").Scale} Scale */
/** @typedef {import("./lines.js").Strength} Strength */

export const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3], [14, 4]];
/** Pixels around the curves, for the axes. */
export const EDGE = { left: 58, right: 10, top: 8, bottom: 40 };
/** Points of a curve, up to which each has a dot. */
const MARKED = 40;

/**
 * @param {CanvasRenderingContext2D} context @param {Scale} x @param {Scale} y
 * @param {import("./lines.js").Content} content @param {{width: number, height: number}} size
 */
export function drawAxes(context, x, y, content, { width, height }) {
  const [left, right, bottom] = [EDGE.left, width - EDGE.right, height - EDGE.bottom];
  context.lineWidth = 1;
  context.strokeStyle = color("grid");
  context.fillStyle = color("text-soft");
  context.beginPath();
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const tick of ticks(content.yKind, y.from, y.to, Math.max(2, height / 44), content.log)) {
    const at = Math.round(y.at(tick.at)) + 0.5;
    context.moveTo(left, at);
    context.lineTo(right, at);
    context.fillText(tick.text, left - 8, at, left - 10);
  }
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const tick of ticks(content.xKind ?? "number", x.from, x.to, Math.max(2, width / 90))) {
    const at = Math.round(x.at(tick.at)) + 0.5;
    context.moveTo(at, EDGE.top);
    context.lineTo(at, bottom);
    context.fillText(tick.text, Math.min(at, right - context.measureText(tick.text).width / 2 + 6), bottom + 6);
  }
  context.stroke();
  context.fillText(content.xLabel, (left + right) / 2, bottom + 22);
}

/**
 * @param {CanvasRenderingContext2D} context @param {import("./lines.js").Band} band @param {Scale} x @param {Scale} y
 * @param {number} columns of pixels @param {Strength} strength
 */
export function drawBand(context, band, x, y, columns, strength) {
  const places = [...kept(band.x, band.low, x.from, x.to, columns)].filter((i) => band.low[i] === band.low[i]);
  context.globalAlpha = strength === "back" ? 0.05 : 0.18;
  context.fillStyle = color(band.token);
  context.beginPath();
  for (const i of places) context.lineTo(x.at(band.x[i]), y.at(band.high[i]));
  for (const i of places.reverse()) context.lineTo(x.at(band.x[i]), y.at(band.low[i]));
  context.fill();
  context.globalAlpha = 1;
}

/**
 * @param {CanvasRenderingContext2D} context @param {import("./lines.js").Curve} curve @param {Scale} x @param {Scale} y
 * @param {number} columns of pixels @param {Strength} strength
 */
export function drawCurve(context, curve, x, y, columns, strength) {
  const places = kept(curve.x, curve.y, x.from, x.to, columns);
  context.globalAlpha = (curve.faint ? 0.3 : 1) * (strength === "back" ? 0.18 : 1);
  context.strokeStyle = context.fillStyle = color(curve.token);
  context.lineWidth = curve.faint ? 1 : strength === "strong" ? 2.5 : 1.5;
  context.lineJoin = "bevel";
  context.setLineDash(curve.faint ? [] : DASHES[curve.dash ?? 0]);
  context.beginPath();
  const dots = places.length <= MARKED && !curve.faint;
  let open = false;
  for (let n = 0; n < places.length; n++) {
    const i = places[n], top = y.at(curve.y[i]);
    if (top !== top) {
      open = false;
      continue;
    }
    const across = x.at(curve.x[i]);
    if (open) context.lineTo(across, top);
    else context.moveTo(across, top);
    if (dots || (!open && isGap(curve.y[places[n + 1]]))) context.fillRect(across - 2, top - 2, 4, 4);
    open = true;
  }
  context.stroke();
  context.setLineDash([]);
  context.globalAlpha = 1;
}

/** @param {number | undefined} value */
function isGap(value) {
  return value === undefined || value !== value;
}
