// One value of each run along an axis: numbers by size, words by their order, what has no value at none.

import { color } from "../colors.js";
import { exact, Scale, ticks } from "./ticks.js";

/** @typedef {{key: string, label: string, kind: import("./ticks.js").Kind | "text", values: (number | string | null)[]}} Column */
/** @typedef {{at: number, text: string}} Mark */
/**
 * @typedef {object} Axis shares are of the axis, from 0 at its lower end to 1
 * @property {Column} column
 * @property {(value: any) => number} share below 0 for what lies on no place of the axis
 * @property {(wanted: number) => Mark[]} marks
 * @property {(share: number) => string} words the value at a place
 */

const NOWHERE = -1;

/** @param {Column} column @param {boolean} [log] unsaid: where it spans more than two powers of ten @returns {Axis} */
export function axisOf(column, log) {
  return column.kind === "text" ? ofWords(column) : ofNumbers(column, log);
}

/** From the colour of the least to that of the greatest. @param {number} share @returns {string} */
export function shade(share) {
  if (!(share >= 0)) return color("line-strong");
  const [low, high] = ["series-1", "series-0"].map((token) => (color(token).match(/\d+/g) ?? []).map(Number));
  return `rgb(${low.map((part, i) => Math.round(part + (high[i] - part) * share)).join(", ")})`;
}

/** @param {Column} column @returns {Axis} */
function ofWords(column) {
  const words = [...new Set(column.values.filter((value) => value !== null))].map(String);
  words.sort((a, b) => b.localeCompare(a, "en", { numeric: true }));
  const share = (/** @type {any} */ value) => (value === null ? NOWHERE : (words.indexOf(String(value)) + 0.5) / words.length);
  const marks = (/** @type {number} */ wanted) => {
    const every = Math.ceil(words.length / Math.max(1, wanted * 2));
    return words.filter((_, place) => place % every === 0).map((word) => ({ at: share(word), text: word }));
  };
  const said = (/** @type {number} */ at) => words[Math.max(0, Math.min(words.length - 1, Math.floor(at * words.length)))] ?? "";
  return { column, share, marks, words: said };
}

/** @param {Column} column @param {boolean} [log] @returns {Axis} */
function ofNumbers(column, log) {
  const values = /** @type {number[]} */ (column.values.filter((value) => value !== null && (!log || /** @type {number} */ (value) > 0)));
  const kind = /** @type {import("./ticks.js").Kind} */ (column.kind);
  let low = Math.min(...values), high = Math.max(...values);
  if (!values.length) [low, high] = [0.1, 1];
  else if (low === high) [low, high] = [low - (Math.abs(low) * 0.1 || 1), high + (Math.abs(high) * 0.1 || 1)];
  const logarithmic = log ?? (low > 0 && high / low > 100);
  const scale = new Scale(low, high, 0, 1, logarithmic);
  return {
    column,
    share: (value) => (value === null || (logarithmic && value <= 0) ? NOWHERE : scale.at(value)),
    marks: (wanted) => ticks(kind, low, high, Math.max(2, wanted), logarithmic).map((tick) => ({ at: scale.at(tick.at), text: tick.text })),
    words: (share) => exact(kind, scale.back(share)),
  };
}
