// Plotly in the page's own colours. The figures come from the server (app/charts.py); this adds theme and life.

import { color } from "./colors.js";

const CONFIG = { displayModeBar: false, responsive: true, doubleClick: "reset" };

/** The library is 5 MB of script: whoever needs it asks for it, after what does not. @param {string} url */
export function loadPlotly(url) {
  const script = document.createElement("script");
  script.src = url;
  script.addEventListener("load", () => document.dispatchEvent(new Event("fitroom:plotly")));
  document.head.append(script);
}

export class Chart {
  #element;
  #figure;
  #tokens;
  #queued = 0;
  /** @type {(() => void)[]} */
  #afterDraw = [];

  /**
   * @param {HTMLElement} element
   * @param {{data: any[], layout: any}} figure
   * @param {string[]} tokens one colour token per trace
   */
  constructor(element, figure, tokens) {
    this.#element = element;
    this.#figure = figure;
    this.#tokens = tokens;
    document.addEventListener("fitroom:plotly", () => this.#schedule());
    document.addEventListener("fitroom:theme", () => this.#schedule());
    document.addEventListener("visibilitychange", () => this.#schedule());
    this.#schedule();
  }

  /**
   * Replace a trace's points; they are drawn at the next frame.
   * @param {number} trace @param {(number | null)[]} x @param {(number | null)[]} y @param {() => void} [drawn]
   */
  set(trace, x, y, drawn) {
    Object.assign(this.#figure.data[trace], { x, y });
    if (drawn) this.#afterDraw.push(drawn);
    this.#schedule();
  }

  #schedule() {
    if (this.#queued || !globalThis.Plotly || document.visibilityState === "hidden") return;
    this.#queued = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#queued = 0;
    globalThis.Plotly.react(this.#element, this.#themedData(), this.#themedLayout(), CONFIG);
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
