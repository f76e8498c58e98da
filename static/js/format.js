// Numbers as the server's filters write them (app/pages.py): a live value must look like a rendered one.

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const NONE = "–";

/** @typedef {number | null | undefined} Value */

/** @type {Record<string, (value: any) => string>} */
export const format = {
  percent: (/** @type {Value} */ value) => (value == null ? NONE : `${(value * 100).toFixed(2)} %`),
  loss: (/** @type {Value} */ value) => (value == null ? NONE : Math.abs(value) < 1e6 ? value.toFixed(4) : general(value)),
  number: (/** @type {Value} */ value) => (value == null ? NONE : grouped.format(value)),
  general: (/** @type {Value} */ value) => (value == null ? NONE : general(value)),
  epoch: (/** @type {Value} */ value) => (value == null ? "" : `epoch ${value}`),
  text: (/** @type {string | null} */ value) => value ?? NONE,
  soft: (/** @type {string | null} */ value) => value ?? "",
  duration,
};

/** As Python's `:g` has it: six digits, and a power of ten for the very small and the very large. @param {number} value */
function general(value) {
  const [digits, power] = value.toExponential(5).split("e");
  if (Number(power) >= -4 && Number(power) < 6) return String(Number(value.toPrecision(6)));
  return `${Number(digits)}e${power[0]}${power.slice(1).padStart(2, "0")}`;
}

/** The two largest units. @param {Value} seconds */
function duration(seconds) {
  if (seconds == null) return NONE;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  for (const [size, unit, part, small] of /** @type {[number, string, number, string][]} */ ([
    [86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"],
  ])) {
    if (whole >= size) return `${Math.floor(whole / size)} ${unit} ${Math.floor((whole % size) / part)} ${small}`;
  }
  return `${whole} s`;
}

/** As the server writes it (app/data_sets/uploads.py). @param {number} bytes */
export function fileSize(bytes) {
  for (const [power, unit] of /** @type {[number, string][]} */ ([[3, "GB"], [2, "MB"], [1, "KB"]])) {
    const value = bytes / 1000 ** power;
    if (value >= 1) return `${value < 10 ? value.toFixed(1) : grouped.format(value)} ${unit}`;
  }
  return `${Math.round(bytes)} bytes`;
}

const day = new Intl.DateTimeFormat(undefined, { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", hour12: false });
export const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

/** Show every <time> below `root` in the reader's own time zone. @param {ParentNode} root */
export function localTimes(root) {
  for (const element of root.querySelectorAll("time")) {
    const moment = new Date(element.dateTime);
    element.textContent = ("clock" in element.dataset ? clock : day).format(moment);
    element.title = moment.toLocaleString();
  }
}

/** Write a run's values into the elements that name them. @param {ParentNode} root @param {Record<string, any>} run */
export function fill(root, run) {
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll("[data-field]"))) {
    const { field = "", format: name = "text" } = element.dataset;
    const text = format[name](run[field]);
    if (element.textContent !== text) element.textContent = text;
  }
}
