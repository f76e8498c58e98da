// Axes: where a value lies on them, and which round values are marked.

/** @typedef {"number" | "count" | "percent" | "loss" | "duration" | "instant"} Kind a count has nothing between two whole numbers */
/** @typedef {{at: number, text: string}} Tick */

const MINUTE = 60, HOUR = 3600, DAY = 86400;
const SECONDS = [1, 2, 5, 10, 15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR,
  6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 90 * DAY, 365 * DAY];

export class Scale {
  #log;

  /** @param {number} from @param {number} to @param {number} start its pixel @param {number} end @param {boolean} [log] */
  constructor(from, to, start, end, log = false) {
    this.#log = log;
    Object.assign(this, { from, to, start, end });
    this.low = log ? Math.log10(from) : from;
    this.factor = (end - start) / ((log ? Math.log10(to) : to) - this.low || 1);
  }

  /** @param {number} value @returns {number} its pixel; NaN for what a logarithm does not know */
  at(value) {
    const place = this.#log ? (value > 0 ? Math.log10(value) : NaN) : value;
    return this.start + (place - this.low) * this.factor;
  }

  /** @param {number} pixel */
  back(pixel) {
    const place = this.low + (pixel - this.start) / this.factor;
    return this.#log ? 10 ** place : place;
  }
}

/** Round values from `from` to `to`, about `wanted` of them. @param {Kind} kind @param {number} from @param {number} to @param {number} wanted @param {boolean} [log] @returns {Tick[]} */
export function ticks(kind, from, to, wanted, log = false) {
  if (!(to > from)) return [];
  if (log) return logarithmic(kind, from, to, wanted);
  const least = (to - from) / wanted;
  const step = kind === "duration" || kind === "instant" ? stepOfTime(least) : roundStep(kind === "count" ? Math.max(1, least) : least);
  // Days begin at the reader's midnight, not at that of Greenwich.
  const shift = kind === "instant" && step >= HOUR ? new Date(from * 1000).getTimezoneOffset() * MINUTE : 0;
  const found = [];
  for (let n = Math.ceil((from - shift) / step - 1e-9); n * step + shift <= to + step * 1e-9; n++) {
    const at = n * step + shift;
    found.push({ at, text: written(kind, at, step) });
  }
  return found;
}

/** @param {Kind} kind @param {number} from @param {number} to @param {number} wanted @returns {Tick[]} */
function logarithmic(kind, from, to, wanted) {
  const decades = Math.log10(to / from);
  const leading = decades > wanted ? [1] : decades > wanted / 3 ? [1, 3] : decades > 0.7 ? [1, 2, 5] : null;
  if (!leading) return ticks(kind, from, to, wanted);
  const every = Math.max(1, Math.ceil(decades / wanted));
  const found = [];
  for (let power = Math.floor(Math.log10(from)); power <= Math.log10(to); power++) {
    if (power % every) continue;
    for (const digit of leading) {
      const at = digit * 10 ** power;
      if (at >= from * (1 - 1e-9) && at <= to * (1 + 1e-9)) found.push({ at, text: written(kind, at, at) });
    }
  }
  return found;
}

/** 1, 2 or 5 times a power of ten, not below `least`. @param {number} least */
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return (/** @type {number} */ ([1, 2, 5, 10].find((digit) => digit * power >= least * (1 - 1e-9)))) * power;
}

/** @param {number} least */
function stepOfTime(least) {
  if (least < 1) return roundStep(least);
  return SECONDS.find((step) => step >= least) ?? Math.ceil(least / (365 * DAY)) * 365 * DAY;
}

/** @param {Kind} kind @param {number} value @param {number} step to the next tick */
function written(kind, value, step) {
  if (kind === "percent") return `${(value * 100).toFixed(digits(step * 100))} %`;
  if (kind === "duration") return duration(value, step);
  if (kind === "instant") return instant(value, step);
  const size = Math.abs(value);
  if (size >= 1e4 && size < 1e15) return compact.format(value);
  if (size > 0 && (size < 1e-3 || size >= 1e15)) return value.toExponential(Math.max(0, Math.min(4, Math.ceil(Math.log10(size / step) - 1e-9)))).replace(/\.?0+e/, "e");
  return value.toFixed(digits(step));
}

const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 4 });

/** Decimals that tell multiples of `step` apart. @param {number} step */
function digits(step) {
  return Math.min(8, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
}

/** @param {number} value @param {number} step */
function duration(value, step) {
  if (step < 1) return `${value.toFixed(digits(step))} s`;
  const [size, unit] = step < MINUTE && value < HOUR ? [1, "s"] : step < HOUR && value < DAY ? [MINUTE, "m"] : step < DAY ? [HOUR, "h"] : [DAY, "d"];
  const number = value / /** @type {number} */ (size);
  return `${Number.isInteger(number) ? number : number.toFixed(1)} ${unit}`;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });
const exactClock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** @param {number} value @param {number} step */
function instant(value, step) {
  const moment = new Date(value * 1000);
  return (step >= DAY ? day : step >= MINUTE ? clock : exactClock).format(moment);
}

/** A single value as precisely as a reader wants it. @param {Kind} kind @param {number} value */
export function exact(kind, value) {
  if (kind === "percent") return `${(value * 100).toFixed(2)} %`;
  if (kind === "count") return Math.round(value).toLocaleString("en-US");
  if (kind === "loss") return Math.abs(value) < 1e6 ? value.toFixed(4) : value.toExponential(3);
  if (kind === "duration") return duration(value, value < 10 ? 0.1 : 1);
  if (kind === "instant") return new Date(value * 1000).toLocaleString();
  return String(Number(value.toPrecision(5)));
}
