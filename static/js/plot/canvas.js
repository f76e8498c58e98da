// A canvas that fills its element, sharp on every screen, drawn at most once a frame and again when size or theme change.

export class Canvas {
  #element;
  #draw;
  #queued = 0;
  width = 0;
  height = 0;

  /** @param {HTMLElement} element @param {(context: CanvasRenderingContext2D, width: number, height: number) => void} draw in CSS pixels */
  constructor(element, draw) {
    this.#element = element;
    this.#draw = draw;
    this.canvas = element.appendChild(document.createElement("canvas"));
    this.canvas.setAttribute("aria-hidden", "true"); // the element around it has the words
    new ResizeObserver(() => this.soon()).observe(element);
    document.addEventListener("fitroom:theme", () => this.soon());
    document.addEventListener("visibilitychange", () => this.soon());
  }

  /** Draw at the next frame, once for all that was asked until then. */
  soon() {
    if (this.#queued || document.visibilityState === "hidden") return;
    this.#queued = requestAnimationFrame(() => {
      this.#queued = 0;
      this.now();
    });
  }

  now() {
    const { clientWidth: width, clientHeight: height } = this.#element;
    if (!width || !height) return;
    const ratio = devicePixelRatio || 1;
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== wide || this.canvas.height !== high) Object.assign(this.canvas, { width: wide, height: high });
    Object.assign(this, { width, height });
    const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.#draw(context, width, height);
  }
}
