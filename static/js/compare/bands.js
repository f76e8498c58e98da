// Groups of curves as their mean and its spread, one standard deviation to either side.

import { bound } from "../plot/thin.js";

/** @typedef {import("../plot/thin.js").Numbers} Numbers */
/** @typedef {{x: Numbers, y: Numbers}} Line */

/** Of a grid over an axis on which the curves' points do not lie at the same places. */
const PLACES = 400;

/**
 * @param {Line[]} lines @param {boolean} aligned whether their points lie at the same places, as epochs do
 * @returns {{x: Float64Array, mean: Float32Array, low: Float32Array, high: Float32Array}}
 */
export function band(lines, aligned) {
  const x = aligned ? union(lines) : grid(lines);
  const [mean, low, high] = [new Float32Array(x.length), new Float32Array(x.length), new Float32Array(x.length)];
  for (let i = 0; i < x.length; i++) {
    let count = 0, average = 0, squares = 0; // Welford's way, which does not cancel
    for (const line of lines) {
      const value = at(line, x[i], aligned);
      if (value !== value) continue;
      count += 1;
      const step = value - average;
      average += step / count;
      squares += step * (value - average);
    }
    const spread = count > 1 ? Math.sqrt(squares / (count - 1)) : 0;
    mean[i] = count ? average : NaN;
    low[i] = mean[i] - spread;
    high[i] = mean[i] + spread;
  }
  return { x, mean, low, high };
}

/** @param {Line[]} lines */
function union(lines) {
  return Float64Array.from(new Set(lines.flatMap((line) => [...line.x]))).sort();
}

/** @param {Line[]} lines */
function grid(lines) {
  const known = lines.filter((line) => line.x.length);
  if (!known.length) return new Float64Array();
  const from = Math.min(...known.map((line) => line.x[0])), to = Math.max(...known.map((line) => line.x[line.x.length - 1]));
  return Float64Array.from({ length: PLACES }, (_, place) => from + ((to - from) * place) / (PLACES - 1));
}

/** A line's value at a place, between its points if need be; NaN beyond its ends. @param {Line} line @param {number} x @param {boolean} aligned */
function at({ x, y }, place, aligned) {
  const after = bound(x, place);
  if (after < x.length && x[after] === place) return y[after];
  if (aligned || after === 0 || after >= x.length) return NaN;
  const share = (place - x[after - 1]) / (x[after] - x[after - 1]);
  return y[after - 1] + (y[after] - y[after - 1]) * share;
}
