// Plotly in the page's own colours. The figures come from the server (app/charts.py); this adds theme and life.

/** @type {Map<string, string>} resolved once a theme: asking costs a layout, and charts are drawn while a CPU trains */
const resolved = new Map();
document.addEventListener("fitroom:theme", () => resolved.clear());

/** A token's colour as the browser resolves it, light or dark. @param {string} token */
export function color(token) {
  const known = resolved.get(token) ?? resolve(token);
  resolved.set(token, known);
  return known;
}

/** @param {string} token */
function resolve(token) {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(--${token})`;
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

const CONFIG = { displayModeBar: false, responsive: true, doubleClick: "reset" };
const POINTS = 2000;
/** Share of the main thread that a paced chart may take: the page may run on the very cores that train. */
const SHARE = 0.01;

export class Chart {
  #element;
  #figure;
  #tokens;
  #queued = 0;
  #drawnAt = -Infinity;
  #everyMs;
  #lastedMs = 0;
  /** @type {(() => void) | null} */
  #fill = null;
  /** @type {(() => void)[]} */
  #afterDraw = [];

  /**
   * @param {HTMLElement} element
   * @param {{data: any[], layout: any}} figure
   * @param {string[]} tokens one colour token per trace
   * @param {{everyMs?: number}} [options] redraw at most once in so many milliseconds, and less often where a drawing takes long
   */
  constructor(element, figure, tokens, { everyMs = 0 } = {}) {
    this.#element = element;
    this.#figure = figure;
    this.#tokens = tokens;
    this.#everyMs = everyMs;
    document.addEventListener("fitroom:theme", () => this.#schedule());
    document.addEventListener("visibilitychange", () => this.#schedule());
    this.#schedule();
  }

  /**
   * Replace a trace's points; they are drawn at the next frame, or when the pace allows.
   * @param {number} trace @param {(number | null)[]} x @param {(number | null)[]} y @param {() => void} [drawn]
   */
  set(trace, x, y, drawn) {
    Object.assign(this.#figure.data[trace], { x, y });
    if (drawn) this.#afterDraw.push(drawn);
    this.#schedule();
  }

  /** Ask for points only when it is time to draw: `fill` calls `set`. @param {() => void} fill */
  soon(fill) {
    this.#fill = fill;
    this.#schedule();
  }

  /** Replace all traces. @param {any[]} data @param {string[]} tokens */
  replace(data, tokens) {
    this.#figure.data = data;
    this.#tokens = tokens;
    this.#schedule();
  }

  #schedule() {
    if (this.#queued || document.visibilityState === "hidden") return;
    const pace = this.#everyMs && Math.max(this.#everyMs, this.#lastedMs / SHARE);
    const wait = Math.max(0, this.#drawnAt + pace - performance.now());
    this.#queued = setTimeout(() => requestAnimationFrame(() => this.#draw()), wait);
  }

  #draw() {
    this.#drawnAt = performance.now();
    this.#fill?.();
    this.#fill = null;
    this.#queued = 0;
    globalThis.Plotly.react(this.#element, this.#themedData(), this.#themedLayout(), CONFIG);
    this.#lastedMs = performance.now() - this.#drawnAt;
    for (const drawn of this.#afterDraw.splice(0)) drawn();
  }

  #themedData() {
    return this.#figure.data.map((trace, index) => {
      const own = color(this.#tokens[index]);
      return { ...trace, line: { width: 2, ...trace.line, color: own }, marker: { size: 6, color: own } };
    });
  }

  #themedLayout() {
    const axis = { gridcolor: color("grid"), linecolor: color("line"), zeroline: false, automargin: false };
    const layout = this.#figure.layout;
    // Without points Plotly invents a scale from -1 to 4, which would be read as one.
    const empty = this.#figure.data.every((trace) => !trace.x?.length);
    const scale = empty ? { range: [0, 1], showticklabels: false } : { autorange: true, showticklabels: true };
    return {
      ...layout,
      uirevision: "kept", // a zoom outlives new points
      showlegend: false, // the page has its own
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: color("text-soft") },
      hoverlabel: { bgcolor: color("surface"), bordercolor: color("line"), font: { color: color("text") } },
      xaxis: { ...axis, ...layout.xaxis },
      yaxis: { ...axis, ...layout.yaxis, ...scale },
    };
  }
}

/**
 * At most `POINTS` of a curve, keeping the least and the greatest of every stretch, so that no spike is lost.
 * @param {number[]} x @param {(number | null)[]} y @returns {[number[], (number | null)[]]}
 */
export function thinned(x, y) {
  if (x.length <= POINTS) return [x, y];
  const stretch = Math.ceil(x.length / (POINTS / 2));
  /** @type {number[]} */ const keptX = [];
  /** @type {(number | null)[]} */ const keptY = [];
  for (let start = 0; start < x.length; start += stretch) {
    const end = Math.min(start + stretch, x.length);
    let low = start, high = start;
    for (let i = start; i < end; i++) {
      if (y[i] === null) continue;
      if (y[low] === null || /** @type {number} */ (y[i]) < /** @type {number} */ (y[low])) low = i;
      if (y[high] === null || /** @type {number} */ (y[i]) > /** @type {number} */ (y[high])) high = i;
    }
    for (const i of low === high ? [low] : [Math.min(low, high), Math.max(low, high)]) {
      keptX.push(x[i]);
      keptY.push(y[i]);
    }
  }
  return [keptX, keptY];
}
