// Draw, choose, drop or paste an image; the run's network says what it sees, and where it looked.

import { latest } from "./epochs.js";

/** @typedef {{name: string, units: number, filters: string, activations: string | null}} Layer */

const root = document.getElementById("try");
if (root) start(root);

/** @param {HTMLElement} root */
function start(root) {
  const canvas = /** @type {HTMLCanvasElement} */ (root.querySelector("#draw"));
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const file = /** @type {HTMLInputElement} */ (root.querySelector("#file"));
  const invert = /** @type {HTMLSelectElement} */ (root.querySelector("#invert"));
  const crop = /** @type {HTMLInputElement} */ (root.querySelector("#crop"));
  /** @type {Blob | null} */
  let image = null;

  const ask = latest(async () => {
    if (!image) return;
    say("Looking …");
    const address = `/api/v1/runs/${root.dataset.runId}/predict?invert=${invert.value}&crop=${crop.checked}`;
    try {
      const answer = await fetch(address, { method: "POST", body: image, headers: { "Content-Type": image.type || "application/octet-stream" } });
      if (answer.status === 413) return say((await answer.text()).trim(), true);
      const told = await answer.json();
      if (answer.ok) await show(told);
      else say(told.errors ? Object.values(told.errors).map((words) => `The image ${lower(String(words))}`).join(" ") : told.detail, true);
    } catch {
      say("The server did not answer.", true);
    }
  });

  function clear() {
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, canvas.width, canvas.height);
  }
  clear();

  /** @type {{x: number, y: number} | null} */
  let last = null;
  /** @param {PointerEvent} event */
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: ((event.clientX - box.left) * canvas.width) / box.width, y: ((event.clientY - box.top) * canvas.height) / box.height };
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    line(last, last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const now = place(event);
    line(last, now);
    last = now;
  });
  const lifted = () => {
    if (!last) return;
    last = null;
    canvas.toBlob((blob) => take(blob), "image/png");
  };
  canvas.addEventListener("pointerup", lifted);
  canvas.addEventListener("pointercancel", lifted);

  /** @param {{x: number, y: number}} from @param {{x: number, y: number}} to */
  function line(from, to) {
    Object.assign(pen, { strokeStyle: "#fff", lineWidth: 22, lineCap: "round", lineJoin: "round" });
    pen.beginPath();
    pen.moveTo(from.x, from.y);
    pen.lineTo(to.x, to.y);
    pen.stroke();
  }

  /** @param {Blob | null | undefined} blob */
  function take(blob) {
    if (!blob) return;
    image = blob;
    void ask(0);
  }

  /** A file is shown on the canvas too, as large as it fits. @param {File | null | undefined} chosen */
  async function takeFile(chosen) {
    if (!chosen) return;
    const bitmap = await createImageBitmap(chosen).catch(() => null);
    clear();
    if (bitmap) {
      const scale = Math.min(canvas.width / bitmap.width, canvas.height / bitmap.height);
      const [w, h] = [bitmap.width * scale, bitmap.height * scale];
      pen.drawImage(bitmap, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
    }
    take(chosen);
  }

  root.querySelector("[data-clear]")?.addEventListener("click", () => {
    clear();
    image = null;
    file.value = "";
    find("[data-result]").hidden = true;
    say("Nothing yet: draw something, or choose an image.");
  });
  file.addEventListener("change", () => void takeFile(file.files?.[0]));
  root.addEventListener("dragover", (event) => event.preventDefault());
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    void takeFile(event.dataTransfer?.files[0]);
  });
  document.addEventListener("paste", (event) => void takeFile(event.clipboardData?.files[0]));
  invert.addEventListener("change", () => void ask(0));
  crop.addEventListener("change", () => void ask(0));

  /** @param {string} selector @returns {HTMLElement} */
  function find(selector) {
    return /** @type {HTMLElement} */ (/** @type {HTMLElement} */ (root).querySelector(selector));
  }

  /** @param {Layer | null} layer */
  function showLayer(layer) {
    find("[data-layer]").hidden = layer === null;
    if (!layer) return;
    find("[data-layer-words]").textContent = `${layer.name}, ${layer.units > 64 ? `64 of ${layer.units}` : layer.units} units`;
    /** @type {HTMLImageElement} */ (find("[data-filters]")).src = layer.filters;
    find("[data-activations-figure]").hidden = layer.activations === null;
    if (layer.activations) /** @type {HTMLImageElement} */ (find("[data-activations]")).src = layer.activations;
  }

  /** @param {string} words @param {boolean} [bad] */
  function say(words, bad = false) {
    const line = find("[data-words]");
    line.textContent = words;
    line.className = bad ? "bad" : "soft";
    if (bad) find("[data-result]").hidden = true;
  }

  /** @param {{top: {name: string, probability: number}[], prepared: string, inverted: boolean, heat: number[][], first_layer: Layer | null}} told */
  async function show(told) {
    say(`It says ${told.top[0].name}, ${Math.round(told.top[0].probability * 100)} % sure.`);
    find("[data-bars]").replaceChildren(...told.top.map((item) => bar(item)));
    find("[data-inverted]").hidden = !told.inverted;
    const picture = new Image();
    picture.src = told.prepared;
    await picture.decode();
    const prepared = /** @type {HTMLCanvasElement} */ (find("[data-prepared]"));
    const heat = /** @type {HTMLCanvasElement} */ (find("[data-heat]"));
    paint(prepared, picture);
    paint(heat, picture);
    overlay(heat, told.heat);
    showLayer(told.first_layer);
    find("[data-result]").hidden = false;
  }
}

/** @param {HTMLCanvasElement} canvas @param {HTMLImageElement} picture */
function paint(canvas, picture) {
  canvas.width = picture.naturalWidth;
  canvas.height = picture.naturalHeight;
  canvas.getContext("2d")?.drawImage(picture, 0, 0);
}

/** Colour what mattered, the more the stronger. @param {HTMLCanvasElement} canvas @param {number[][]} heat */
function overlay(canvas, heat) {
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const most = Math.max(0.01, ...heat.flat());
  const [h, w] = [canvas.height / heat.length, canvas.width / heat[0].length];
  heat.forEach((row, y) =>
    row.forEach((value, x) => {
      pen.fillStyle = `rgb(255 120 0 / ${(0.8 * value) / most})`;
      pen.fillRect(x * w, y * h, w, h);
    }),
  );
}

/** @param {{name: string, probability: number}} item */
function bar({ name, probability }) {
  const line = document.createElement("li");
  const label = line.appendChild(document.createElement("span"));
  label.textContent = name;
  const meter = line.appendChild(document.createElement("progress"));
  meter.max = 1;
  meter.value = probability;
  meter.setAttribute("aria-label", name);
  line.appendChild(document.createElement("b")).textContent = `${(probability * 100).toFixed(1)} %`;
  return line;
}

/** @param {string} words */
const lower = (words) => words.charAt(0).toLowerCase() + words.slice(1);
